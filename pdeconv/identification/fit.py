"""Fitting an equation to snapshots by differentiating through its time steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from pdeconv.errors import PDEConvError, checked_count, checked_type
from pdeconv.steps import Step


@dataclass(frozen=True)
class Fit:
    """What :func:`fit_snapshots` left.

    Attributes:
        states: (T, C, *S), the states of the fitted equation at the times.
        residual: Root mean square of states − snapshots: the noise, if the equation is right.
        jumps: Root mean square of what the states jump by where one segment ends and the next begins.
    """

    states: Tensor
    residual: float
    jumps: float


def fit_snapshots(
    step: Step,
    snapshots: Tensor,
    times: Tensor,
    dt: float,
    segments: int = 1,
    iterations: int = 50,
    smoothness: Callable[[], Tensor] | None = None,
) -> Fit:
    """Fit the parameters of a step's equation, in place, to snapshots of its solution, by multiple shooting.

    Minimises Σₖ ‖uₖ − ûₖ‖² over the parameters and over the state at the beginning of each segment, from where the
    equation is marched to the snapshots of the segment, by L-BFGS with gradients through all time steps. The states at
    the beginnings are unknown too, as those measured are noisy. One segment is the most exact; the more, the shorter:
    of a long or chaotic trajectory the end tells nothing of the beginning, so that gradients explode. Each segment
    should end where the next begins, which is asked for with the weight of a snapshot.

    Args:
        step: For example ``Heun(Diffusion(CoefficientField((8, 8))))``, of the dtype of the snapshots.
        snapshots: (T, C, *S).
        times: (T,), rising.
        dt: Longest time step; it has to be stable, which is checked where the step has a limit.
        segments: Number of segments.
        iterations: Of L-BFGS.
        smoothness: A penalty on the parameters that is added to the mean square, such as the roughness of a field.

    Raises:
        PDEConvError: If the step has no parameters, shapes do not fit, dt exceeds the limit, or the solution does not
            stay finite.

    References:
        H. G. Bock, K. J. Plitt. A multiple shooting algorithm for direct solution of optimal control problems. IFAC
        World Congress 1984.

    Example:
        >>> from pdeconv import Diffusion, Euler, PerChannel
        >>> _ = torch.manual_seed(0)
        >>> times, u = torch.linspace(0, 1, 11), torch.rand(1, 1, 16, 16)
        >>> true = Euler(Diffusion(PerChannel(1, initial=0.2)))
        >>> with torch.no_grad():
        ...     snapshots = [u := u if time == 0 else true(u, torch.tensor(0.1)) for time in times]
        >>> step = Euler(Diffusion(PerChannel(1, initial=0.5)))
        >>> fit = fit_snapshots(step, torch.cat(snapshots), times, dt=0.1)
        >>> round(step.term.diffusivity(u, step.term.grid).item(), 2)
        0.2
    """
    checked_type("fit_snapshots", step, Step, "give for example Heun(term)")
    parameters = [parameter for parameter in step.parameters() if parameter.requires_grad]
    if not parameters:
        raise PDEConvError("fit_snapshots needs a step with parameters to fit, but all of its coefficients are given.")
    if snapshots.dim() < 3 or times.shape != snapshots.shape[:1] or len(times) < 2 or not (times.diff() > 0).all():
        raise PDEConvError(
            f"fit_snapshots needs snapshots (T, C, *S) at T rising times, but got {tuple(snapshots.shape)} and "
            f"{tuple(times.shape)}."
        )
    if not dt > 0 or (step.keeps and dt > step.guaranteed_limit * (1 + 1e-6)):
        raise PDEConvError(f"fit_snapshots needs 0 < dt ≤ {step.guaranteed_limit:.4g}, the limit, but got {dt:g}.")
    segments = min(checked_count("fit_snapshots", "segments", segments), len(times) - 1)
    bounds = [round(part * (len(times) - 1) / segments) for part in range(segments + 1)]
    starts = nn.Parameter(snapshots[bounds[:-1]].detach().clone())
    optimizer = torch.optim.LBFGS(
        [*parameters, starts],
        max_iter=checked_count("fit_snapshots", "iterations", iterations),
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def march() -> tuple[Tensor, Tensor]:
        """States at the times, and what jumps between segments."""
        states, ends = [], []
        for part, (first, last) in enumerate(pairwise(bounds)):
            u = starts[part : part + 1]
            states.append(u)
            for place in range(first, last):
                interval = float(times[place + 1] - times[place])
                count = max(1, math.ceil(interval / dt - 1e-6))
                for _ in range(count):
                    u = step(u, u.new_tensor(interval / count))
                states.append(u)
            ends.append(states.pop() if part + 1 < segments else u)
        jumps = torch.cat([starts[:0], *ends[:-1]]) - starts[1:]
        return torch.cat(states), jumps

    def closure() -> Tensor:
        optimizer.zero_grad()
        states, jumps = march()
        loss = ((states - snapshots).square().sum() + jumps.square().sum()) / snapshots.numel()
        if smoothness is not None:
            loss = loss + smoothness()
        loss.backward()
        return loss

    optimizer.step(closure)  # pyright: ignore[reportArgumentType]
    with torch.no_grad():
        states, jumps = march()
    if not states.isfinite().all():
        raise PDEConvError("The fitted equation does not stay finite; take a smaller dt, or more segments.")
    residual = float((states - snapshots).square().mean().sqrt())
    return Fit(states, residual, float(jumps.square().mean().sqrt()) if segments > 1 else 0.0)
