"""Pictures at the end of a run on signals or volumes: curves, or middle slices."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from matplotlib.figure import Figure
from torch import Tensor

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
    if samples[0].clean.ndim == 4:
        samples, title = [_each(sample, middle_slice) for sample in samples], f"{title}, middle slices"
    return before_after_figure([_each(sample, as_drawn) for sample in samples], title=title)


def as_drawn(image: Tensor) -> Tensor:
    """An image (C, H, W) of one channel or three; of others the first channel."""
    return image if image.shape[0] in (1, 3) else image[:1]


def _each(sample: BeforeAfter, change: Callable[[Tensor], Tensor]) -> BeforeAfter:
    changed = (change(image) for image in (sample.clean, sample.noisy, sample.denoised))
    return replace(sample, **dict(zip(("clean", "noisy", "denoised"), changed, strict=True)))
