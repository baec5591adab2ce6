"""What the filters share: an image of any form goes through an evolution, and its scales are measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pdeconv.control import Control
from pdeconv.errors import PDEConvError, checked_number
from pdeconv.evolve import Evolve
from pdeconv.grid import Boundary, Grid
from pdeconv.image_array import Image, read_image
from pdeconv.lengthening import Lengthening
from pdeconv.operator import RANGE, RANGE_WITH_ZERO
from pdeconv.stencil import difference
from pdeconv.steps import Step

_LENGTHENING = Lengthening()


@dataclass(frozen=True)
class ImageFlow:
    """A filter's name and the place of its image, as the arguments of the filters say, and how it steps.

    Attributes:
        fewest, most: Numbers of spatial axes that the filter knows.
        control: Chooses the steps.
    """

    name: str
    spacing: float | Sequence[float]
    boundary: Boundary
    channel_axis: int | None
    dims: int | None
    fewest: int = 1
    most: int = 3
    control: Control = _LENGTHENING

    def __call__(self, image: Image, duration: float, step: Callable[[Tensor, Grid], Step], each: bool) -> Image:
        """``image`` after the duration.

        Args:
            image: In any form that :func:`pdeconv.image_array.read_image` takes.
            duration: At least 0.
            step: Makes the step for a state (B, C, *S) on a grid.
            each: Make one for each image of a batch, as it depends on the image.
        """
        duration = checked_number(self.name, "duration", duration, zero_too=True)
        photo = read_image(self.name, image, self.channel_axis, self.dims, self.most)
        dims = photo.state.dim() - 2
        if dims < self.fewest:
            raise PDEConvError(
                f"{self.name} needs an image of at least {self.fewest} spatial axes, but got shape "
                f"{tuple(image.shape)}, {dims} of them; along a line nothing flows."
            )
        grid = Grid(self.spacing, self.boundary, dims)
        parts = photo.state.split(1) if each else (photo.state,)
        return photo.restore(torch.cat([self._evolved(part, duration, step(part, grid)) for part in parts]))

    def _evolved(self, u: Tensor, duration: float, step: Step) -> Tensor:
        if duration == 0:
            return u
        evolve = Evolve(step.to(u.device), duration, self.control).requires_grad_(False)
        return without_rounding(evolve(u), u, step, self.boundary)


def without_rounding(after: Tensor, before: Tensor, step: Step, boundary: Boundary) -> Tensor:
    """``after``, with what rounding added to the range cut off, if the step keeps the range; gradients pass.

    An image in [0, 1] stays there to the last bit, as those who convert it to bytes expect. A flat one stays as it is,
    except under the dirichlet boundary, whatever the step.
    """
    axes, ranged = tuple(range(2, before.dim())), bool(step.keeps & {RANGE, RANGE_WITH_ZERO})
    low, high = before.detach().amin(axes, keepdim=True), before.detach().amax(axes, keepdim=True)
    if boundary == "dirichlet":
        low, high = low.clamp(max=0), high.clamp(min=0)
    if not ranged:
        flat = (low == high) & (boundary != "dirichlet")
        low, high = torch.where(flat, low, -torch.inf), torch.where(flat, high, torch.inf)
    return after + (after.clamp(low, high) - after).detach()


def noise_slope(u: Tensor, grid: Grid) -> float:
    """1.4826 times the median slope between neighbours, or if that is 0, the root of its mean square; 1 if that is 0.

    Of differences of Gaussian noise it is the standard deviation, √2 that of the noise; edges hardly count.

    Example:
        >>> noise = torch.randn(1, 1, 200, 200, generator=torch.Generator().manual_seed(0))
        >>> round(noise_slope(noise, Grid()) / 2**0.5, 2)
        1.0
    """
    slopes = torch.cat(
        [difference(u.detach(), axis).flatten() / dx for axis, dx in zip(grid.axes, grid.spacings, strict=True)]
    )
    if slopes.numel() == 0:
        return 1.0
    return 1.4826 * float(slopes.abs().median()) or float(slopes.square().mean().sqrt()) or 1.0


def slope(u: Tensor, grid: Grid, share: float) -> float:
    """The slope of ``share`` of the difference between the largest and the least value over one pixel; 1 if that is 0.

    Example:
        >>> slope(torch.tensor([[[0.0, 1.0, 8.0]]]), Grid((0.5,)), 0.25)
        4.0
    """
    return share * float(u.detach().amax() - u.detach().amin()) / min(grid.spacings) or 1.0
