"""Signals as curves: how one evolves in time, and what a denoiser makes of some."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from torch import Tensor

from pdeconv.errors import PDEConvError
from pdeconv.viz.comparison import BeforeAfter
from pdeconv.viz.evolution import HasTimesAndStates, count_of_states, evenly
from pdeconv.viz.style import ACCENT, FAINT, INK, QUIET, montage, styled

CURVES = "viridis"
HEIGHT = 1.3  # inches of a row


@styled
def signal_evolution_figure(
    trajectory: HasTimesAndStates, example: int = 0, channels: int = 5, curves: int = 5, title: str = ""
) -> Figure:
    """The states (B, C, L) of one signal in time: a row for each channel, a curve for each time, over the cells.

    The channels that vary most are chosen, and the curves are evenly spread in time, from dark to bright. States of
    fewer cells are stretched over those of the first.

    Args:
        trajectory: times and states.
        example: which sample of the batch.
        channels: how many channels to show at most.
        curves: how many times to show at most; the first and the last are always among them.
        title: over all.

    Raises:
        PDEConvError: If the states are not signals, or there are not as many as times.
    """
    count = count_of_states(trajectory)
    if trajectory.states[0].ndim != 3:
        raise PDEConvError(f"expected states of shape (B, C, L), got {tuple(trajectory.states[0].shape)}")
    shown = evenly(count, curves)
    states = [trajectory.states[place][example].detach().float().cpu() for place in shown]
    fewest = min(len(state) for state in states)
    liveliness = torch.stack([state[:fewest].std(1, correction=0) for state in states]).mean(0)
    chosen = sorted(liveliness.argsort(descending=True)[:channels].tolist())
    figure = montage(7.5, HEIGHT * len(chosen) + 0.5, title)
    colours = colormaps[CURVES](np.linspace(0.0, 0.9, len(shown)))
    length = states[0].shape[1]
    for axes, channel in zip(figure.subplots(len(chosen), 1, squeeze=False)[:, 0], chosen, strict=True):
        for place, state, colour in zip(shown, states, colours, strict=True):
            cells = (np.arange(state.shape[1]) + 0.5) * length / state.shape[1]
            label = f"t = {float(trajectory.times[place]):.3g}"
            axes.plot(cells, state[channel].numpy(), color=colour, linewidth=1.0, label=label)
        axes.set_title(f"channel {channel}", color=QUIET, fontsize=8)
    figure.axes[0].legend(loc="upper right", frameon=False, fontsize=7, ncols=len(shown))
    return figure


@styled
def signals_figure(signals: Sequence[BeforeAfter], title: str = "") -> Figure:
    """Each signal (C, L) in a row, of its first channel: noisy as points, clean and denoised as curves.

    Args:
        signals: one for each row.
        title: over all.

    Raises:
        PDEConvError: If there are none.
    """
    if not signals:
        raise PDEConvError("expected at least one signal to show, got none")
    figure = montage(7.5, (HEIGHT + 0.5) * len(signals) + 0.3, title)
    for axes, signal in zip(figure.subplots(len(signals), 1, squeeze=False)[:, 0], signals, strict=True):
        clean, noisy, denoised = (_first(part) for part in (signal.clean, signal.noisy, signal.denoised))
        axes.plot(noisy, ".", color=FAINT, markersize=3, label=signal.noisy_label)
        axes.plot(clean, color=INK, linewidth=0.8, label="clean")
        axes.plot(denoised, color=ACCENT, linewidth=1.2, label=signal.denoised_label)
        axes.set_title(signal.name)
        axes.legend(loc="best", frameon=False, fontsize=7)
    return figure


def _first(signal: Tensor) -> np.ndarray:
    return signal[0].detach().float().cpu().numpy()
