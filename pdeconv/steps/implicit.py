"""Implicit steps, linear in the operator frozen at the old state."""

from __future__ import annotations

import math

from torch import Tensor

from pdeconv.operator import SpectralOperator, per_sample
from pdeconv.steps.step import SingleTermStep, pointwise


class BackwardEuler(SingleTermStep):
    """Backward Euler, u⁺ − dt·A(u)u⁺ = u. Order 1; keeps what the term keeps for every dt.

    For a term that amplifies (``growth`` > 0) dt ≤ 0.99/rate: at 1/rate the solve of a logistic reaction is 0/0.

    If I + A/rate maps a closed convex set into itself, so does (I − dt·A)⁻¹: u⁺ is the fixed point of the contraction
    v ↦ (u + dt·rate·(I + A/rate)v) / (1 + dt·rate), a convex combination.

    Args:
        term: The right-hand side, u_t = A(u)u, whose operator has a ``solve``.

    Raises:
        UnsupportedError: At the first step, if the term's operator has no solve.

    References:
        J. Weickert, B. M. ter Haar Romeny, M. A. Viergever. Efficient and reliable schemes for nonlinear diffusion
        filtering. IEEE TIP 7(3), 1998.

    Example:
        >>> import torch
        >>> from pdeconv import Constant, Diffusion
        >>> step = BackwardEuler(Diffusion(Constant(1.0)))
        >>> u = torch.rand(1, 1, 8, 8)
        >>> bool((step(u, torch.tensor(1e6)) - u.mean()).abs().max() < 1e-3)
        True
    """

    order, strength, frozen_strength = 1, math.inf, 0.99

    def forward(self, u: Tensor, dt: Tensor) -> Tensor:
        return self.term(u).solve(u, dt)

    @property
    def radius(self) -> float:
        return pointwise(self.term)


class CrankNicolson(SingleTermStep):
    """Crank–Nicolson, u⁺ − dt/2·A(u)u⁺ = u + dt/2·A(u)u. Order 2; dt ≤ 2/rate.

    For a term that amplifies (``growth`` > 0) dt ≤ 1/rate. A linear, dissipative term never blows up, but beyond the
    limit it oscillates and leaves the range.

    Args:
        term: The right-hand side, u_t = A(u)u, whose operator has a ``solve``.

    Raises:
        UnsupportedError: At the first step, if the term's operator has no solve.

    References:
        J. Crank, P. Nicolson. A practical method for numerical evaluation of solutions of partial differential
        equations of the heat-conduction type. Proc. Camb. Phil. Soc. 43, 1947.

    Example:
        >>> from pdeconv import Constant, Diffusion
        >>> CrankNicolson(Diffusion(Constant(1.0))).guaranteed_limit
        0.5
    """

    order, strength, frozen_strength = 2, 2.0, 1.0

    def forward(self, u: Tensor, dt: Tensor) -> Tensor:
        operator = self.term(u)
        half = per_sample(dt / 2, u)
        if isinstance(operator, SpectralOperator):  # both halves are one function of the modes
            return operator.spectral(u, lambda eigenvalue: (1 + half * eigenvalue) / (1 - half * eigenvalue))
        return operator.solve(u + half * operator(u), dt / 2)

    @property
    def radius(self) -> float:
        return pointwise(self.term)
