"""Linear algebra along axes: matrix products, φ-functions, inner products in which a boundary is symmetric."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pdeconv.grid import Boundary, Grid


def apply_along(matrix: Tensor, u: Tensor, axis: int) -> Tensor:
    """``matrix`` (M, N) times ``u`` along ``axis`` of N cells.

    Example:
        >>> apply_along(torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0, 2.0], [3.0, 4.0]]), 0)
        tensor([[4., 6.]])
    """
    axis %= u.dim()
    if axis == u.dim() - 1:
        return u @ matrix.T
    # One product for each index before the axis: nothing is transposed in memory.
    before, after = u.shape[:axis], u.shape[axis + 1 :]
    lines = u.reshape(math.prod(before), u.shape[axis], math.prod(after))
    product = torch.bmm(matrix.expand(lines.shape[0], -1, -1), lines)
    return product.reshape(*before, matrix.shape[0], *after)


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


def cell_weights(size: int, boundary: Boundary, dtype: torch.dtype, device: torch.device) -> Tensor:
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
        weights = weights * cell_weights(u.shape[axis], grid.boundary, u.dtype, u.device).reshape(shape)
    return weights
