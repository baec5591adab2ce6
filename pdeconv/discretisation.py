"""Discretisations of the Laplacian on a uniform grid, to choose as objects: what each costs, and what it keeps.

All are functions of the second differences δ² along the axes, (δ²u)_i = u_{i−1} − 2u_i + u_{i+1}, which commute. So all
have the same eigenvectors, a cosine, sine or Fourier basis by the boundary, and differ in the eigenvalues.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pdeconv.grid import Grid
from pdeconv.modes import map_modes
from pdeconv.operator import ENERGY, NOTHING, Keeps, range_kept
from pdeconv.stencil import difference, extend, over


class Discretisation(ABC):
    """A discretisation of Δ by second differences, for a diffusivity that is constant in space.

    Attributes:
        order: Order of accuracy in space; inf where the error falls faster than any power of dx.
        radius: Cells to either side, along each axis, that Δv at a cell depends on; inf, the default, if not known.
        separable: Whether Δ is a sum of operators along one axis each, so that its flow is a product of theirs.
    """

    order: float
    radius: float = math.inf
    separable: bool = True

    @abstractmethod
    def laplacian(self, v: Tensor, grid: Grid) -> Tensor:
        """Δv, of the shape of ``v``."""

    @abstractmethod
    def symbol(self, modes: Sequence[Tensor], grid: Grid) -> Tensor:
        """The eigenvalues of Δ, ≤ 0, from those of δ² along each axis, in [−4, 0]."""

    @abstractmethod
    def rate(self, grid: Grid) -> float:
        """The rate of Δ, 1/dx²: 1/rate is the largest Euler step at κ = 1 that keeps what ``keeps`` names."""

    def keeps(self, grid: Grid) -> Keeps:
        """The energy, for a Δ that is symmetric and has no positive eigenvalue: except under the reflect boundary."""
        return energy_kept(grid)


def energy_kept(grid: Grid) -> Keeps:
    """A reflecting edge counts twice in the flux of its neighbour, so the plain energy may grow there."""
    return NOTHING if grid.boundary == "reflect" else frozenset({ENERGY})


def second_difference(v: Tensor, axis: int, grid: Grid) -> Tensor:
    """δ²v along ``axis``, not divided by dx²."""
    return difference(difference(extend(v, axis, grid.boundary), axis), axis)


@dataclass(frozen=True)
class SecondOrder(Discretisation):
    """The stencil of 2d + 1 points, Δ = Σ_axes δ²/dx². Order 2; the one for a diffusivity that varies, too.

    Rate: 2·Σ_axes 1/dx², the sum of the weights of the neighbours: an Euler step at the limit is their mean.
    Keeps: The range (joined with 0 under the dirichlet boundary), and except under the reflect boundary the energy.

    Example:
        >>> SecondOrder().rate(Grid())
        4.0
    """

    order, radius = 2, 1

    def laplacian(self, v: Tensor, grid: Grid) -> Tensor:
        return _sum([over(second_difference(v, axis, grid), dx**2) for axis, dx in _lines(grid)])

    def symbol(self, modes: Sequence[Tensor], grid: Grid) -> Tensor:
        return _sum([mode / dx**2 for mode, dx in zip(modes, grid.spacings, strict=True)])

    def rate(self, grid: Grid) -> float:
        return 2 * sum(1 / dx**2 for dx in grid.spacings)

    def keeps(self, grid: Grid) -> Keeps:
        return range_kept(grid) | energy_kept(grid)


@dataclass(frozen=True)
class FourthOrder(Discretisation):
    """The stencil of five points along each axis, Δ = Σ_axes (δ² − δ⁴/12)/dx². Order 4; exact on quintic polynomials.

    Rate: (8/3)·Σ_axes 1/dx², 4/3 of that of second order. Proof: −z + z²/12 rises to 16/3 at z = −4, the zigzag, so
        that the spectrum lies in [−(16/3)·Σ 1/dx², 0], and |1 + h·z| ≤ 1 there is h ≤ 2/((16/3)·Σ 1/dx²).
    Keeps: The energy, except under the reflect boundary. Not the range: the weight of a cell at distance 2 is
        −1/(12dx²), and no short step makes it good. Overshoot is small, and vanishes for resolved states.

    References:
        B. Fornberg. Generation of finite difference formulas on arbitrarily spaced grids. Math. Comp. 51, 1988.

    Example:
        >>> x = torch.arange(7.0)
        >>> FourthOrder().laplacian((x**4)[None, None], Grid(dims=1))[0, 0, 3]  # 12·3²
        tensor(108.)
    """

    order, radius = 4, 2

    def laplacian(self, v: Tensor, grid: Grid) -> Tensor:
        parts = []
        for axis, dx in _lines(grid):
            second = second_difference(v, axis, grid)
            parts.append(over(second - second_difference(second, axis, grid) / 12, dx**2))
        return _sum(parts)

    def symbol(self, modes: Sequence[Tensor], grid: Grid) -> Tensor:
        return _sum([(mode - mode.square() / 12) / dx**2 for mode, dx in zip(modes, grid.spacings, strict=True)])

    def rate(self, grid: Grid) -> float:
        return 8 / 3 * sum(1 / dx**2 for dx in grid.spacings)


@dataclass(frozen=True)
class Q1Elements(Discretisation):
    """Finite elements, linear along each axis, with lumped mass: Δ = Σ_axes δ²/dx² Π_others (1 + δ²/6).

    Order 2; the nodes are the cells. On one axis it is the second-order stencil; on two it has 9 points, at equal
    spacing 1/3 each of the 8 neighbours; on three it has 27.

    Rate: Where all weights of neighbours are ≥ 0 their sum, 2·(2/3)^(d−1)·Σ_axes 1/dx²: on two axes 2/3 of that of
        second order. An Euler step at the limit is then the mean of the neighbours, and by Gershgorin's theorem the
        spectrum lies in [−2·rate, 0]. Elsewhere half of the largest eigenvalue, of z ∈ [−4, 0] along each axis: each
        factor is linear in each z, so that it is largest at a corner, and 1 + z/6 ≥ 1/3.
    Keeps: The range (joined with 0 under the dirichlet boundary) where all weights are ≥ 0: on one axis; on two if no
        spacing is more than √2 times the other; on three at equal spacings. And except under the reflect boundary the
        energy.

    References:
        V. Thomée. Galerkin Finite Element Methods for Parabolic Problems. Springer, 2006 (chapter 15, lumped mass).

    Example:
        >>> spike = torch.zeros(1, 1, 3, 3)
        >>> spike[..., 1, 1] = 3.0
        >>> Q1Elements().laplacian(spike, Grid())[0, 0]
        tensor([[ 1.,  1.,  1.],
                [ 1., -8.,  1.],
                [ 1.,  1.,  1.]])
    """

    order, radius, separable = 2, 1, False

    def laplacian(self, v: Tensor, grid: Grid) -> Tensor:
        parts = []
        for axis, dx in _lines(grid):
            part = over(second_difference(v, axis, grid), dx**2)
            for other in grid.axes:
                if other != axis:
                    part = part + second_difference(part, other, grid) / 6
            parts.append(part)
        return _sum(parts)

    def symbol(self, modes: Sequence[Tensor], grid: Grid) -> Tensor:
        return _sum(
            [
                math.prod([1 + other / 6 for j, other in enumerate(modes) if j != i], start=mode / dx**2)
                for i, (mode, dx) in enumerate(zip(modes, grid.spacings, strict=True))
            ]
        )

    def rate(self, grid: Grid) -> float:
        if self._averages(grid):
            return 2 * (2 / 3) ** (grid.dims - 1) * sum(1 / dx**2 for dx in grid.spacings)
        corners = itertools.product((0.0, -4.0), repeat=grid.dims)  # numbers, as a graph cannot hold a tensor's value
        return max([-self.symbol(corner, grid) for corner in corners]) / 2  # pyright: ignore

    def keeps(self, grid: Grid) -> Keeps:
        return energy_kept(grid) | (range_kept(grid) if self._averages(grid) else NOTHING)

    @staticmethod
    def _averages(grid: Grid) -> bool:
        """Whether all weights of neighbours are ≥ 0, to rounding."""
        size = sum(1 / dx**2 for dx in grid.spacings)
        stiffness, mass = (-2.0, 1.0), (2 / 3, 1 / 6)  # of a cell itself and of a neighbour
        weights = [
            sum(
                math.prod([stiffness[far] / dx**2 if i == axis else mass[far] for i, far in enumerate(offset)])
                for axis, dx in enumerate(grid.spacings)
            )
            for offset in itertools.product((0, 1), repeat=grid.dims)
        ]
        return all(weight > -1e-12 * size for weight in weights[1:])


@dataclass(frozen=True)
class Spectral(Discretisation):
    """The Laplacian of the trigonometric interpolant: a mode of angle θ per cell gets −θ²/dx², as in the equation.

    Smooth states that satisfy the boundary converge faster than any power of dx, and the exact flow is that of the
    equation. Dense: each application transforms along whole axes.

    Rate: (π²/2)·Σ_axes 1/dx², 1/4 of π² of that of second order. Proof: θ ≤ π, so that the spectrum lies in
        [−π²·Σ 1/dx², 0].
    Keeps: The energy, except under the reflect boundary. Not the range: the interpolant of a spike rings.

    References:
        L. N. Trefethen. Spectral Methods in MATLAB. SIAM, 2000.

    Example:
        >>> x = (torch.arange(4.0) + 0.5) / 4
        >>> wave = torch.cos(torch.pi * x)[None, None]
        >>> ratio = Spectral().laplacian(wave, Grid(0.25, dims=1)) / wave
        >>> torch.allclose(ratio, torch.full_like(ratio, -torch.pi**2), rtol=1e-4)
        True
    """

    order = math.inf

    def laplacian(self, v: Tensor, grid: Grid) -> Tensor:
        return map_modes(v, grid, lambda modes: self.symbol(modes, grid))

    def symbol(self, modes: Sequence[Tensor], grid: Grid) -> Tensor:
        # δ² has the eigenvalue −4 sin²(θ/2).
        halves = [torch.asin((-mode).clamp(min=0, max=4).sqrt() / 2) for mode in modes]
        return _sum([-4 * half.square() / dx**2 for half, dx in zip(halves, grid.spacings, strict=True)])

    def rate(self, grid: Grid) -> float:
        return math.pi**2 / 2 * sum(1 / dx**2 for dx in grid.spacings)


def _lines(grid: Grid) -> list[tuple[int, float]]:
    return list(zip(grid.axes, grid.spacings, strict=True))


def _sum(parts: list[Tensor]) -> Tensor:
    return sum(parts[1:], start=parts[0])
