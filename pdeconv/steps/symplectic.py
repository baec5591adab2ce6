"""Reversible steps of a state (u, v) in two halves of its channels: nothing is lost, and so nothing need be stored."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import cast

import torch
from torch import Tensor

from pdeconv.errors import PDEConvError, checked_number
from pdeconv.operator import DISCRETE_ENERGY, NOTHING, Keeps, per_sample
from pdeconv.pair import pair
from pdeconv.steps.step import SingleTermStep
from pdeconv.terms import Term
from pdeconv.terms.wave import HalfTerm

Schedule = tuple[tuple[Term, float], ...]


class SymplecticStep(SingleTermStep):
    """A composition of shears, each half of a separable term over a share of dt.

    A shear (u, v) ↦ (u + dt·f(v), v) has the inverse (u, v) ↦ (u − dt·f(v), v), whatever f.

    Stable for dt ≤ 2 / ``term.frequency`` where ``term.oscillates``: with ab = ω² each mode u_t = av, v_t = −bu keeps a
    quadratic energy of the scheme, which is convex for dt·ω ≤ 2. At dt·ω = 2 itself a zigzag may grow linearly within
    its sets.

    Args:
        term: A term with ``halves``.
    """

    order, strength, reversible = 2, 2.0, True

    def __init__(self, term: Term) -> None:
        super().__init__(term)
        if term.halves is None:
            raise PDEConvError(
                f"{type(self).__name__} steps a term with two halves, u_t = f(v), v_t = g(u), but "
                f"{type(term).__name__} has none; define its halves, or use an explicit step such as Heun."
            )

    @property
    @abstractmethod
    def schedule(self) -> Schedule:
        """The halves in the order in which they act, each with its share of dt."""

    @property
    def _halves(self) -> tuple[Term, Term]:
        return cast(tuple[Term, Term], self.term.halves)  # checked when built

    def forward(self, u: Tensor, dt: Tensor) -> Tensor:
        return sheared(u, self.schedule, dt)

    def inverse(self, u: Tensor, dt: Tensor) -> Tensor:
        return sheared(u, self.schedule[::-1], -dt)

    @property
    def radius(self) -> float:
        return sum(half.radius for half, _ in self.schedule)

    def limit(self, u: Tensor) -> Tensor:
        """From the term's ``frequency``: nothing is measured."""
        clock = torch.promote_types(u.dtype, torch.float32)
        return torch.full((), self.guaranteed_limit, dtype=clock, device=u.device)

    @property
    def guaranteed_limit(self) -> float:
        if not self.keeps:
            return 0.0
        return self.strength / self.term.frequency if self.term.frequency > 0 else math.inf

    def courant(self, dt: float) -> float:
        """dt·frequency: stable up to 2."""
        return dt * self.term.frequency

    @property
    def keeps(self) -> Keeps:
        """The energy of the scheme, at a constant dt."""
        proven = self.term.oscillates and math.isfinite(self.term.frequency)
        return frozenset({DISCRETE_ENERGY}) if proven else NOTHING


def sheared(u: Tensor, schedule: Schedule, dt: Tensor) -> Tensor:
    """u + share·dt·A u for each half A of the schedule in turn."""
    fields = list(pair(u))  # raises unless there are two
    for half, share in schedule:
        step = per_sample(share * dt, u)
        if isinstance(half, HalfTerm):  # only the field that moves is written
            moves = 0 if half.first else 1
            fields[moves] = fields[moves] + step * half.drive(fields[1 - moves])
        else:
            u = torch.cat(fields, 1)
            fields = list(pair(u + step * half(u)(u)))
    return torch.cat(fields, 1)


class SymplecticEuler(SymplecticStep):
    """Symplectic Euler: u over dt, then v over dt by the new u. Order 1; each step sees either half once.

    u⁺ = u + dt·f(v), v⁺ = v + dt·g(u⁺). Symplectic and exactly reversible; Ruthotto and Haber call it Verlet's method.

    Stable for dt ≤ 2/frequency where the term ``oscillates``; else nothing is proven.

    Args:
        term: A term with ``halves``, on states (B, 2C, *S).

    Raises:
        PDEConvError: If the term has no halves, or the state an odd number of channels.

    References:
        E. Hairer, C. Lubich, G. Wanner. Geometric numerical integration illustrated by the Störmer–Verlet method.
        Acta Numerica 12, 2003.
        L. Ruthotto, E. Haber. Deep neural networks motivated by partial differential equations. JMIV 62, 2020.

    Example:
        >>> from pdeconv import Constant, Wave
        >>> step, dt = SymplecticEuler(Wave(Constant(1.0))), torch.tensor(0.5)
        >>> u = torch.rand(1, 2, 8, 8)
        >>> torch.allclose(step.inverse(step(u, dt), dt), u, atol=1e-6)
        True
    """

    order = 1

    @property
    def schedule(self) -> Schedule:
        drift, kick = self._halves
        return ((drift, 1.0), (kick, 1.0))


class Leapfrog(SymplecticStep):
    """Leapfrog, drift–kick–drift: u over dt/2, v over dt, u over dt/2. Order 2; each step sees v_t = g(u) once.

    u½ = u + dt/2·f(v), v⁺ = v + dt·g(u½), u⁺ = u½ + dt/2·f(v⁺). Symplectic and exactly reversible. The step to take for
    a wave, whose v_t = c²Δu costs more than its u_t = v.

    Stable for dt ≤ 2/frequency where the term ``oscillates``, as a linear wave does; else nothing is proven.

    Args:
        term: A term with ``halves``, on states (B, 2C, *S).

    Raises:
        PDEConvError: If the term has no halves, or the state an odd number of channels.

    References:
        L. Verlet. Computer "experiments" on classical fluids. Physical Review 159, 1967.
        B. Chang et al. Reversible architectures for arbitrarily deep residual neural networks. AAAI 2018.

    Example:
        >>> from pdeconv import Term, operator
        >>> class Half(Term):  # u_t = v, or v_t = −u
        ...     def __init__(self, first):
        ...         super().__init__()
        ...         self.first = first
        ...     def forward(self, state):
        ...         apply = lambda s: s.flip(1) * torch.tensor([[1.0], [0.0]] if self.first else [[0.0], [-1.0]])
        ...         return operator(apply, rate=float("inf"))
        >>> class Oscillator(Term):
        ...     frequency, oscillates = 1.0, True
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.drift, self.kick = Half(True), Half(False)
        ...     halves = property(lambda self: (self.drift, self.kick))
        ...     def forward(self, state):
        ...         return self.drift(state) + self.kick(state)
        >>> step, dt = Leapfrog(Oscillator()), torch.tensor(0.5)
        >>> step.guaranteed_limit
        2.0
        >>> start = torch.tensor([[[1.0], [0.0]]])
        >>> torch.allclose(step.inverse(step(start, dt), dt), start)
        True
    """

    @property
    def schedule(self) -> Schedule:
        drift, kick = self._halves
        return ((drift, 0.5), (kick, 1.0), (drift, 0.5))


class VelocityVerlet(SymplecticStep):
    """Velocity Verlet, kick–drift–kick: v over dt/2, u over dt, v over dt/2. Order 2; each step sees v_t = g(u) twice.

    v½ = v + dt/2·g(u), u⁺ = u + dt·f(v½), v⁺ = v½ + dt/2·g(u⁺). Symplectic and exactly reversible; as :class:`Leapfrog`
    with the halves in each other's place. The step to take where u_t = f(v) is what costs.

    Stable for dt ≤ 2/frequency where the term ``oscillates``; else nothing is proven.

    Args:
        term: A term with ``halves``, on states (B, 2C, *S).

    Raises:
        PDEConvError: If the term has no halves, or the state an odd number of channels.

    References:
        W. C. Swope, H. C. Andersen, P. H. Berens, K. R. Wilson. A computer simulation method for the calculation of
        equilibrium constants for the formation of physical clusters of molecules. J. Chem. Phys. 76, 1982.
        E. Hairer, C. Lubich, G. Wanner. Geometric numerical integration illustrated by the Störmer–Verlet method.
        Acta Numerica 12, 2003.

    Example:
        >>> from pdeconv import Constant, Diffusion
        >>> VelocityVerlet(Diffusion(Constant(1.0)))
        Traceback (most recent call last):
            ...
        pdeconv.errors.PDEConvError: VelocityVerlet steps a term with two halves, u_t = f(v), v_t = g(u), but \
Diffusion has none; define its halves, or use an explicit step such as Heun.
    """

    @property
    def schedule(self) -> Schedule:
        drift, kick = self._halves
        return ((kick, 0.5), (drift, 1.0), (kick, 0.5))


class Momentum(SingleTermStep):
    """A momentum residual step, v⁺ = γv + (1 − γ)·A(u)u, u⁺ = u + dt·v⁺, on states (u, v) of 2C channels. Order 1.

    The term sees u alone. As dt → 0 it solves u_t = A(u)u, and v follows A(u)u with a lag of about dt/(1 − γ). Exactly
    reversible whatever the term, a ``Residual`` too; but undoing a step divides v by γ, so that rounding grows as γ⁻ⁿ
    over n steps back: choose γ ≥ 1 − 5/n to lose two digits at most.

    Rate: No limit is proven: v carries u beyond its range.

    Args:
        term: The right-hand side, on states of C channels.
        retention: γ in (0, 1), the share of the velocity that a step retains.

    Raises:
        PDEConvError: If γ is out of range, or the state has an odd number of channels.

    References:
        M. E. Sander, P. Ablin, M. Blondel, G. Peyré. Momentum residual neural networks. ICML 2021.

    Example:
        >>> from pdeconv import Evolve, Fixed, Residual
        >>> step = Momentum(Residual(torch.nn.Conv2d(3, 3, 3, padding=1)), retention=0.9)
        >>> deep = Evolve(step, duration=4.0, control=Fixed(16, unchecked=True), memory="reversible")
        >>> u = torch.rand(1, 3, 8, 8)
        >>> deep(torch.cat((u, torch.zeros_like(u)), 1)).shape
        torch.Size([1, 6, 8, 8])
    """

    order, strength, reversible = 1, 0.0, True

    def __init__(self, term: Term, retention: float = 0.9) -> None:
        super().__init__(term)
        self.retention = checked_number("Momentum", "retention", retention)
        if not self.retention < 1:
            raise PDEConvError(f"Momentum needs 0 < retention < 1, but got {retention}.")

    def forward(self, u: Tensor, dt: Tensor) -> Tensor:
        u, v = pair(u)
        v = self.retention * v + (1 - self.retention) * self.term(u)(u)
        return torch.cat((u + per_sample(dt, u) * v, v), 1)

    def inverse(self, u: Tensor, dt: Tensor) -> Tensor:
        u, v = pair(u)
        u = u - per_sample(dt, u) * v
        return torch.cat((u, (v - (1 - self.retention) * self.term(u)(u)) / self.retention), 1)

    @property
    def radius(self) -> float:
        return self.term.radius

    def limit(self, u: Tensor) -> Tensor:
        return u.new_zeros(())

    @property
    def keeps(self) -> Keeps:
        return NOTHING

    def extra_repr(self) -> str:
        return f"retention={self.retention:g}, {super().extra_repr()}"
