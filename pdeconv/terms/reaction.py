"""Reactions: what happens at a cell by itself, u_t = a(u) u + b(u)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pdeconv.coefficient import Coefficient
from pdeconv.depthwise import DepthwiseEquation
from pdeconv.errors import checked_type
from pdeconv.law import Law
from pdeconv.linear import phi
from pdeconv.operator import Keeps, Operator, per_sample
from pdeconv.terms.term import Term


class Reaction(Term):
    """A reaction at each cell by itself, u_t = a(u) u + b(u).

    With diffusion it makes the equations that have names: Fisher–KPP is ``Diffusion + Reaction(Logistic)``, whose
    fronts run at 2√(κs); Allen–Cahn is ``Diffusion + Reaction(Bistable)``.

    Args:
        law: a(u) and b(u): :class:`Decay`, :class:`Logistic`, :class:`Bistable`, :class:`PointwiseNetwork`,
            :class:`GrayScott`, :class:`FitzHughNagumo`, or a user's own.

    Rate: The law's declared ceiling, or the law's own measure where that is infinite.
    Solve: (r + dt·b) / (1 − dt·a) for the right-hand side r, for dt·growth < 1.
    Flow: v · exp(dt·a) + dt·φ₁(dt·a)·b, φ₁(z) = (eᶻ − 1)/z. ``Exact`` takes the law's own solution where it has one.
    Keeps: What the law keeps.

    References:
        R. A. Fisher. The wave of advance of advantageous genes. Annals of Eugenics 7, 1937.
        S. M. Allen, J. W. Cahn. A microscopic theory for antiphase boundary motion. Acta Metallurgica 27, 1979.

    Example:
        >>> from pdeconv import CFL, Evolve, Logistic, SSPRK3
        >>> grow = Evolve(SSPRK3(Reaction(Logistic(3))), duration=4.0, control=CFL(0.9))
        >>> bool((grow(torch.full((1, 3, 4, 4), 0.1)) > 0.1).all())
        True
        >>> from pdeconv import Constant, Diffusion
        >>> fisher = Diffusion(Constant(1.0)) + Reaction(Logistic(Constant(1.0)))
        >>> fisher.keeps
        frozenset({(0.0, 1.0)})
    """

    def __init__(self, law: Law) -> None:
        super().__init__()
        checked_type("Reaction", law, Law, "give for example Decay(channels)")
        self.law = law
        self.equation = law.equation
        self.ceiling, self.growth, self.keeps = law.ceiling, law.growth, law.keeps
        self.symmetric = type(law).source is Law.source  # a source is not linear
        self.solvable = type(law).solution is not Law.solution
        # A law acts at a cell by itself, and reaches as far as its strengths do.
        self.radius = max((part.radius for part in law.modules() if isinstance(part, Coefficient)), default=0)

    def refine(self, factor: float) -> None:
        """Nothing to do: a cell reacts by itself."""

    def solution(self, u: Tensor, dt: Tensor) -> Tensor:
        return self.law.solution(u, per_sample(dt, u))

    def depthwise(self, u: Tensor) -> DepthwiseEquation | None:
        polynomial = self.law.polynomial(u)
        return None if polynomial is None else DepthwiseEquation(reaction=polynomial)

    def forward(self, u: Tensor) -> Operator:
        specific_rate, source, rate = self.law(u), self.law.source(u), self.law.rate(u)
        if source is None:
            return Pointwise(specific_rate, rate, self.keeps, self.growth)
        return Affine(specific_rate, source, rate, self.keeps, self.growth)


class Pointwise(Operator):
    """v ↦ a·v, for a specific rate a at each cell."""

    def __init__(self, specific_rate: Tensor, rate: Tensor, keeps: Keeps, growth: float) -> None:
        self.specific_rate, self.rate, self.keeps, self.growth = specific_rate, rate, keeps, growth

    def __call__(self, v: Tensor) -> Tensor:
        return self.specific_rate * v

    def spectral(self, v: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        return v * function(self.specific_rate)

    def solve(self, b: Tensor, dt: Tensor) -> Tensor:
        return b / (1 - per_sample(dt, b) * self.specific_rate)

    def flow(self, v: Tensor, dt: Tensor) -> Tensor:
        return v * torch.exp(per_sample(dt, v) * self.specific_rate)


class Affine(Operator):
    """v ↦ a·v + b, for a specific rate a and a source b at each cell."""

    def __init__(self, specific_rate: Tensor, source: Tensor, rate: Tensor, keeps: Keeps, growth: float) -> None:
        self.specific_rate, self.source = specific_rate, source
        self.rate, self.keeps, self.growth = rate, keeps, growth

    def __call__(self, v: Tensor) -> Tensor:
        return self.specific_rate * v + self.source

    def solve(self, b: Tensor, dt: Tensor) -> Tensor:
        dt = per_sample(dt, b)
        return (b + dt * self.source) / (1 - dt * self.specific_rate)

    def flow(self, v: Tensor, dt: Tensor) -> Tensor:
        dt = per_sample(dt, v)
        exponent = dt * self.specific_rate
        return v * torch.exp(exponent) + dt * phi(1, exponent) * self.source
