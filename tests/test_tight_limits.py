"""Law: a claimed limit is tight: an explicit step of a linear term keeps what it says at it, and not 1.2 times beyond.

A linear step keeps the range if no weight of its matrix is negative, whatever the state: so the matrix decides. The
energy is kept if the fastest mode does not grow.
"""

import math

import pytest
import torch
from catalogue import STABILISED, STATE_INDEPENDENT, STEPS, build
from states import BOUNDARIES, DIMS, grid_of, initial_states, number, saturate
from test_exact_solutions import heat_mode

from pdeconv.operator import ENERGY, RANGE, RANGE_WITH_DATA, RANGE_WITH_ZERO

OF_THE_RANGE = ("Euler", "Heun", "SSPRK3", "SSPRK34", "DuFortFrankel", "Lie", "Strang")
OF_THE_ENERGY = ("Euler", "Heun", *STABILISED, "RK4", "BogackiShampine")
OF_A_NUMBER = "on a number alone the polynomials of order 2 and 3 for e^{−z} stay in [0, 1] a little longer"
OF_ANY_OPERATOR = "its limit is that of any operator of this rate, tight for advection and decay"
OF_ANY_STAGES = "its limit is that of coefficients that differ from stage to stage, tight in test_maximum_principle.py"
# Where the limit is not tight, and why. That nothing breaks there is asserted too.
NOT_TIGHT = {
    **{(term, step): OF_A_NUMBER for term in ("decay", "fidelity") for step in ("Heun", "SSPRK3", "Strang")},
    **{(term, "DuFortFrankel"): OF_ANY_OPERATOR for term in ("constant_diffusion", "channel_diffusion")},
    **{
        (term, step): OF_ANY_STAGES
        for term in ("constant_diffusion", "channel_diffusion")
        for step in ("RK4", "BogackiShampine")
    },
}
CASES = [(term, step) for term in STATE_INDEPENDENT for step in OF_THE_RANGE]
CASES += [("fractional_diffusion", "Euler")]
FASTEST = {"neumann": 11, "periodic": 6, "dirichlet": 12}  # of the modes on 12 cells


def negative_weight(step, courant, dims):
    """How far below 0 the least weight of a step of ``courant`` limits is, or above 1 a sum of weights."""
    shape = (2, *[6] * dims)
    size = math.prod(shape)
    spikes, dt = torch.eye(size, dtype=torch.float64).reshape(size, *shape), number(courant * step.guaranteed_limit)
    weights = (step(spikes, dt) - step(torch.zeros_like(spikes[:1]), dt)).reshape(size, size)
    return max(-float(weights.min()), float(weights.sum(0).max()) - 1)


@torch.no_grad()
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(("term_name", "step_name"), CASES)
def test_of_the_range(term_name, step_name, boundary):
    for dims in DIMS:
        step = STEPS[step_name](saturate(build(term_name, grid_of(boundary, dims)))).double()
        assert step.keeps & {RANGE, RANGE_WITH_ZERO, RANGE_WITH_DATA}
        assert negative_weight(step, 1.0, dims) < 1e-12, dims
        broken = negative_weight(step, 1.2, dims) > 1e-2
        assert broken == ((term_name, step_name) not in NOT_TIGHT), dims


def growth(step, courant, boundary, dims):
    """The factor of the fastest mode of second differences over a step of ``courant`` limits."""
    mode, _ = heat_mode(12, boundary, FASTEST[boundary])
    u = mode
    for _ in range(dims - 1):
        u = u[..., None] * mode
    u = u.expand(1, 2, *u.shape)
    return float(step(u, number(courant * step.guaranteed_limit)).norm() / u.norm())


@torch.no_grad()
@pytest.mark.parametrize("boundary", FASTEST)  # under reflect, diffusion keeps no energy
@pytest.mark.parametrize("step_name", OF_THE_ENERGY)
@pytest.mark.parametrize("term_name", ["constant_diffusion", "channel_diffusion"])
def test_of_the_energy(term_name, step_name, boundary):
    for dims in DIMS:
        step = STEPS[step_name](saturate(build(term_name, grid_of(boundary, dims))))
        assert ENERGY in step.keeps
        assert growth(step, 1.0, boundary, dims) <= 1 + 1e-12
        assert (growth(step, 1.2, boundary, dims) > 1.02) == ((term_name, step_name) not in NOT_TIGHT), dims


@torch.no_grad()
@pytest.mark.parametrize(
    "term_name", ["fourth_order_diffusion", "q1_diffusion", "spectral_diffusion", "biharmonic_diffusion"]
)
def test_of_the_energy_of_other_discretisations(term_name):
    """On a periodic grid of an even number of cells, whose zigzag is the fastest mode of all: within 1 %."""
    for dims in DIMS:
        step = STEPS["Euler"](saturate(build(term_name, grid_of("periodic", dims))))
        for courant, broken in ((1.0, False), (1.01, True)):
            u = initial_states(dims)["noise"]
            for _ in range(400):
                before, u = u.norm(), step(u, number(courant * step.guaranteed_limit))
            assert (float(u.norm() / before) > 1.01) == broken, dims
