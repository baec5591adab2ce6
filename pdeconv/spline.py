"""Functions of one variable, one for each feature, given by a table: uniform B-splines."""

from __future__ import annotations

import torch
from torch import Tensor

from pdeconv.errors import PDEConvError


def spline(coefficients: Tensor, x: Tensor, degree: int) -> Tensor:
    """Σₖ cₖ βⁿ(x − k) for each feature, βⁿ the centred B-spline of degree n.

    Each value takes the n + 1 coefficients around it, however many there are. They are averaged: the result stays
    within their range. Beyond the table the end coefficients repeat. Differentiable in both, n − 1 times continuously
    in ``x``.

    Args:
        coefficients: (F, K), the k-th at position k.
        x: Positions (B, F, *S), in knots.
        degree: n.

    Returns:
        (B, F, *S) in float32 at least: in half precision there would be nothing between distant knots.

    References:
        M. Unser. Splines: a perfect fit for signal and image processing. IEEE Signal Processing Magazine 16(6), 1999.

    Example:
        >>> spline(torch.tensor([[0.0, 1.0, 4.0]]), torch.tensor([0.5, 1.0, 9.0]).reshape(1, 1, 3), degree=1)
        tensor([[[0.5000, 1.0000, 4.0000]]])
    """
    dtype, last = torch.promote_types(x.dtype, torch.float32), coefficients.shape[1] - 1
    # Further out all coefficients are the same; an infinite position has no cell.
    position = (x.to(dtype) - (degree - 1) / 2).clamp(-degree - 1, last + 1)
    below = position.floor()
    first = below.long().flatten(2)
    # One index for all samples and cells: a table that is expanded over the batch costs nothing.
    table = coefficients.to(dtype).expand(x.shape[0], -1, -1)
    total = torch.zeros((), dtype=dtype, device=x.device)
    for i, weight in enumerate(spline_weights(position - below, degree)):
        taken = table.gather(2, (first + i).clamp(0, last)).reshape(x.shape)
        total = total + weight * taken
    return total


def cubic_spline(coefficients: Tensor, x: Tensor) -> Tensor:
    """As :func:`spline` of degree 3, at less than half the cost: from the four coefficients of each cell's polynomial.

    They are differences, whose rounding may leave the range of the table, which the averages of ``spline`` keep.

    Args:
        coefficients: (F, K), the k-th at position k.
        x: Positions (B, F, *S), in knots.

    Example:
        >>> cubic_spline(torch.tensor([[0.0, 1.0, 4.0]]), torch.tensor([1.0, 9.0]).reshape(1, 1, 2))
        tensor([[[1.3333, 4.0000]]])
    """
    dtype, last = torch.promote_types(x.dtype, torch.float32), coefficients.shape[1] - 1
    position = (x.to(dtype) - 1).clamp(-4, last + 1)
    below = position.floor()
    t = position - below
    # Cells −4 … last + 1, of the coefficients from there on.
    around = coefficients.to(dtype)[:, torch.arange(-4, last + 5, device=x.device).clamp(0, last)]
    a, b, c, d = (around[:, i : i + last + 6] for i in range(4))
    rows = torch.arange(a.shape[0], device=x.device)[:, None] * a.shape[1]
    # The index of a position that is no number must be one, too.
    index = ((below.long() + 4).clamp(0, last + 5).flatten(2) + rows).flatten()
    polynomial = ((d - 3 * c + 3 * b - a) / 6, (a - 2 * b + c) / 2, (c - a) / 2, (a + 4 * b + c) / 6)
    cubed, squared, once, constant = (part.flatten().index_select(0, index).view(x.shape) for part in polynomial)
    return ((cubed * t + squared) * t + once) * t + constant


def spline_weights(t: Tensor, degree: int) -> list[Tensor]:
    """The n + 1 B-splines of degree n that are not zero at a position, 0 ≤ t < 1 past its first: they add up to 1.

    By the recursion of Cox and de Boor, in place of a polynomial for each degree.

    Example:
        >>> [round(float(weight), 4) for weight in spline_weights(torch.tensor(0.0), 3)]
        [0.1667, 0.6667, 0.1667, 0.0]
    """
    weights = [1 - t, t] if degree else [torch.ones_like(t)]
    for n in range(2, degree + 1):
        rising = [(t + (n - i)) / n * weights[i - 1] for i in range(1, n + 1)]
        falling = [((i + 1) - t) / n * weights[i] for i in range(n)]
        weights = [falling[0], *(a + b for a, b in zip(rising, falling[1:], strict=False)), rising[-1]]
    return weights


def cubic_coefficients(values: Tensor) -> Tensor:
    """The coefficients of a cubic spline near a function of values (F, K + 2) at its knots and one beyond each end.

    cₖ = fₖ − (fₖ₊₁ − 2fₖ + fₖ₋₁)/6, a local rule: exact for cubics, else off by at most 0.0304·h⁴·max|f⁗|, from a knot
    past the first to two before the last.

    Example:
        >>> cubes = torch.arange(-1.0, 7.0)[None] ** 3
        >>> spline(cubic_coefficients(cubes), torch.full((1, 1, 1), 2.5), degree=3).item()
        15.625
    """
    below, here, above = values[:, :-2], values[:, 1:-1], values[:, 2:]
    return here - (above - 2 * here + below) / 6


def check_features(features: int, z: Tensor, owner: str) -> None:
    """Raise ``PDEConvError`` unless ``z`` (B, F, *S) has the features that ``owner`` has a table for."""
    if z.shape[1] != features:
        raise PDEConvError(
            f"{owner} was built for {features} features, but got {z.shape[1]}; give it as many as the convolution has."
        )
