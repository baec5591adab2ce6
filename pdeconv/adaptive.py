"""Adaptive step control: each sample takes the steps that its own error allows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from pdeconv.control import Advance, Control, Moment, clock, unfinished
from pdeconv.errors import PDEConvError, StabilityError, checked_count, checked_number
from pdeconv.operator import per_sample
from pdeconv.steps import EmbeddedPair, Step


@dataclass(frozen=True)
class Adaptive(Control):
    """Steps as long as the error estimate of an embedded pair allows, each sample by itself: a Neural ODE of any term.

    A step is accepted where the root mean square of error / (atol + rtol·max(|u|, |u⁺|)) over a sample is at most 1;
    a rejected sample waits at its state while the others go on. No limit need be proven: a step that is too long for
    stability has a large error. Samples never share a step size, and one that is done takes dt = 0.

    Gradients flow through the accepted steps, computed once more for that, with dt held constant. Waits for the device
    at every step; not for ``torch.compile``.

    Args:
        rtol: Tolerance of the error of one step, relative to the state.
        atol: Tolerance of the error of one step, in units of u.
        max_steps: The most attempts, rejected ones too; a state that is not at the duration by then raises
            ``StabilityError``.

    Raises:
        PDEConvError: When ``Evolve`` is built, if the step is no embedded pair.
        StabilityError: At the cap, at a state that is not finite, and where no step is short enough for the tolerance.

    References:
        E. Hairer, S. P. Nørsett, G. Wanner. Solving Ordinary Differential Equations I, II.4. Springer, 1993.
        R. T. Q. Chen, Y. Rubanova, J. Bettencourt, D. Duvenaud. Neural ordinary differential equations. NeurIPS 2018.
        M. Lienen, S. Günnemann. torchode: a parallel ODE solver for PyTorch. arXiv:2210.12375, 2022.

    Example:
        >>> from pdeconv import Constant, Decay, DormandPrince, Evolve, Reaction
        >>> solve = Evolve(DormandPrince(Reaction(Decay(Constant(1.0)))), 1.0, Adaptive(rtol=1e-5))
        >>> way = solve.trajectory(torch.ones(1, 1, 4))
        >>> round(way.states[-1].mean().item(), 4), way.evaluations  # 1/e
        (0.3679, 26)
    """

    rtol: float = 1e-3
    atol: float = 1e-6
    max_steps: int = 1000
    runs_until_done = True

    def __post_init__(self) -> None:
        checked_number("Adaptive", "rtol", self.rtol)
        checked_number("Adaptive", "atol", self.atol)
        checked_count("Adaptive", "max_steps", self.max_steps)

    def count(self, step: Step, duration: float) -> int:
        if not isinstance(step, EmbeddedPair):
            raise PDEConvError(
                f"Adaptive needs a step that estimates its error, BogackiShampine or DormandPrince, but got "
                f"{step.name}; use Measured, CFL or Fixed."
            )
        return self.max_steps

    def next_dt(self, step: Step, u: Tensor, elapsed: Tensor, duration: float, count: int) -> Tensor:
        """The dt to try first, (B,)."""
        pair = cast(EmbeddedPair, step)
        return torch.minimum(self._first_dt(pair, u, pair.term(u)(u), duration), duration - elapsed)

    def march(self, step: Step, advance: Advance, u: Tensor, duration: float, count: int) -> Iterator[Moment]:
        pair = cast(EmbeddedPair, step)
        trains = torch.is_grad_enabled() and (u.requires_grad or any(p.requires_grad for p in step.parameters()))
        elapsed = clock(u).expand(u.shape[0])
        with torch.no_grad():
            slope = pair.term(u)(u)
            self._check_finite(pair, u, slope)
            dt, evaluations = self._first_dt(pair, u, slope, duration), 2
        for index in range(count):
            with torch.no_grad():
                remaining = duration - elapsed
                last = dt >= remaining
                tried = torch.where(last, remaining, dt)
                after, error, slope_after = pair.attempt(u, tried, slope)
                size = self._size(error, torch.maximum(u.abs(), after.abs())).nan_to_num(torch.inf, torch.inf)
                accepted = size <= 1
                self._check_progress(pair, tried, accepted, elapsed, duration)
                dt = tried * (0.9 * size ** (-1 / pair.order)).clamp(0.2, 10.0)
                slope = torch.where(per_sample(accepted, u).bool(), slope_after, slope)
                elapsed = torch.where(accepted, torch.where(last, duration, elapsed + tried), elapsed)
            evaluations += pair.stages
            if trains:  # rejected samples stand still, and what an attempt overflowed to gets no gradient
                u = advance(u, torch.where(accepted, tried, 0.0), index)
                evaluations += pair.stages
            else:
                u = torch.where(per_sample(accepted, u).bool(), after, u)
            if bool(accepted.any()):
                yield Moment(elapsed, u, evaluations)
            if bool((elapsed >= duration).all()):
                return
        raise unfinished(step, elapsed, duration, f"{count} attempted steps")

    def _size(self, error: Tensor, scale: Tensor) -> Tensor:
        """Root mean square of error / (atol + rtol·scale) over each sample, (B,)."""
        wide = torch.promote_types(error.dtype, torch.float32)
        return (error.to(wide) / (self.atol + self.rtol * scale.to(wide))).square().flatten(1).mean(1).sqrt()

    def _first_dt(self, pair: EmbeddedPair, u: Tensor, slope: Tensor, duration: float) -> Tensor:
        """Hairer, Nørsett and Wanner's guess: 1 % of the state's own time, cut where the slope changes faster."""
        scale = u.abs()
        state_size, slope_size = self._size(u, scale), self._size(slope, scale)
        known = (state_size > 1e-5) & (slope_size > 1e-5)
        probe = torch.where(known, 0.01 * state_size / torch.where(known, slope_size, 1.0), 1e-6 * duration)
        ahead = u + per_sample(probe, u) * slope
        change = self._size(pair.term(ahead)(ahead) - slope, scale) / probe
        fastest = torch.maximum(slope_size, change)
        by_change = (0.01 / fastest.clamp(min=1e-15)) ** (1 / pair.order)
        return torch.minimum(100 * probe, by_change).nan_to_num(0.01 * duration)

    def _check_finite(self, pair: EmbeddedPair, u: Tensor, slope: Tensor) -> None:
        if not bool((u.isfinite() & slope.isfinite()).all()):
            raise StabilityError(
                f"{pair.name} cannot start: the state, or the term there, is not finite. Expected finite values; check "
                "the input and the weights."
            )

    def _check_progress(
        self, pair: EmbeddedPair, tried: Tensor, accepted: Tensor, elapsed: Tensor, duration: float
    ) -> None:
        shortest = 10 * torch.finfo(tried.dtype).eps * duration
        stuck = ~accepted & (tried < shortest)
        if bool(stuck.any()):
            raise StabilityError(
                f"{pair.name} finds no dt ≥ {shortest:.2g} that meets rtol={self.rtol:g}, atol={self.atol:g} at time "
                f"{elapsed[stuck].min().item():.4g} of {duration:.4g}: the state blows up, becomes NaN, or rounding "
                f"exceeds the tolerance; loosen rtol and atol, use float64, or bound the term."
            )
