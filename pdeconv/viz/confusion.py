"""Which classes a classifier takes for which."""

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from torch import Tensor

from pdeconv.errors import PDEConvError
from pdeconv.viz.style import INK, QUIET, styled

NUMBERED = 20  # more classes than this leave no room for numbers in the cells
_RIGHT = "#e8eef4"
_WRONG = LinearSegmentedColormap.from_list("wrong", ["#ffffff", "#fbe3d3", "#f0a875", "#d55e00", "#8a3d00"])


@styled
def confusion_figure(counts: Tensor, classes: Sequence[str]) -> Figure:
    """The confusion matrix: a row for each true class, a column for what it was taken for.

    Only mistakes are coloured, by their share of the row, so that a good classifier's few mistakes still show.

    Args:
        counts: (K, K), how many of true class i were named class j.
        classes: their K names.
    """
    values = counts.detach().cpu().double().numpy()
    many = len(classes)
    if values.shape != (many, many):
        raise PDEConvError(f"expected counts of {many} × {many} for {many} classes, got the shape {values.shape}")
    right, total = np.trace(values), values.sum()
    shares = values / values.sum(axis=1, keepdims=True).clip(min=1)
    mistakes = np.where(np.eye(many, dtype=bool), np.nan, shares)
    side = float(np.clip(0.52 * many, 3.4, 12.0))
    figure = Figure(figsize=(side + 1.6, side + 1.3), layout=ConstrainedLayoutEngine(h_pad=0.12, w_pad=0.1))
    axes = figure.subplots()
    axes.set_facecolor(_RIGHT)
    highest = max(0.05, float(np.nanmax(mistakes, initial=0.0)))
    axes.imshow(mistakes, cmap=_WRONG, vmin=0, vmax=highest)
    size = 9 if many <= 12 else 7
    if many <= NUMBERED:
        for i, j in zip(*np.nonzero(values), strict=True):
            dark = i != j and shares[i, j] > 0.6 * highest
            weight = "normal" if i == j else "bold"
            color = "white" if dark else QUIET if i == j else INK
            axes.text(j, i, f"{values[i, j]:.0f}", ha="center", va="center", fontsize=size, color=color, weight=weight)
        axes.set_xticks(np.arange(many + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(many + 1) - 0.5, minor=True)
        axes.grid(which="minor", color="#eceef1", linewidth=0.8)
    short = max(len(name) for name in classes) <= 3
    labelled = list(range(0, many, -(-many // 50)))
    names = [classes[i] for i in labelled]
    axes.set_xticks(
        labelled, names, rotation=0 if short else 45, ha="center" if short else "right", rotation_mode="anchor"
    )
    axes.set_yticks(labelled, names)
    if many > NUMBERED:
        axes.tick_params(labelsize=6)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("taken for")
    axes.set_ylabel("true class")
    wrong = int(total - right)
    mistakes_text = "no mistake" if wrong == 0 else "1 mistake" if wrong == 1 else f"{wrong} mistakes"
    axes.set_title(
        f"{100 * right / max(total, 1):.2f} % right: {mistakes_text} in {int(total)}", fontweight="bold", pad=8
    )
    return figure
