"""Labelled images as a source: held in memory as bytes, or decoded from files batch by batch."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pdeconv.errors import PDEConvError
from pdeconv.training.augmentation import jittered, shifted_and_flipped, zoomed_and_flipped
from pdeconv.training.data import Source
from pdeconv.training.image_files import in_color
from pdeconv.training.randomness import uniform

Statistics = tuple[tuple[float, ...], tuple[float, ...]]  # mean and standard deviation of each channel
MARGIN = 1.125  # what is cropped to `size` is resized to this times `size` first


@dataclass(frozen=True)
class ShiftAndFlip:
    """Crops after mirroring an eighth of the image around it, and flips left to right."""

    flip: bool

    def __call__(self, images: Tensor, indices: Tensor, seed: int) -> Tensor:
        return shifted_and_flipped(images, uniform(seed, indices, 3), round(images.shape[-1] / 8), self.flip)


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
        top, left = ((side - self.size) // 2 for side in images.shape[-2:])
        return images[..., top : top + self.size, left : left + self.size]


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """A `Source` of images and labels.

    Args:
        pixels: (N, C, H, W) held in memory, or a function that decodes the images at some indices to (B, C, H, W).
        labels: (N,) class numbers.
        largest: the pixel value that becomes 1 before normalisation.
        statistics: mean and standard deviation of each channel, of values in [0, 1].
        change: (images, indices, seed) -> images, the augmentation; None for none.
        workers: processes that decode files ahead.
    """

    pixels: Tensor | Callable[[Tensor], Tensor]
    labels: Tensor
    largest: float
    statistics: Statistics
    change: Callable[[Tensor, Tensor, int], Tensor] | None = None
    workers: int = 0
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
        return normalised(images, self.largest, self.statistics), self.labels[indices]

    def iterate(self, batches: Iterable[tuple[Tensor, int]]) -> Iterator[tuple[Tensor, Tensor]]:
        return read_ahead(self, batches, 0 if self.in_memory else self.workers)


def normalised(images: Tensor, largest: float, statistics: Statistics) -> Tensor:
    """(images / largest − mean) / standard deviation, by channel, in single precision."""
    mean, deviation = (torch.tensor(values)[:, None, None] for values in statistics)
    return (images.float() - mean * largest) / (deviation * largest)


def prepared_image(image: Tensor, size: int, statistics: Statistics, margin: bool = False) -> Tensor:
    """One image (3, H, W) in [0, 1] made ready for a network: (1, C, size, size), normalised."""
    image = in_color(image, len(statistics[0]))
    square = resized_square(image, round(size * MARGIN) if margin else size)[None]
    return normalised(CenterCrop(size)(square, torch.zeros(1), 0), 1.0, statistics)


def resized_square(image: Tensor, size: int) -> Tensor:
    """The middle square of (C, H, W), resized to ``size`` with smoothing."""
    side = min(image.shape[-2:])
    top, left = ((length - side) // 2 for length in image.shape[-2:])
    square = image[None, :, top : top + side, left : left + side]
    if side != size:
        square = F.interpolate(square, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
    return square[0].clamp(0, 1)


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
