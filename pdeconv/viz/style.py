"""What all figures share: quiet axes, one accent colour, and pictures drawn pixel by pixel."""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray
from torch import Tensor

INK, QUIET, FAINT = "#1f2328", "#6b7280", "#d9dce1"
ACCENT, SECOND = "#0072b2", "#d55e00"  # blue and vermilion of Okabe and Ito: told apart by colour-blind readers as well

_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": QUIET,
    "axes.edgecolor": FAINT,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "figure.dpi": 150,  # kept by the figure, while what savefig reads is the user's own
    "figure.facecolor": "white",
}

P = ParamSpec("P")
R = TypeVar("R")


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Draw in the common style, whatever the user's own settings of matplotlib are, and leave those as they were."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        with matplotlib.rc_context(_STYLE):
            return draw(*args, **kwargs)

    return drawn


def as_pixels(image: Tensor) -> NDArray:
    """(C, H, W) with values in [0, 1] as matplotlib wants it: (H, W) for gray, (H, W, 3) for RGB; clipped."""
    values = image.detach().float().cpu().clamp(0, 1).permute(1, 2, 0).numpy()
    return np.ascontiguousarray(values[..., 0] if values.shape[2] == 1 else values)


def montage(width: float, height: float, title: str) -> Figure:
    """A figure for pictures side by side, of a size in inches, with a title, unless empty, at its upper left."""
    over = 0.42 if title else 0.0
    figure = Figure(figsize=(width, height + over))
    top = height / (height + over)
    gap = 0.05 / width
    figure.set_layout_engine(
        ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03, wspace=0.0, hspace=0.0, rect=(0, 0, 1, top))
    )
    if title:
        text = figure.text(gap, 1 - 0.12 / (height + over), title, ha="left", va="top", fontsize=12, fontweight="bold")
        text.set_in_layout(False)
    return figure


def show_picture(axes: Axes, pixels: NDArray, title: str = "", smooth: bool = False, cmap: str = "gray") -> None:
    """A picture without axes, at the top left of its place; values from 0 to 1. ``smooth`` suits one drawn small."""
    axes.imshow(pixels, cmap=cmap, vmin=0, vmax=1, interpolation="antialiased" if smooth else "nearest")
    axes.set_axis_off()
    axes.set_anchor("NW")
    if title:
        axes.set_title(title, pad=5)
