"""Weighted essentially non-oscillatory schemes of advection."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from pdeconv.advection_scheme import AdvectionScheme, Pair


@dataclass(frozen=True)
class WENO3(AdvectionScheme):
    """Third-order WENO: the mean of two stencils, each weighted by its smoothness.

    Of order 3 but where the differences that it weighs pass through 0: at turning points in the advective form, at
    extrema in the flux form.

    Nothing is proven: it keeps the range but for small over- and undershoots, which are not bounded; step it with
    ``Fixed(n, unchecked=True)``. In practice SSPRK3 is stable for dt·Σᵢ|vᵢ|/dxᵢ ≤ 1. Euler is not.

    References:
        X.-D. Liu, S. Osher, T. Chan. Weighted essentially non-oscillatory schemes. J. Comput. Phys. 115, 1994.
        X. Wu, Y. Zhao. A high-resolution hybrid scheme for hyperbolic conservation laws. Int. J. Numer. Meth. Fluids
        78, 2015.

    Example:
        >>> WENO3().radius, WENO3().steepness
        (1, inf)
    """

    radius: int = field(init=False, repr=False, default=1)

    def edges(self, w: Tensor, axis: int) -> Pair:
        a, b, c = _shifted(_wide(w), axis, 3)
        roughness = ((b - a).square(), (c - b).square())
        bend = (a - 2 * b + c).square()
        below, above = (
            [share.to(w.dtype) for share in _shares(ideal, roughness, bend)]
            for ideal in ((2 / 3, 1 / 3), (1 / 3, 2 / 3))
        )

        def apply(v: Tensor) -> tuple[Tensor, Tensor]:
            a, b, c = _shifted(v, axis, 3)
            lower, upper = (a + b, 3 * b - c), (3 * b - a, b + c)
            return _mean(below, lower) / 2, _mean(above, upper) / 2

        return apply


@dataclass(frozen=True)
class WENO5(AdvectionScheme):
    """Fifth-order WENO with the weights called Z: the mean of three stencils, each weighted by its smoothness.

    Nothing is proven: it keeps the range but for small over- and undershoots, which are not bounded; step it with
    ``Fixed(n, unchecked=True)``. In practice SSPRK3 is stable for dt·Σᵢ|vᵢ|/dxᵢ ≤ 1. Euler is not. Order 5 in space:
    with SSPRK3 the error of dt³ is smaller only for dt ~ dx^(5/3).

    References:
        G.-S. Jiang, C.-W. Shu. Efficient implementation of weighted ENO schemes. J. Comput. Phys. 126, 1996.
        R. Borges, M. Carmona, B. Costa, W.-S. Don. An improved weighted essentially non-oscillatory scheme for
        hyperbolic conservation laws. J. Comput. Phys. 227, 2008.

    Example:
        >>> WENO5().radius, WENO5().steepness
        (2, inf)
    """

    radius: int = field(init=False, repr=False, default=2)

    def edges(self, w: Tensor, axis: int) -> Pair:
        a, b, c, d, e = _shifted(_wide(w), axis, 5)
        roughness = (
            13 / 12 * (a - 2 * b + c).square() + (a - 4 * b + 3 * c).square() / 4,
            13 / 12 * (b - 2 * c + d).square() + (b - d).square() / 4,
            13 / 12 * (c - 2 * d + e).square() + (3 * c - 4 * d + e).square() / 4,
        )
        bend = (roughness[0] - roughness[2]).abs()
        below, above = (
            [share.to(w.dtype) for share in _shares(ideal, roughness, bend)]
            for ideal in ((0.3, 0.6, 0.1), (0.1, 0.6, 0.3))
        )

        def apply(v: Tensor) -> tuple[Tensor, Tensor]:
            a, b, c, d, e = _shifted(v, axis, 5)
            lower = (5 * b - a + 2 * c, 2 * b + 5 * c - d, 11 * c - 7 * d + 2 * e)
            upper = (2 * a - 7 * b + 11 * c, 5 * c - b + 2 * d, 2 * c + 5 * d - e)
            return _mean(below, lower) / 6, _mean(above, upper) / 6

        return apply


def _wide(w: Tensor) -> Tensor:
    """Squares of small differences need more than half precision."""
    return w.to(torch.promote_types(w.dtype, torch.float32))


def _shifted(w: Tensor, axis: int, count: int) -> tuple[Tensor, ...]:
    """The ``count`` neighbours of every cell that has them all, from below to above."""
    size = w.shape[axis] - count + 1
    return tuple(w.narrow(axis, k, size) for k in range(count))


def _shares(ideal: tuple[float, ...], roughness: tuple[Tensor, ...], bend: Tensor) -> list[Tensor]:
    """Weights ∝ dₖ (1 + τ/βₖ), of sum 1: the ideal ones dₖ where the ``bend`` τ of all stencils is small."""
    # Relative, so that the weights know no scale; and absolute, so that gradients of flat states stay finite.
    least = 1e-6 * sum(roughness[1:], start=roughness[0]) + torch.finfo(bend.dtype).tiny ** 0.5
    raw = [d * (1 + bend / (beta + least)) for d, beta in zip(ideal, roughness, strict=True)]
    total = sum(raw[1:], start=raw[0])
    return [share / total for share in raw]


def _mean(shares: list[Tensor], values: tuple[Tensor, ...]) -> Tensor:
    parts = [share * value for share, value in zip(shares, values, strict=True)]
    return sum(parts[1:], start=parts[0])
