"""Embedded Runge–Kutta pairs: a second formula on the same stages tells the error of a step."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from pdeconv.operator import ENERGY, NOTHING, Keeps, per_sample
from pdeconv.steps.explicit import RungeKutta, advanced


class EmbeddedPair(RungeKutta):
    """Explicit Runge–Kutta step with an estimate of its error, for ``Adaptive``.

    The last stage of the estimate is the slope at the new state, and so the first stage of the next step.

    Attributes:
        error: Weights of the difference of the two formulas: those of the stages, then that of the new slope.
    """

    error: ClassVar[tuple[float, ...]]

    @property
    def stages(self) -> int:
        """Evaluations of the term in an attempt."""
        return len(self.b)

    def attempt(self, u: Tensor, dt: Tensor, slope: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """A step from ``u``, where the slope A(u)u is ``slope``.

        Returns:
            ``(state, error, slope)``: the state after dt, the error estimate, and the slope there. This evaluates the
            term as often as the step has stages.
        """
        dt = per_sample(dt, u)
        slopes = self.slopes(u, dt, slope)
        after = advanced(u, dt, self.b, slopes)
        slopes.append(self.term(after)(after))
        return after, advanced(torch.zeros_like(u), dt, self.error, slopes), slopes[-1]


class BogackiShampine(EmbeddedPair):
    """Bogacki and Shampine's pair of orders 3 and 2: cheap, for loose tolerances. Order 3, 3 stages.

    No maximum principle. It keeps the energy alone, for dt ≤ 0.8989/rate, by the argument of :class:`RK4`.

    Args:
        term: The right-hand side, u_t = A(u)u.

    References:
        P. Bogacki, L. F. Shampine. A 3(2) pair of Runge–Kutta formulas. Appl. Math. Letters 2(4), 1989.

    Example:
        >>> import torch
        >>> from pdeconv import Adaptive, Evolve, Logistic, Reaction
        >>> grow = Evolve(BogackiShampine(Reaction(Logistic(1, ceiling=2.0))), 1.0, Adaptive(rtol=1e-3))
        >>> round(grow(torch.full((1, 1, 1), 0.5)).item(), 2)  # 1 / (1 + 1/e)
        0.73
    """

    order, strength = 3, 0.8989
    a, b = ((1 / 2,), (0.0, 3 / 4)), (2 / 9, 1 / 3, 4 / 9)
    error = (-5 / 72, 1 / 12, 1 / 9, -1 / 8)

    @property
    def keeps(self) -> Keeps:
        return self.term.keeps & {ENERGY}


class DormandPrince(EmbeddedPair):
    """Dormand and Prince's pair of orders 5 and 4: the usual solver of a Neural ODE. Order 5, 6 stages.

    Nothing is proven: a weight is negative. With fixed steps it is therefore taken as ``Fixed(n, unchecked=True)``.

    Args:
        term: The right-hand side, u_t = A(u)u.

    References:
        J. R. Dormand, P. J. Prince. A family of embedded Runge–Kutta formulae. J. Comput. Appl. Math. 6(1), 1980.

    Example:
        >>> import torch
        >>> from pdeconv import Adaptive, Evolve, Residual
        >>> field = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 3, padding=1), torch.nn.Tanh())
        >>> ode = Evolve(DormandPrince(Residual(field)), duration=1.0, control=Adaptive(rtol=1e-3))
        >>> ode(torch.rand(2, 3, 8, 8)).shape
        torch.Size([2, 3, 8, 8])
    """

    order, strength = 5, 0.0
    a = (
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    )
    b = (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84)
    keeps = NOTHING  # pyright: ignore[reportAssignmentType]
    error = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)
