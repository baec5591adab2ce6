"""How a map stretches near a state: measured norms, growth and rates of growth."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pdeconv.analysis.krylov import dominant_eigenvalues, lanczos
from pdeconv.analysis.linearise import Linearised
from pdeconv.errors import PDEConvError

Map = Callable[[Tensor], Tensor]


def jacobian_norm(function: Map, state: Tensor, iterations: int = 20) -> float:
    """‖J‖₂, J = ∂f/∂u at a state: how far a small perturbation can grow in one application.

    A lower bound of the Lipschitz constant of f, and itself from below, by Lanczos iteration with JᵀJ;
    ``lipschitz_bound`` gives an upper one.

    Args:
        function: f, a map of tensors; a module is to be in evaluation.
        state: u, (B, C, *S); perturbations of all samples count together, so the largest of them is meant.
        iterations: Products with JᵀJ.

    Example:
        >>> round(jacobian_norm(lambda u: torch.stack((3 * u[0], u[1])), torch.rand(2)), 4)
        3.0
    """
    linear = Linearised(function, state)
    values = lanczos(lambda v: linear.transposed(linear(v)), torch.randn_like(state), iterations)
    return float(values[-1].clamp(min=0).sqrt())


def spectral_radius(function: Map, state: Tensor, iterations: int = 200, tolerance: float = 1e-4) -> float:
    """ρ(J), J = ∂f/∂u at a state: the growth of a perturbation per application, in the long run, near a fixed point.

    By a power iteration of four vectors, which settles for complex pairs too.

    Args:
        function: f, which keeps the shape of the state.
        state: u.
        iterations, tolerance: As of :func:`pdeconv.analysis.dominant_eigenvalues`.

    Raises:
        PDEConvError: If f changes the shape.

    Example:
        >>> turn = torch.tensor([[0.0, -0.5], [0.5, 0.0]])
        >>> round(spectral_radius(lambda u: turn @ u, torch.zeros(2)), 4)
        0.5
    """
    linear = _endomorphism("spectral_radius", function, state)
    return float(dominant_eigenvalues(linear, state, iterations=iterations, tolerance=tolerance)[0].abs())


def log_norm(function: Map, state: Tensor, iterations: int = 30) -> float:
    """μ₂(J) = λ_max((J + Jᵀ)/2) of a right-hand side u_t = f(u) at a state, in 1/time.

    Two solutions near the state part no faster than e^{μt}: with μ ≤ 0 everywhere the equation contracts. From below,
    by Lanczos iteration.

    Args:
        function: f, the right-hand side, which keeps the shape; of a term ``lambda u: term(u)(u)``.
        state: u.
        iterations: Products with J and with Jᵀ.

    Raises:
        PDEConvError: If f changes the shape.

    References:
        G. Söderlind. The logarithmic norm. History and modern theory. BIT 46, 2006.

    Example:
        >>> round(log_norm(lambda u: -2 * u, torch.rand(3)), 4)
        -2.0
    """
    linear = _endomorphism("log_norm", function, state)
    values = lanczos(lambda v: (linear(v) + linear.transposed(v)) / 2, torch.randn_like(state), iterations)
    return float(values[-1])


def _endomorphism(owner: str, function: Map, state: Tensor) -> Linearised:
    linear = Linearised(function, state)
    if linear.value.shape != state.shape:
        raise PDEConvError(
            f"{owner} needs a map that keeps the shape, but {tuple(state.shape)} became {tuple(linear.value.shape)}."
        )
    return linear
