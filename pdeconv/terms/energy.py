"""Gradient flows of learned energies."""

from __future__ import annotations

import math

from torch import Tensor

from pdeconv.energy import Energy
from pdeconv.errors import checked_type
from pdeconv.operator import ENERGY, OWN_ENERGY, Operator, operator
from pdeconv.terms.term import Term


class EnergyFlow(Term):
    """The steepest descent of an energy, u_t = −∇E(u).

    By the descent lemma E(u − dt·∇E) ≤ E(u) − dt(1 − dt·L/2)‖∇E‖², L the curvature of E: each Euler step of
    dt ≤ 1/rate = 2/L lowers E, whether it is convex or not. What is kept is more, as sets must be convex to be kept by
    steps of several stages, and is claimed of convex energies only. Any other is stepped with
    ``Fixed(n, unchecked=True)``.

    Args:
        energy: E: :class:`FieldsOfExperts`, :class:`NetworkEnergy`, or a user's own.

    Rate: L/2; infinite where L is unproven.
    Solve, Flow: Undefined.
    Keeps: Of a convex energy of finite curvature, its own sublevel sets, and the energy balls ‖u‖ ≤ r where it is
        minimal at 0: ⟨u, ∇E(u)⟩ ≥ ‖∇E(u)‖²/L. Else nothing.

    References:
        Y. Nesterov. Introductory lectures on convex optimization. Springer, 2004 (section 1.2.3).

    Example:
        >>> import torch
        >>> from pdeconv import CFL, Euler, Evolve, FieldsOfExperts
        >>> energy = FieldsOfExperts(1, features=8)
        >>> descend = Evolve(Euler(EnergyFlow(energy)), duration=8.0, control=CFL(1.0))
        >>> u = torch.randn(1, 1, 8, 8)
        >>> bool(energy(descend(u)) < energy(u))
        True
    """

    equation = "−∇E(u)"

    def __init__(self, energy: Energy) -> None:
        super().__init__()
        checked_type("EnergyFlow", energy, Energy, "give for example NetworkEnergy(module)")
        self.energy, self.grid, self.ceiling = energy, energy.grid, energy.curvature / 2
        self.radius = energy.radius
        if math.isfinite(energy.concavity):
            self.growth = energy.concavity
        if energy.concavity == 0 and math.isfinite(energy.curvature):
            self.keeps = frozenset({OWN_ENERGY, ENERGY} if energy.minimal_at_zero else {OWN_ENERGY})

    def forward(self, u: Tensor) -> Operator:
        rate = u.new_full((), self.ceiling)
        return operator(self._descend, rate, keeps=self.keeps, growth=self.growth)

    def _descend(self, v: Tensor) -> Tensor:
        return -self.energy.gradient(v)
