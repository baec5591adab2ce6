"""Operator splitting: steps compose, and their limits meet."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from pdeconv.errors import PDEConvError
from pdeconv.grid import common_grid
from pdeconv.operator import Keeps, common
from pdeconv.steps.step import Step
from pdeconv.terms import Term


class Splitting(Step):
    """A composition of steps, each over a share of dt.

    Args:
        steps: The parts, at least two.
    """

    def __init__(self, *steps: Step) -> None:
        super().__init__()
        if len(steps) < 2 or not all(isinstance(step, Step) for step in steps):
            raise PDEConvError(
                f"{type(self).__name__} composes at least two steps, but got "
                f"({', '.join(type(step).__name__ for step in steps)}); give for example "
                f"{type(self).__name__}(CrankNicolson(…), Heun(…))."
            )
        self.steps = nn.ModuleList(steps)
        common_grid(module.grid for module in self.modules() if isinstance(module, Term))
        self.reversible = all(step.reversible for step in steps)

    @property
    def parts(self) -> tuple[Step, ...]:
        """The steps that are composed."""
        return tuple(step for step in self.steps if isinstance(step, Step))

    @property
    @abstractmethod
    def schedule(self) -> tuple[tuple[Step, float], ...]:
        """The parts in the order in which they act, each with its share of dt."""

    def forward(self, u: Tensor, dt: Tensor) -> Tensor:
        for step, share in self.schedule:
            u = step(u, dt if share == 1 else share * dt)
        return u

    @property
    def nonexpansive(self) -> bool:
        return all(step.nonexpansive for step in self.parts)

    def inverse(self, u: Tensor, dt: Tensor) -> Tensor:
        if not self.reversible:
            return super().inverse(u, dt)
        for step, share in reversed(self.schedule):
            u = step.inverse(u, dt if share == 1 else share * dt)
        return u

    def limit(self, u: Tensor) -> Tensor:
        limits = [step.limit(u) / share for step, share in self._largest_shares()]
        smallest = limits[0]
        for limit in limits[1:]:
            smallest = torch.minimum(smallest, limit)
        return smallest

    @property
    def guaranteed_limit(self) -> float:
        return min(step.guaranteed_limit / share for step, share in self._largest_shares()) if self.keeps else 0.0

    def courant(self, dt: float) -> float:
        return max(step.courant(share * dt) for step, share in self.schedule)

    @property
    def radius(self) -> float:
        return sum(step.radius for step, _ in self.schedule)

    @property
    def keeps(self) -> Keeps:
        first, *others = (step.keeps for step, _ in self.schedule)
        for keeps in others:
            first = common(first, keeps)
        return first

    @property
    def name(self) -> str:
        return f"{type(self).__name__}({', '.join(step.name for step, _ in self._largest_shares())})"

    def _largest_shares(self) -> list[tuple[Step, float]]:
        """Each part once, in the order of its first action."""
        shares: dict[Step, float] = {}
        for step, share in self.schedule:
            shares[step] = max(share, shares.get(step, 0.0))
        return list(shares.items())

    def extra_repr(self) -> str:
        return f"order={self.order}, limit={self.guaranteed_limit:.4g}"


class Lie(Splitting):
    """Lie splitting: each part over dt, one after the other. Order 1; the smallest limit of its parts.

    Args:
        steps: The parts, at least two.

    References:
        H. F. Trotter. On the product of semi-groups of operators. Proc. AMS 10, 1959.

    Example:
        >>> from pdeconv import Advection, Constant, ConvVelocity, Diffusion, Euler
        >>> Lie(Euler(Diffusion(Constant(1.0))), Euler(Advection(ConvVelocity(1)))).guaranteed_limit
        0.25
    """

    order = 1

    @property
    def schedule(self) -> tuple[tuple[Step, float], ...]:
        return tuple((step, 1.0) for step in self.parts)


class Strang(Splitting):
    """Strang splitting: the parts over dt/2, the last over dt, the others again in reverse. Order 2 if every part is.

    The limit of all parts but the last is twice as far.

    Args:
        steps: The parts, at least two.

    References:
        G. Strang. On the construction and comparison of difference schemes. SIAM J. Numer. Anal. 5, 1968.

    Example:
        >>> from pdeconv import Advection, Constant, ConvVelocity, CrankNicolson, Diffusion, Heun
        >>> step = Strang(CrankNicolson(Diffusion(Constant(1.0))), Heun(Advection(ConvVelocity(1))))
        >>> step.order, step.guaranteed_limit
        (2, 0.5)
    """

    def __init__(self, *steps: Step) -> None:
        super().__init__(*steps)
        self.order = min(2, *(step.order for step in steps))

    @property
    def schedule(self) -> tuple[tuple[Step, float], ...]:
        *outer, last = self.parts
        halves = tuple((step, 0.5) for step in outer)
        return (*halves, (last, 1.0), *reversed(halves))
