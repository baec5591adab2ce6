"""Schemes of advection: how slopes and face values are read off the cells, by upwind, limited and central stencils."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from pdeconv.errors import checked_type
from pdeconv.grid import Grid
from pdeconv.limiter import Limiter, Minmod
from pdeconv.stencil import difference, extend_wide, over

Pair = Callable[[Tensor], tuple[Tensor, Tensor]]
"""A linear map of a state to two fields: what comes from below along the axis, and what comes from above."""


@dataclass(frozen=True)
class Slopes:
    """The one-sided derivatives ∂v along an axis, linear in v: the scheme's weights are those of the frozen state.

    Attributes:
        apply: v ↦ (slope from below, slope from above), at the N cells.
        below: c ≥ 0 in: slope from below = c · (v_i − v_{i−1})/dx; inf if it is not of that form.
        above: c ≥ 0 in: slope from above = c · (v_{i+1} − v_i)/dx; inf if it is not of that form.
    """

    apply: Pair
    below: Tensor | float
    above: Tensor | float


@dataclass(frozen=True)
class AdvectionScheme(ABC):
    """How advection reads slopes and face values off the cells: the same stencil along each axis.

    Attributes:
        radius: Cells to either side that the values at a cell's two faces depend on.
        steepness: Proven bound of c in :class:`Slopes`; advection is then of rate steepness · Σᵢ |vᵢ|/dxᵢ, and the face
            values of a cell lie within (1 ± (steepness − 1)) of its value, for values of one sign. inf if unproven.
    """

    radius: int = field(init=False, repr=False, default=0)
    steepness: float = field(init=False, repr=False, default=math.inf)

    @abstractmethod
    def edges(self, w: Tensor, axis: int) -> Pair:
        """v ↦ (value at the lower face, value at the upper face) of each cell, with the weights of ``w``.

        ``radius`` cells at each end of ``w`` and ``v`` are ghosts, without values of their own in the result.
        """

    def slopes(self, u: Tensor, axis: int, grid: Grid) -> Slopes:
        """The one-sided derivatives at the cells, with the weights of ``u``.

        Differences are the derivative's means between the cell centres, so that what recovers the value at a face
        from means of cells recovers the derivative at a centre from differences.
        """

        def differences(v: Tensor) -> Tensor:
            rises = difference(extend_wide(v, axis, grid.boundary, self.radius + 1), axis)
            return over(rises, grid.spacings[axis - 2])

        prepared = _once_for(u, differences)
        edges, size = self.edges(prepared(u), axis), u.shape[axis]

        def apply(v: Tensor) -> tuple[Tensor, Tensor]:
            lower, upper = edges(prepared(v))
            return upper.narrow(axis, 0, size), lower.narrow(axis, 1, size)

        return Slopes(apply, self.steepness, self.steepness)

    def face_values(self, u: Tensor, axis: int, grid: Grid) -> Pair:
        """v ↦ (value from below, value from above) at the N + 1 faces, with the weights of ``u``."""

        def extended(v: Tensor) -> Tensor:
            return extend_wide(v, axis, grid.boundary, self.radius + 1)

        prepared = _once_for(u, extended)
        edges, faces = self.edges(prepared(u), axis), u.shape[axis] + 1

        def apply(v: Tensor) -> tuple[Tensor, Tensor]:
            lower, upper = edges(prepared(v))
            return upper.narrow(axis, 0, faces), lower.narrow(axis, 1, faces)

        return apply


def _once_for(u: Tensor, prepare: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """``prepare``, done once for ``u``: an explicit step applies an operator to the state that it was frozen at."""
    prepared = prepare(u)
    return lambda v: prepared if v is u else prepare(v)


@dataclass(frozen=True)
class Upwind(AdvectionScheme):
    """First-order upwind differences: a cell's value is that of its whole cell. Monotone, and diffusive.

    References:
        R. Courant, E. Isaacson, M. Rees. On the solution of nonlinear hyperbolic differential equations by finite
        differences. Comm. Pure Appl. Math. 5, 1952.

    Example:
        >>> Upwind()
        Upwind()
        >>> Upwind().steepness
        1.0
    """

    steepness: float = field(init=False, repr=False, default=1.0)

    def edges(self, w: Tensor, axis: int) -> Pair:
        return lambda v: (v, v)


@dataclass(frozen=True)
class Central(AdvectionScheme):
    """Second-order central differences, (v_{i+1} − v_{i−1}) / 2dx. No dissipation, and no range.

    Nothing is proven: under Euler and Heun it grows at every dt, in the energy too. With constant velocity on a
    periodic grid its spectrum is imaginary, and it is linearly stable for dt·Σᵢ|vᵢ|/dxᵢ ≤ √3 with SSPRK3 and 2√2 with
    RK4, where the energy does not grow.

    Example:
        >>> Central().steepness
        inf
    """

    radius: int = field(init=False, repr=False, default=1)

    def edges(self, w: Tensor, axis: int) -> Pair:
        def apply(v: Tensor) -> tuple[Tensor, Tensor]:
            size = v.shape[axis] - 1
            means = (v.narrow(axis, 0, size) + v.narrow(axis, 1, size)) / 2
            return means.narrow(axis, 0, size - 1), means.narrow(axis, 1, size - 1)

        return apply


@dataclass(frozen=True)
class TVD(AdvectionScheme):
    """Second-order differences with limited slopes: total variation diminishing.

    The value at the upper face of a cell is u_i + σ_i/2, at its lower face u_i − σ_i/2, with a limited slope
    0 ≤ σ_i/Δ ≤ M for either difference Δ at the cell. Of second order where the solution is smooth and monotone, of
    first order at extrema.

    The slope from below is c·(u_i − u_{i−1})/dx with c = 1 + (σ_i − σ_{i−1}) / 2(u_i − u_{i−1}); both quotients lie in
    [0, M], so 1 − M/2 ≤ c ≤ 1 + M/2. For M ≤ 2 therefore c ≥ 0, and Euler's u_i is a mean of u_i and its upwind
    neighbours for dt·(1 + M/2)·Σᵢ|vᵢ|/dxᵢ ≤ 1: 2/3 of the upwind step for minmod, 1/2 for van Leer and superbee. In 1-D
    with one sign of v the same (Harten's criterion) makes the total variation fall.

    Args:
        limiter: Minmod(), VanLeer(), Superbee(), or one's own; beyond a steepness M of 2 nothing is proven.

    References:
        A. Harten. High resolution schemes for hyperbolic conservation laws. J. Comput. Phys. 49, 1983.

    Example:
        >>> from pdeconv import VanLeer
        >>> TVD(VanLeer()).steepness, TVD().steepness
        (2.0, 1.5)
    """

    limiter: Limiter = field(default_factory=Minmod)
    radius: int = field(init=False, repr=False, default=1)

    def __post_init__(self) -> None:
        checked_type("TVD", self.limiter, Limiter, "give for example VanLeer()")
        proven = self.limiter.steepness <= 2
        object.__setattr__(self, "steepness", 1 + self.limiter.steepness / 2 if proven else math.inf)

    def edges(self, w: Tensor, axis: int) -> Pair:
        rises = difference(w, axis)
        cells = rises.shape[axis] - 1
        share = self.limiter(rises.narrow(axis, 0, cells), rises.narrow(axis, 1, cells)) / 2

        def apply(v: Tensor) -> tuple[Tensor, Tensor]:
            own = v.narrow(axis, 1, cells)
            half = share * (own - v.narrow(axis, 0, cells))
            return own - half, own + half

        return apply

    def slopes(self, u: Tensor, axis: int, grid: Grid) -> Slopes:
        size, dx = u.shape[axis], grid.spacings[axis - 2]

        def differences(v: Tensor) -> Tensor:
            return difference(extend_wide(v, axis, grid.boundary, 2), axis)

        prepared = _once_for(u, differences)
        rises = prepared(u)
        before, after = rises.narrow(axis, 0, size + 2), rises.narrow(axis, 1, size + 2)  # at the cells −1 … N
        by_before, by_after = self.limiter(before, after), self.limiter(after, before)
        below = 1 + (by_before.narrow(axis, 1, size) - by_after.narrow(axis, 0, size)) / 2
        above = 1 + (by_after.narrow(axis, 1, size) - by_before.narrow(axis, 2, size)) / 2

        def apply(v: Tensor) -> tuple[Tensor, Tensor]:
            slope = over(prepared(v), dx)
            return below * slope.narrow(axis, 1, size), above * slope.narrow(axis, 2, size)

        return Slopes(apply, below, above)
