"""Steps of two levels in time."""

from __future__ import annotations

import math

from torch import Tensor

from pdeconv.errors import PDEConvError, checked_count
from pdeconv.operator import NOTHING, OWN_ENERGY, Keeps, per_sample
from pdeconv.steps.step import SingleTermStep
from pdeconv.terms import Term


class DuFortFrankel(SingleTermStep):
    """Du Fort and Frankel's leapfrog with the decay on both levels, K levels of h = dt/K; dt ≤ K/rate.

    (uᵏ⁺¹ − uᵏ⁻¹)/2h = A(uᵏ)uᵏ + ρuᵏ − ρ(uᵏ⁺¹ + uᵏ⁻¹)/2 with ρ = rate(uᵏ), which is explicit: for diffusion of a
    constant diffusivity, ρ is the diagonal of −A, and this the scheme of the paper. It starts with
    u¹ = u⁰ + h/(1 + hρ)·A(u⁰)u⁰. A reaction is one more term of the sum.

    Order 1 in dt for K levels, because of the start; of order 2 in h as K grows, which is how it is meant: one long
    step of many levels. Consistent for h = O(dx²), where its error is O(dx²).

    Within the limit a level is a convex combination of the one before the last and an Euler step of 1/ρ from the last:
    everything is kept, by terms that amplify too. Beyond, a linear, symmetric term still keeps the energy **for every
    dt**, with ``Fixed(n, unchecked=True)``: with cosh η = hρ/√((hρ)² − 1), a mode that an Euler step of 1/ρ multiplies
    by x/cosh η becomes e^{−kη}(Tₖ(x) + sinh η·Uₖ₋₁(x)), which by |x| ≤ cosh η is largest at x = cosh η, where it is 1.

    Args:
        term: The right-hand side, of finite ``ceiling``: the rate is part of the scheme.
        stages: Number of levels K.
        frozen: Take the operator of the first state on all levels, u_t = A(u⁰)u: coefficients and sources that are read
            off the state are read once, as the layer of Kag and Saligrama does.

    Keeps: What the term keeps; frozen, nothing where the term amplifies, and not an energy of its own.

    Raises:
        PDEConvError: If the term's ceiling is infinite.

    References:
        E. C. Du Fort, S. P. Frankel. Stability conditions in the numerical treatment of parabolic differential
        equations. Math. Tables Aids Comput. 7, 1953.
        A. Kag, V. Saligrama. Condensing CNNs with partial differential equations. CVPR 2022.

    Example:
        >>> import torch
        >>> from pdeconv import Constant, Diffusion
        >>> step = DuFortFrankel(Diffusion(Constant(1.0)), stages=8)
        >>> step.guaranteed_limit
        2.0
        >>> u = torch.randn(1, 1, 8, 8)
        >>> bool(step(u, torch.tensor(1e4)).norm() <= u.norm())
        True
    """

    order = 1

    def __init__(self, term: Term, stages: int, frozen: bool = False) -> None:
        super().__init__(term)
        self.stages = checked_count("DuFortFrankel", "stages", stages)
        self.frozen = frozen
        if math.isinf(term.ceiling):
            raise PDEConvError(
                f"DuFortFrankel needs a term of finite ceiling, but that of {type(term).__name__} is infinite; declare "
                "one, or use an explicit step such as Heun."
            )
        self.strength = float(self.stages)

    def forward(self, u: Tensor, dt: Tensor) -> Tensor:
        dt = per_sample(dt / self.stages, u)
        operator = self.term(u)
        courant = dt * per_sample(operator.rate, u)
        before, now = u, u + dt / (1 + courant) * operator(u)
        for _ in range(self.stages - 1):
            if not self.frozen:
                operator = self.term(now)
                courant = dt * per_sample(operator.rate, u)
            ahead = 2 / (1 + courant)
            before, now = now, (ahead - 1) * before + ahead * courant * now + ahead * dt * operator(now)
        return now

    @property
    def keeps(self) -> Keeps:
        if not self.frozen:
            return self.term.keeps
        return NOTHING if self.term.growth > 0 else self.term.keeps - {OWN_ENERGY}

    def extra_repr(self) -> str:
        return f"stages={self.stages}, {'frozen, ' if self.frozen else ''}{super().extra_repr()}"
