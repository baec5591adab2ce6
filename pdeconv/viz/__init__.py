"""Pictures of what a network did: how a state evolves, denoising before and after, confusions, learning curves.

Every function returns a `matplotlib.figure.Figure`; nothing is shown or saved unless you do: ``figure.savefig(path)``.
"""

from pdeconv.viz.classified import classified_figure
from pdeconv.viz.comparison import BeforeAfter, before_after_figure
from pdeconv.viz.confusion import confusion_figure
from pdeconv.viz.curves import curves_figure
from pdeconv.viz.evolution import evolution_figure

__all__ = [
    "BeforeAfter",
    "before_after_figure",
    "classified_figure",
    "confusion_figure",
    "curves_figure",
    "evolution_figure",
]
