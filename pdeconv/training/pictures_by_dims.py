"""Pictures at the end of a run on signals or volumes: curves, or middle slices."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from matplotlib.figure import Figure

from pdeconv.viz import BeforeAfter, before_after_figure, evolution_figure, signal_evolution_figure, signals_figure
from pdeconv.viz.evolution import HasTimesAndStates, middle_slice


def draw_evolution(path: Path, trajectory: HasTimesAndStates, title: str, as_picture: bool = False) -> Path:
    """The states of the first sample: curves of signals (B, C, L), middle slices of volumes (B, C, D, H, W)."""
    if trajectory.states[0].ndim == 3:
        figure = signal_evolution_figure(trajectory, title=title)
    else:
        figure = evolution_figure(trajectory, title=f"{title}, middle slices", as_picture=as_picture)
    figure.savefig(path)
    return path


def before_and_after(samples: Sequence[BeforeAfter], title: str) -> Figure:
    """Signals (C, L) as curves, volumes (C, D, H, W) by their middle slices, images as they are."""
    if samples[0].clean.ndim == 2:
        return signals_figure(samples, title=title)
    if samples[0].clean.ndim == 3:
        return before_after_figure(samples, title=title)
    sliced = [
        replace(
            sample,
            clean=middle_slice(sample.clean),
            noisy=middle_slice(sample.noisy),
            denoised=middle_slice(sample.denoised),
        )
        for sample in samples
    ]
    return before_after_figure(sliced, title=f"{title}, middle slices")
