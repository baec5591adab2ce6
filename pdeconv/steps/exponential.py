"""Exponential time differencing: a stiff linear term flows exactly, and another drives it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pdeconv.linear import phi
from pdeconv.operator import NOTHING, Keeps, Operator, per_sample
from pdeconv.steps.partitioned import PartitionedStep


class ETD1(PartitionedStep):
    """Exponential Euler, u⁺ = e^{dt·L} u + dt·φ₁(dt·L) N(u), φ₁(z) = (eᶻ − 1)/z. Order 1; any dt is safe.

    L = A(u) − s and N(u) = B(u)u + s·u, s the ceiling of B: with this shift u⁺ is a convex combination of e^{dt·A}u and
    states e^{τA}(u + B(u)u/s), an Euler step at its limit flowed along A. Without, not even a diffusing logistic
    reaction would keep [0, 1]. Where B has no finite ceiling s = 0, and nothing is proven.

    Args:
        stiff: The linear term A, whose operator has a ``spectral`` form: Diffusion, Biharmonic or FractionalDiffusion
            with a diffusivity constant in space, or a Reaction.
        explicit: The other term B.

    Keeps: What both terms keep; nothing for a stiff term that amplifies.

    Raises:
        UnsupportedError: At the first step, if the operator of ``stiff`` has no spectral form.

    References:
        S. M. Cox, P. C. Matthews. Exponential time differencing for stiff systems. J. Comput. Phys. 176, 2002.
        Q. Du, L. Ju, X. Li, Z. Qiao. Maximum principle preserving exponential time differencing schemes for the
        nonlocal Allen–Cahn equation. SIAM J. Numer. Anal. 57(2), 2019 (the shift).

    Example:
        >>> import torch
        >>> from pdeconv import Bistable, Constant, Diffusion, Reaction
        >>> step = ETD1(Diffusion(Constant(10.0)), Reaction(Bistable(Constant(1.0))))
        >>> u = torch.rand(1, 1, 8, 8)
        >>> bool((step(u, torch.tensor(1e3)).abs() <= 1 + 1e-6).all())
        True
    """

    order, strength, evaluations = 1, math.inf, 1

    def forward(self, u: Tensor, dt: Tensor) -> Tensor:
        stiff, dt = self.stiff(u), per_sample(dt, u)
        return self._first_order(stiff, u, dt, self._driving(u))

    @property
    def keeps(self) -> Keeps:
        return super().keeps if math.isfinite(self.explicit.ceiling) else NOTHING

    @property
    def shift(self) -> float:
        """s, the ceiling of the explicit term, or 0 where that is infinite."""
        return self.explicit.ceiling if math.isfinite(self.explicit.ceiling) else 0.0

    def _driving(self, u: Tensor) -> Tensor:
        return self.explicit(u)(u) + self.shift * u

    def _first_order(self, stiff: Operator, u: Tensor, dt: Tensor, driving: Tensor) -> Tensor:
        flowed = stiff.spectral(u, lambda eigenvalue: torch.exp(dt * (eigenvalue - self.shift)))
        return flowed + dt * stiff.spectral(driving, lambda eigenvalue: phi(1, dt * (eigenvalue - self.shift)))


class ETDRK2(ETD1):
    """Exponential Runge–Kutta of order 2, u⁺ = a + dt·φ₂(dt·L)(N(a) − N(u)), a a step of ETD1; any dt is safe.

    φ₂(z) = (eᶻ − 1 − z)/z². With the shift of ETD1, u⁺ is a convex combination of e^{dt·A}u and states that an Euler
    step of B at its limit reaches from u and from a, flowed along A.

    Args:
        stiff: The linear term A; see :class:`ETD1`.
        explicit: The other term B.

    Keeps: What both terms keep; nothing for a stiff term that amplifies.

    Raises:
        UnsupportedError: At the first step, if the operator of ``stiff`` has no spectral form.

    References:
        S. M. Cox, P. C. Matthews. Exponential time differencing for stiff systems. J. Comput. Phys. 176, 2002.
        Q. Du, L. Ju, X. Li, Z. Qiao. Maximum bound principles for a class of semilinear parabolic equations and
        exponential time-differencing schemes. SIAM Review 63(2), 2021.

    Example:
        >>> from pdeconv import Advection, CFL, Constant, ConvVelocity, Diffusion, Evolve
        >>> Evolve(ETDRK2(Diffusion(Constant(10.0)), Advection(ConvVelocity(3))), 1.0, CFL()).steps
        1
    """

    order, evaluations = 2, 2

    def forward(self, u: Tensor, dt: Tensor) -> Tensor:
        stiff, dt = self.stiff(u), per_sample(dt, u)
        driving = self._driving(u)
        stage = self._first_order(stiff, u, dt, driving)
        change = self._driving(stage) - driving
        return stage + dt * stiff.spectral(change, lambda eigenvalue: phi(2, dt * (eigenvalue - self.shift)))
