"""Stabilised explicit steps: s stages reach about s² times as far as one, for symmetric terms."""

from __future__ import annotations

import math

from torch import Tensor

from pdeconv.errors import PDEConvError, checked_count
from pdeconv.operator import ENERGY, NOTHING, Keeps, Operator, per_sample
from pdeconv.steps.step import SingleTermStep
from pdeconv.terms import Term


class Stabilised(SingleTermStep):
    """A polynomial of the operator frozen at the old state, u⁺ = P(dt·A(u)) u, with |P| ≤ 1 far along the real axis.

    A frozen operator that is symmetric and keeps the energy has ‖I + A/rate‖ ≤ 1, so that its spectrum is real and
    lies in [−2·rate, 0]: there ‖P(dt·A)‖ = max |P|. Nothing is proven for other terms, nor that the range is kept.

    Args:
        term: The right-hand side; one that is ``symmetric``.
        stages: Number of stages s.
    """

    fewest_stages = 1

    def __init__(self, term: Term, stages: int) -> None:
        super().__init__(term)
        name = type(self).__name__
        self.stages = checked_count(name, "stages", stages)
        if self.stages < self.fewest_stages:
            raise PDEConvError(f"{name} needs at least {self.fewest_stages} stages, but got stages={stages}.")

    @property
    def radius(self) -> float:
        return self.stages * self.term.radius

    @property
    def keeps(self) -> Keeps:
        return self.term.keeps & {ENERGY} if self.term.symmetric else NOTHING

    def extra_repr(self) -> str:
        return f"stages={self.stages}, {super().extra_repr()}"


class FED(Stabilised):
    """Fast explicit diffusion: a cycle of s Euler steps of different lengths. Order 1; dt ≤ (s² + s)/(3·rate).

    The lengths τᵢ ∝ 1/cos²(π(2i + 1)/(4s + 2)) make of u, where A is a second difference and dt is at the limit, its
    mean over 2s + 1 cells; half of them are beyond the limit of an Euler step. They are taken in the order of Leja:
    each is the one whose root lies farthest from those before, so that neither the states within a cycle nor rounding
    grow much.

    Args:
        term: The right-hand side, u_t = A(u)u, symmetric.
        stages: s, the number of evaluations in a step.

    Keeps: The energy, for symmetric terms.

    References:
        S. Grewenig, J. Weickert, A. Bruhn. From box filtering to fast explicit diffusion. DAGM 2010.
        L. Reichel. The application of Leja points to Richardson iteration and polynomial preconditioning.
        Linear Algebra Appl. 154–156, 1991.

    Example:
        >>> from pdeconv import Constant, Diffusion
        >>> step = FED(Diffusion(Constant(1.0)), stages=5)
        >>> step.guaranteed_limit  # 40 steps of Euler
        2.5
    """

    order = 1

    def __init__(self, term: Term, stages: int) -> None:
        super().__init__(term, stages)
        self.strength = (self.stages**2 + self.stages) / 3
        self.shares = _leja_order(
            [1 / (2 * math.cos(math.pi * (2 * i + 1) / (4 * stages + 2)) ** 2) / self.strength for i in range(stages)]
        )

    def forward(self, u: Tensor, dt: Tensor) -> Tensor:
        operator, dt = self.term(u), per_sample(dt, u)
        for share in self.shares:
            u = u + share * dt * operator(u)
        return u


def _leja_order(shares: list[float]) -> tuple[float, ...]:
    """``shares``, each the one whose root −1/share of 1 + share·z has the largest product of distances to those before.

    Example:
        >>> _leja_order([1.0, 0.5, 0.1])
        (0.1, 1.0, 0.5)
    """
    rest = sorted(shares)
    ordered = [rest.pop(0)]
    while rest:
        farthest = max(rest, key=lambda share: sum(math.log(abs(1 / share - 1 / taken)) for taken in ordered))
        ordered.append(farthest)
        rest.remove(farthest)
    return tuple(ordered)


class RKL1(Stabilised):
    """Runge–Kutta–Legendre, P(z) = Pₛ(1 + 2z/(s² + s)), Pₛ Legendre's polynomial. Order 1; dt ≤ (s² + s)/(2·rate).

    For diffusion on one axis with a constant diffusivity it also keeps the range, for every dt up to the limit, but
    for the dirichlet boundary: by Legendre's addition theorem the coefficients of Pₛ(1 − r + r·cos φ) in cos mφ are
    squares. On two axes it does not, and so the range is not promised.

    Args:
        term: The right-hand side, u_t = A(u)u, symmetric.
        stages: s, the number of evaluations in a step.

    Keeps: The energy, for symmetric terms.

    References:
        C. D. Meyer, D. S. Balsara, T. D. Aslam. A stabilized Runge–Kutta–Legendre method for explicit super-time-
        stepping of parabolic and mixed equations. J. Comput. Phys. 257, 2014.

    Example:
        >>> from pdeconv import Constant, Diffusion
        >>> RKL1(Diffusion(Constant(1.0)), stages=5).guaranteed_limit  # 15 steps of Euler
        3.75
    """

    order = 1

    def __init__(self, term: Term, stages: int) -> None:
        super().__init__(term, stages)
        self.strength = (self.stages**2 + self.stages) / 2

    def forward(self, u: Tensor, dt: Tensor) -> Tensor:
        return _legendre(self.term(u), u, per_sample(dt, u) / self.strength, self.stages)


class RKL2(Stabilised):
    """Runge–Kutta–Legendre of order 2, P(z) = a + b·Pₛ(1 + 4z/(s² + s − 2)); dt ≤ (s² + s − 2)/(4·rate), s ≥ 2.

    b = (s² + s − 2)/(2s(s + 1)) and a = 1 − b match the second derivative. Odd s damp the finest mode. What is true of
    RKL1 on one axis is true here.

    Args:
        term: The right-hand side, u_t = A(u)u, symmetric.
        stages: s, the number of evaluations in a step.

    Keeps: The energy, for symmetric terms.

    Raises:
        PDEConvError: For fewer than 2 stages.

    References:
        C. D. Meyer, D. S. Balsara, T. D. Aslam. A stabilized Runge–Kutta–Legendre method for explicit super-time-
        stepping of parabolic and mixed equations. J. Comput. Phys. 257, 2014.

    Example:
        >>> from pdeconv import Constant, Diffusion
        >>> RKL2(Diffusion(Constant(1.0)), stages=5).guaranteed_limit  # 7 steps of Euler
        1.75
    """

    order, fewest_stages = 2, 2

    def __init__(self, term: Term, stages: int) -> None:
        super().__init__(term, stages)
        self.strength = (self.stages**2 + self.stages - 2) / 4

    def forward(self, u: Tensor, dt: Tensor) -> Tensor:
        legendre = _legendre(self.term(u), u, per_sample(dt, u) / self.strength, self.stages)
        weight = 2 * self.strength / (self.stages**2 + self.stages)
        return (1 - weight) * u + weight * legendre


def _legendre(operator: Operator, u: Tensor, dt: Tensor, degree: int) -> Tensor:
    """P(I + dt·A) u, P Legendre's polynomial, by its recurrence j Pⱼ(x) = (2j − 1) x Pⱼ₋₁(x) − (j − 1) Pⱼ₋₂(x)."""
    before, now = u, u + dt * operator(u)
    for j in range(2, degree + 1):
        ahead = now + dt * operator(now)
        before, now = now, (2 - 1 / j) * ahead - (1 - 1 / j) * before
    return now
