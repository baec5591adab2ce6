"""What a classifier takes a picture for."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from torch import Tensor

from pdeconv.viz.style import ACCENT, FAINT, INK, as_pixels, show_picture, styled


@styled
def classified_figure(image: Tensor, likeliest: Sequence[tuple[str, float]]) -> Figure:
    """A picture beside the classes it is taken for, the likeliest first.

    Args:
        image: (1 | 3, H, W) with values in [0, 1].
        likeliest: names and probabilities of classes, in falling order.
    """
    figure = Figure(figsize=(7.2, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.1))
    show_picture(left, as_pixels(image))
    names, probabilities = zip(*likeliest, strict=True)
    places = range(len(names))
    right.barh(places, probabilities, color=[ACCENT, *[FAINT] * (len(names) - 1)], height=0.62)
    for place, value in zip(places, probabilities, strict=True):
        right.annotate(f"{value:.1%}", (value, place), (5, 0), textcoords="offset points", va="center", fontsize=9)
    right.set_yticks(places, names, color=INK)
    right.set_xlim(0, 1.18)
    right.set_ylim(len(names) - 0.4, -0.6)
    right.set_xticks([])
    right.tick_params(length=0)
    right.spines[:].set_visible(False)
    right.set_title(f"{names[0]}, {probabilities[0]:.1%}", fontweight="bold", fontsize=12)
    return figure
