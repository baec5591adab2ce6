"""The base of steps that treat one term implicitly or exactly, and another explicitly."""

from __future__ import annotations

import math

from torch import Tensor

from pdeconv.errors import checked_type
from pdeconv.operator import NOTHING, Keeps, common
from pdeconv.steps.step import Step, limit_at, pointwise, term_name
from pdeconv.terms import SumTerm, Term


class PartitionedStep(Step):
    """A step of u_t = A(u)u + B(u)u; its limit is strength / rate of the explicit term B.

    A stiff term that amplifies (``growth`` > 0) keeps a set only where its own solution goes, not once another term
    has moved the state: nothing is proven then.

    Args:
        stiff: The term A, solved for or flowed along, frozen at the old state. It sets no limit.
        explicit: The term B, evaluated at the state.

    Attributes:
        strength: C in dt ≤ C / rate.
        evaluations: Of the explicit term, one after the other.

    Raises:
        PDEConvError: If the terms live on different grids.
    """

    strength: float
    evaluations: int

    def __init__(self, stiff: Term, explicit: Term) -> None:
        super().__init__()
        for term in (stiff, explicit):
            checked_type(type(self).__name__, term, Term, "wrap a module as Residual(module)")
        SumTerm((stiff, explicit))  # raises unless the grids agree
        self.stiff, self.explicit = stiff, explicit

    def limit(self, u: Tensor) -> Tensor:
        rate = self.explicit(u).rate
        return rate.new_full(rate.shape, math.inf) if math.isinf(self.strength) else limit_at(self.strength, rate)

    @property
    def guaranteed_limit(self) -> float:
        if not self.keeps:
            return 0.0
        return math.inf if self.explicit.ceiling == 0 else self.strength / self.explicit.ceiling

    def courant(self, dt: float) -> float:
        return dt * self.explicit.ceiling

    @property
    def radius(self) -> float:
        return self.evaluations * self.explicit.radius + pointwise(self.stiff)

    @property
    def keeps(self) -> Keeps:
        return NOTHING if self.stiff.growth > 0 else common(self.stiff.keeps, self.explicit.keeps)

    @property
    def name(self) -> str:
        return f"{type(self).__name__}({term_name(self.stiff)}, {term_name(self.explicit)})"

    def extra_repr(self) -> str:
        return f"order={self.order}, limit={self.guaranteed_limit:.4g}"
