"""How close training is to the edge of stability."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from pdeconv.errors import PDEConvError
from pdeconv.viz.style import ACCENT, FAINT, SECOND, styled


@styled
def sharpness_figure(records: Sequence[Mapping[str, Any]]) -> Figure:
    """The sharpness of the loss over the epochs, and 2/lr, beyond which plain gradient descent is unstable.

    Args:
        records: The lines of metrics.jsonl, those of kind "sharpness" among them.
    """
    found = [record for record in records if record.get("kind") == "sharpness" and record.get("sharpness") is not None]
    if not found:
        raise PDEConvError("sharpness_figure needs lines of kind 'sharpness'; train with sharpness_every=1.")
    figure = Figure(figsize=(5.6, 3.5), layout="constrained")
    axes = figure.subplots()
    epochs, values = [record["epoch"] for record in found], [record["sharpness"] for record in found]
    axes.plot(epochs, values, color=ACCENT, marker="o", markersize=3, label="sharpness")
    bounded = [record for record in found if record["limit"] is not None]
    limits = [record["limit"] for record in bounded]
    axes.plot([record["epoch"] for record in bounded], limits, color=SECOND, linestyle="--", label="2 / learning rate")
    if min(values) > 0:
        axes.set_yscale("log")
    axes.set_title("Sharpness of the training loss", fontweight="bold", pad=10)
    axes.set_xlabel("epoch")
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    axes.tick_params(which="both", length=0)
    axes.spines["left"].set_visible(False)
    axes.legend(frameon=False)
    return figure
