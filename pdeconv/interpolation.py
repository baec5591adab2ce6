"""Interpolation of a state between its cells: in 1 to 3 dimensions, for every boundary and type."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import torch
from torch import Tensor

from pdeconv.bilinear import bilinear, suits_bilinear
from pdeconv.grid import Boundary
from pdeconv.stencil import source_cell


@dataclass(frozen=True)
class Interpolation(ABC):
    """The value of a state anywhere, from its cells: Σⱼ wⱼ(t) u_{i+j} along each axis, at the position i + t.

    Attributes:
        offsets: The cells j that take part, relative to the cell below the position.
        keeps_range: Whether values stay in the range of the cells.
    """

    offsets: ClassVar[tuple[int, ...]]
    keeps_range: ClassVar[bool]

    @abstractmethod
    def weights(self, t: Tensor) -> tuple[Tensor, ...]:
        """wⱼ(t) for each offset, 0 ≤ t < 1."""

    def __call__(self, u: Tensor, positions: Sequence[Tensor], boundary: Boundary) -> Tensor:
        """The state at ``positions``, in cells (0 is the centre of the first), one tensor an axis.

        Positions broadcast to the shape of ``u``; gradients reach ``u`` and the positions.
        """
        mean, _ = self._gathered(u, positions, boundary)
        return mean

    def _gathered(self, u: Tensor, positions: Sequence[Tensor], boundary: Boundary) -> tuple[Tensor, dict]:
        """The weighted mean, and the values of the cells that took part, by their offsets."""
        sizes = u.shape[2:]
        sources, shares, insides = [], [], []
        for at, size in zip(positions, sizes, strict=True):
            below = at.floor()
            cells = [below.long() + offset for offset in self.offsets]
            sources.append([source_cell(j, size, boundary) for j in cells])
            shares.append([weight.to(u.dtype) for weight in self.weights(at - below)])
            insides.append([(j >= 0) & (j < size) for j in cells])
        flat = u.flatten(2)
        mean, values = None, {}
        for corner in product(range(len(self.offsets)), repeat=len(sizes)):
            index, share, inside = sources[0][corner[0]], shares[0][corner[0]], insides[0][corner[0]]
            for axis in range(1, len(sizes)):
                index = index * sizes[axis] + sources[axis][corner[axis]]
                share = share * shares[axis][corner[axis]]
                inside = inside & insides[axis][corner[axis]]
            value = flat.gather(2, index.expand(u.shape).flatten(2)).reshape(u.shape)
            if boundary == "dirichlet":
                value = torch.where(inside, value, 0.0)
            mean = share * value if mean is None else mean + share * value
            values[corner] = value
        assert mean is not None
        return mean, values


@dataclass(frozen=True)
class LinearInterpolation(Interpolation):
    """Linear between two cells along each axis: of order 2, a convex mean of the nearest 2ᴰ cells, and diffusive.

    Example:
        >>> LinearInterpolation()(torch.tensor([[[0.0, 1.0, 4.0]]]), [torch.tensor([0.5, 1.0, 1.25])], "neumann")
        tensor([[[0.5000, 1.0000, 1.7500]]])
    """

    offsets: ClassVar[tuple[int, ...]] = (0, 1)
    keeps_range: ClassVar[bool] = True

    def weights(self, t: Tensor) -> tuple[Tensor, ...]:
        return 1 - t, t

    def __call__(self, u: Tensor, positions: Sequence[Tensor], boundary: Boundary) -> Tensor:
        if suits_bilinear(u, positions, boundary):
            return bilinear(u, positions, boundary, super().__call__)
        return super().__call__(u, positions, boundary)


@dataclass(frozen=True)
class CubicInterpolation(Interpolation):
    """The cubic through four cells along each axis: of order 4; overshoots at edges, so that nothing is proven.

    Example:
        >>> cubes = torch.arange(6.0)[None, None] ** 3
        >>> CubicInterpolation()(cubes, [torch.full((6,), 2.5)], "neumann")[0, 0, 0]
        tensor(15.6250)
    """

    offsets: ClassVar[tuple[int, ...]] = (-1, 0, 1, 2)
    keeps_range: ClassVar[bool] = False

    def weights(self, t: Tensor) -> tuple[Tensor, ...]:
        before, after, far = t + 1, t - 1, t - 2
        return -t * after * far / 6, before * after * far / 2, -before * t * far / 2, before * t * after / 6


@dataclass(frozen=True)
class ClampedCubicInterpolation(CubicInterpolation):
    """Cubic, then held within the values of the nearest 2ᴰ cells: keeps the range; of order 2 at extrema.

    References:
        R. Bermejo, A. Staniforth. The conversion of semi-Lagrangian advection schemes to quasi-monotone schemes.
        Monthly Weather Review 120, 1992.

    Example:
        >>> step = torch.tensor([[[0.0, 0.0, 0.0, 1.0, 1.0]]])
        >>> CubicInterpolation()(step, [torch.full((5,), 1.5)], "neumann")[0, 0, 0]
        tensor(-0.0625)
        >>> ClampedCubicInterpolation()(step, [torch.full((5,), 1.5)], "neumann")[0, 0, 0]
        tensor(0.)
    """

    keeps_range: ClassVar[bool] = True

    def __call__(self, u: Tensor, positions: Sequence[Tensor], boundary: Boundary) -> Tensor:
        mean, values = self._gathered(u, positions, boundary)
        nearest = [value for corner, value in values.items() if all(self.offsets[k] in (0, 1) for k in corner)]
        low = high = nearest[0]
        for value in nearest[1:]:
            low, high = torch.minimum(low, value), torch.maximum(high, value)
        return torch.minimum(torch.maximum(mean, low), high)
