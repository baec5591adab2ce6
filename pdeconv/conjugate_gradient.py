"""Linear solves by conjugate gradients, each sample for itself, and their derivatives."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pdeconv.grid import Grid
from pdeconv.linear import inner_product_weights
from pdeconv.operator import per_sample


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
