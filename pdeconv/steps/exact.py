"""The exact flow of an operator that has one."""

from __future__ import annotations

import math

from torch import Tensor

from pdeconv.steps.step import SingleTermStep


class Exact(SingleTermStep):
    """The exact flow of the operator frozen at the old state, u⁺ = exp(dt·A(u)) u. Any dt is safe.

    Exact where the coefficients do not depend on the state, so its order is inf; else of order 1. For a term that
    amplifies (``growth`` > 0: a logistic or bistable reaction, frozen) dt ≤ 1/rate.

    Raises:
        UnsupportedError: At the first step, if the term's operator has no flow.

    Example:
        >>> import torch
        >>> from pdeconv import Constant, Decay, Reaction
        >>> round(Exact(Reaction(Decay(Constant(1.0))))(torch.ones(1, 1, 2, 2), torch.tensor(1.0)).mean().item(), 4)
        0.3679
    """

    order, strength, frozen_strength = math.inf, math.inf, 1.0

    def forward(self, u: Tensor, dt: Tensor) -> Tensor:
        return self.term(u).flow(u, dt)
