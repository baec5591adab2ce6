"""Labelled images as a source: held in memory as bytes, or decoded from files batch by batch."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pdeconv.errors import PDEConvError
from pdeconv.image_square import Statistics, middle, normalised
from pdeconv.training.augmentation import erased, jittered, shifted_and_flipped, zoomed_and_flipped
from pdeconv.training.data import Source
from pdeconv.training.data_config import DataConfig
from pdeconv.training.randomness import derived_seeds, uniform

ERASURE = 1  # stream of random numbers


@dataclass(frozen=True)
class ShiftAndFlip:
    """Crops after mirroring a share of the image around it, and flips left to right."""

    flip: bool
    margin: float = 1 / 8

    def __call__(self, images: Tensor, indices: Tensor, seed: int) -> Tensor:
        margin = round(images.shape[-1] * self.margin)
        return shifted_and_flipped(images, uniform(seed, indices, 3), margin, self.flip)


@dataclass(frozen=True)
class Jitter:
    """Small shifts, rotations and changes of size."""

    def __call__(self, images: Tensor, indices: Tensor, seed: int) -> Tensor:
        return jittered(images.float(), uniform(seed, indices, 4))


@dataclass(frozen=True)
class ZoomAndFlip:
    """Random parts of the image resized to one size, and flips left to right."""

    size: int

    def __call__(self, images: Tensor, indices: Tensor, seed: int) -> Tensor:
        return zoomed_and_flipped(images.float(), uniform(seed, indices, 5), self.size)


@dataclass(frozen=True)
class CenterCrop:
    """The middle of the image, always the same."""

    size: int

    def __call__(self, images: Tensor, indices: Tensor, seed: int) -> Tensor:
        return middle(images, self.size)


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """A `Source` of images and labels.

    Args:
        pixels: (N, C, *S) held in memory, or a function that decodes the images at some indices to (B, C, *S).
        labels: (N,) class numbers.
        largest: the pixel value that becomes 1 before normalisation.
        statistics: mean and standard deviation of each channel, of values in [0, 1].
        change: (images, indices, seed) -> images, the augmentation; None for none.
        workers: processes that decode files ahead.
        erase: side of a square of each image that is set to the mean, in shares of the image's side.
    """

    pixels: Tensor | Callable[[Tensor], Tensor]
    labels: Tensor
    largest: float
    statistics: Statistics
    change: Callable[[Tensor, Tensor, int], Tensor] | None = None
    workers: int = 0
    erase: float = 0.0
    same_size = True
    names: tuple[str, ...] = ()

    @property
    def in_memory(self) -> bool:
        return isinstance(self.pixels, Tensor)

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        images = self.pixels[indices] if isinstance(self.pixels, Tensor) else self.pixels(indices)
        if self.change is not None:
            images = self.change(images, indices, seed)
        images = normalised(images, self.largest, self.statistics)
        side = round(self.erase * images.shape[-1])
        if side:
            own = derived_seeds(seed, torch.tensor([ERASURE]))[0]  # apart from the draws of ``change``
            images = erased(images, uniform(own, indices, images.dim() - 2), side)
        return images, self.labels[indices]

    def iterate(self, batches: Iterable[tuple[Tensor, int]]) -> Iterator[tuple[Tensor, Tensor]]:
        return read_ahead(self, batches, 0 if self.in_memory else self.workers)


def chosen_places(labels: Tensor, classes: int, config: DataConfig) -> Tensor:
    """Where the images lie that a run trains on, in their order: all of them, or ``train_images``.

    In each class the images have a random order, which depends on ``subset_seed`` and their place alone. The first of
    each class come first, then the second …: so there are as many of each class as can be, and a smaller subset is part
    of a larger one.

    Args:
        labels: (N,) class numbers.
        classes: number of classes.
        config: of the data.

    Raises:
        PDEConvError: fewer images are asked for than there are classes, or more than there are.
    """
    count = config.train_images
    if count is None:
        return torch.arange(len(labels))
    if not classes <= count <= len(labels):
        raise PDEConvError(
            f"data.train_images: expected {classes}, one of each class, to {len(labels)}, all that {config.name} has, "
            f"got {count}"
        )
    drawn = uniform(config.subset_seed, torch.arange(len(labels)), 1)[:, 0]
    order = drawn.argsort(stable=True)
    rank = torch.empty_like(labels)  # of each image within its class
    for label in range(classes):
        own = order[labels[order] == label]
        rank[own] = torch.arange(len(own))
    first = (rank * classes + labels).argsort()[:count]
    return first.sort().values


class _Batches(Dataset[tuple[Tensor, Tensor] | PDEConvError]):
    """A dataset whose items are whole batches, so that one worker makes a batch in one go."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def __getitem__(self, which: tuple[Tensor, int]) -> tuple[Tensor, Tensor] | PDEConvError:
        try:
            return self.source.batch(*which)
        except PDEConvError as error:  # raised here, it would arrive as the text of this process's traceback
            return error


def read_ahead(source: Source, batches: Iterable[tuple[Tensor, int]], workers: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of a source in order, made ahead by worker processes; with 0 workers, when asked for."""
    if workers == 0:
        yield from (source.batch(indices, seed) for indices, seed in batches)
        return
    generator = torch.Generator().manual_seed(0)  # else the loader would draw from, and so change, the run's own stream
    loader = DataLoader(_Batches(source), batch_size=None, sampler=batches, num_workers=workers, generator=generator)
    for batch in loader:
        if isinstance(batch, PDEConvError):
            raise batch
        yield batch
