"""Advection, u_t = −v·∇u."""

from __future__ import annotations

import torch
from torch import Tensor

from pdeconv.coefficient import Coefficient
from pdeconv.errors import PDEConvError, checked_type
from pdeconv.grid import Grid, checked_grid
from pdeconv.operator import Operator, range_kept
from pdeconv.stencil import difference, extend, lower_faces, upper_faces
from pdeconv.terms.term import Term


class Advection(Term):
    """Transport along a velocity field, u_t = −v(u)·∇u, by first-order upwind differences.

    The range-preserving (non-conservative) form: a value is carried along, so the range is kept and mass need not be.

    Args:
        velocity: Coefficient v, in dx/time: (B|1, D, C|1, *S|1) for D spatial axes.
        grid: Spacing, boundary and number of axes.

    Rate: Σ_axes |vᵢ|/dxᵢ at its largest cell; at most ceiling·Σ_axes 1/dxᵢ. Euler is therefore safe for
        dt ≤ dx / Σᵢ|vᵢ|.
    Solve, Flow: Undefined.
    Keeps: The range (joined with 0 under the dirichlet boundary).

    References:
        R. Courant, E. Isaacson, M. Rees. On the solution of nonlinear hyperbolic differential equations by finite
        differences. Comm. Pure Appl. Math. 5, 1952.

    Example:
        >>> from pdeconv import CFL, ConvVelocity, Evolve, Heun
        >>> carry = Evolve(Heun(Advection(ConvVelocity(3, ceiling=1.0))), duration=1.0, control=CFL(0.9))
        >>> carry(torch.rand(2, 3, 8, 8)).shape
        torch.Size([2, 3, 8, 8])
    """

    grid: Grid

    def __init__(self, velocity: Coefficient, grid: Grid | None = None) -> None:
        super().__init__()
        checked_type("Advection", velocity, Coefficient, "give for example ConvVelocity(channels)")
        self.velocity = velocity
        self._place(checked_grid("Advection", grid))

    def _place(self, grid: Grid) -> None:
        self.grid, self.keeps = grid, range_kept(grid)
        self.ceiling = self.velocity.ceiling * sum(1 / dx for dx in grid.spacings)

    def refine(self, factor: float) -> None:
        self.velocity.check_refinable()
        self._place(self.grid.refined(factor))

    def forward(self, u: Tensor) -> Operator:
        return Upwind(self.velocity(u, self.grid), self.grid)


class Upwind(Operator):
    """−v·∇ by upwind differences, for a velocity (B|1, D, C|1, *S|1)."""

    def __init__(self, velocity: Tensor, grid: Grid) -> None:
        if velocity.dim() != 3 + grid.dims or velocity.shape[1] != grid.dims:
            raise PDEConvError(
                f"Advection on {grid.dims} axes needs a velocity of shape (B, {grid.dims}, C, *S), but got "
                f"{tuple(velocity.shape)}; give the velocity coefficient dims={grid.dims}."
            )
        self.velocity, self.grid, self.keeps = velocity, grid, range_kept(grid)
        speed = torch.zeros((), dtype=velocity.dtype, device=velocity.device)
        for i, dx in enumerate(grid.spacings):
            speed = speed + velocity[:, i].abs() / dx
        largest = speed.flatten(1).amax(1)
        self.rate = largest.squeeze(0) if largest.shape[0] == 1 else largest

    def __call__(self, v: Tensor) -> Tensor:
        parts = []
        for i, (axis, dx) in enumerate(zip(self.grid.axes, self.grid.spacings, strict=True)):
            slope = difference(extend(v, axis, self.grid.boundary), axis) / dx
            velocity = self.velocity[:, i]
            from_below = velocity.clamp(min=0) * lower_faces(slope, axis)
            from_above = velocity.clamp(max=0) * upper_faces(slope, axis)
            parts.append(from_below + from_above)
        return -sum(parts[1:], start=parts[0])
