"""Semi-Lagrangian advection: look up where a value came from."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pdeconv.errors import checked_type
from pdeconv.interpolation import Interpolation, LinearInterpolation
from pdeconv.operator import NOTHING, Keeps, per_sample, range_kept
from pdeconv.steps.step import Step, term_name
from pdeconv.terms import Advection
from pdeconv.velocity import checked_velocity


class SemiLagrangian(Step):
    """Semi-Lagrangian step of advection, u⁺(x) = u(x − dt·v(x − dt/2·v(x))): the value where the flow came from.

    The characteristic is followed back by the midpoint rule, of order 2 for a velocity that does not depend on time
    (frozen at the old state, so of order 1 where it depends on the state), and the state interpolated there; the
    velocity always linearly. Any dt is safe with an interpolation that keeps the range. Each step interpolates, so
    that many short steps blur more than few long ones: the error is of dt² + dxᵖ/dt for an interpolation of order p.

    Beyond the edge the state goes on as the boundary says, at any distance: wrapped (periodic), mirrored (neumann,
    reflect), 0 (dirichlet); so does the velocity, mirrored where the state is 0. Mass is not conserved.

    Args:
        term: The advection; its velocity and grid are used, its scheme is not.
        interpolation: By default ``LinearInterpolation()``; ``CubicInterpolation()`` is sharper and keeps nothing,
            ``ClampedCubicInterpolation()`` keeps the range.

    Raises:
        PDEConvError: If the term is no ``Advection``.

    References:
        A. Staniforth, J. Côté. Semi-Lagrangian integration schemes for atmospheric models: a review. Monthly Weather
        Review 119, 1991.

    Example:
        >>> from pdeconv import ConstantVelocity, Grid
        >>> step = SemiLagrangian(Advection(ConstantVelocity((0.0, 1.0)), Grid(boundary="periodic")))
        >>> u = torch.rand(1, 1, 8, 8)
        >>> torch.equal(step(u, torch.tensor(3.0)), u.roll(3, 3))
        True
    """

    order = 2

    def __init__(self, term: Advection, interpolation: Interpolation | None = None) -> None:
        super().__init__()
        checked_type("SemiLagrangian", term, Advection, "step other terms by themselves, and compose with Strang")
        self.term = term
        self.interpolation = LinearInterpolation() if interpolation is None else interpolation
        checked_type("SemiLagrangian", self.interpolation, Interpolation, "give for example CubicInterpolation()")

    def forward(self, u: Tensor, dt: Tensor) -> Tensor:
        boundary = self.term.grid.boundary
        velocity = checked_velocity(self.term.velocity(u, self.term.grid), self.term.grid)
        # Positions need more than half precision. In cells per time, one tensor per axis:
        wide = torch.promote_types(u.dtype, torch.float32)
        speeds = [
            component.to(wide) / dx for component, dx in zip(velocity.unbind(1), self.term.grid.spacings, strict=True)
        ]
        dt = per_sample(dt.to(wide), u.to(wide))
        if any(n > 1 for n in velocity.shape[3:]):
            halfway = _traced(u, speeds, dt / 2)
            beyond = self.term.grid.coefficient_boundary
            speeds = [LinearInterpolation()(speed.expand(u.shape), halfway, beyond) for speed in speeds]
        return self.interpolation(u, _traced(u, speeds, dt), boundary)

    def limit(self, u: Tensor) -> Tensor:
        return u.new_full((), math.inf if self.keeps else 0.0)

    @property
    def guaranteed_limit(self) -> float:
        return math.inf if self.keeps else 0.0

    def courant(self, dt: float) -> float:
        """Cells that a value travels at most, dt·ceiling·Σᵢ 1/dxᵢ."""
        return dt * self.term.velocity.ceiling * sum(1 / dx for dx in self.term.grid.spacings)

    @property
    def keeps(self) -> Keeps:
        return range_kept(self.term.grid) if self.interpolation.keeps_range else NOTHING

    @property
    def name(self) -> str:
        return f"{type(self).__name__}({term_name(self.term)})"

    def extra_repr(self) -> str:
        return f"order={self.order}, {self.interpolation}, limit={self.guaranteed_limit:.4g}"


def _traced(u: Tensor, speeds: list[Tensor], dt: Tensor) -> list[Tensor]:
    """Where each cell was dt ago, in cells along each axis."""
    positions = []
    for axis, speed in enumerate(speeds, 2):
        shape = [-1 if i == axis else 1 for i in range(u.dim())]
        cells = torch.arange(u.shape[axis], dtype=speed.dtype, device=u.device).reshape(shape)
        positions.append(cells - dt * speed)
    return positions
