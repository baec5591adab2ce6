"""Time marching: a step, a duration and a control make a module that evolves a state."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor

from pdeconv.control import CFL, Control, Moment, clock
from pdeconv.errors import PDEConvError, checked_number, checked_type
from pdeconv.grid import check_state
from pdeconv.memory import Undo, march_in_segments, march_reversibly, recomputed
from pdeconv.steps import Step
from pdeconv.terms import Term
from pdeconv.terms.varying import OwnTime, TimeVarying, call_with, parameters_of, values_at, what_varies_in_time
from pdeconv.time_specific_norm import AtTime
from pdeconv.tracing import traced_leaf

Memory = Literal["store", "checkpoint", "reversible"]


@dataclass(frozen=True)
class Trajectory:
    """A state at successive times.

    Attributes:
        times: (T,), or (T, B) where each sample has its own.
        states: T states (B, C, *S).
        evaluations: How often the term was evaluated on the batch, with ``Adaptive``; None where it is not counted.

    Example:
        >>> from pdeconv import Constant, Diffusion, Euler
        >>> Evolve(Euler(Diffusion(Constant(1.0))), 0.5).trajectory(torch.rand(1, 1, 4, 4)).times
        tensor([0.0000, 0.1667, 0.3333, 0.5000])
    """

    times: Tensor
    states: tuple[Tensor, ...]
    evaluations: int | None = None


class Evolve(OwnTime):
    """Evolves a state by u_t = A(u)u from time 0 to ``duration``.

    Args:
        step: The scheme, for example ``Heun(Diffusion(…))``.
        duration: Time to evolve, positive.
        control: Chooses the steps; by default ``CFL()``.
        memory: ``"store"`` keeps what backward needs of every step; a native kernel needs the first state alone.
            ``"checkpoint"`` keeps 8 states, whatever the number of steps, and computes the others again: up to 8 steps
            once, up to 36 at most twice, up to 120 three and up to 330 four times; where dt depends on the state, it
            keeps each step's state, and computes once. ``"reversible"`` keeps the last state only and undoes the steps
            one by one, for a step with an ``inverse`` and the controls ``Fixed`` and ``CFL``: exact but for rounding.

    ``torch.compile`` of the whole unrolls the steps that no native kernel takes; to compile many steps once, compile
    the step alone, ``evolve.step.compile()``.

    Raises:
        StabilityError: If the control finds that a step could be unstable.
        PDEConvError: If an argument is out of range, the step cannot be undone or varies in time with a control that
            does not allow it, or the input does not fit the grid.

    Example:
        >>> from pdeconv import Diffusion, Euler, PeronaMalik
        >>> denoise = Evolve(Euler(Diffusion(PeronaMalik(channels=1))), duration=2.0, control=CFL(0.9))
        >>> denoise.steps
        9
        >>> len(denoise.trajectory(torch.rand(1, 1, 8, 8)).states)
        10
    """

    def __init__(self, step: Step, duration: float, control: Control | None = None, memory: Memory = "store") -> None:
        super().__init__()
        if not isinstance(step, Step):
            raise PDEConvError(f"Evolve needs a Step, but got {type(step).__name__}; wrap a term as Euler(term).")
        if memory not in get_args(Memory):
            raise PDEConvError(f"Evolve has no memory {memory!r}; choose one of {', '.join(get_args(Memory))}.")
        self.step, self.duration, self.memory = step, checked_number("Evolve", "duration", duration), memory
        control = CFL() if control is None else control
        checked_type("Evolve", control, Control, "give for example CFL() or Fixed(4)")
        self.set_control(control)

    def set_control(self, control: Control) -> None:
        """Choose the steps anew, for the equation as it is now."""
        varying = what_varies_in_time(self.step)
        self._varies, self._weights_vary = bool(varying), TimeVarying in varying
        if not control.static and (self._varies or self.memory == "reversible"):
            reason = " and a ".join(sorted(kind.__name__ for kind in varying))
            reason = f"A {reason}" if reason else 'memory="reversible"'
            raise PDEConvError(
                f"{reason} needs a dt that does not depend on the state, Fixed or CFL, but got {control}."
            )
        # In a tuple: its parameters are those of the step, to be listed once.
        self._undo: tuple[Undo, ...] = (Undo(self.step),) if self.memory == "reversible" else ()
        self.control, self.steps = control, control.count(self.step, self.duration)
        self._grids = tuple({m.grid for m in self.step.modules() if isinstance(m, Term) and m.grid is not None})

    def forward(self, u: Tensor) -> Tensor:
        """The state at the duration, (B, C, *S) → (B, C, *S)."""
        leaf = traced_leaf(self, u)
        if leaf is not None:
            return leaf
        self._check(u)
        if self.control.static:
            dt = self.control.next_dt(self.step, u, clock(u), self.duration, self.steps)
            if self.memory != "store" and torch.is_grad_enabled():
                if self.memory == "reversible":
                    return march_reversibly(self._undo[0], u, dt, self.steps)
                return march_in_segments(self._advance, u, dt, self.steps)
            marched = None if self._varies else self.step.march(u, dt, self.steps)
            if marched is not None:
                return marched
        for moment in self._march(u):
            u = moment.state
        return u

    def trajectory(self, u: Tensor) -> Trajectory:
        """The states at time 0 and after each step, with their times; autograd keeps them, whatever the ``memory``."""
        self._check(u)
        moments = [Moment(clock(u), u), *self._march(u)]
        last = moments[-1]
        times = torch.stack([moment.time.expand_as(last.time) for moment in moments])
        return Trajectory(times, tuple(moment.state for moment in moments), last.evaluations)

    def _march(self, u: Tensor) -> Iterator[Moment]:
        saves = self.memory == "checkpoint" and torch.is_grad_enabled()
        advance = partial(recomputed, self._advance) if saves else self._advance
        return self.control.march(self.step, advance, u, self.duration, self.steps)

    def _check(self, u: Tensor) -> None:
        check_state(u)
        for grid in self._grids:
            grid.check(u)

    def _advance(self, u: Tensor, dt: Tensor, index: int) -> Tensor:
        if not self._varies:
            return self.step(u, dt)
        fraction = (index + 0.5) / self.steps
        with AtTime(fraction):
            if not self._weights_vary:
                return self.step(u, dt)
            return call_with(self.step, values_at(self.step, parameters_of(self.step), fraction), u, dt)

    def extra_repr(self) -> str:
        text = f"{self.step.name}, duration={self.duration:g}, {self.control}"
        if not self.control.runs_until_done:
            dt = self.duration / self.steps
            courant = self.step.courant(dt)
            text += f", steps={self.steps}, dt={dt:.4g}"
            text += ", courant=unproven" if math.isinf(courant) else f", courant ≤ {courant:.3g}"
        boundaries = sorted({grid.boundary for grid in self._grids})
        return text + f", boundary={'/'.join(boundaries) or 'none'}, memory={self.memory}"
