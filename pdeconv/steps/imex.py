"""Implicit–explicit steps: a stiff term is solved for, another is evaluated."""

from __future__ import annotations

import math

from torch import Tensor

from pdeconv.operator import NOTHING, Keeps, per_sample
from pdeconv.steps.partitioned import PartitionedStep


class IMEXEuler(PartitionedStep):
    """Implicit–explicit Euler, u⁺ − dt·A(u)u⁺ = u + dt·B(u)u. Order 1; dt ≤ 1/rate of the explicit term.

    An Euler step of B keeps what it keeps up to there, and the solve for A what A keeps for every dt.

    Args:
        stiff: The implicit term A, whose operator has a ``solve``.
        explicit: The explicit term B.

    Keeps: What both terms keep; nothing for a stiff term that amplifies.

    Raises:
        UnsupportedError: At the first step, if the operator of ``stiff`` has no solve.

    References:
        U. M. Ascher, S. J. Ruuth, B. T. R. Wetton. Implicit–explicit methods for time-dependent partial differential
        equations. SIAM J. Numer. Anal. 32(3), 1995.

    Example:
        >>> from pdeconv import Bistable, Constant, Diffusion, Reaction
        >>> step = IMEXEuler(Diffusion(Constant(100.0)), Reaction(Bistable(Constant(1.0))))
        >>> step.guaranteed_limit  # that of the reaction alone
        0.5
    """

    order, strength, evaluations = 1, 1.0, 1

    def forward(self, u: Tensor, dt: Tensor) -> Tensor:
        return self.stiff(u).solve(u + per_sample(dt, u) * self.explicit(u)(u), dt)


_GAMMA = 1 - 1 / math.sqrt(2)
_DELTA = 1 - 1 / (2 * _GAMMA)


class ARS222(PartitionedStep):
    """Ascher, Ruuth and Spiteri's implicit–explicit Runge–Kutta method of order 2, with two solves.

    u₁ − γdt·Au₁ = u + γdt·B(u)u,
    u⁺ − γdt·Au⁺ = u + dt(δB(u)u + (1 − δ)B(u₁)u₁) + (1 − γ)dt·Au₁, with γ = 1 − 1/√2, δ = 1 − 1/(2γ).

    Where A and B are linear, normal, and commute (constant coefficients on a periodic grid) no mode grows for
    dt ≤ 1/rate of the explicit term, however stiff A; stiff modes vanish. δ < 0, and so the range is not kept, and
    nothing is proven of other terms: ``limit`` is that of the modes, and a control takes the step by
    ``Fixed(n, unchecked=True)``. For a proof at order 2, use ETDRK2, or Strang.

    Args:
        stiff: The implicit term A, whose operator has a ``solve``.
        explicit: The explicit term B.

    Keeps: Nothing is proven.

    Raises:
        UnsupportedError: At the first step, if the operator of ``stiff`` has no solve.

    References:
        U. M. Ascher, S. J. Ruuth, R. J. Spiteri. Implicit–explicit Runge–Kutta methods for time-dependent partial
        differential equations. Appl. Numer. Math. 25, 1997.

    Example:
        >>> from pdeconv import Advection, Constant, ConvVelocity, Diffusion, Evolve, Fixed
        >>> step = ARS222(Diffusion(Constant(100.0)), Advection(ConvVelocity(3)))
        >>> Evolve(step, 1.0, Fixed(4, unchecked=True)).step.order
        2
    """

    order, strength, evaluations = 2, 1.0, 2

    def forward(self, u: Tensor, dt: Tensor) -> Tensor:
        stiff, h = self.stiff(u), per_sample(dt, u)
        slope = self.explicit(u)(u)
        stage = stiff.solve(u + _GAMMA * h * slope, _GAMMA * dt)
        slope = _DELTA * slope + (1 - _DELTA) * self.explicit(stage)(stage)
        return stiff.solve(u + h * (slope + (1 - _GAMMA) * stiff(stage)), _GAMMA * dt)

    @property
    def keeps(self) -> Keeps:
        return NOTHING
