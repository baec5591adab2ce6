"""Slope limiters: of the two differences at a cell, the slope that makes no new extremum."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class Limiter(ABC):
    """A symmetric slope limiter: σ(p, q) for two differences of one sign, and 0 where their signs differ.

    Attributes:
        steepness: M ≤ 2, with 0 ≤ σ(p, q) ≤ M·min(p, q) for p, q > 0. A scheme of the slope σ is then TVD.

    References:
        P. K. Sweby. High resolution schemes using flux limiters for hyperbolic conservation laws. SIAM J. Numer.
        Anal. 21(5), 1984.
    """

    steepness: ClassVar[float]

    @abstractmethod
    def slope(self, p: Tensor, q: Tensor) -> Tensor:
        """σ(p, q) = σ(q, p), homogeneous of degree 1, for p, q > 0."""

    def __call__(self, own: Tensor, other: Tensor) -> Tensor:
        """σ / own ∈ [0, M], for the difference ``own`` at one side of a cell and ``other`` at its other side."""
        # Below the smallest normal number 1/p overflows in the gradient; such a cell counts as flat.
        flat = torch.finfo(own.dtype).tiny
        p, q = own.abs(), other.abs()
        alike = ((own > 0) == (other > 0)) & (p > flat) & (q > flat)
        p, q = torch.where(alike, p, 1.0), torch.where(alike, q, 1.0)
        return torch.where(alike, self.slope(p, q) / p, 0.0)


@dataclass(frozen=True)
class Minmod(Limiter):
    """σ = min(p, q): the most cautious limiter, M = 1.

    References:
        P. L. Roe. Characteristic-based schemes for the Euler equations. Annual Review of Fluid Mechanics 18, 1986.

    Example:
        >>> Minmod()(torch.tensor([1.0, 2.0, 1.0]), torch.tensor([2.0, 1.0, -1.0]))
        tensor([1.0000, 0.5000, 0.0000])
    """

    steepness: ClassVar[float] = 1.0

    def slope(self, p: Tensor, q: Tensor) -> Tensor:
        return torch.minimum(p, q)


@dataclass(frozen=True)
class VanLeer(Limiter):
    """σ = 2pq / (p + q), the harmonic mean: smooth, M = 2.

    References:
        B. van Leer. Towards the ultimate conservative difference scheme II. J. Comput. Phys. 14, 1974.

    Example:
        >>> VanLeer()(torch.tensor([1.0, 2.0, 1.0]), torch.tensor([3.0, 2.0, -1.0]))
        tensor([1.5000, 1.0000, 0.0000])
    """

    steepness: ClassVar[float] = 2.0

    def slope(self, p: Tensor, q: Tensor) -> Tensor:
        return 2 * p * (q / (p + q))  # p·q itself underflows


@dataclass(frozen=True)
class Superbee(Limiter):
    """σ = max(min(2p, q), min(p, 2q)): the steepest limiter, M = 2; keeps edges sharp, and squares smooth bumps.

    References:
        P. L. Roe. Characteristic-based schemes for the Euler equations. Annual Review of Fluid Mechanics 18, 1986.

    Example:
        >>> Superbee()(torch.tensor([1.0, 2.0, 1.0]), torch.tensor([3.0, 3.0, -1.0]))
        tensor([2.0000, 1.5000, 0.0000])
    """

    steepness: ClassVar[float] = 2.0

    def slope(self, p: Tensor, q: Tensor) -> Tensor:
        return torch.maximum(torch.minimum(2 * p, q), torch.minimum(p, 2 * q))
