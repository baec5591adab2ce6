"""Implicit steps that solve along one axis at a time, by direct tridiagonal solves."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pdeconv.operator import per_sample
from pdeconv.steps.step import SingleTermStep


class AOS(SingleTermStep):
    """Additive operator splitting, u⁺ = (1/d) Σ_axes (I − d·dt·Aᵢ(u))⁻¹ u on d axes. Order 1; any dt is safe.

    A mean of backward-Euler steps along one axis each, and so what each keeps is kept for every dt, to rounding even in
    single precision. All axes are treated alike. On one axis it is backward Euler.

    Args:
        term: The right-hand side, u_t = A(u)u, whose operator has ``axes``, as those of ``Diffusion`` and
            ``MeanCurvatureMotion``.

    Raises:
        UnsupportedError: At the first step, if the term's operator does not split by axes: give one of these.

    References:
        J. Weickert, B. M. ter Haar Romeny, M. A. Viergever. Efficient and reliable schemes for nonlinear diffusion
        filtering. IEEE TIP 7(3), 1998.

    Example:
        >>> import torch
        >>> from pdeconv import Diffusion, PeronaMalik
        >>> step, u = AOS(Diffusion(PeronaMalik(1))), torch.rand(1, 1, 8, 8)
        >>> after = step(u, torch.tensor(1e6))
        >>> bool((after >= u.min() - 1e-6).all() and (after <= u.max() + 1e-6).all())
        True
    """

    order, strength = 1, math.inf

    def forward(self, u: Tensor, dt: Tensor) -> Tensor:
        axes = self.term(u).axes
        solutions = [axis.solve(u, len(axes) * dt) for axis in axes]
        return torch.stack(solutions).mean(0)


class ADI(SingleTermStep):
    """Alternating directions, u⁺ = Π(I − dt/2·Aᵢ(u))⁻¹ Π(I + dt/2·Aᵢ(u)) u. Order 2; dt ≤ 2/rate.

    On two axes it is Peaceman and Rachford's scheme, and Douglas's; on one it is Crank–Nicolson; the factored form is
    D'yakonov's. The explicit factors act from the last axis to the first, the solves from the first to the last, which
    makes it of order 2 even where the axes do not commute.

    Within the limit each factor keeps what the term keeps. Beyond, where the axes commute, as with a diffusivity
    constant in space, the energy is kept for every dt, but the range is left as by Crank–Nicolson; and rounding grows
    as (dt·rate)ᵈ⁻¹ on d axes. Very long steps belong to AOS.

    Args:
        term: The right-hand side, u_t = A(u)u, whose operator has ``axes``, as those of ``Diffusion`` and
            ``MeanCurvatureMotion``.

    Raises:
        UnsupportedError: At the first step, if the term's operator does not split by axes: give one of these.

    References:
        D. W. Peaceman, H. H. Rachford. The numerical solution of parabolic and elliptic differential equations.
        J. SIAM 3(1), 1955.
        E. G. D'yakonov. Difference schemes with splitting operators for multidimensional non-stationary problems.
        Zh. Vychisl. Mat. Mat. Fiz. 2, 1962.

    Example:
        >>> from pdeconv import Constant, Diffusion
        >>> ADI(Diffusion(Constant(1.0))).guaranteed_limit
        0.5
    """

    order, strength = 2, 2.0

    def forward(self, u: Tensor, dt: Tensor) -> Tensor:
        first, *others = self.term(u).axes
        half = dt / 2
        for axis in reversed(others):
            u = u + per_sample(half, u) * axis(u)
        u = 2 * first.solve(u, half) - u  # both factors of the first axis at once
        for axis in others:
            u = axis.solve(u, half)
        return u
