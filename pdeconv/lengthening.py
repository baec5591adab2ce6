"""A control for filters: steps that grow longer as the image grows smoother."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from pdeconv.control import Control
from pdeconv.errors import PDEConvError, StabilityError, checked_count, checked_number
from pdeconv.steps import Step


@dataclass(frozen=True)
class Lengthening(Control):
    """Steps of half an explicit one each, 1/(2·rate), and later of a share of the time that has passed.

    What is left of an image after a time t is what changes about as slowly as t, so that steps of growth·t are as
    accurate as the first ones are: an implicit step gets to any time in about ln(time)/growth steps.

    The steps do not depend on the duration, but for the last one, which is cut. So a longer evolution goes on from the
    states of a shorter one, and what falls with dt in each step falls with the duration; with steps that are the equal
    parts of it, as those of ``CFL``, one more step is a little less of a filter.

    Args:
        growth: Share of the time that has passed, for steps of which any length is safe; 0 for equal steps.
        max_steps: The most steps.

    Raises:
        PDEConvError: If an argument is out of its range.
        StabilityError: When ``Evolve`` is built, if a step could be unstable.
        PDEConvError: When ``Evolve`` is built, if it took more than ``max_steps``.

    Example:
        >>> from pdeconv import AOS, Constant, Diffusion, Evolve
        >>> [Evolve(AOS(Diffusion(Constant(1.0))), time, Lengthening()).steps for time in (1.0, 1e3, 1e6)]
        [8, 81, 153]
    """

    growth: float = 0.1
    max_steps: int = 20_000

    def __post_init__(self) -> None:
        checked_number("Lengthening", "growth", self.growth, zero_too=True)
        checked_count("Lengthening", "max_steps", self.max_steps)

    def count(self, step: Step, duration: float) -> int:
        first = self._first(step)
        if min(first, duration) > step.guaranteed_limit or (self.growth and math.isfinite(step.guaranteed_limit)):
            raise StabilityError(
                f"{step.name} has the limit {step.guaranteed_limit:.4g}, but Lengthening({self.growth:g}) takes steps "
                "of any length; use CFL(), or an implicit step."
            )
        # Of the first length up to the time first / growth, where both lengths agree; then each time is (1 + growth)
        # times the one before.
        steps = math.ceil(min(duration / first, 1e300) * (1 - 1e-9))
        equal = math.ceil(min(1 / self.growth, 1e300)) if self.growth else steps
        if steps > equal:
            steps = equal + math.ceil(math.log(duration / (equal * first)) / math.log1p(self.growth) * (1 - 1e-9))
        if steps > self.max_steps:
            raise PDEConvError(
                f"{step.name} needs {steps:.4g} steps for this duration, more than {self.max_steps}; shorten the "
                "duration, whose unit is that of the spacing, or give a larger spacing."
            )
        return max(1, steps)

    def next_dt(self, step: Step, u: Tensor, elapsed: Tensor, duration: float, count: int) -> Tensor:
        length = (self.growth * elapsed).clamp(min=self._first(step))
        return length.minimum((duration - elapsed).clamp(min=0))

    def _first(self, step: Step) -> float:
        rate = step.courant(1.0)
        return 0.5 / rate if rate > 0 else math.inf
