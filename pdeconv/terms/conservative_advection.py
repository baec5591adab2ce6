"""Advection in flux form, u_t = −∇·(v u)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pdeconv.advection_scheme import AdvectionScheme, Upwind
from pdeconv.errors import checked_type
from pdeconv.grid import Grid, checked_grid
from pdeconv.operator import NON_NEGATIVE, NOTHING, Operator, largest
from pdeconv.stencil import divergence, lower_faces, upper_faces
from pdeconv.terms.term import Term
from pdeconv.velocity import Velocity, upwind_parts


class ConservativeAdvection(Term):
    """Transport of a density along a velocity field, u_t = −∇·(v(u) u), by fluxes through the faces.

    What leaves a cell enters its neighbour: mass is conserved to rounding under the periodic and neumann boundaries
    (nothing flows through a neumann wall, whatever the velocity says there), and with half of the edge cells under
    reflect. Through a dirichlet edge it leaves, and nothing enters. Where the velocity converges values pile up, so
    that the range is not kept; :class:`pdeconv.Advection` keeps the range and not the mass.

    Args:
        velocity: Velocity v, in length/time; at the faces it is ``velocity.faces``.
        grid: Spacing, boundary and number of axes.
        scheme: The face values: by default ``Upwind()``; ``TVD(VanLeer())``, ``WENO5()``, ….

    Rate: Σ_axes (p + q + s|p − q|)/dxᵢ at its largest cell, p and q the speeds of outflow through its upper and lower
        face, s = 0 for upwind, 1/2 for minmod, 1 for van Leer and superbee; at most 2·ceiling·Σ_axes 1/dxᵢ for each.
        In a cell of value u ≥ 0 the two face values are (1 ± s')u, |s'| ≤ s, so that Euler takes out no more than is
        there. Infinite (unproven) for WENO and central values.
    Solve, Flow: Undefined.
    Keeps: Non-negativity, the interval [0, ∞), for upwind and TVD; nothing for the others.
    Growth: At most the rate, where the velocity converges.

    References:
        R. J. LeVeque. Finite Volume Methods for Hyperbolic Problems. Cambridge University Press, 2002.

    Example:
        >>> from pdeconv import CFL, ConvVelocity, Evolve, Heun
        >>> carry = Evolve(Heun(ConservativeAdvection(ConvVelocity(1, ceiling=1.0))), duration=1.0, control=CFL(0.9))
        >>> u = torch.rand(1, 1, 8, 8)
        >>> bool((carry(u).sum() - u.sum()).abs() < 1e-3)
        True
    """

    equation = "−∇·(v(u) u)"
    grid: Grid

    def __init__(self, velocity: Velocity, grid: Grid | None = None, scheme: AdvectionScheme | None = None) -> None:
        super().__init__()
        checked_type("ConservativeAdvection", velocity, Velocity, "give for example ConvVelocity(channels)")
        self.velocity = velocity
        self.scheme = Upwind() if scheme is None else scheme
        checked_type("ConservativeAdvection", self.scheme, AdvectionScheme, "give for example TVD(VanLeer())")
        self._place(checked_grid("ConservativeAdvection", grid))

    def _place(self, grid: Grid) -> None:
        proven = math.isfinite(self.scheme.steepness)
        # p + q + s|p − q| ≤ 2·max(p, q), as s ≤ 1.
        self.grid, self.growth = grid, 2 * self.velocity.ceiling * sum(1 / dx for dx in grid.spacings)
        self.ceiling = self.growth if proven else math.inf
        self.keeps = frozenset({NON_NEGATIVE}) if proven else NOTHING
        self.radius = max(self.velocity.radius, self.scheme.radius) + 1

    def refine(self, factor: float) -> None:
        self.velocity.check_refinable()
        self._place(self.grid.refined(factor))

    def forward(self, u: Tensor) -> Operator:
        return _Outflow(self.velocity.faces(u, self.grid), u, self)

    def extra_repr(self) -> str:
        return f"{self.scheme}, {super().extra_repr()}"


class _Outflow(Operator):
    """−∇·(v ·), for the normal velocity at the N + 1 faces along each axis."""

    def __init__(self, faces: tuple[Tensor, ...], u: Tensor, term: ConservativeAdvection) -> None:
        self.grid, self.keeps, self.growth = term.grid, term.keeps, term.growth
        self.parts = [
            (*upwind_parts(face), term.scheme.face_values(u, axis, term.grid))
            for face, axis in zip(faces, term.grid.axes, strict=True)
        ]
        self.swing = term.scheme.steepness - 1

    @property
    def rate(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        first = self.parts[0][0]
        if not self.keeps:
            return first.new_full((), math.inf)
        speed = torch.zeros((), dtype=first.dtype, device=first.device)
        for (up, down, _), axis, dx in zip(self.parts, self.grid.axes, self.grid.spacings, strict=True):
            above, below = upper_faces(up, axis), -lower_faces(down, axis)
            speed = speed + (above + below + self.swing * (above - below).abs()) / dx
        return largest(speed)

    def __call__(self, v: Tensor) -> Tensor:
        parts = []
        for (up, down, face_values), axis in zip(self.parts, self.grid.axes, strict=True):
            from_below, from_above = face_values(v)
            flux = torch.addcmul(up * from_below, down, from_above)
            parts.append(divergence(flux, axis, self.grid))
        return -sum(parts[1:], start=parts[0])
