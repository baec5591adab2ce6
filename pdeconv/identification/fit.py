"""Fitting an equation to snapshots by differentiating through its time steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from pdeconv.errors import PDEConvError, checked_count, checked_number, checked_type
from pdeconv.grid import check_state
from pdeconv.steps import Step
from pdeconv.terms import Term, TimeVarying


@dataclass(frozen=True)
class Fit:
    """What :func:`fit_snapshots` left.

    Attributes:
        states: (T, C, *S), the states of the fitted equation at the times.
        residual: Root mean square of states − snapshots, for its degrees of freedom: the noise, if the equation is
            right.
        jumps: Root mean square of what the states jump by where one segment ends and the next begins.
        evaluations: Of the objective and its gradient.
    """

    states: Tensor
    residual: float
    jumps: float
    evaluations: int


def fit_snapshots(
    step: Step,
    snapshots: Tensor,
    times: Tensor,
    dt: float,
    segments: int = 1,
    iterations: int = 50,
    penalty: Callable[[], Tensor] | None = None,
) -> Fit:
    """Fit the parameters of a step's equation, in place, to snapshots of its solution, by multiple shooting.

    Minimises Σₖ ‖uₖ − ûₖ‖² over the parameters and over the state at the beginning of each segment, from where the
    equation is marched to the snapshots of the segment, by L-BFGS with gradients through all time steps. The states at
    the beginnings are unknown too, as those measured are noisy. One segment is the most exact; the more, the shorter:
    of a long or chaotic trajectory the end tells nothing of the beginning, so that gradients explode. Each segment
    should end where the next begins, which is asked for with the weight of a snapshot.

    Args:
        step: For example ``Heun(Diffusion(CoefficientField((8, 8))))``, of the dtype and device of the snapshots.
        snapshots: (T, C, *S), float32 or float64.
        times: (T,), rising, evenly spaced or not.
        dt: Longest time step; it has to be stable, which is checked where the step has a limit.
        segments: Number of segments, at most T − 1.
        iterations: Of L-BFGS, at most.
        penalty: Added to the mean square, such as the roughness of a field.

    Raises:
        PDEConvError: If the step has no parameters, arguments do not fit, dt exceeds the limit, or no state stays
            finite; the parameters are then as they were.

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
    parameters, snapshots, counts = _checked(step, snapshots, times, dt)
    if not 1 <= checked_count("fit_snapshots", "segments", segments) < len(times):
        raise PDEConvError(f"fit_snapshots needs at most {len(times) - 1} segments for {len(times)} snapshots.")
    bounds = [round(part * (len(times) - 1) / segments) for part in range(segments + 1)]
    # In units of the snapshots' own size, as L-BFGS stops by absolute numbers.
    size = (snapshots - snapshots.mean()).square().mean().sqrt().clamp(min=torch.finfo(snapshots.dtype).tiny)
    shifts = nn.Parameter(torch.zeros_like(snapshots[bounds[:-1]]))
    best: tuple[float, list[Tensor]] = (math.inf, [part.detach().clone() for part in (*parameters, shifts)])
    gradients = [part.grad for part in parameters]
    evaluations = 0

    def march() -> tuple[Tensor, Tensor]:
        """States at the times, and what jumps between segments."""
        starts, states, ends = snapshots[bounds[:-1]] + size * shifts, [], []
        for part, (first, last) in enumerate(pairwise(bounds)):
            u = starts[part : part + 1]
            for interval, count in counts[first:last]:
                states.append(u)
                for _ in range(count):
                    u = step(u, u.new_tensor(interval / count))
            ends.append(u)
        return torch.cat([*states, ends[-1]]), torch.cat([starts[:0], *ends[:-1]]) - starts[1:]

    def objective() -> Tensor:
        states, jumps = march()
        loss = ((states - snapshots).square().sum() + jumps.square().sum()) / snapshots.numel()
        return (loss if penalty is None else loss + penalty()) / size**2

    def closure() -> Tensor:
        nonlocal best, evaluations
        optimizer.zero_grad()
        loss = objective()
        loss.backward()
        evaluations += 1
        if loss.item() < best[0]:  # never NaN
            best = loss.item(), [part.detach().clone() for part in (*parameters, shifts)]
        return loss

    optimizer = torch.optim.LBFGS(
        [*parameters, shifts],
        max_iter=checked_count("fit_snapshots", "iterations", iterations),
        max_eval=4 * iterations,
        tolerance_grad=0.0,
        tolerance_change=1e-12 if snapshots.dtype == torch.float64 else 1e-9,
        history_size=20,
        line_search_fn="strong_wolfe",
    )
    try:
        optimizer.step(closure)  # pyright: ignore[reportArgumentType]
    except RuntimeError as error:
        if "overflow" not in str(error):  # of a step length, once nothing is finite any more
            raise
    finally:
        with torch.no_grad():
            for part, value in zip((*parameters, shifts), best[1], strict=True):
                part.copy_(value)
        for part, gradient in zip(parameters, gradients, strict=True):
            part.grad = gradient
    if math.isinf(best[0]):
        raise PDEConvError("The equation does not stay finite from the first parameters on; take a smaller dt.")
    with torch.no_grad():
        states, jumps = march()
    free = snapshots.numel() + jumps.numel() - shifts.numel() - sum(part.numel() for part in parameters)
    residual = float(((states - snapshots).square().sum() / max(1, free)).sqrt())
    return Fit(states, residual, float(jumps.square().mean().sqrt()) if segments > 1 else 0.0, evaluations)


def _checked(
    step: Step, snapshots: Tensor, times: Tensor, dt: float
) -> tuple[list[nn.Parameter], Tensor, list[tuple[float, int]]]:
    """The parameters, the snapshots without a graph, and of each interval its length and number of steps."""
    checked_type("fit_snapshots", step, Step, "give for example Heun(term)")
    checked_type("fit_snapshots", snapshots, Tensor, "give (T, C, *S)")
    checked_type("fit_snapshots", times, Tensor, "give (T,)")
    check_state(snapshots)
    snapshots = snapshots.detach()
    parameters = [parameter for parameter in step.parameters() if parameter.requires_grad]
    if not parameters:
        raise PDEConvError("fit_snapshots needs a step with parameters to fit, but all of its coefficients are given.")
    if any(isinstance(part, TimeVarying) for part in step.modules()):
        raise PDEConvError("fit_snapshots marches equations that do not vary in time, but got a TimeVarying term.")
    if snapshots.dtype not in (torch.float32, torch.float64) or not snapshots.isfinite().all():
        raise PDEConvError(f"fit_snapshots needs finite snapshots in float32 or float64, but got {snapshots.dtype}.")
    if times.shape != snapshots.shape[:1] or len(times) < 2 or not (times.diff() > 0).all():
        raise PDEConvError(
            f"fit_snapshots needs snapshots (T, C, *S) at T rising times, but got {tuple(snapshots.shape)} and "
            f"{tuple(times.shape)}."
        )
    for part in step.modules():
        if isinstance(part, Term) and part.grid is not None:
            part.grid.check(snapshots[:1])
    if not checked_number("fit_snapshots", "dt", dt) <= step.guaranteed_limit * (1 + 1e-6) and step.keeps:
        raise PDEConvError(f"fit_snapshots needs dt ≤ {step.guaranteed_limit:.4g}, the limit, but got {dt:g}.")
    intervals = times.detach().cpu().double().diff().tolist()
    return parameters, snapshots, [(interval, max(1, math.ceil(interval / dt - 1e-6))) for interval in intervals]
