"""Laws of reaction: what happens at a cell by itself, u_t = a(u) u + b(u)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from pdeconv.coefficient import Coefficient, PerChannel
from pdeconv.depthwise import is_declared, one_a_channel
from pdeconv.errors import UnsupportedError
from pdeconv.grid import Grid
from pdeconv.operator import ENERGY, NOTHING, RANGE_WITH_ZERO, Keeps, check_declared
from pdeconv.precision import wider_than_half


class Law(nn.Module, ABC):
    """A pointwise law of reaction, u_t = a(u) u + b(u): its specific rate a, and perhaps a source b.

    A user's own law needs ``forward`` only, and ``ceiling``, ``keeps`` and, where it amplifies, ``growth``.

    Attributes:
        equation: The right-hand side in writing, as of a term.
        ceiling: Upper bound of the rate, 1/time; inf, the default, if none is proven. For implicit and exact steps of a
            law with growth it also bounds M·a(u) / (M − u), M the end of the interval.
        growth: Upper bound of a(u) on the sets that are kept; positive where the law amplifies.
        keeps: What the law keeps.
    """

    equation: str = "a(u) u + b(u)"
    ceiling: float = math.inf
    growth: float = 0.0
    keeps: Keeps = NOTHING

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        check_declared(cls)
        if not is_declared(cls, "polynomial", ("forward", "source")):
            cls.polynomial = Law.polynomial  # another law than the one that it inherits

    @abstractmethod
    def forward(self, u: Tensor) -> Tensor:
        """a(u), broadcastable to ``u``."""

    def source(self, u: Tensor) -> Tensor | None:
        """b(u), broadcastable to ``u``; None where there is none."""
        return None

    def solution(self, u: Tensor, dt: Tensor) -> Tensor:
        """The exact solution after dt from ``u``, for ``Exact``; ``dt`` is shaped to multiply ``u``.

        Raises ``UnsupportedError`` where it has no closed form, or none that is known here.
        """
        raise UnsupportedError(f"{type(self).__name__} has no solution in closed form; step it by Heun or SSPRK3.")

    def polynomial(self, u: Tensor) -> Tensor | None:
        """a₀, a₁, a₂ (C, 3) of each channel where a(u) = a₀ + a₁u + a₂u² and b = 0; None for any other law."""
        return None

    def rate(self, u: Tensor) -> Tensor:
        """The operator's rate at ``u``, () or (B,): the ceiling, where nothing sharper is known."""
        return u.new_full((), self.ceiling)


class Decay(Law):
    """u_t = −s u: every value decays to 0 at the learned rate s_c = ceiling · sigmoid(w_c) of its channel.

    Args:
        channels: Number of channels C, or a coefficient for s.
        ceiling: Upper bound of s, 1/time.

    Keeps: The energy, and the range joined with 0.

    Example:
        >>> import torch
        >>> Decay(2, ceiling=1.0)(torch.ones(1, 2, 4, 4)).flatten().tolist()
        [-0.5, -0.5]
    """

    equation = "−s u"
    keeps = frozenset({ENERGY, RANGE_WITH_ZERO})

    def __init__(self, channels: int | Coefficient, ceiling: float = 1.0) -> None:
        super().__init__()
        self.strength = channels if isinstance(channels, Coefficient) else PerChannel(channels, ceiling)
        self.ceiling = self.strength.ceiling

    def forward(self, u: Tensor) -> Tensor:
        return -self.strength(u, Grid(dims=u.dim() - 2))

    def polynomial(self, u: Tensor) -> Tensor | None:
        return _times(self.strength, u, (-1.0, 0.0, 0.0))


class Logistic(Law):
    """u_t = s u(1 − u): logistic growth from 0 to the capacity 1, s_c = ceiling · sigmoid(w_c).

    Outside [0, 1] nothing is promised: keep the state there, for instance by a sigmoid or softmax before. Its solution
    is u / (u + (1 − u)e⁻ˢᵗ).

    Args:
        channels: Number of channels C, or a coefficient for s.
        ceiling: Upper bound of s, 1/time.

    Keeps: The interval [0, 1].

    References:
        R. A. Fisher. The wave of advance of advantageous genes. Annals of Eugenics 7, 1937.

    Example:
        >>> import torch
        >>> Logistic(1, ceiling=2.0)(torch.full((1, 1, 1), 0.25)).item()
        0.75
    """

    equation = "s u(1 − u)"
    keeps = frozenset({(0.0, 1.0)})

    def __init__(self, channels: int | Coefficient, ceiling: float = 1.0) -> None:
        super().__init__()
        self.strength = channels if isinstance(channels, Coefficient) else PerChannel(channels, ceiling)
        self.ceiling = self.growth = self.strength.ceiling

    def forward(self, u: Tensor) -> Tensor:
        return self.strength(u, Grid(dims=u.dim() - 2)) * (1 - u)

    def polynomial(self, u: Tensor) -> Tensor | None:
        return _times(self.strength, u, (1.0, -1.0, 0.0))

    def solution(self, u: Tensor, dt: Tensor) -> Tensor:
        wide = wider_than_half(u)
        return (wide / (wide + (1 - wide) * _remaining(dt * self.strength(wide, Grid(dims=u.dim() - 2))))).to(u.dtype)


class Bistable(Law):
    """u_t = s u(1 − u²): Allen and Cahn's reaction, from 0 towards −1 or 1, s_c = ceiling · sigmoid(w_c).

    Its solution is u / √(u² + (1 − u²)e⁻²ˢᵗ).

    Args:
        channels: Number of channels C, or a coefficient for s.
        ceiling: Upper bound of s, 1/time.

    Keeps: The intervals [−1, 1] and [0, 1].

    References:
        S. M. Allen, J. W. Cahn. A microscopic theory for antiphase boundary motion. Acta Metallurgica 27, 1979.

    Example:
        >>> import torch
        >>> Bistable(1, ceiling=2.0)(torch.full((1, 1, 1), 0.5)).item()
        0.75
    """

    equation = "s u(1 − u²)"
    keeps = frozenset({(-1.0, 1.0), (0.0, 1.0)})

    def __init__(self, channels: int | Coefficient, ceiling: float = 1.0) -> None:
        super().__init__()
        self.strength = channels if isinstance(channels, Coefficient) else PerChannel(channels, ceiling)
        self.growth = self.strength.ceiling
        # u + h·s·u(1 − u²) rises on [−1, 1] for h ≤ 1/(2s), and so stays within.
        self.ceiling = 2 * self.strength.ceiling

    def forward(self, u: Tensor) -> Tensor:
        return self.strength(u, Grid(dims=u.dim() - 2)) * (1 - u.square())

    def polynomial(self, u: Tensor) -> Tensor | None:
        return _times(self.strength, u, (1.0, 0.0, -1.0))

    def solution(self, u: Tensor, dt: Tensor) -> Tensor:
        wide = wider_than_half(u)
        squared, remaining = wide.square(), _remaining(2 * dt * self.strength(wide, Grid(dims=u.dim() - 2)))
        return (wide * torch.rsqrt(squared + (1 - squared) * remaining)).to(u.dtype)


def _times(strength: Coefficient, u: Tensor, weights: tuple[float, float, float]) -> Tensor | None:
    """The polynomial s·weights, where the strength s is one number a channel."""
    if strength.depends_on_state or strength.per_cell or strength.radius != 0:
        return None
    each = one_a_channel(strength(u, Grid(dims=u.dim() - 2)), u.shape[1])
    return None if each is None else torch.stack([each * weight for weight in weights], 1)


def _remaining(exponent: Tensor) -> Tensor:
    """e^(−exponent), above 0: where u = 0 it is the whole denominator, whose power −3/2 must be a number."""
    return torch.exp(-exponent).clamp(min=torch.finfo(exponent.dtype).tiny ** (2 / 3))
