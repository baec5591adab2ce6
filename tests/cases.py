"""The cases of the laws that docs/compatibility.md shows: every term, every step and every reversible step."""

from catalogue import STEPS, build
from pairing import cover
from separable import REVERSIBLE
from states import CHANNELS, grid_of, randomise

from pdeconv import Step

ITS_OWN = "its own"  # in place of a term: that of the reversible step
REVERSIBLE_CASES = [(ITS_OWN, name) for name in REVERSIBLE]


def cases() -> list[tuple[str, str]]:
    """Every (term, step) of :func:`catalogue.cover`, and the steps that it leaves out."""
    return [*cover(), ("conv_advection", "SemiLagrangian"), *REVERSIBLE_CASES]


def each_step() -> list[tuple[str, str]]:
    """Every step once, with one term."""
    terms = {"Exact": "channel_diffusion", "SemiLagrangian": "conv_advection"}
    return [(terms.get(step, "perona_malik"), step) for step in STEPS] + REVERSIBLE_CASES


def build_case(term_name: str, step_name: str, boundary: str, dims: int, scale: float = 1.0) -> tuple[Step, int]:
    """The step in float64, and the number of channels of its state."""
    grid = grid_of(boundary, dims)
    if term_name == ITS_OWN:
        return randomise(REVERSIBLE[step_name](grid).double(), scale), 2 * CHANNELS
    return STEPS[step_name](build(term_name, grid, scale)).double(), CHANNELS
