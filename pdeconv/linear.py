"""Linear solves and exact flows: bases that diagonalise each boundary's Laplacian, φ-functions, conjugate gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from pdeconv.grid import Boundary, Grid
from pdeconv.operator import per_sample
from pdeconv.precision import without_autocast


def laplacian_basis(size: int, boundary: Boundary, dtype: torch.dtype, device: torch.device):
    """Eigenbasis of the second difference on ``size`` cells of spacing 1.

    Neumann: DCT-II. Periodic: real Fourier. Dirichlet: DST-I. Reflect: DCT-I.

    Returns:
        ``(forward, inverse, eigenvalues)``: û = forward @ u, u = inverse @ û; eigenvalues (size,) are ≤ 0.

    References:
        G. Strang. The discrete cosine transform. SIAM Review 41(1), 1999.

    Example:
        >>> forward, inverse, values = laplacian_basis(4, "neumann", torch.float64, torch.device("cpu"))
        >>> torch.allclose(forward @ inverse, torch.eye(4, dtype=torch.float64))
        True
    """
    # Fake tensors, made while compiling or in a mode of one's own, must not stay in a cache.
    if torch.compiler.is_compiling() or type(torch.empty(0)) is not Tensor:
        wide = torch.float32 if device.type == "mps" else torch.float64
        parts = _build_laplacian_basis(size, boundary, wide, device)
    else:
        parts = _cached_laplacian_basis(size, boundary)
    return tuple(part.to(dtype=dtype, device=device) for part in parts)


@lru_cache(maxsize=64)
def _cached_laplacian_basis(size: int, boundary: Boundary) -> tuple[Tensor, Tensor, Tensor]:
    # In float64: rounding of the basis must not limit a float64 solve. Tensors made in inference mode could not train.
    with torch.inference_mode(False):
        return _build_laplacian_basis(size, boundary, torch.float64, torch.device("cpu"))


def _build_laplacian_basis(
    size: int, boundary: Boundary, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    cell = torch.arange(size, dtype=dtype, device=device)
    mode = cell[:, None]
    if boundary == "neumann" or (size == 1 and boundary == "reflect"):
        inverse = torch.cos(math.pi * mode * (cell + 0.5) / size).T
        angle = math.pi * cell / size
    elif boundary == "reflect":
        inverse = torch.cos(math.pi * mode * cell / (size - 1)).T
        angle = math.pi * cell / (size - 1)
    elif boundary == "dirichlet":
        inverse = torch.sin(math.pi * (mode + 1) * (cell + 1) / (size + 1)).T
        angle = math.pi * (cell + 1) / (size + 1)
    else:
        frequency = (cell + 1) // 2
        phase = 2 * math.pi * frequency[:, None] * cell / size
        # The zigzag of an even size has no sine: it would be zero at every cell.
        odd = (mode.long() % 2 == 1) & (2 * frequency[:, None] != size)
        inverse = torch.where(odd, torch.sin(phase), torch.cos(phase)).T
        angle = 2 * math.pi * frequency / size
    weight = _cell_weights(size, boundary, dtype, device)
    # The columns are orthogonal in the inner product of the cell weights.
    scale = (weight[:, None] * inverse.square()).sum(0).rsqrt()
    inverse = inverse * scale
    return (inverse * weight[:, None]).T.contiguous(), inverse.contiguous(), -2 + 2 * torch.cos(angle)


def _cell_weights(size: int, boundary: Boundary, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Weights of the inner product in which the Laplacian is symmetric: a reflecting edge halves its cell."""
    weight = torch.ones(size, dtype=dtype, device=device)
    if boundary == "reflect" and size > 1:
        weight[0] = weight[-1] = 0.5
    return weight


def inner_product_weights(u: Tensor, grid: Grid) -> Tensor | None:
    """Weights of the inner product in which diffusion on ``grid`` is symmetric; None where all are 1."""
    if grid.boundary != "reflect":
        return None
    weights = torch.ones((), dtype=u.dtype, device=u.device)
    for axis in grid.axes:
        shape = [-1 if i == axis else 1 for i in range(u.dim())]
        weights = weights * _cell_weights(u.shape[axis], grid.boundary, u.dtype, u.device).reshape(shape)
    return weights


def apply_along(matrix: Tensor, u: Tensor, axis: int) -> Tensor:
    """``matrix`` (M, N) times ``u`` along ``axis`` of N cells."""
    return torch.movedim(torch.movedim(u, axis, -1) @ matrix.T, -1, axis)


def map_modes(u: Tensor, grid: Grid, function: Callable[[list[Tensor]], Tensor]) -> Tensor:
    """f(δ₁², δ₂², …) u for the second differences along the axes: transform, multiply, transform back.

    Computed in float32 at least: the transforms sum over whole axes. They are matrix products: where the user allows
    TF32 for those (``torch.set_float32_matmul_precision``) they have its three digits.

    Args:
        u: State (B, C, *S).
        grid: Boundary and number of axes.
        function: f of the eigenvalues of each δ² in [−4, 0], shaped (1, 1, …, N, …) to broadcast to ``u``.

    Example:
        >>> twice = map_modes(torch.tensor([[[0.0, 1.0, 0.0]]]), Grid(dims=1), lambda modes: modes[0])
        >>> torch.allclose(twice, torch.tensor([[[1.0, -2.0, 1.0]]]), atol=1e-6)
        True
    """
    dtype = torch.promote_types(u.dtype, torch.float32)
    with without_autocast(u):
        spectrum, modes, bases = u.to(dtype), [], []
        for axis in grid.axes:
            forward, inverse, values = laplacian_basis(u.shape[axis], grid.boundary, dtype, u.device)
            modes.append(values.reshape([-1 if i == axis else 1 for i in range(u.dim())]))
            spectrum = apply_along(forward, spectrum, axis)
            bases.append(inverse)
        spectrum = spectrum * function(modes)
        for axis, inverse in zip(grid.axes, bases, strict=True):
            spectrum = apply_along(inverse, spectrum, axis)
    return spectrum.to(u.dtype)


_TERMS = 18  # of the series: 1/18! is below the rounding of float64


def phi(k: int, z: Tensor) -> Tensor:
    """φ₀ = eᶻ, φₖ(z) = (φₖ₋₁(z) − 1/(k − 1)!)/z, by its series Σ zⁿ/(n + k)! where |z| < 1 and differences cancel.

    Example:
        >>> phi(2, torch.tensor([0.0, -1e-6, -1.0, -100.0]))
        tensor([0.5000, 0.5000, 0.3679, 0.0099])
    """
    near = z.abs() < 1
    small = torch.where(near, z, 0.0)  # where() differentiates both sides: neither may be infinite
    series = torch.full_like(small, 1 / math.factorial(_TERMS + k))
    for n in reversed(range(_TERMS)):
        series = series * small + 1 / math.factorial(n + k)
    large = torch.where(near, 1.0, z)
    closed = torch.exp(large)
    for i in range(k):
        closed = (closed - 1 / math.factorial(i)) / large
    return torch.where(near, series, closed)


def conjugate_gradient(
    matvec: Callable[[Tensor], Tensor],
    b: Tensor,
    *,
    weights: Tensor | None = None,
    tolerance: float | None = None,
    max_iterations: int = 2000,
) -> Tensor:
    """Solve M x = b for each sample, M symmetric positive definite in the inner product of ``weights``.

    Stops when every sample is done, for which each iteration waits for the device; under ``torch.compile`` the loop is
    one node of the graph.

    Args:
        matvec: x ↦ M x on (B, C, *S).
        b: Right-hand side (B, C, *S).
        weights: Positive cell weights of the inner product; None for the usual one.
        tolerance: Residual norm relative to ‖b‖ at which a sample is done; by default 10 machine epsilons.
        max_iterations: Limit of iterations.

    References:
        M. R. Hestenes, E. Stiefel. Methods of conjugate gradients for solving linear systems. J. Res. NBS 49, 1952.

    Example:
        >>> conjugate_gradient(lambda x: 4 * x, torch.ones(1, 1, 2))
        tensor([[[0.2500, 0.2500]]])
    """

    def dot(x: Tensor, y: Tensor) -> Tensor:
        product = x * y if weights is None else x * y * weights
        return product.flatten(1).sum(1)

    tolerance = 10 * torch.finfo(b.dtype).eps if tolerance is None else tolerance
    # Squares of very large or small values leave the range of floating point: solve for b of size 1.
    size = b.abs().flatten(1).amax(1)
    size = per_sample(torch.where(size > 0, size, 1.0), b)
    start = b / size
    squared_norm = dot(start, start)
    goal = squared_norm * tolerance**2

    def unfinished(iteration: Tensor, x: Tensor, residual: Tensor, direction: Tensor, squared: Tensor) -> Tensor:
        return (iteration < max_iterations) & (squared > goal).any()

    def iterate(
        iteration: Tensor, x: Tensor, residual: Tensor, direction: Tensor, squared: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        image = matvec(direction)
        # A sample that is done keeps its solution: its step is 0, whatever its batch-mates still need.
        active = squared > goal
        step = torch.where(active, squared / torch.where(active, dot(direction, image), 1.0), 0.0)
        x = x + per_sample(step, b) * direction
        residual = residual - per_sample(step, b) * image
        new = dot(residual, residual)
        momentum = torch.where(active, new / torch.where(active, squared, 1.0), 0.0)
        return iteration + 1, x, residual, residual + per_sample(momentum, b) * direction, new

    iteration = torch.zeros((), dtype=torch.int64, device=b.device)
    found = _while(unfinished, iterate, (iteration, torch.zeros_like(start), start, start.clone(), squared_norm))
    # A sample with a value that is not finite has no solution; the loop never started for it.
    return torch.where(per_sample(squared_norm, b).isfinite(), found[1] * size, torch.nan)


def _while(condition: Callable[..., Tensor], body: Callable[..., tuple], state: tuple) -> tuple:
    """``while condition(*state): state = body(*state)``, as one node of the graph while compiling."""
    if torch.compiler.is_compiling():
        from torch._higher_order_ops.while_loop import while_loop

        return while_loop(condition, body, state)  # pyright: ignore[reportReturnType]
    if state[0].is_meta:  # shapes, and no values to ask
        return body(*state)
    while bool(condition(*state)):
        state = body(*state)
    return state


def implicit_solve(
    matvec: Callable[..., Tensor],
    b: Tensor,
    parameters: tuple[Tensor, ...],
    weights: Tensor | None = None,
) -> Tensor:
    """Solve M(θ) x = b by conjugate gradients, differentiably in ``b`` and θ, to any order.

    The gradient comes from the implicit function theorem, b̄ = M⁻ᵀx̄ and θ̄ = −b̄ᵀ(∂M/∂θ)x, by one more solve: no
    iteration is stored.

    Args:
        matvec: (x, *parameters) ↦ M(θ) x; a function of nothing else that needs a gradient.
        b: Right-hand side (B, C, *S).
        parameters: θ, the tensors that M depends on.
        weights: See :func:`conjugate_gradient`.

    Example:
        >>> scale = torch.tensor(4.0, requires_grad=True)
        >>> implicit_solve(lambda x, s: s * x, torch.ones(1, 1, 1), (scale,)).sum().backward()
        >>> scale.grad  # of 1/s
        tensor(-0.0625)
    """
    return _ImplicitSolve.apply(matvec, weights, b, *parameters)  # pyright: ignore[reportReturnType]


def solve_balance(
    b: Tensor,
    dt: Tensor,
    balance: Callable[[Tensor, Sequence[Tensor], Grid], Tensor],
    weights: Sequence[Tensor],
    grid: Grid,
) -> Tensor:
    """The v with v − dt·balance(v) = b, for a symmetric exchange between cells of given weights.

    Args:
        b: Right-hand side (B, C, *S).
        dt: () or (B,).
        balance: (v, weights, grid) ↦ what each cell gains.
        weights: Of the exchanges, ≥ 0.
        grid: Whose boundary decides in which inner product it is symmetric.
    """
    wide = b.to(torch.promote_types(b.dtype, torch.float32))  # inner products need more than half precision

    def implicit(v: Tensor, dt: Tensor, *weights: Tensor) -> Tensor:
        return v - dt * balance(v, weights, grid)

    parameters = (per_sample(dt, wide), *weights)
    return implicit_solve(implicit, wide, parameters, inner_product_weights(wide, grid)).to(b.dtype)


class _ImplicitSolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx, *inputs):
        # Not named one by one: where as many inputs come as there are names, torch.compile (2.14) leaves out ctx.
        matvec, weights, b, *parameters = inputs
        x = conjugate_gradient(lambda v: matvec(v, *parameters), b, weights=weights)
        ctx.matvec, ctx.weights = matvec, weights
        ctx.save_for_backward(x, *parameters)
        return x

    @staticmethod
    def backward(ctx, *grads):
        (grad,), weights = grads, ctx.weights
        x, *parameters = ctx.saved_tensors
        # Mᵀ = W M W⁻¹, for M symmetric in the inner product of W.
        adjoint = grad if weights is None else grad / weights
        adjoint = _ImplicitSolve.apply(ctx.matvec, weights, adjoint, *parameters)
        adjoint = adjoint if weights is None else weights * adjoint
        pull_back = torch.func.vjp(lambda *values: ctx.matvec(x, *values), *parameters)[1]
        return None, None, adjoint, *pull_back(-adjoint)
