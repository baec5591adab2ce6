"""What the filters share: an image of any form goes through an evolution, and its scales are measured."""

from __future__ import annotations

import math
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
COLOURS = (1, 3, 4)
"""How many there are: gray, RGB, and with opacity."""


@dataclass(frozen=True)
class Units:
    """What the values and the lengths of an image are counted in while it is filtered: powers of two near its own.

    Every filter is an equation in which units cancel, so an image of 10⁻³⁰ on cells of 10⁻⁹ is filtered as one of 1 on
    cells of 1 is, and no square of a gradient overflows. Of powers of two no rounding comes.

    Attributes:
        value, length: The exponents.
        span: That of the largest number of the image's type.
    """

    value: int
    length: int
    span: int = 127

    def own(self, given: float | None, value: int = 0, length: int = 0, power: int = 2) -> float:
        """``given``, in value^``value``·length^``length``, in these units; 0 if None.

        Kept where its ``power`` is a number of the type, and so is that of a slope divided by it; beyond are limits,
        at which nothing is an edge, or everything is.

        Example:
            >>> Units(value=3, length=-1).own(1.0, value=1, length=-1)  # a slope of 1 is 1/8 to 2
            0.0625
        """
        limit = self.span // power - 2  # as slopes reach 4
        return self._converted(given, value, length, -limit, limit)

    def time(self, duration: float, value: int, length: int) -> float:
        """A duration; one of 2⁶⁰ leaves nothing to change, and times the largest rate it is a number."""
        return self._converted(duration, value, length, -self.span * 4 // 5, 60)

    def _converted(self, given: float | None, value: int, length: int, least: int, most: int) -> float:
        if not given:
            return 0.0
        fraction, exponent = math.frexp(given)
        return math.ldexp(fraction, min(max(exponent - value * self.value - length * self.length, least), most))


@dataclass(frozen=True)
class ImageFlow:
    """A filter's name and the place of its image, as the arguments of the filters say, and how it steps.

    Attributes:
        fewest, most: Numbers of spatial axes that the filter knows.
        control: Chooses the steps.
        unit: Of the duration: the powers of a value and of a length.
    """

    name: str
    spacing: float | Sequence[float]
    boundary: Boundary
    channel_axis: int | None
    dims: int | None
    fewest: int = 1
    most: int = 3
    control: Control = _LENGTHENING
    unit: tuple[int, int] = (0, 2)

    def __call__(self, image: Image, duration: float, step: Callable[[Tensor, Grid, Units], Step], each: bool) -> Image:
        """``image`` after the duration.

        Args:
            image: In any form that :func:`pdeconv.image_array.read_image` takes.
            duration: At least 0.
            step: Makes the step for a state (B, 1, *S) on a grid, both in units that it is told.
            each: Make one for each channel of each image, as it depends on it.
        """
        duration = checked_number(self.name, "duration", duration, zero_too=True)
        self._check_colours(image)
        photo = read_image(self.name, image, self.channel_axis, self.dims, self.most)
        dims = photo.state.dim() - 2
        if dims < self.fewest:
            raise PDEConvError(
                f"{self.name} needs an image of at least {self.fewest} spatial axes, but got shape "
                f"{tuple(image.shape)}, {dims} of them; along a line nothing flows."
            )
        grid = Grid(self.spacing, self.boundary, dims)
        length = _exponent(min(grid.spacings))
        grid = Grid(tuple(math.ldexp(dx, -length) for dx in grid.spacings), self.boundary, dims)
        planes = photo.state.reshape(-1, 1, *photo.state.shape[2:])  # of each channel by itself
        level = planes.new_zeros(()) if self.boundary == "dirichlet" else _level(planes.detach())
        planes = planes - level
        alike: dict[tuple[int, int], list[int]] = {}  # those of one unit go together
        for plane, largest in enumerate(planes.detach().abs().flatten(1).amax(1).tolist()):
            alike.setdefault((_exponent(largest), plane if each else 0), []).append(plane)
        span = _exponent(torch.finfo(planes.dtype).max)
        parts = [
            self._evolved(planes[chosen], duration, grid, Units(value, length, span), step)
            for (value, _), chosen in alike.items()
        ]
        if duration == 0:
            return photo.restore(photo.state)
        place = torch.tensor([plane for chosen in alike.values() for plane in chosen]).argsort()
        after = torch.cat(parts)[place.to(planes.device)] + level
        return photo.restore(after.reshape(photo.state.shape))

    def _check_colours(self, image: Image) -> None:
        """Raise ``PDEConvError`` if an axis of ``image`` looks like one of colours, and ``channel_axis`` names none.

        A wrong guess would mix the colours, or filter rows of three pixels, and be hard to see. A tensor has colours
        first by custom; a batch of such, by ``dims``, is filtered one by one, as colours are. Volumes are told by
        ``dims``; but ``dims=2`` may be meant to say of (H, W, 3) that the picture is flat.
        """
        shape = tuple(getattr(image, "shape", ()))
        if self.channel_axis is not None or self.dims == 3 or len(shape) < 3:
            return
        last = shape[-1] in COLOURS and min(shape[-3:-1]) > max(COLOURS)
        first = shape[-3] in COLOURS and min(shape[-2:]) > max(COLOURS) and isinstance(image, Tensor) and not self.dims
        if last or first:
            axis = -1 if last else -3
            volume = " For a volume, give dims=3." if self.most == 3 else ""
            batch = "image[..., None], channel_axis=-1 and " if last else ""
            raise PDEConvError(
                f"{self.name} got an image of shape {shape} and no channel_axis; if axis {axis} is that of colours, "
                f"give channel_axis={axis}.{volume} For a batch of gray images, give {batch}dims={self.dims or 2}."
            )

    def _evolved(
        self, u: Tensor, duration: float, grid: Grid, units: Units, make: Callable[[Tensor, Grid, Units], Step]
    ) -> Tensor:
        u = _times_power_of_two(u, -units.value)
        step = make(u, grid, units)
        if duration == 0:
            return u
        evolve = Evolve(step.to(u.device), units.time(duration, *self.unit), self.control).requires_grad_(False)
        return _times_power_of_two(without_rounding(evolve(u), u, step, self.boundary), units.value)


def _level(u: Tensor) -> Tensor:
    """The value of each channel next to 0 if all others are within twice it, else 0; (B, C, 1 …).

    What is left above such a level has no rounding; on it, small differences would drown in that of a large value.
    """
    axes = tuple(range(2, u.dim()))
    low, high = u.amin(axes, keepdim=True), u.amax(axes, keepdim=True)
    above, below = (low > 0) & (high <= 2 * low), (high < 0) & (low >= 2 * high)
    return torch.where(above, low, torch.where(below, high, torch.zeros_like(low)))


def _exponent(number: float) -> int:
    """Of the largest power of two up to ``number``; 0 for 0."""
    return math.frexp(number)[1] - 1 if number else 0


def _times_power_of_two(u: Tensor, exponent: int) -> Tensor:
    half = exponent // 2  # the whole of it may overflow where the product does not
    return u * 2.0**half * 2.0 ** (exponent - half) if exponent else u


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
    found = 1.4826 * float(slopes.abs().median()) or float(slopes.square().mean().sqrt())
    return _squarable(found, u) if found else 1.0


def slope(u: Tensor, grid: Grid, share: float) -> float:
    """The slope of ``share`` of the difference between the largest and the least value over one pixel; 1 if that is 0.

    Example:
        >>> slope(torch.tensor([[[0.0, 1.0, 8.0]]]), Grid((0.5,)), 0.25)
        4.0
    """
    found = share * float(u.detach().amax() - u.detach().amin()) / min(grid.spacings)
    return _squarable(found, u) if found else 1.0


def _squarable(number: float, u: Tensor) -> float:
    """``number``, or a larger one whose square is a number of the type of ``u``."""
    return max(number, math.sqrt(torch.finfo(u.dtype).tiny))
