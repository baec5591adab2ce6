"""What a trajectory keeps and what it loses: energies and other functionals against time."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from matplotlib.figure import Figure
from torch import Tensor

from pdeconv.analysis.energy import FUNCTIONALS, Functional
from pdeconv.errors import PDEConvError
from pdeconv.viz.evolution import HasTimesAndStates
from pdeconv.viz.style import ACCENT, FAINT, QUIET, styled


@styled
def functionals_figure(
    trajectory: HasTimesAndStates, functionals: Mapping[str, Functional] = FUNCTIONALS, title: str = ""
) -> Figure:
    """Functionals of the state against time: the mean of the batch, and the range of its samples as a band.

    Where the shape of the state changes, as between the stages of a classifier, the line is broken.

    Args:
        trajectory: Times (T,) and states.
        functionals: By name, each (B, C, *S) → (B,); by default mean, range, energies, total variation and entropy.
        title: Over all.
    """
    if not functionals or not trajectory.states:
        raise PDEConvError("functionals_figure needs at least one functional and one state.")
    columns = min(4, len(functionals))
    rows = -(-len(functionals) // columns)
    figure = Figure(figsize=(2.7 * columns, 2.3 * rows + (0.3 if title else 0)), layout="constrained")
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
    grid = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, (name, functional) in zip(grid, functionals.items(), strict=False):
        for times, values in _runs(trajectory, functional):
            axes.plot(times, values.mean(1), color=ACCENT, linewidth=1.4, marker="o", markersize=2.5)
            axes.fill_between(times, values.amin(1), values.amax(1), color=ACCENT, alpha=0.15, linewidth=0)
        axes.set_title(name)
        low, high = axes.get_ylim()
        room = 1e-3 * max(abs(low), abs(high), 1e-12)  # so that rounding does not look like a change
        axes.set_ylim(min(low, (low + high - room) / 2), max(high, (low + high + room) / 2))
        axes.grid(axis="y", color=FAINT, linewidth=0.6)
        axes.tick_params(which="both", length=0, labelsize=8)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("t", color=QUIET)
    for axes in grid[len(functionals) :]:
        axes.set_axis_off()
    return figure


def _runs(trajectory: HasTimesAndStates, functional: Functional) -> list[tuple[list[float], Tensor]]:
    """Times and values (T, B) of each run of states of one shape."""
    runs: list[tuple[list[float], list[Tensor]]] = []
    shape = None
    for time, state in zip(trajectory.times, trajectory.states, strict=True):
        if state.shape != shape:
            runs.append(([], []))
            shape = state.shape
        runs[-1][0].append(float(time.float().mean()))
        with torch.no_grad():
            runs[-1][1].append(functional(state.detach().float()).cpu())
    return [(times, torch.stack(values)) for times, values in runs]
