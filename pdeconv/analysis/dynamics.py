"""An evolution as a dynamical system: exponents of Lyapunov, equilibria and their stability."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdeconv.analysis.krylov import Product
from pdeconv.analysis.linearise import Linearised
from pdeconv.errors import PDEConvError, checked_count, checked_number, checked_type
from pdeconv.terms import Term

DENSE = 512
"""Numbers in a state up to which all eigenvalues are found from the whole matrix."""


def lyapunov_exponents(
    step: Callable[[Tensor], Tensor], state: Tensor, time: float, steps: int, count: int = 1, settle: int = 0
) -> Tensor:
    """The largest finite-time Lyapunov exponents of a map that is applied again and again, in 1/time.

    λ₁ is the rate at which close states part: two layers with λ₁ > 0 forget nothing and exaggerate everything, with
    λ₁ < 0 they forget. The sum of the first k is the rate at which volumes of k dimensions grow. By products with the
    Jacobian and an orthonormalisation after each step.

    Args:
        step: u ↦ the state after ``time``, which treats each sample by itself; to be in evaluation.
        state: u at the beginning, (B, …).
        time: Of one application.
        steps: Applications over which to average.
        count: Exponents.
        settle: Applications before, in which state and directions settle and nothing is counted.

    Returns:
        (B, count), of each sample, the largest first, float64.

    Raises:
        PDEConvError: If a number is out of range, or the state does not stay finite.

    References:
        G. Benettin, L. Galgani, A. Giorgilli, J.-M. Strelcyn. Lyapunov characteristic exponents for smooth dynamical
        systems and for Hamiltonian systems. Meccanica 15, 1980.

    Example:
        >>> rates = torch.tensor([-1.0, 0.5])
        >>> grow = lambda u: u * torch.exp(0.1 * rates)
        >>> lyapunov_exponents(grow, torch.ones(1, 2), 0.1, steps=50, count=2, settle=80)
        tensor([[ 0.5000, -1.0000]], dtype=torch.float64)
    """
    time = checked_number("lyapunov_exponents", "time", time)
    steps = checked_count("lyapunov_exponents", "steps", steps)
    count = min(checked_count("lyapunov_exponents", "count", count), state[0].numel())
    samples = len(state)
    vectors = torch.linalg.qr(state.new_empty(samples, state[0].numel(), count).normal_()).Q
    logarithms = state.new_zeros(samples, count, dtype=torch.float64)
    for number in range(settle + steps):
        linear = Linearised(step, state)
        images = [linear(v.reshape(state.shape)).flatten(1) for v in vectors.unbind(2)]
        vectors, triangle = torch.linalg.qr(torch.stack(images, 2))
        state = linear.value
        if number >= settle:
            logarithms += triangle.diagonal(dim1=1, dim2=2).abs().double().log()
    return logarithms / (steps * time)


@dataclass(frozen=True)
class Equilibrium:
    """A state that an equation u_t = A(u)u leaves as it is.

    Attributes:
        state: u.
        residual: ‖A(u)u‖ / max(‖u‖, 1), in 1/time.
        eigenvalues: Of the linearisation there, complex, by real part, the largest first: all of them for up to 512
            numbers in a state, else the 8 rightmost and the 8 of largest magnitude.
    """

    state: Tensor
    residual: float
    eigenvalues: Tensor

    @property
    def stable(self) -> bool:
        """Whether no small perturbation grows: no eigenvalue has a positive real part beyond rounding."""
        return self.growth <= 1e-6 * max(1.0, float(self.eigenvalues.abs().max()))

    @property
    def growth(self) -> float:
        """The largest real part, in 1/time."""
        return float(self.eigenvalues.real.max())

    def largest_step(self) -> float:
        """The largest dt for which forward Euler is linearly stable here, |1 + dt·λ| ≤ 1; 0 if there is none.

        Example:
            >>> Equilibrium(torch.zeros(2), 0.0, torch.tensor([-1.0, -4.0]).to(torch.complex64)).largest_step()
            0.5
        """
        values = self.eigenvalues[self.eigenvalues.abs() > 1e-9]
        if not len(values):
            return math.inf
        return max(0.0, float((-2 * values.real / values.abs().square()).min()))


def find_equilibrium(term: Term, guess: Tensor, tolerance: float = 1e-8, iterations: int = 100) -> Equilibrium:
    """A state near ``guess`` at which a term rests, and the eigenvalues of its linearisation there; in float64.

    By Newton's method with Krylov solves; from a guess that is too far for it, by implicit steps of a growing dt, which
    follow the flow at first. Where the state can drift without change, as a constant under diffusion, one of its many
    equilibria is found.

    Args:
        term: The equation, which does not depend on time.
        guess: (B, C, *S), where to begin.
        tolerance: Largest entry of A(u)u at which to stop.
        iterations: Newton steps at most.

    Raises:
        PDEConvError: If none is found, or scipy is not installed.

    References:
        D. A. Knoll, D. E. Keyes. Jacobian-free Newton–Krylov methods. J. Comp. Phys. 193(2), 2004.
        C. T. Kelley, D. E. Keyes. Convergence analysis of pseudo-transient continuation. SIAM J. Numer. Anal. 35(2),
        1998.

    Example:
        >>> from pdeconv import Logistic, Reaction
        >>> found = find_equilibrium(Reaction(Logistic(1)), torch.full((1, 1, 1, 1), 0.7))
        >>> round(found.state.item(), 4), found.stable
        (1.0, True)
    """
    checked_type("find_equilibrium", term, Term, "wrap a module as Residual(module)")
    equation = copy.deepcopy(term).double().eval().requires_grad_(False)
    linear = _newton(equation, guess.detach().double(), tolerance, iterations)
    if linear is None:
        linear = _relaxed(equation, guess.detach().double(), tolerance, iterations)
    left = float(linear.value.abs().max())
    if not left <= tolerance:
        raise PDEConvError(
            f"find_equilibrium found no equilibrium of {type(term).__name__} in {iterations} Newton steps: A(u)u is "
            f"{left:.3g} still somewhere, above tolerance={tolerance:g}; give a closer guess, such as the end of a "
            "long evolution."
        )
    size = float(linear.value.norm()) / max(float(linear.state.norm()), 1.0)
    return Equilibrium(linear.state.to(guess.dtype), size, _eigenvalues(linear, linear.state))


def _newton(equation: Term, state: Tensor, tolerance: float, iterations: int) -> Linearised | None:
    """Damped Newton steps u + s·d, J·d = −A(u)u, s = 1, ½, ¼ …; None if one leads no closer."""
    linear = _linearised(equation, state)
    for _ in range(iterations):
        before = float(linear.value.norm())
        if float(linear.value.abs().max()) <= tolerance:
            return linear
        direction, share = _solve(linear, linear.state, -linear.value), 1.0
        while not float(_right(equation, linear.state + share * direction).norm()) < (1 - 1e-4 * share) * before:
            share /= 2
            if share < 1e-3:
                return None
        linear = _linearised(equation, linear.state + share * direction)
    return None


def _relaxed(equation: Term, state: Tensor, tolerance: float, iterations: int) -> Linearised:
    """Linearly implicit Euler steps of a growing dt: they follow the flow first, and end as Newton's method."""
    linear = _linearised(equation, state)
    dt = 0.1 * max(1.0, float(state.norm())) / max(float(linear.value.norm()), 1e-12)
    for _ in range(iterations):
        before, jacobian, inverse = float(linear.value.norm()), linear, 1 / dt
        if float(linear.value.abs().max()) <= tolerance:
            break
        direction = _solve(lambda v, j=jacobian, i=inverse: i * v - j(v), linear.state, linear.value)
        linear = _linearised(equation, linear.state + direction)
        dt *= min(10.0, max(0.5, before / max(float(linear.value.norm()), 1e-300)))
    return linear


def _right(equation: Term, u: Tensor) -> Tensor:
    """A(u)u."""
    with torch.no_grad():
        return equation(u)(u)


def _linearised(equation: Term, state: Tensor) -> Linearised:
    return Linearised(lambda u: equation(u)(u), state)


def _solve(product: Product, like: Tensor, right: Tensor) -> Tensor:
    """d with product(d) = right, by a Krylov method, roughly."""
    operator = as_scipy(product, like)
    from scipy.sparse.linalg import lgmres

    found, _ = lgmres(operator, right.cpu().flatten().numpy(), rtol=1e-6, maxiter=50)
    return torch.from_numpy(found).to(like).reshape(like.shape)


def _eigenvalues(product: Product, state: Tensor) -> Tensor:
    """By real part, the largest first."""
    n = state.numel()
    if n <= DENSE:
        basis = torch.eye(n, dtype=state.dtype, device=state.device)
        columns = [product(vector.reshape(state.shape)).flatten() for vector in basis]
        values = torch.linalg.eigvals(torch.stack(columns, 1).cpu().double())
    else:
        from scipy.sparse.linalg import eigs

        operator = as_scipy(product, state)
        start = np.ones(n) + np.arange(n) % 7
        found = [eigs(operator, k=8, which=kind, v0=start, return_eigenvectors=False) for kind in ("LR", "LM")]
        values = torch.from_numpy(np.concatenate(found))
    return values[values.real.argsort(descending=True)]


def as_scipy(product: Product, state: Tensor) -> Any:
    """A product with tensors like ``state`` as scipy's LinearOperator."""
    try:
        from scipy.sparse.linalg import LinearOperator
    except ModuleNotFoundError as error:
        raise PDEConvError("This analysis needs scipy: pip install 'scipy>=1.12'") from error

    def of_array(vector: np.ndarray) -> np.ndarray:
        v = torch.from_numpy(np.array(vector, dtype=np.float64)).to(state).reshape(state.shape)
        return product(v).cpu().double().flatten().numpy()

    return LinearOperator((state.numel(),) * 2, matvec=of_array, dtype=np.float64)  # pyright: ignore
