"""Clean images for denoising as sources: random patches to train on, whole images to test on."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pdeconv.errors import PDEConvError
from pdeconv.training.augmentation import mirrored, turned_places
from pdeconv.training.image_files import read_image
from pdeconv.training.labelled_images import read_ahead
from pdeconv.training.randomness import uniform


@dataclass(frozen=True, eq=False)
class Patches:
    """A `Source` of square patches at random places of images, in one of their eight symmetries.

    Every place of every image is as likely as any other. An image smaller than the patch is continued by reflection.

    Args:
        pixels: (pixels of all images, C), the images held in memory one after another; or the files to read them from.
        sizes: (N, 2) height and width of the images.
        side: of a patch in pixels.
        count: patches in one epoch.
        augment: whether to turn and flip the patches.
        color: "gray" or "rgb", for images read from files.
        workers: processes that read files ahead.
    """

    pixels: Tensor | tuple[Path, ...]
    sizes: Tensor
    side: int
    count: int
    augment: bool
    color: str = "gray"
    workers: int = 0
    same_size = True
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.side < 1 or self.count < 1:
            raise PDEConvError(f"expected patch_size and patches_per_epoch above 0, got {self.side}, {self.count}")

    @classmethod
    def of(cls, images: Sequence[Tensor], side: int, count: int, augment: bool) -> "Patches":
        """Patches of images (C, H, W) held in memory."""
        sizes = torch.tensor([image.shape[-2:] for image in images])
        pixels = torch.cat([image.flatten(1).t() for image in images])
        return cls(pixels, sizes, side, count, augment)

    @property
    def in_memory(self) -> bool:
        return isinstance(self.pixels, Tensor)

    def __len__(self) -> int:
        return self.count

    def batch(self, indices: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        draws = uniform(seed, indices, 2)
        image, top, left = self._places(draws[:, 0])
        symmetry = (draws[:, 1] * 8).long() if self.augment else torch.zeros_like(image)
        height, width = self.sizes[image].t()[..., None, None]
        rows, columns = turned_places(self.side, symmetry)
        rows = mirrored(rows + top[:, None, None], height)
        columns = mirrored(columns + left[:, None, None], width)
        places = rows * width + columns
        if isinstance(self.pixels, Tensor):
            areas = self.sizes.prod(dim=1)
            starts = areas.cumsum(0) - areas
            patches = self.pixels[places + starts[image][:, None, None]]
            patches = patches.permute(0, 3, 1, 2)
        else:
            patches = self._read(self.pixels, image, places)
        clean = patches.contiguous()
        return clean, clean

    def _places(self, draws: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The image, top row and left column that numbers in [0, 1) choose among all places of all images."""
        free = (self.sizes - self.side + 1).clamp(min=1)
        ends = free.prod(dim=1).cumsum(0)
        place = (draws * ends[-1]).long()
        image = torch.searchsorted(ends, place, right=True)
        place = place - (ends - free.prod(dim=1))[image]
        across = free[image, 1]
        return image, place // across, place % across

    def _read(self, paths: tuple[Path, ...], images: Tensor, places: Tensor) -> Tensor:
        patches: list[Tensor] = [places] * len(images)
        for image in images.unique():
            values = read_image(paths[int(image)], self.color).flatten(1)
            for position in (images == image).nonzero()[:, 0].tolist():
                patches[position] = values[:, places[position]]
        return torch.stack(patches)

    def iterate(self, batches: Iterable[tuple[Tensor, int]]) -> Iterator[tuple[Tensor, Tensor]]:
        return read_ahead(self, batches, 0 if self.in_memory else self.workers)


@dataclass(frozen=True, eq=False)
class WholeImages:
    """A `Source` of whole clean images, in order; images of several sizes must be asked for one at a time.

    Args:
        images: held in memory, each (C, H, W); or the files to read them from.
        names: one for each image.
        color: "gray" or "rgb", for images read from files.
        workers: processes that read files ahead.
        sizes: height and width of each file's image, to know whether they agree.
    """

    images: tuple[Tensor, ...] | tuple[Path, ...]
    names: tuple[str, ...]
    color: str = "gray"
    workers: int = 0
    sizes: tuple[tuple[int, int], ...] = ()

    @property
    def in_memory(self) -> bool:
        return not isinstance(self.images[0], Path)

    @property
    def same_size(self) -> bool:
        return len(set(self.sizes) | {image.shape for image in self.images if isinstance(image, Tensor)}) == 1

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        chosen = [self.images[index] for index in indices.tolist()]
        images = [image if isinstance(image, Tensor) else read_image(image, self.color) for image in chosen]
        if len({image.shape for image in images}) != 1:
            sizes = ", ".join("×".join(str(side) for side in image.shape[1:]) for image in images)
            raise PDEConvError(f"expected images of one size in a batch, got {sizes}; ask for one index at a time")
        clean = torch.stack(images)
        return clean, clean

    def iterate(self, batches: Iterable[tuple[Tensor, int]]) -> Iterator[tuple[Tensor, Tensor]]:
        return read_ahead(self, batches, 0 if self.in_memory else self.workers)
