"""Direct solves along one axis: tridiagonal systems of diffusion, by elimination or by parallel cyclic reduction."""

from __future__ import annotations

import torch
from torch import Tensor

from pdeconv.elimination import eliminate
from pdeconv.grid import Boundary
from pdeconv.stencil import extend, lower_faces, upper_faces
from pdeconv.transformed import is_transformed


def tridiagonal_solve(b: Tensor, excess: Tensor, lower: Tensor, upper: Tensor, axis: int) -> Tensor:
    """Solve (excess + lower + upper)ᵢ xᵢ − lowerᵢ xᵢ₋₁ − upperᵢ xᵢ₊₁ = bᵢ along ``axis``, all lines at once.

    A row is given by what it has in excess of its couplings, not by its diagonal: every number stays positive and no
    two are ever subtracted. So x is, to rounding, a weighted mean of b / excess, however strong the couplings are: no
    precision is lost to the condition of the matrix, and an excess of 1 keeps the range of b. Differentiable to any
    order.

    On a CPU the cells are eliminated one after another, unless there are too few lines for that to pay; elsewhere, and
    under ``torch.compile``, by cyclic reduction: log₂N rounds, each over the whole axis.

    Args:
        b: Right-hand side, of any shape, N cells along ``axis``.
        excess: Positive, broadcastable to ``b``, N cells along ``axis``; so are the following two.
        lower: Coupling of a cell to the one below, ≥ 0; 0 at the first cell.
        upper: Coupling to the one above, ≥ 0; 0 at the last cell.
        axis: Tensor dimension of the lines.

    References:
        R. W. Hockney, C. R. Jesshope. Parallel Computers. Adam Hilger, 1981 (parallel cyclic reduction).
        W. K. Grassmann, M. I. Taksar, D. P. Heyman. Regenerative analysis and steady state distributions for Markov
        chains. Operations Research 33(5), 1985 (elimination without subtraction).

    Example:
        >>> b, excess = torch.tensor([3.0, 0.0, 0.0]), torch.tensor([2.0, 1.0, 1.0])
        >>> lower = torch.tensor([0.0, 1.0, 1.0])  # rows (3, −1, 0), (−1, 3, −1), (0, −1, 2)
        >>> tridiagonal_solve(b, excess, lower, lower.flip(0), axis=0)
        tensor([1.1538, 0.4615, 0.2308])
    """
    return _solved((b,), excess, lower, upper, axis)[0]


def cyclic_tridiagonal_solve(b: Tensor, excess: Tensor, lower: Tensor, upper: Tensor, axis: int) -> Tensor:
    """As :func:`tridiagonal_solve` on a ring: ``lower`` couples the first cell to the last, ``upper`` the last to it.

    The last cell is eliminated: the others are a chain coupled to it, x = y + z·x_last. What 1 − z would be is solved
    for, so that here too nothing is subtracted.

    Example:
        >>> ones = torch.ones(4)
        >>> cyclic_tridiagonal_solve(torch.tensor([8.0, 0.0, 0.0, 0.0]), ones, ones, ones, 0)
        tensor([3.7333, 1.6000, 1.0667, 1.6000])
    """
    rest = b.shape[axis] - 1
    if rest == 0:
        return b / excess
    chain = [field.narrow(axis, 0, rest) for field in (b, excess, lower, upper)]
    last_b, last_excess, last_lower, last_upper = (field.narrow(axis, rest, 1) for field in (b, excess, lower, upper))
    to_last = _at_ends(chain[2].narrow(axis, 0, 1), chain[3].narrow(axis, rest - 1, 1), axis, rest)
    inner_lower = _without_first(chain[2], axis)
    inner_upper = _without_first(chain[3].flip(axis), axis).flip(axis)
    # The chain's excess holds its couplings to the last cell; y, z and w = 1 − z answer to b, to_last and excess.
    y, w, z = _solved((chain[0], chain[1], to_last), chain[1] + to_last, inner_lower, inner_upper, axis)
    gain = last_lower * w.narrow(axis, rest - 1, 1) + last_upper * w.narrow(axis, 0, 1)
    inflow = last_lower * y.narrow(axis, rest - 1, 1) + last_upper * y.narrow(axis, 0, 1)
    last = (last_b + inflow) / (last_excess + gain)
    return torch.cat((y + z * last, last), axis)


def line_solve(b: Tensor, strength: Tensor, axis: int, boundary: Boundary, reach: Tensor | None = None) -> Tensor:
    """The v with vᵢ − rᵢ(sᵢ₋½ (vᵢ₋₁ − vᵢ) + sᵢ₊½ (vᵢ₊₁ − vᵢ)) = bᵢ along ``axis``: a backward-Euler step of diffusion.

    Args:
        b: Right-hand side (B, C, *S), N cells along ``axis``.
        strength: s = dt·κ/dx² ≥ 0 at the N + 1 faces, or one for all of them; broadcastable to ``b`` elsewhere.
        axis: Tensor dimension of the lines.
        boundary: See :class:`pdeconv.grid.Grid`.
        reach: r ≥ 0 at the cells, of the shape of ``strength`` but N along ``axis``; by default 1.

    Example:
        >>> line_solve(torch.tensor([1.0, 0.0, 0.0]), torch.tensor([1e9]), 0, "neumann")
        tensor([0.3333, 0.3333, 0.3333])
    """
    size = b.shape[axis]
    faces = strength.expand([size + 1 if i == axis % b.dim() else n for i, n in enumerate(strength.shape)])
    lower, upper = lower_faces(faces, axis), upper_faces(faces, axis)
    if reach is not None:
        lower, upper = reach * lower, reach * upper
    excess = torch.ones_like(lower)
    if boundary == "periodic":
        return cyclic_tridiagonal_solve(b, excess, lower, upper, axis)
    first, last = lower.narrow(axis, 0, 1), upper.narrow(axis, size - 1, 1)
    nothing = torch.zeros_like(first)
    lower = _without_first(lower, axis)
    upper = _without_first(upper.flip(axis), axis).flip(axis)
    if boundary == "dirichlet":
        excess = excess + _at_ends(first, last, axis, size)
    elif boundary == "reflect" and size > 1:  # the mirrored cell lies inside
        lower = lower + _at_ends(nothing, last, axis, size)
        upper = upper + _at_ends(first, nothing, axis, size)
    return tridiagonal_solve(b, excess, lower, upper, axis)


def _solved(sources: tuple[Tensor, ...], excess: Tensor, lower: Tensor, upper: Tensor, axis: int) -> tuple[Tensor, ...]:
    """The solution for each source, by the faster way."""
    plain = excess.device.type != "cpu" or torch.compiler.is_compiling()  # a graph would hold every call
    if plain or is_transformed():
        return _reduced(sources, excess, lower, upper, axis)
    # An elimination costs some calls for each cell of a line, a reduction in each round ten times as many, and as many
    # again for every 4000 cells that it passes over. See benchmarks/solves.py.
    size, cells = excess.shape[axis], sources[0].numel() + excess.numel()
    way = eliminate if (size - 1).bit_length() * (10 + cells / 4000) >= size else _reduced
    return way(sources, excess, lower, upper, axis)


def _reduced(
    sources: tuple[Tensor, ...], excess: Tensor, lower: Tensor, upper: Tensor, axis: int
) -> tuple[Tensor, ...]:
    """The solution for each source. Each round couples a cell to those twice as far, until none is left."""
    size, stride = excess.shape[axis], 1
    while stride < size:
        inverse = 1 / (lower + upper + excess)
        from_below, from_above = lower * _below(inverse, axis, stride), upper * _above(inverse, axis, stride)

        def gather(
            field: Tensor, from_below: Tensor = from_below, from_above: Tensor = from_above, stride: int = stride
        ) -> Tensor:
            return field + from_below * _below(field, axis, stride) + from_above * _above(field, axis, stride)

        sources, excess = tuple(gather(source) for source in sources), gather(excess)
        lower, upper = from_below * _below(lower, axis, stride), from_above * _above(upper, axis, stride)
        stride *= 2
    return tuple(source / excess for source in sources)


def _below(field: Tensor, axis: int, stride: int) -> Tensor:
    """The value ``stride`` cells below each cell, 0 beyond the end."""
    return extend(field, axis, "dirichlet", stride).narrow(axis, 0, field.shape[axis])


def _above(field: Tensor, axis: int, stride: int) -> Tensor:
    """The value ``stride`` cells above each cell, 0 beyond the end."""
    return extend(field, axis, "dirichlet", stride).narrow(axis, 2 * stride, field.shape[axis])


def _at_ends(first: Tensor, last: Tensor, axis: int, size: int) -> Tensor:
    """``first`` at the first of ``size`` cells and ``last`` at the last, 0 between; their sum where they are one."""
    between = [size - 1 if i == axis % first.dim() else n for i, n in enumerate(first.shape)]
    zeros = first.new_zeros(between)
    return torch.cat((first, zeros), axis) + torch.cat((zeros, last), axis)


def _without_first(field: Tensor, axis: int) -> Tensor:
    """``field`` with 0 at its first cell."""
    first = torch.zeros_like(field.narrow(axis, 0, 1))
    return torch.cat((first, field.narrow(axis, 1, field.shape[axis] - 1)), axis)
