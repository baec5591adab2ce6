"""Kernels and their moments: which derivative a kernel is, to which order, and what of it is free to learn."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
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


def moment_matrix(width: int) -> Rows:
    """M with m = M q for ``width`` taps at spacing 1: rows α, columns k.

    Example:
        >>> moment_matrix(3)
        ((1.0, 1.0, 1.0), (-1.0, 0.0, 1.0), (0.5, 0.0, 0.5))
    """
    return tuple(tuple(k**order / math.factorial(order) for k in _taps(width)) for order in range(width))


def inverse_moment_matrix(width: int) -> Rows:
    """M⁻¹: in row k and column α, α! times the coefficient of x^α in the polynomial that is 1 at k, 0 at other taps.

    A quotient of whole numbers, so that each entry is the nearest float.

    Example:
        >>> inverse_moment_matrix(3)
        ((0.0, -0.5, 1.0), (1.0, 0.0, -2.0), (0.0, 0.5, 1.0))
    """
    rows = []
    for k in _taps(width):
        coefficients, scale = [1], 1
        for other in _taps(width):
            if other != k:  # times (x − other) / (k − other)
                shifted, scaled = [0, *coefficients], [-other * c for c in coefficients]
                coefficients = [a + b for a, b in zip(shifted, [*scaled, 0], strict=True)]
                scale *= k - other
        rows.append(tuple(math.factorial(order) * c / scale + 0.0 for order, c in enumerate(coefficients)))
    return tuple(rows)


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


def _taps(width: int) -> range:
    return range(-(width // 2), width // 2 + 1)


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
