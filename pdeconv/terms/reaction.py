"""Reactions: what happens at a cell by itself, u_t = a(u) u."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from pdeconv.coefficient import Coefficient, PerChannel
from pdeconv.errors import checked_type
from pdeconv.grid import Grid
from pdeconv.operator import ENERGY, RANGE_WITH_ZERO, Keeps, Operator, per_sample
from pdeconv.terms.term import Term


class Law(nn.Module, ABC):
    """A pointwise law of reaction, given by its specific rate a(u) in u_t = a(u) u.

    Attributes:
        ceiling: Upper bound of the rate, 1/time. For implicit and exact steps of a law with growth it also bounds
            M·a(u) / (M − u), M the end of the interval.
        growth: Upper bound of a(u) on the sets that are kept; positive where the law amplifies.
        keeps: What the law keeps.
    """

    ceiling: float
    growth: float = 0.0
    keeps: Keeps

    @abstractmethod
    def forward(self, u: Tensor) -> Tensor:
        """a(u), broadcastable to ``u``."""


class Decay(Law):
    """a = −s: every value decays to 0 at the learned rate s_c = ceiling · sigmoid(w_c) of its channel.

    Args:
        channels: Number of channels C, or a coefficient for s.
        ceiling: Upper bound of s, 1/time.

    Keeps: The energy, and the range joined with 0.

    Example:
        >>> Decay(2, ceiling=1.0)(torch.ones(1, 2, 4, 4)).flatten().tolist()
        [-0.5, -0.5]
    """

    keeps = frozenset({ENERGY, RANGE_WITH_ZERO})

    def __init__(self, channels: int | Coefficient, ceiling: float = 1.0) -> None:
        super().__init__()
        self.strength = channels if isinstance(channels, Coefficient) else PerChannel(channels, ceiling)
        self.ceiling = self.strength.ceiling

    def forward(self, u: Tensor) -> Tensor:
        return -self.strength(u, Grid(dims=u.dim() - 2))


class Logistic(Law):
    """a(u) = s (1 − u): logistic growth from 0 to the capacity 1, s_c = ceiling · sigmoid(w_c).

    Outside [0, 1] nothing is promised: keep the state there, for instance by a sigmoid or softmax before.

    Args:
        channels: Number of channels C, or a coefficient for s.
        ceiling: Upper bound of s, 1/time.

    Keeps: The interval [0, 1].

    References:
        R. A. Fisher. The wave of advance of advantageous genes. Annals of Eugenics 7, 1937.

    Example:
        >>> Logistic(1, ceiling=2.0)(torch.full((1, 1, 1), 0.25)).item()
        0.75
    """

    keeps = frozenset({(0.0, 1.0)})

    def __init__(self, channels: int | Coefficient, ceiling: float = 1.0) -> None:
        super().__init__()
        self.strength = channels if isinstance(channels, Coefficient) else PerChannel(channels, ceiling)
        self.ceiling = self.growth = self.strength.ceiling

    def forward(self, u: Tensor) -> Tensor:
        return self.strength(u, Grid(dims=u.dim() - 2)) * (1 - u)


class Bistable(Law):
    """a(u) = s (1 − u²): Allen and Cahn's reaction, from 0 towards −1 or 1, s_c = ceiling · sigmoid(w_c).

    Args:
        channels: Number of channels C, or a coefficient for s.
        ceiling: Upper bound of s, 1/time.

    Keeps: The intervals [−1, 1] and [0, 1].

    References:
        S. M. Allen, J. W. Cahn. A microscopic theory for antiphase boundary motion. Acta Metallurgica 27, 1979.

    Example:
        >>> Bistable(1, ceiling=2.0)(torch.full((1, 1, 1), 0.5)).item()
        0.75
    """

    keeps = frozenset({(-1.0, 1.0), (0.0, 1.0)})

    def __init__(self, channels: int | Coefficient, ceiling: float = 1.0) -> None:
        super().__init__()
        self.strength = channels if isinstance(channels, Coefficient) else PerChannel(channels, ceiling)
        self.growth = self.strength.ceiling
        # u + h·s·u(1 − u²) rises on [−1, 1] for h ≤ 1/(2s), and so stays within.
        self.ceiling = 2 * self.strength.ceiling

    def forward(self, u: Tensor) -> Tensor:
        return self.strength(u, Grid(dims=u.dim() - 2)) * (1 - u.square())


class Reaction(Term):
    """A reaction at each cell by itself, u_t = a(u) u.

    Args:
        law: The specific rate a(u): :class:`Decay`, :class:`Logistic`, :class:`Bistable`, or a user's own.

    Rate: The law's declared ceiling.
    Solve: b / (1 − dt·a), for dt·growth < 1.
    Flow: v · exp(dt·a).
    Keeps: What the law keeps.

    Example:
        >>> from pdeconv import CFL, Evolve, SSPRK3
        >>> grow = Evolve(SSPRK3(Reaction(Logistic(3))), duration=4.0, control=CFL(0.9))
        >>> bool((grow(torch.full((1, 3, 4, 4), 0.1)) > 0.1).all())
        True
    """

    symmetric = True

    def __init__(self, law: Law) -> None:
        super().__init__()
        checked_type("Reaction", law, Law, "give for example Decay(channels)")
        self.law = law
        self.ceiling, self.growth, self.keeps = law.ceiling, law.growth, law.keeps

    def refine(self, factor: float) -> None:
        """Nothing to do: a cell reacts by itself."""

    def forward(self, u: Tensor) -> Operator:
        return Pointwise(self.law(u), u.new_full((), self.ceiling), self.keeps, self.growth)


class Pointwise(Operator):
    """v ↦ a·v, for a specific rate a at each cell."""

    def __init__(self, specific_rate: Tensor, rate: Tensor, keeps: Keeps, growth: float) -> None:
        self.specific_rate, self.rate, self.keeps, self.growth = specific_rate, rate, keeps, growth

    def __call__(self, v: Tensor) -> Tensor:
        return self.specific_rate * v

    def spectral(self, v: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        return v * function(self.specific_rate)

    def solve(self, b: Tensor, dt: Tensor) -> Tensor:
        return b / (1 - per_sample(dt, b) * self.specific_rate)

    def flow(self, v: Tensor, dt: Tensor) -> Tensor:
        return v * torch.exp(per_sample(dt, v) * self.specific_rate)
