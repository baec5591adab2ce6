"""Time marching: a step, a duration and a control make a module that evolves a state."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pdeconv.control import CFL, Control
from pdeconv.errors import PDEConvError, StabilityError, checked_number, checked_type
from pdeconv.grid import check_state
from pdeconv.steps import Step
from pdeconv.terms import Term

Memory = Literal["store", "checkpoint"]


@dataclass(frozen=True)
class Trajectory:
    """A state at successive times.

    Attributes:
        times: (T,), or (T, B) where each sample has its own.
        states: T states (B, C, *S).
    """

    times: Tensor
    states: tuple[Tensor, ...]


class Evolve(nn.Module):
    """Evolves a state by u_t = A(u)u from time 0 to ``duration``.

    Args:
        step: The scheme, for example ``Heun(Diffusion(…))``.
        duration: Time to evolve, positive.
        control: Chooses the steps; by default ``CFL()``.
        memory: ``"store"`` keeps what backward needs of every step; ``"checkpoint"`` keeps each step's state only and
            computes the rest again.

    Raises:
        StabilityError: If the control finds that a step could be unstable.
        PDEConvError: If an argument is out of range, or the input does not fit the grid.

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
        self.control = CFL() if control is None else control
        checked_type("Evolve", self.control, Control, "give for example CFL() or Fixed(4)")
        self.steps = self.control.count(step, self.duration)
        self._grids = tuple({m.grid for m in step.modules() if isinstance(m, Term) and m.grid is not None})

    def forward(self, u: Tensor) -> Tensor:
        """The state at the duration, (B, C, *S) → (B, C, *S)."""
        for _, state in self._march(u):
            u = state
        return u

    def trajectory(self, u: Tensor) -> Trajectory:
        """The states at time 0 and after each step, with their times."""
        times, states = [_clock(u)], [u]
        for elapsed, state in self._march(u):
            times.append(elapsed)
            states.append(state)
        return Trajectory(torch.stack([time.expand_as(times[-1]) for time in times]), tuple(states))

    def _march(self, u: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        check_state(u)
        for grid in self._grids:
            grid.check(u)
        elapsed = _clock(u)
        for _ in range(self.steps):
            dt = self.control.next_dt(self.step, u, elapsed, self.duration, self.steps)
            u = self._advance(u, dt)
            elapsed = elapsed + dt
            yield elapsed, u
            if self.control.runs_until_done and bool((elapsed >= self.duration * (1 - 1e-6)).all()):
                return
        if self.control.runs_until_done:
            raise StabilityError(
                f"{self.step.name} reached time {elapsed.min().item():.4g} of {self.duration:.4g} in {self.steps} "
                "steps; allow more with max_steps, shorten the duration, or use an implicit step."
            )

    def _advance(self, u: Tensor, dt: Tensor) -> Tensor:
        if self.memory == "checkpoint" and torch.is_grad_enabled():
            advanced = checkpoint(self.step, u, dt, use_reentrant=False)
            return advanced  # pyright: ignore[reportReturnType]
        return self.step(u, dt)

    def extra_repr(self) -> str:
        text = f"{self.step.name}, duration={self.duration:g}, {self.control}"
        if not self.control.runs_until_done:
            dt = self.duration / self.steps
            courant = self.step.courant(dt)
            text += f", steps={self.steps}, dt={dt:.4g}"
            text += ", courant=unproven" if math.isinf(courant) else f", courant ≤ {courant:.3g}"
        boundaries = sorted({grid.boundary for grid in self._grids})
        return text + f", boundary={'/'.join(boundaries) or 'none'}, memory={self.memory}"


def _clock(u: Tensor) -> Tensor:
    """Time 0, in float32 at least: half precision cannot add up small steps."""
    return torch.zeros((), dtype=torch.promote_types(u.dtype, torch.float32), device=u.device)
