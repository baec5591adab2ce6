"""The grid that a state lives on: spacing, boundary condition and number of spatial axes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Literal, get_args

from torch import Tensor

from pdeconv.errors import PDEConvError, checked_number, checked_type

Boundary = Literal["neumann", "periodic", "dirichlet", "reflect"]


@dataclass(frozen=True)
class Grid:
    """A uniform, cell-centred grid of 1 to 3 spatial axes.

    Args:
        spacing: Distance dx between neighbouring cells, one number for all axes or one per axis (which then also
            fixes ``dims``). Its unit is the length in which diffusivities (length²/time) and velocities (length/time)
            are given; with a spacing of 1 it is the pixel.
        boundary: What lies beyond the edge. ``"neumann"``: no flux through the edge (the image is mirrored about its
            border, u₋₁ = u₀). ``"periodic"``: the image repeats, u₋₁ = u_{N−1}. ``"dirichlet"``: the value 0 one cell
            beyond the edge (zero padding). ``"reflect"``: the image is mirrored about its edge cells, u₋₁ = u₁.
        dims: Number of spatial axes, 1 to 3; by default one per spacing, 2 for a single one.

    Raises:
        PDEConvError: If a spacing is not positive and finite, the boundary is unknown, or ``dims`` does not fit.

    Example:
        >>> Grid(spacing=0.5).spacings
        (0.5, 0.5)
        >>> Grid(spacing=(1.0, 1.0, 2.0), boundary="periodic").dims
        3
        >>> Grid(spacing=(0.5, 0.5)) == Grid(spacing=0.5)
        True
    """

    spacing: float | Sequence[float] = 1.0
    boundary: Boundary = "neumann"
    dims: int = None  # pyright: ignore[reportAssignmentType]  # a number as soon as the grid is made

    def __post_init__(self) -> None:
        if isinstance(self.spacing, Real):
            object.__setattr__(self, "spacing", checked_number("Grid", "spacing", self.spacing))
            object.__setattr__(self, "dims", 2 if self.dims is None else self.dims)
        elif isinstance(self.spacing, Iterable) and not isinstance(self.spacing, str | Tensor):
            spacings = tuple(checked_number("Grid", "spacing", dx) for dx in self.spacing)
            if self.dims not in (None, len(spacings)):
                raise PDEConvError(f"Grid got {len(spacings)} spacings for dims={self.dims}; give one per axis.")
            object.__setattr__(self, "spacing", spacings[0] if len(set(spacings)) == 1 else spacings)
            object.__setattr__(self, "dims", len(spacings))
        else:
            raise PDEConvError(f"Grid needs a number or a tuple of them for spacing, but got {self.spacing!r}.")
        if self.dims not in (1, 2, 3) or not isinstance(self.dims, int):
            raise PDEConvError(f"Grid needs 1, 2 or 3 spatial axes, but got {self.dims!r}.")
        if self.boundary not in get_args(Boundary):
            raise PDEConvError(
                f"Grid has no boundary {self.boundary!r}; choose one of {', '.join(get_args(Boundary))}."
            )

    @property
    def spacings(self) -> tuple[float, ...]:
        """The spacing along each axis."""
        spacing = self.spacing
        return (float(spacing),) * self.dims if isinstance(spacing, int | float) else tuple(spacing)

    @property
    def axes(self) -> tuple[int, ...]:
        """The spatial axes of a state (B, C, *S), as tensor dimensions."""
        return tuple(range(2, 2 + self.dims))

    @property
    def coefficient_boundary(self) -> Boundary:
        """How a coefficient goes on beyond the edge: a dirichlet edge holds the value 0, but the material goes on."""
        return "neumann" if self.boundary == "dirichlet" else self.boundary

    def refined(self, factor: float) -> Grid:
        """The grid with its spacing divided by ``factor``."""
        return replace(self, spacing=tuple(dx / factor for dx in self.spacings))

    def check(self, u: Tensor) -> None:
        """Raise ``PDEConvError`` unless ``u`` is a real floating (B, C, *S) state of this grid."""
        if u.dim() != 2 + self.dims:
            expected = "(B, C, " + ", ".join("DHW"[3 - self.dims :]) + ")"
            raise PDEConvError(
                f"Expected a state of shape {expected} on a grid of {self.dims} spatial axes, but got shape "
                f"{tuple(u.shape)}; reshape it, or use Grid(dims={min(3, max(1, u.dim() - 2))})."
            )
        check_state(u)


def common_grid(grids: Iterable[Grid | None]) -> Grid | None:
    """The one grid of the parts of an equation, or None. Raises ``PDEConvError`` for several."""
    found = list(dict.fromkeys(grid for grid in grids if grid is not None))
    if len(found) > 1:
        raise PDEConvError(
            f"The terms of one equation need one grid, but got {' and '.join(map(str, found))}; give all the same."
        )
    return found[0] if found else None


def check_state(u: Tensor) -> None:
    """Raise ``PDEConvError`` unless ``u`` is a real floating (B, C, *S) state of 1 to 3 spatial axes."""
    if not isinstance(u, Tensor):
        raise PDEConvError(f"Expected a tensor (B, C, *S), but got {type(u).__name__}.")
    if u.dim() not in (3, 4, 5):
        raise PDEConvError(f"Expected a state (B, C, *S) of 1 to 3 spatial axes, but got shape {tuple(u.shape)}.")
    if not u.is_floating_point():
        raise PDEConvError(f"Expected a floating-point state, but got {u.dtype}; convert it with u.float().")
    if 0 in u.shape[1:]:
        raise PDEConvError(
            f"Expected at least one channel and one cell along every axis, but got shape {tuple(u.shape)}."
        )


def checked_grid(owner: str, grid: Grid | None) -> Grid:
    """``grid``, or the default. Raises ``PDEConvError`` for anything else."""
    if grid is None:
        return Grid()
    checked_type(owner, grid, Grid, "give for example Grid(boundary='periodic')")
    return grid
