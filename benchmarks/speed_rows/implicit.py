"""Implicit and exact steps against as many explicit ones as reach the same time."""

from __future__ import annotations

from functools import partial

import torch

from pdeconv import FED, BackwardEuler, Diffusion, Euler, Evolve, Exact, Fixed, PerChannel, Step, Term

from .row import Outcome, Row, Setting, times_as_fast
from .steps import WHAT, features, running

DURATION = 16.0


def fewest_stages(term: Term) -> int:
    """Stages of FED with which one step reaches the duration."""
    stages = 1
    while FED(term, stages).guaranteed_limit < DURATION:
        stages += 1
    return stages


def _measure(implicit: type[Step], explicit: str, mode: str, setting: Setting) -> Outcome:
    torch.manual_seed(0)
    u = features(setting)
    term = Diffusion(PerChannel(u.shape[1], ceiling=1.0, initial=0.9))
    if explicit == "fed":
        stages = fewest_stages(term)
        other = Evolve(FED(term, stages), DURATION, Fixed(1))
    else:
        stages = round(DURATION / Euler(term).guaranteed_limit)
        other = Evolve(Euler(term), DURATION, Fixed(stages))
    ours = Evolve(implicit(term), DURATION, Fixed(1))
    with torch.no_grad():
        truth = Evolve(Exact(term), DURATION, Fixed(1))(u)
        off = [float((evolve(u) - truth).norm() / (u - truth).norm()) for evolve in (ours, other)]
    note = f"{stages} explicit evaluations; off the exact solution by {off[0]:.1e}, theirs {off[1]:.1e}"
    return times_as_fast(setting, *(running(evolve, u, mode, False, setting) for evolve in (ours, other)), note=note)


def rows() -> list[Row]:
    found = []
    for name, step in (("exact", Exact), ("backward_euler", BackwardEuler)):
        for explicit, what in (("euler", "Euler steps at their limit"), ("fed", "one FED cycle of the fewest stages")):
            for mode in WHAT:
                line = (
                    f"linear diffusion over t = {DURATION:g} on (128, 64, 32, 32), {WHAT[mode]}: ms of {what} / ms of "
                    f"one {step.__name__} step"
                )
                measure = partial(_measure, step, explicit, mode)
                found.append(Row(f"implicit/{name}/{explicit}/{mode}", line, measure))
    return found
