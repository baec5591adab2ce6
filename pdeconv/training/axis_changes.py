"""Random changes of samples on 1, 2 or 3 axes: shifts and flips, each along one axis."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pdeconv.training.augmentation import mirrored
from pdeconv.training.randomness import uniform


@dataclass(frozen=True)
class ShiftAndFlipAxes:
    """Shifts along each axis, beyond whose ends a sample is mirrored, and flips of half of the samples along some.

    Args:
        shift: the largest, either way, as a share of the axis.
        flips: numbers of the axes along which to flip, 0 being the first spatial one.
    """

    shift: float = 0.0
    flips: tuple[int, ...] = ()

    def __call__(self, images: Tensor, indices: Tensor, seed: int) -> Tensor:
        """Of (B, C, *S) of any type; what becomes of a sample depends on (seed, its index) alone."""
        count, dims = len(images), images.dim() - 2
        draws = uniform(seed, indices, 2 * dims)
        for place in range(dims):
            side = images.shape[2 + place]
            most = round(self.shift * side)
            cells = torch.arange(side).expand(count, -1)
            if place in self.flips:
                cells = torch.where(draws[:, dims + place, None] < 0.5, cells, side - 1 - cells)
            elif most == 0:
                continue
            cells = mirrored(cells + (draws[:, place, None] * (2 * most + 1)).long() - most, side)
            shape = [count if axis == 0 else side if axis == 2 + place else 1 for axis in range(images.dim())]
            images = images.gather(2 + place, cells.reshape(shape).expand(images.shape))
        return images
