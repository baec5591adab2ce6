"""The base of every step: a propagator of one term, or a composition of others, over dt."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from pdeconv.errors import PDEConvError, UnsupportedError
from pdeconv.operator import Keeps, Operator
from pdeconv.terms import Fidelity, Term


class Step(nn.Module, ABC):
    """Advances a state by dt.

    Attributes:
        order: Order of accuracy in time, for state-independent coefficients; inf for an exact flow.
        reversible: Whether the step has an ``inverse``.
    """

    order: float
    reversible: bool = False

    @abstractmethod
    def forward(self, u: Tensor, dt: Tensor) -> Tensor:
        """The state after dt; ``dt`` is () or, a step for each sample, (B,)."""

    def march(self, u: Tensor, dt: Tensor, count: int) -> Tensor | None:
        """The state after ``count`` steps of the same dt, by a native kernel; None where none knows how."""
        return None

    @abstractmethod
    def limit(self, u: Tensor) -> Tensor:
        """Largest safe dt at the state ``u``, () or (B,), from the rate measured there.

        It covers one forward-Euler stage; for several stages with state-dependent coefficients only
        ``guaranteed_limit`` is proven.
        """

    @property
    @abstractmethod
    def guaranteed_limit(self) -> float:
        """Largest dt that is safe whatever the state and the weights, from the ceilings; 0 if nothing is proven."""

    @abstractmethod
    def courant(self, dt: float) -> float:
        """Courant number dt·rate from the ceilings, the largest of the parts; inf if unproven."""

    @property
    @abstractmethod
    def keeps(self) -> Keeps:
        """What every step within the limit keeps."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The scheme in one line, for example ``Heun(Diffusion)``."""

    @property
    def nonexpansive(self) -> bool:
        """Whether a step within ``guaranteed_limit`` brings no two states further apart, in the ℓ2 norm."""
        return False

    @property
    def radius(self) -> float:
        """Cells to either side, along each axis, whose values the state after a step depends on; inf if not known."""
        return math.inf

    def inverse(self, u: Tensor, dt: Tensor) -> Tensor:
        """The state that the step takes to ``u``, but for rounding. Raises ``UnsupportedError`` where undefined."""
        raise UnsupportedError(
            f"{self.name} has no inverse; SymplecticEuler, Leapfrog, VelocityVerlet, Momentum and compositions of them "
            "have one."
        )


class SingleTermStep(Step):
    """A step of one term; its limit is strength / rate, and less where the term amplifies.

    Implicit and exact steps owe their long limit to an operator that keeps a set even when it is frozen. One that
    amplifies does not: u⁺ = u / (1 − dt·a(u)) ≤ 1 asks for u + dt·a(u) ≤ 1, and exp(dt·a(u))·u for little less.

    Attributes:
        strength: C in dt ≤ C / rate.
        frozen_strength: C for a term whose ``growth`` is positive.
    """

    strength: float
    frozen_strength: float = math.inf

    def __init__(self, term: Term) -> None:
        super().__init__()
        if not isinstance(term, Term):
            remedy = (
                "write fidelity.towards(data)" if isinstance(term, Fidelity) else "wrap a module as Residual(module)"
            )
            raise PDEConvError(f"{type(self).__name__} steps a Term, but got {type(term).__name__}; {remedy}.")
        self.term = term

    def limit(self, u: Tensor) -> Tensor:
        return self.limit_of(self.term(u))

    def limit_of(self, operator: Operator) -> Tensor:
        """Largest safe dt of the frozen ``operator``."""
        if math.isinf(self.strength):
            return operator.rate.new_full(operator.rate.shape, self._frozen_limit)
        return limit_at(self.strength, operator.rate).clamp(max=self._frozen_limit)

    @property
    def guaranteed_limit(self) -> float:
        if not self.keeps:
            return 0.0
        by_rate = math.inf if math.isinf(self.strength) or self.term.ceiling == 0 else self.strength / self.term.ceiling
        return min(by_rate, self._frozen_limit)

    def courant(self, dt: float) -> float:
        return dt * self.term.ceiling

    @property
    def _frozen_limit(self) -> float:
        return self.frozen_strength / self.term.ceiling if self.term.growth > 0 else math.inf

    @property
    def keeps(self) -> Keeps:
        return self.term.keeps

    @property
    def name(self) -> str:
        return f"{type(self).__name__}({term_name(self.term)})"

    def extra_repr(self) -> str:
        return f"order={self.order}, limit={self.guaranteed_limit:.4g}"


def pointwise(term: Term) -> float:
    """The radius of a solve or a flow of ``term``: it ties all cells together, unless each acts by itself."""
    return 0 if term.radius == 0 else math.inf


def limit_at(strength: float, rate: Tensor) -> Tensor:
    """strength / rate; a state at rest has rate 0, and every step is safe."""
    rate = rate.abs()
    moving = rate != 0  # where() differentiates both sides: neither may divide by 0
    return torch.where(moving, strength / torch.where(moving, rate, 1.0), math.inf)


def term_name(term: Term) -> str:
    """``Diffusion``, or ``Diffusion + Advection`` for a sum."""
    parts = getattr(term, "terms", None)
    return type(term).__name__ if parts is None else " + ".join(term_name(part) for part in parts)
