"""Kernels and their moments: which derivative a kernel is, to which order, and what of it is free to learn."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache

import torch
from torch import Tensor

from pdeconv.errors import PDEConvError
from pdeconv.linear import apply_along
from pdeconv.precision import without_autocast

Rows = tuple[tuple[float, ...], ...]


def moments_of_kernel(kernel: Tensor, spacings: Sequence[float]) -> Tensor:
    """The moments m_α = Σₖ qₖ ∏ᵢ (kᵢ dxᵢ)^αᵢ / αᵢ! of a kernel q.

    The kernel acts as Σₖ qₖ u(x + k·dx) = Σ_α m_α ∂^α u(x), a cross-correlation as that of ``conv2d``. An odd number n
    of taps k = −(n − 1)/2 … along an axis has as many moments, αᵢ = 0 … n − 1, and they determine it.

    Args:
        kernel: (…, *kernel), an odd number of taps along each axis.
        spacings: dx along each axis; as many as the kernel has axes, 1 to 3.

    Returns:
        (…, *kernel), the moment of α at the index α.

    References:
        Z. Long, Y. Lu, X. Ma, B. Dong. PDE-Net: learning PDEs from data. ICML 2018.

    Example:
        >>> moments_of_kernel(torch.tensor([1.0, -2.0, 1.0]) / 0.5**2, [0.5])  # the second derivative
        tensor([0., 0., 1.])
    """
    _check("moments_of_kernel", kernel, len(spacings))
    with without_autocast(kernel):
        for axis, dx in enumerate(spacings, -len(spacings)):
            matrix = _matrix(moment_matrix, kernel.shape[axis], kernel)
            kernel = apply_along(matrix, kernel, axis) * _powers(kernel, axis, dx)
    return kernel


def kernel_from_moments(moments: Tensor, spacings: Sequence[float]) -> Tensor:
    """The one kernel with the given moments, (…, *kernel) → (…, *kernel): the inverse of :func:`moments_of_kernel`.

    Example:
        >>> kernel_from_moments(torch.tensor([0.0, 1.0, 0.0]), [0.5])  # the first derivative
        tensor([-1.,  0.,  1.])
    """
    _check("kernel_from_moments", moments, len(spacings))
    with without_autocast(moments):
        for axis, dx in enumerate(spacings, -len(spacings)):
            matrix = _matrix(inverse_moment_matrix, moments.shape[axis], moments)
            moments = apply_along(matrix, moments / _powers(moments, axis, dx), axis)
    return moments


@torch.compiler.assume_constant_result
def moment_matrix(width: int) -> Rows:
    """M with m = M q for ``width`` taps at spacing 1: rows α, columns k.

    Example:
        >>> moment_matrix(3)
        ((1.0, 1.0, 1.0), (-1.0, 0.0, 1.0), (0.5, 0.0, 0.5))
    """
    return tuple(tuple(float(entry) for entry in row) for row in _exact_matrix(width))


@torch.compiler.assume_constant_result
def inverse_moment_matrix(width: int) -> Rows:
    """M⁻¹, by elimination in fractions: each entry is the nearest float.

    Example:
        >>> inverse_moment_matrix(3)
        ((0.0, -0.5, 1.0), (1.0, 0.0, -2.0), (0.0, 0.5, 1.0))
    """
    rows = [[*row, *(Fraction(int(i == j)) for j in range(width))] for i, row in enumerate(_exact_matrix(width))]
    for column in range(width):
        pivot = next(i for i in range(column, width) if rows[i][column])
        rows[column], rows[pivot] = rows[pivot], rows[column]
        rows[column] = [entry / rows[column][column] for entry in rows[column]]
        for i in range(width):
            if i != column:
                rows[i] = [a - rows[i][column] * b for a, b in zip(rows[i], rows[column], strict=True)]
    return tuple(tuple(float(entry) for entry in row[width:]) for row in rows)


def constrained(derivative: Sequence[int], accuracy: int, width: int, device: torch.device | None = None) -> Tensor:
    """Which moments make a kernel ∂^α of the given order of accuracy: those of |β| < |α| + accuracy, as booleans.

    The others are free: they only change the error, Σ m_β ∂^β u.

    Args:
        derivative: α.
        accuracy: Order p of the error O(dxᵖ).
        width: Taps along each axis.
        device: Where to.

    Example:
        >>> constrained((1,), accuracy=2, width=5)
        tensor([ True,  True,  True, False, False])
    """
    order = torch.arange(width, device=device)
    total = order
    for _ in derivative[1:]:
        total = total[..., None] + order
    return total < sum(derivative) + accuracy


def _exact_matrix(width: int) -> list[list[Fraction]]:
    taps = range(-(width // 2), width // 2 + 1)
    return [[Fraction(k**order, math.factorial(order)) for k in taps] for order in range(width)]


def _check(owner: str, values: Tensor, dims: int) -> None:
    if dims not in (1, 2, 3) or values.dim() < dims or any(width % 2 == 0 for width in values.shape[-dims:]):
        raise PDEConvError(
            f"{owner} needs 1 to 3 axes with an odd number of taps and a spacing each, but got a shape of "
            f"{tuple(values.shape)} and {dims} spacings; pad the kernel with zeros."
        )


def _powers(values: Tensor, axis: int, dx: float) -> Tensor:
    """1, dx, dx², … along ``axis``."""
    order = torch.arange(values.shape[axis], dtype=values.dtype, device=values.device)
    return (dx**order).reshape(-1, *(1,) * (-1 - axis))


def _matrix(rows_of: Callable[[int], Rows], width: int, like: Tensor) -> Tensor:
    if torch.compiler.is_compiling():  # tensors are fake then, and must not stay in a cache
        return torch.tensor(rows_of(width), dtype=like.dtype, device=like.device)
    return _cached_matrix(rows_of, width, like.dtype, like.device)


@lru_cache(maxsize=64)
def _cached_matrix(rows_of: Callable[[int], Rows], width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(rows_of(width), dtype=dtype, device=device)
