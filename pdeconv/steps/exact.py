"""Exact solutions, and exact flows of operators that have one."""

from __future__ import annotations

import math

from torch import Tensor

from pdeconv.steps.step import SingleTermStep, pointwise


class Exact(SingleTermStep):
    """The exact solution after dt, or the exact flow of the operator frozen at the old state, u⁺ = exp(dt·A(u)) u.

    Of a term that is ``solvable`` (a logistic or bistable reaction) it is the solution of u_t = A(u)u itself; of one
    whose coefficients do not depend on the state the flow is that. Its order is therefore inf, and any dt is safe. Of
    another term the flow of the frozen operator is of order 1; where that amplifies (``growth`` > 0) dt ≤ 1/rate.

    Args:
        term: The right-hand side, u_t = A(u)u.

    Raises:
        UnsupportedError: At the first step, if the term has no solution and its operator no flow.

    Example:
        >>> import torch
        >>> from pdeconv import Constant, Decay, Logistic, Reaction
        >>> round(Exact(Reaction(Decay(Constant(1.0))))(torch.ones(1, 1, 2, 2), torch.tensor(1.0)).mean().item(), 4)
        0.3679
        >>> Exact(Reaction(Logistic(Constant(1.0)))).guaranteed_limit
        inf
    """

    order, strength, frozen_strength = math.inf, math.inf, 1.0

    def forward(self, u: Tensor, dt: Tensor) -> Tensor:
        return self.term.solution(u, dt) if self.term.solvable else self.term(u).flow(u, dt)

    @property
    def radius(self) -> float:
        return pointwise(self.term)

    @property
    def _frozen_limit(self) -> float:
        return math.inf if self.term.solvable else super()._frozen_limit
