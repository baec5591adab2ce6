"""The grid that a state lives on: spacing, boundary condition and number of spatial axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor

from pdeconv.errors import PDEConvError

Boundary = Literal["neumann", "periodic", "dirichlet", "reflect"]


@dataclass(frozen=True)
class Grid:
    """A uniform, cell-centred grid of 1 to 3 spatial axes.

    Args:
        spacing: Distance dx between neighbouring cells, one number for all axes or one per axis (which then also
            fixes ``dims``).
        boundary: What lies beyond the edge. ``"neumann"``: no flux through the edge (the image is mirrored about its
            border, u₋₁ = u₀). ``"periodic"``: the image repeats, u₋₁ = u_{N−1}. ``"dirichlet"``: the value 0 one cell
            beyond the edge (zero padding). ``"reflect"``: the image is mirrored about its edge cells, u₋₁ = u₁.
        dims: Number of spatial axes, 1 to 3.

    Raises:
        PDEConvError: If a spacing is not positive and finite, the boundary is unknown, or ``dims`` does not fit.

    Example:
        >>> Grid(spacing=0.5).spacings
        (0.5, 0.5)
        >>> Grid(spacing=(1.0, 1.0, 2.0), boundary="periodic").dims
        3
    """

    spacing: float | Sequence[float] = 1.0
    boundary: Boundary = "neumann"
    dims: int = 2

    def __post_init__(self) -> None:
        if not isinstance(self.spacing, int | float):
            object.__setattr__(self, "spacing", tuple(float(dx) for dx in self.spacing))
            object.__setattr__(self, "dims", len(self.spacings))
        if self.dims not in (1, 2, 3):
            raise PDEConvError(f"Grid needs 1, 2 or 3 spatial axes, but got {self.dims}.")
        if not all(math.isfinite(dx) and dx > 0 for dx in self.spacings):
            raise PDEConvError(f"Grid needs a positive, finite spacing, but got spacing={self.spacing}.")
        if self.boundary not in get_args(Boundary):
            raise PDEConvError(
                f"Grid has no boundary {self.boundary!r}; choose one of {', '.join(get_args(Boundary))}."
            )

    @property
    def spacings(self) -> tuple[float, ...]:
        """The spacing along each axis."""
        if isinstance(self.spacing, int | float):
            return (float(self.spacing),) * self.dims
        return tuple(self.spacing)

    @property
    def axes(self) -> tuple[int, ...]:
        """The spatial axes of a state (B, C, *S), as tensor dimensions."""
        return tuple(range(2, 2 + self.dims))

    def check(self, u: Tensor) -> None:
        """Raise ``PDEConvError`` unless ``u`` is a real floating (B, C, *S) state of this grid."""
        if u.dim() != 2 + self.dims:
            expected = "(B, C, " + ", ".join("DHW"[3 - self.dims :]) + ")"
            raise PDEConvError(
                f"Expected a state of shape {expected} on a grid of {self.dims} spatial axes, but got shape "
                f"{tuple(u.shape)}; reshape it, or use Grid(dims={max(1, u.dim() - 2)})."
            )
        if not u.is_floating_point():
            raise PDEConvError(f"Expected a floating-point state, but got {u.dtype}; convert it with u.float().")
        if 0 in u.shape[2:]:
            raise PDEConvError(f"Expected at least one cell along every axis, but got shape {tuple(u.shape)}.")
