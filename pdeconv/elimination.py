"""Tridiagonal systems by elimination, cell after cell, all lines at once: the direct solve of a CPU."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def eliminate(sources: Sequence[Tensor], excess: Tensor, lower: Tensor, upper: Tensor, axis: int) -> tuple[Tensor, ...]:
    """The x with (excess + lower + upper)ᵢ xᵢ − lowerᵢ xᵢ₋₁ − upperᵢ xᵢ₊₁ = bᵢ along ``axis``, for each source b.

    What a row has in excess of its couplings is eliminated with it, excess'ᵢ = excessᵢ + lowerᵢ·excess'ᵢ₋₁/dᵢ₋₁ of
    pivots dᵢ = excess'ᵢ + upperᵢ, so that no two numbers are ever subtracted; rounding adds up along a line, to some
    50 epsilons over 2048 cells of couplings without limit. The backward pass is one more substitution, of the
    transposed matrix, with the same pivots; differentiable to any order.

    Args:
        sources: Right-hand sides, of any shapes, N cells along ``axis``.
        excess: Positive, broadcastable to the sources, N cells along ``axis``; so are the following two.
        lower: Coupling of a cell to the one below, ≥ 0; 0 at the first cell.
        upper: Coupling to the one above, ≥ 0; 0 at the last cell.
        axis: Tensor dimension of the lines.

    References:
        W. K. Grassmann, M. I. Taksar, D. P. Heyman. Regenerative analysis and steady state distributions for Markov
        chains. Operations Research 33(5), 1985 (elimination without subtraction).

    Example:
        >>> lower = torch.tensor([0.0, 1.0, 1.0])
        >>> eliminate([torch.tensor([3.0, 0.0, 0.0])], torch.tensor([2.0, 1.0, 1.0]), lower, lower.flip(0), 0)
        (tensor([1.1538, 0.4615, 0.2308]),)
    """
    bands = torch.broadcast_tensors(excess, lower, upper)
    shapes = [torch.broadcast_shapes(source.shape, bands[0].shape) for source in sources]
    sources = [source.expand(shape) for source, shape in zip(sources, shapes, strict=True)]
    dim = sources[0].dim()
    bands = [band.reshape((1,) * (dim - band.dim()) + band.shape) for band in bands]
    _, _, *solutions = _Elimination.apply(axis % dim, False, None, None, *bands, *sources)  # pyright: ignore
    return tuple(solutions)


class _Elimination(torch.autograd.Function):
    """(pivots, factors, solutions …) of M x = b or, ``transposed``, Mᵀ x = b; takes the pivots where they are known."""

    @staticmethod
    def forward(*inputs):  # pyright: ignore[reportIncompatibleMethodOverride]
        axis, transposed, pivots, factors, excess, lower, upper, *sources = inputs
        above = _cells_first(upper, axis)
        if pivots is None:
            pivots, factors = _factors(_cells_first(excess, axis), _cells_first(lower, axis), above)
        else:  # an input must not be an output
            pivots, factors = pivots.view_as(pivots), factors.view_as(factors)
        substitute = _substitute_transposed if transposed else _substitute
        solutions = [substitute(_cells_first(source, axis), pivots, factors, above) for source in sources]
        return pivots, factors, *(_cells_back(solution, axis) for solution in solutions)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.axis, ctx.transposed, *_ = inputs
        pivots, factors, *solutions = output
        ctx.mark_non_differentiable(pivots, factors)  # their part is in the gradients of the bands
        ctx.save_for_backward(pivots, factors, *inputs[4:7], *solutions)

    @staticmethod
    def backward(ctx, *grads):
        axis, transposed = ctx.axis, ctx.transposed
        pivots, factors, *bands = ctx.saved_tensors[:5]
        _, _, *adjoints = _Elimination.apply(axis, not transposed, pivots, factors, *bands, *grads[2:])  # pyright: ignore
        of_bands: list[Tensor | None] = [None, None, None]
        if any(ctx.needs_input_grad[4:7]):
            for adjoint, solution in zip(adjoints, ctx.saved_tensors[5:], strict=True):
                # M̄ = −p qᵀ where M q = b and Mᵀ p = q̄; for the transposed matrix the other way round.
                p, q = (solution, adjoint) if transposed else (adjoint, solution)
                parts = [-(p * change).sum_to_size(bands[0].shape) for change in _changes(q, axis)]
                of_bands = [part if sum_ is None else sum_ + part for sum_, part in zip(of_bands, parts, strict=True)]
        return None, None, None, None, *of_bands, *adjoints


def _changes(q: Tensor, axis: int) -> tuple[Tensor, Tensor, Tensor]:
    """What the excess and the couplings of each row multiply: q, and its differences to the cells below and above."""
    edge = torch.zeros_like(q.narrow(axis, 0, 1))
    padded, size = torch.cat((edge, q, edge), axis), q.shape[axis]
    return q, q - padded.narrow(axis, 0, size), q - padded.narrow(axis, 2, size)


def _factors(excess: Tensor, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
    """The pivots d and the factors lowerᵢ/dᵢ₋₁, cells along the first axis."""
    pivots, factors, remaining = torch.empty_like(excess), lower.clone(), excess.clone()
    d, r, e, u = (field.unbind(0) for field in (pivots, factors, remaining, upper))
    torch.add(e[0], u[0], out=d[0])
    for i in range(1, len(d)):
        r[i].div_(d[i - 1])
        e[i].addcmul_(r[i], e[i - 1])
        torch.add(e[i], u[i], out=d[i])
    return pivots, factors


def _substitute(source: Tensor, pivots: Tensor, factors: Tensor, upper: Tensor) -> Tensor:
    solution = source.clone()
    x, d, r, u = (field.unbind(0) for field in (solution, pivots, factors, upper))
    for i in range(1, len(x)):
        x[i].addcmul_(r[i], x[i - 1])
    x[-1].div_(d[-1])
    for i in reversed(range(len(x) - 1)):
        x[i].addcmul_(u[i], x[i + 1]).div_(d[i])
    return solution


def _substitute_transposed(source: Tensor, pivots: Tensor, factors: Tensor, upper: Tensor) -> Tensor:
    solution = source.clone()
    x, d, r, u = (field.unbind(0) for field in (solution, pivots, factors, upper))
    x[0].div_(d[0])
    for i in range(1, len(x)):
        x[i].addcmul_(u[i - 1], x[i - 1]).div_(d[i])
    for i in reversed(range(len(x) - 1)):
        x[i].addcmul_(r[i + 1], x[i + 1])
    return solution


def _cells_first(field: Tensor, axis: int) -> Tensor:
    """With the cells of all lines side by side, so that each step of the elimination runs through memory in order."""
    moved = field.movedim(axis, 0)
    if axis == field.dim() - 1 and field.dim() > 1:  # torch is quick to transpose matrices only
        return field.flatten(0, -2).mT.contiguous().view(moved.shape)
    return moved.contiguous()


def _cells_back(field: Tensor, axis: int) -> Tensor:
    moved = field.movedim(0, axis)
    if axis == field.dim() - 1 and field.dim() > 1:
        return field.flatten(1).mT.contiguous().view(moved.shape)
    return moved.contiguous()
