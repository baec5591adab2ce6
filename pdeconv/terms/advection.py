"""Advection, u_t = −v·∇u."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pdeconv.advection_scheme import AdvectionScheme, Upwind
from pdeconv.coefficient import Coefficient
from pdeconv.depthwise import DepthwiseEquation
from pdeconv.errors import checked_type
from pdeconv.grid import Grid, checked_grid
from pdeconv.operator import NOTHING, Keeps, Operator, largest, range_kept
from pdeconv.terms.term import Term
from pdeconv.velocity import Velocity, checked_velocity, upwind_parts


class Advection(Term):
    """Transport along a velocity field, u_t = −v(u)·∇u, the differences by a scheme.

    The range-preserving (non-conservative) form: a value is carried along, so the range is kept and mass need not be.
    :class:`pdeconv.ConservativeAdvection` is u_t = −∇·(v u), which keeps mass and need not keep the range. Where v is
    free of divergence both are the same equation.

    Args:
        velocity: Coefficient v, in length/time: (B|1, D, C|1, *S|1) for D spatial axes.
        grid: Spacing, boundary and number of axes.
        scheme: By default ``Upwind()``, of first order; ``TVD(VanLeer())`` is of second order where the state is smooth
            and monotone, and ``WENO3()``, ``WENO5()`` and ``Central()`` have their order without a proof of stability.

    Rate: Σ_axes c·|vᵢ|/dxᵢ at its largest cell, c = 1 for upwind, 1/2 to 3/2 for minmod, 0 to 2 for van Leer and
        superbee as the state is; at most steepness·ceiling·Σ_axes 1/dxᵢ. Euler of upwind is therefore safe for
        dt ≤ dx / Σᵢ|vᵢ|, of TVD for 2/3 (minmod) or 1/2 of that. Infinite (unproven) for WENO and central differences.
    Solve, Flow: Undefined.
    Keeps: The range (joined with 0 under the dirichlet boundary) for upwind and TVD; nothing for the others.

    References:
        R. Courant, E. Isaacson, M. Rees. On the solution of nonlinear hyperbolic differential equations by finite
        differences. Comm. Pure Appl. Math. 5, 1952.
        A. Harten. High resolution schemes for hyperbolic conservation laws. J. Comput. Phys. 49, 1983.

    Example:
        >>> from pdeconv import CFL, ConvVelocity, Evolve, Heun
        >>> carry = Evolve(Heun(Advection(ConvVelocity(3, ceiling=1.0))), duration=1.0, control=CFL(0.9))
        >>> carry(torch.rand(2, 3, 8, 8)).shape
        torch.Size([2, 3, 8, 8])
    """

    equation = "−v(u)·∇u"
    grid: Grid

    def __init__(self, velocity: Coefficient, grid: Grid | None = None, scheme: AdvectionScheme | None = None) -> None:
        super().__init__()
        checked_type("Advection", velocity, Coefficient, "give for example ConvVelocity(channels)")
        self.velocity = velocity
        self.scheme = Upwind() if scheme is None else scheme
        checked_type("Advection", self.scheme, AdvectionScheme, "give for example TVD(VanLeer())")
        self._place(checked_grid("Advection", grid))

    def _place(self, grid: Grid) -> None:
        proven = math.isfinite(self.scheme.steepness)
        speed = self.velocity.ceiling * sum(1 / dx for dx in grid.spacings)
        self.grid, self.ceiling = grid, self.scheme.steepness * speed if proven else math.inf
        self.keeps = range_kept(grid) if proven else NOTHING
        self.radius = max(self.velocity.radius, self.scheme.radius + 1)

    def refine(self, factor: float) -> None:
        self.velocity.check_refinable()
        self._place(self.grid.refined(factor))

    def forward(self, u: Tensor) -> Operator:
        return _Transport(checked_velocity(self.velocity(u, self.grid), self.grid), u, self)

    def depthwise(self, u: Tensor) -> DepthwiseEquation | None:
        if type(self.scheme) is not Upwind or not isinstance(self.velocity, Velocity):
            return None
        return self.velocity.depthwise(u, self.grid)

    def extra_repr(self) -> str:
        return f"{self.scheme}, {super().extra_repr()}"


class _Transport(Operator):
    """−v·∇, for a velocity (B|1, D, C|1, *S|1) and slopes from the side that the velocity comes from."""

    def __init__(self, velocity: Tensor, u: Tensor, term: Advection) -> None:
        self.keeps: Keeps = term.keeps
        self.spacings = term.grid.spacings
        slopes = [term.scheme.slopes(u, axis, term.grid) for axis in term.grid.axes]
        self.parts = [(*upwind_parts(velocity[:, i]), slope) for i, slope in enumerate(slopes)]

    @property
    def rate(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        up = self.parts[0][0]
        if not self.keeps:
            return up.new_full((), math.inf)
        speed = torch.zeros((), dtype=up.dtype, device=up.device)
        for (up, down, slope), dx in zip(self.parts, self.spacings, strict=True):
            speed = speed + (up * slope.below - down * slope.above) / dx
        return largest(speed)

    def __call__(self, v: Tensor) -> Tensor:
        parts = []
        for up, down, slope in self.parts:
            from_below, from_above = slope.apply(v)
            parts.append(torch.addcmul(up * from_below, down, from_above))
        return -sum(parts[1:], start=parts[0])
