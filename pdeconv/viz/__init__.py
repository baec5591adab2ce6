"""Pictures of what a network did: how a state evolves, what its equation is there, curves, comparisons, animations.

Every ``…_figure`` returns a `matplotlib.figure.Figure`; nothing is shown or saved unless you do:
``figure.savefig(path)``. ``animate`` writes the file that it is given.
"""

from pdeconv.viz.animation import animate
from pdeconv.viz.classified import classified_figure
from pdeconv.viz.comparison import BeforeAfter, before_after_figure
from pdeconv.viz.confusion import confusion_figure
from pdeconv.viz.curves import curves_figure
from pdeconv.viz.evolution import evolution_figure
from pdeconv.viz.explorer import explorer_page, write_explorer
from pdeconv.viz.fields import diffusivity_figure, flux_figure, tensor_figure, velocity_figure
from pdeconv.viz.forecast import forecast_figure
from pdeconv.viz.functionals import functionals_figure
from pdeconv.viz.laws import influence_figure, reaction_figure
from pdeconv.viz.sharpness import sharpness_figure
from pdeconv.viz.signals import signal_evolution_figure, signals_figure
from pdeconv.viz.structure import courant_figure, decomposition_figure, kernel_figure

__all__ = [
    "BeforeAfter",
    "animate",
    "before_after_figure",
    "classified_figure",
    "confusion_figure",
    "courant_figure",
    "curves_figure",
    "decomposition_figure",
    "diffusivity_figure",
    "evolution_figure",
    "explorer_page",
    "flux_figure",
    "forecast_figure",
    "functionals_figure",
    "influence_figure",
    "kernel_figure",
    "reaction_figure",
    "sharpness_figure",
    "signal_evolution_figure",
    "signals_figure",
    "tensor_figure",
    "velocity_figure",
    "write_explorer",
]
