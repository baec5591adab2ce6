"""How training went."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from pdeconv.viz.style import ACCENT, FAINT, QUIET, styled

_IN_WORDS = {"top1": "top-1 accuracy, %", "top5": "top-5 accuracy, %", "psnr": "PSNR, dB", "ssim": "SSIM"}


@styled
def curves_figure(records: Sequence[Mapping[str, Any]], headline: str) -> Figure:
    """The training loss, and a metric of the test set, over the epochs.

    Args:
        records: the lines of metrics.jsonl. Each has "kind", "train" or "test", and "epoch"; training lines have
            "loss", test lines the metrics by name. None stands for a value that was not finite, and is left out.
        headline: the metric to show, "top1" or "psnr". Where the test has several noise levels ("psnr_15",
            "psnr_25" …), naming any of them shows them all.
    """
    figure = Figure(figsize=(9.2, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_loss(left, *_series(records, "train", "loss"))
    metric = headline.partition("_")[0]
    names = {k for r in records for k in r if k == metric or k.startswith(f"{metric}_")}
    for name in sorted(names, key=_level):
        level = name.removeprefix(metric).removeprefix("_")
        _draw_metric(right, *_series(records, "test", name), f"σ = {level}" if level else "", name == headline)
    right.set_title(f"Test {_IN_WORDS.get(metric, metric)}", fontweight="bold", pad=10)
    for axes in (left, right):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        if all(record.get("epoch") == 1 for record in records):
            axes.set_xlim(0, 2)  # a single point, which would be magnified until its epoch is a fraction
        axes.grid(axis="y", color=FAINT, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.tick_params(which="both", length=0)
        axes.spines["left"].set_visible(False)
    return figure


def _series(records: Sequence[Mapping[str, Any]], kind: str, name: str) -> tuple[NDArray, NDArray]:
    """The epochs and values of the records of one kind that have a finite value of a name."""
    chosen = [r for r in records if r.get("kind") == kind and _is_number(r.get(name)) and _is_number(r.get("epoch"))]
    return np.array([r["epoch"] for r in chosen], dtype=float), np.array([r[name] for r in chosen], dtype=float)


def _draw_loss(axes: Axes, places: NDArray, losses: NDArray) -> None:
    axes.set_title("Training loss", fontweight="bold", pad=10)
    if not len(losses):
        return
    smooth = _running_mean(losses, max(1, len(losses) // 25))
    if len(losses) > 25:
        axes.plot(places, losses, color=ACCENT, alpha=0.22, linewidth=0.8)
    axes.plot(places, smooth, color=ACCENT, linewidth=1.8, marker=_marker(places), markersize=4)
    if losses.min() > 0 and smooth.max() > 8 * smooth.min():
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=min(0.0, float(losses.min())))
    axes.annotate(
        f"{smooth[-1]:.3g}", (places[-1], smooth[-1]), (6, 0), textcoords="offset points", va="center", color=ACCENT
    )


def _draw_metric(axes: Axes, places: NDArray, scores: NDArray, label: str, main: bool) -> None:
    if not len(scores):
        return
    color = ACCENT if main else QUIET
    axes.plot(places, scores, color=color, linewidth=1.8, marker=_marker(places), markersize=4)
    last = f"{scores[-1]:.2f} at {label}" if label else f"{scores[-1]:.2f}"
    axes.annotate(last, (places[-1], scores[-1]), (6, 0), textcoords="offset points", va="center", color=color)
    best = int(scores.argmax())
    if not label and best < len(scores) - 1 and scores[best] - scores[-1] >= 0.005:
        axes.annotate(
            f"best {scores[best]:.2f}",
            (places[best], scores[best]),
            (0, 7),
            textcoords="offset points",
            ha="center",
            color=QUIET,
            fontsize=9,
        )


def _marker(places: NDArray) -> str:
    return "o" if len(places) <= 30 else ""


def _running_mean(values: NDArray, width: int) -> NDArray:
    """The mean over the last ``width`` values, fewer at the start."""
    sums = np.cumsum(np.concatenate([[0.0], values]))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - width)
    return (sums[ends] - sums[starts]) / (ends - starts)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


def _level(name: str) -> tuple[float, str]:
    level = name.rpartition("_")[2]
    return (float(level), name) if level.replace(".", "", 1).isdigit() else (-1.0, name)
