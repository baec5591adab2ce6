"""Weighted essentially non-oscillatory schemes of advection."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from pdeconv.advection_scheme import AdvectionScheme, Pair


@dataclass(frozen=True)
class WENO3(AdvectionScheme):
    """Third-order WENO: the mean of two stencils, each weighted by its smoothness.

    Nothing is proven: it keeps the range but for small over- and undershoots, which are not bounded; step it with
    ``Fixed(n, unchecked=True)``. In practice SSPRK3 is stable for dt·Σᵢ|vᵢ|/dxᵢ ≤ 1. Euler is not.

    References:
        X.-D. Liu, S. Osher, T. Chan. Weighted essentially non-oscillatory schemes. J. Comput. Phys. 115, 1994.
        W.-S. Don, R. Borges. Accuracy of the weighted essentially non-oscillatory conservative finite difference
        schemes. J. Comput. Phys. 250, 2013.

    Example:
        >>> WENO3().radius, WENO3().steepness
        (1, inf)
    """

    radius: int = field(init=False, repr=False, default=1)

    def edges(self, w: Tensor, axis: int) -> Pair:
        a, b, c = _shifted(_wide(w), axis, 3)
        roughness = ((b - a).square(), (c - b).square())
        unevenness = (roughness[0] - roughness[1]).abs()
        below, above = (
            [share.to(w.dtype) for share in _shares(ideal, roughness, unevenness)]
            for ideal in ((2 / 3, 1 / 3), (1 / 3, 2 / 3))
        )

        def apply(v: Tensor) -> tuple[Tensor, Tensor]:
            a, b, c = _shifted(v, axis, 3)
            lower = below[0] * (a + b) / 2 + below[1] * (3 * b - c) / 2
            upper = above[0] * (3 * b - a) / 2 + above[1] * (b + c) / 2
            return lower, upper

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
        unevenness = (roughness[0] - roughness[2]).abs()
        below, above = (
            [share.to(w.dtype) for share in _shares(ideal, roughness, unevenness)]
            for ideal in ((0.3, 0.6, 0.1), (0.1, 0.6, 0.3))
        )

        def apply(v: Tensor) -> tuple[Tensor, Tensor]:
            a, b, c, d, e = _shifted(v, axis, 5)
            lower = (
                below[0] * (5 * b - a + 2 * c) + below[1] * (2 * b + 5 * c - d) + below[2] * (11 * c - 7 * d + 2 * e)
            )
            upper = (
                above[0] * (2 * a - 7 * b + 11 * c) + above[1] * (5 * c - b + 2 * d) + above[2] * (2 * c + 5 * d - e)
            )
            return lower / 6, upper / 6

        return apply


def _wide(w: Tensor) -> Tensor:
    """Squares of small differences need more than half precision."""
    return w.to(torch.promote_types(w.dtype, torch.float32))


def _shifted(w: Tensor, axis: int, count: int) -> tuple[Tensor, ...]:
    """The ``count`` neighbours of every cell that has them all, from below to above."""
    size = w.shape[axis] - count + 1
    return tuple(w.narrow(axis, k, size) for k in range(count))


def _shares(ideal: tuple[float, ...], roughness: tuple[Tensor, ...], unevenness: Tensor) -> list[Tensor]:
    """Weights ∝ dₖ (1 + (τ/βₖ)²), of sum 1: the ideal ones dₖ where all stencils are as smooth."""
    # Relative, so that the weights know no scale; and absolute, so that gradients of flat states stay finite.
    least = 1e-6 * sum(roughness[1:], start=roughness[0]) + torch.finfo(unevenness.dtype).tiny ** 0.5
    raw = [d * (1 + (unevenness / (beta + least)).square()) for d, beta in zip(ideal, roughness, strict=True)]
    total = sum(raw[1:], start=raw[0])
    return [share / total for share in raw]
