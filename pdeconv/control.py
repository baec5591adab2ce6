"""Step control: how many steps, and how long each."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from pdeconv.errors import PDEConvError, StabilityError, checked_count, checked_number
from pdeconv.steps import Step

_ROUNDING = 1 + 1e-6  # a dt that equals the limit but for rounding is at the limit, not beyond it


Advance = Callable[[Tensor, Tensor, int], Tensor]


class Moment(NamedTuple):
    """A state on the way: its time, () or (B,), and how often the term was evaluated to get there, where counted."""

    time: Tensor
    state: Tensor
    evaluations: int | None = None


class Control(ABC):
    """Chooses the steps of :class:`pdeconv.Evolve`.

    Attributes:
        runs_until_done: Whether marching stops as soon as every sample has reached the duration, which waits for the
            device at each step; False where the number of steps is static.
        static: Whether every dt is duration / count, whatever the states: then time-varying terms and reversible
            memory are possible.
    """

    runs_until_done: bool = False
    static: bool = False

    @abstractmethod
    def count(self, step: Step, duration: float) -> int:
        """Number of steps, or the most that are taken. Raises ``StabilityError`` when a step could be unstable."""

    @abstractmethod
    def next_dt(self, step: Step, u: Tensor, elapsed: Tensor, duration: float, count: int) -> Tensor:
        """The next dt, () or (B,), at the state ``u`` and the time ``elapsed``."""

    def march(self, step: Step, advance: Advance, u: Tensor, duration: float, count: int) -> Iterator[Moment]:
        """The moments after each step.

        Args:
            step: The scheme, to ask for its limits.
            advance: (u, dt, number of the step) ↦ the state after dt.
            u: State (B, C, *S) at time 0.
            duration: Time to march over.
            count: Number of steps, or the most that are taken.
        """
        elapsed = clock(u)
        for index in range(count):
            dt = self.next_dt(step, u, elapsed, duration, count)
            u, elapsed = advance(u, dt, index), elapsed + dt
            yield Moment(elapsed, u)
            if self.runs_until_done and bool((elapsed >= duration * (1 - 1e-6)).all()):
                return
        if self.runs_until_done:
            raise unfinished(step, elapsed, duration, f"{count} steps")


@dataclass(frozen=True)
class Fixed(Control):
    """n equal steps, proven safe when the network is built.

    Args:
        n: Number of steps.
        unchecked: Take steps whose limit is unproven or exceeded: for ``Residual``, or to study instability.

    Raises:
        StabilityError: When ``Evolve`` is built, if the ceilings allow an unstable step.

    Example:
        >>> from pdeconv import Constant, Diffusion, Euler, Evolve
        >>> Evolve(Euler(Diffusion(Constant(1.0))), duration=1.0, control=Fixed(2))
        Traceback (most recent call last):
            ...
        pdeconv.errors.StabilityError: dt=0.5 exceeds the limit 0.25 of Euler(Diffusion) (rate ≤ 4); use Fixed(4) or \
more steps, CFL(), lower ceilings, or an implicit step such as BackwardEuler.
    """

    n: int
    unchecked: bool = False
    static = True

    def __post_init__(self) -> None:
        _check_count("Fixed", self.n)

    def count(self, step: Step, duration: float) -> int:
        if not self.unchecked:
            limit = _proven_limit(step, duration / self.n)
            if duration / self.n > limit * _ROUNDING:
                raise StabilityError(
                    f"dt={duration / self.n:.4g} exceeds the limit {limit:.4g} of {step.name}{_rate_of(step)}; use "
                    f"Fixed({steps_needed(duration, limit)}) or more steps, CFL(), lower ceilings, or an implicit "
                    "step such as BackwardEuler."
                )
        return self.n

    def next_dt(self, step: Step, u: Tensor, elapsed: Tensor, duration: float, count: int) -> Tensor:
        return elapsed.new_full((), duration / count)


@dataclass(frozen=True)
class CFL(Control):
    """As few equal steps as the ceilings allow, chosen when the network is built: dt ≤ safety · limit.

    Args:
        safety: Share of the limit to use, in (0, 1].

    Raises:
        StabilityError: When ``Evolve`` is built, if the step has no proven limit.

    References:
        R. Courant, K. Friedrichs, H. Lewy. Über die partiellen Differenzengleichungen der mathematischen Physik.
        Math. Annalen 100, 1928.

    Example:
        >>> from pdeconv import Constant, Diffusion, Euler, Evolve
        >>> Evolve(Euler(Diffusion(Constant(1.0))), duration=1.0, control=CFL(0.9)).steps
        5
    """

    safety: float = 0.9
    static = True

    def __post_init__(self) -> None:
        _check_safety("CFL", self.safety)

    def count(self, step: Step, duration: float) -> int:
        return steps_needed(duration, self.safety * _proven_limit(step, duration))

    def next_dt(self, step: Step, u: Tensor, elapsed: Tensor, duration: float, count: int) -> Tensor:
        return elapsed.new_full((), duration / count)


@dataclass(frozen=True)
class Clamp(Control):
    """n steps, each sample's dt cut to its measured limit: dt = min(duration / n, limit(u)).

    A sample whose dt is cut ends before the duration; :meth:`pdeconv.Evolve.trajectory` tells when. The limit covers
    one forward-Euler stage (see :meth:`pdeconv.Step.limit`).

    Args:
        n: Number of steps.

    Example:
        >>> import torch
        >>> from pdeconv import Constant, Diffusion, Euler, Evolve
        >>> Evolve(Euler(Diffusion(Constant(1.0))), 1.0, Clamp(2)).trajectory(torch.rand(1, 1, 4, 4)).times
        tensor([0.0000, 0.2500, 0.5000])
    """

    n: int

    def __post_init__(self) -> None:
        _check_count("Clamp", self.n)

    def count(self, step: Step, duration: float) -> int:
        _check_proven(step, duration / self.n)
        return self.n

    def next_dt(self, step: Step, u: Tensor, elapsed: Tensor, duration: float, count: int) -> Tensor:
        return step.limit(u).to(elapsed.dtype).clamp(max=duration / count)


@dataclass(frozen=True)
class Measured(Control):
    """Solver mode: steps from the rate measured at each state, each sample by itself, until the duration is reached.

    Waits for the device at every step; not for training under ``torch.compile``.

    Args:
        safety: Share of the measured limit to use, in (0, 1].
        max_steps: The most steps; a state that is not at the duration by then raises ``StabilityError``.

    Example:
        >>> import torch
        >>> from pdeconv import Diffusion, Euler, Evolve, PeronaMalik
        >>> solve = Evolve(Euler(Diffusion(PeronaMalik(1))), 1.0, Measured(0.9))
        >>> solve.trajectory(torch.rand(1, 1, 4, 4)).times[-1].item()
        1.0
    """

    safety: float = 0.9
    max_steps: int = 1000
    runs_until_done = True

    def __post_init__(self) -> None:
        _check_safety("Measured", self.safety)
        _check_count("Measured", self.max_steps)

    def count(self, step: Step, duration: float) -> int:
        return self.max_steps

    def next_dt(self, step: Step, u: Tensor, elapsed: Tensor, duration: float, count: int) -> Tensor:
        limit = step.limit(u).to(elapsed.dtype)
        if not bool((limit > 0).all()):
            raise StabilityError(
                f"{step.name} allows no step: its measured limit is {limit.min().item():g} at this state. Expected a "
                "finite state and a term that reports its rate; a Residual needs Fixed(n, unchecked=True)."
            )
        return torch.minimum(self.safety * limit, (duration - elapsed).clamp(min=0))


def clock(u: Tensor) -> Tensor:
    """Time 0, in float32 at least: half precision cannot add up small steps."""
    return torch.zeros((), dtype=torch.promote_types(u.dtype, torch.float32), device=u.device)


def unfinished(step: Step, elapsed: Tensor, duration: float, spent: str) -> StabilityError:
    """What to raise at the cap of steps."""
    return StabilityError(
        f"{step.name} reached time {elapsed.min().item():.4g} of {duration:.4g} in {spent}; allow more with "
        "max_steps, shorten the duration, or use an implicit step."
    )


def _check_count(name: str, n: int) -> None:
    checked_count(name, "steps", n)


def _check_safety(name: str, safety: float) -> None:
    if not checked_number(name, "safety", safety) <= 1:
        raise PDEConvError(f"{name} needs 0 < safety ≤ 1, but got {safety}.")


def _check_proven(step: Step, dt: float) -> None:
    if not step.keeps:
        raise StabilityError(
            f"dt={dt:.4g} has no proven limit with {step.name}, which keeps nothing; use Fixed(n, unchecked=True) to "
            "step it all the same, or terms that declare a ceiling and what they keep."
        )


def _proven_limit(step: Step, dt: float) -> float:
    _check_proven(step, dt)
    limit = step.guaranteed_limit
    if not limit > 0:
        raise StabilityError(
            f"dt={dt:.4g} exceeds the limit 0 of {step.name}: a ceiling is infinite; give every coefficient a finite "
            "one, or use Fixed(n, unchecked=True)."
        )
    return limit


def steps_needed(duration: float, limit: float) -> int:
    return max(1, math.ceil(duration / (limit * _ROUNDING)))


def _rate_of(step: Step) -> str:
    term = getattr(step, "term", None)
    return "" if term is None or math.isinf(term.ceiling) else f" (rate ≤ {term.ceiling:.4g})"
