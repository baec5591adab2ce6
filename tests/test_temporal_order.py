"""Law: a step has the order that it states, within 0.15, for coefficients that do not depend on the state."""

import math

import pytest
import torch
from catalogue import PARTITIONED, STEPS
from pairing import can_step
from separable import REVERSIBLE
from states import CHANNELS, Field, FieldVelocity, number, randomise, state

from pdeconv import (
    SSPRK3,
    Advection,
    Bistable,
    Constant,
    Decay,
    Diffusion,
    Fidelity,
    Grid,
    Heun,
    Lie,
    Logistic,
    Momentum,
    PerChannel,
    PeronaMalik,
    PointwiseNetwork,
    Reaction,
    Strang,
)
from pdeconv.steps import RungeKutta
from pdeconv.terms import SumTerm

GRID = Grid((0.8, 1.1), "neumann")


def smooth_state():
    x, y = torch.meshgrid(torch.arange(6.0), torch.arange(5.0), indexing="ij")
    return (torch.stack([torch.cos(x) + y / 4, torch.sin(x * y / 5)])[None] / 4 + 0.5).double()


def advance(step, u, duration, steps):
    for _ in range(steps):
        u = step(u, number(duration / steps))
    return u


@torch.no_grad()
def measured_order(step, duration=0.8, steps=16, reference=None):
    u = smooth_state()
    exact = advance(step, u, duration, 64 * steps) if reference is None else advance(reference, u, duration, 256)
    errors = [float((advance(step, u, duration, n) - exact).norm()) for n in (steps, 2 * steps)]
    return math.log2(errors[0] / errors[1])


def diffusion():
    return Diffusion(Field(), GRID)


def advection():
    return Advection(FieldVelocity(), GRID)


TERMS = {
    "diffusion": diffusion,
    "advection": advection,
    "decay": lambda: Reaction(Decay(CHANNELS)),
    "fidelity": lambda: Fidelity(PerChannel(CHANNELS)).towards(smooth_state().square()),
    "sum": lambda: diffusion() + advection(),
}
SINGLE = [name for name in STEPS if name not in ("Lie", "Strang", "Exact", "SemiLagrangian", *PARTITIONED)]


def single(step_name, term_name):
    """The step; None where the term has not what it needs, a solve for example."""
    torch.manual_seed(1)
    term = randomise(TERMS[term_name]().double(), 0.3)
    return STEPS[step_name](term) if can_step(step_name, term, smooth_state()) else None


@pytest.mark.parametrize("term_name", TERMS)
@pytest.mark.parametrize("step_name", SINGLE)
def test_order_of_single_steps(step_name, term_name):
    step = single(step_name, term_name)
    if step is None:
        pytest.skip("no solve")
    tolerance = 0.15 if step.order < 5 else 0.2  # rounding forbids the shorter steps that would tell better
    assert measured_order(step) == pytest.approx(step.order, abs=tolerance)


STATE_DEPENDENT = [name for name in SINGLE if name not in ("AOS", "ADI")]


def order_if_state_dependent(step):
    """Runge–Kutta keeps its order; a step of the frozen operator falls to order 1."""
    return step.order if isinstance(step, RungeKutta) else 1


def logistic_step(step_name):
    return STEPS[step_name](Reaction(Logistic(CHANNELS, ceiling=1.0)).double())


def measured_order_of_reaction(step):
    return measured_order(step, duration=1.6, reference=STEPS["DormandPrince"](step.term))


@pytest.mark.parametrize("step_name", STATE_DEPENDENT)
def test_order_for_a_reaction_that_depends_on_the_state(step_name):
    step = logistic_step(step_name)
    assert measured_order_of_reaction(step) == pytest.approx(order_if_state_dependent(step), abs=0.15)


def test_the_exact_flow_of_a_frozen_operator_is_of_order_1():
    """Of a law whose solution is not known; one that is known is solved exactly."""
    step = STEPS["Exact"](Reaction(PointwiseNetwork(CHANNELS, 3, lipschitz=3.0)).double())
    assert measured_order_of_reaction(step) == pytest.approx(1, abs=0.15)


EXPLICIT = {
    "advection": advection,
    "logistic": lambda: Reaction(Logistic(CHANNELS)),
    "diffusion": lambda: Diffusion(Constant(0.2), GRID),
}


def partitioned(step_name, term_name):
    """The explicit term linear or not; a diffusivity constant in space, as ETD needs."""
    return PARTITIONED[step_name](Diffusion(Constant(0.3), GRID), EXPLICIT[term_name]()).double()


def measured_order_of_partitioned(step):
    """Against the whole equation."""
    return measured_order(step, steps=32, reference=STEPS["RK4"]((step.stiff + step.explicit).double()))


@pytest.mark.parametrize("term_name", EXPLICIT)
@pytest.mark.parametrize("step_name", PARTITIONED)
def test_order_of_partitioned_steps(step_name, term_name):
    step = partitioned(step_name, term_name)
    assert measured_order_of_partitioned(step) == pytest.approx(step.order, abs=0.15)


def four():
    growth, decay = Reaction(Logistic(CHANNELS)), Reaction(Decay(CHANNELS))
    return Heun(diffusion()), STEPS["CrankNicolson"](decay), SSPRK3(growth), Heun(advection())


SPLITTINGS = {
    "Lie": lambda: Lie(Heun(diffusion()), Heun(advection())),
    "Lie of three": lambda: Lie(Heun(diffusion()), Heun(advection()), SSPRK3(Reaction(Logistic(CHANNELS)))),
    "Strang": lambda: Strang(STEPS["CrankNicolson"](diffusion()), Heun(advection())),
    "Strang of three": lambda: Strang(Heun(diffusion()), Heun(advection()), SSPRK3(Reaction(Logistic(CHANNELS)))),
    "Lie of four": lambda: Lie(*four()),
    "Strang of four": lambda: Strang(*four()),
    "Strang with Euler": lambda: Strang(Heun(diffusion()), STEPS["Euler"](advection())),
    "Strang with Exact": lambda: Strang(STEPS["Exact"](Reaction(Decay(CHANNELS))), Heun(advection())),
}


def measured_order_of_splitting(step):
    """Against the unsplit equation: only so does the error of the splitting show."""
    return measured_order(step, reference=STEPS["RK4"](SumTerm(part.term for part in step.parts).double()))


@pytest.mark.parametrize("name", SPLITTINGS)
def test_order_of_splittings(name):
    step = SPLITTINGS[name]().double()
    assert len(step.parts) == (3 if "three" in name else 4 if "four" in name else 2)
    assert step.order == (1 if "Lie" in name or "Euler" in name else 2)
    assert measured_order_of_splitting(step) == pytest.approx(step.order, abs=0.15)


@torch.no_grad()
def composition_error():
    """Seven exact steps beside one of seven times the length."""
    worst, u = 0.0, smooth_state()
    reactions = [Reaction(law(CHANNELS)) for law in (Decay, Logistic, Bistable)]
    for term in (Diffusion(Constant(0.7), GRID), *reactions):
        step = STEPS["Exact"](term.double())
        worst = max(worst, float((advance(step, u, 3.0, 1) - advance(step, u, 3.0, 7)).abs().max()))
    return worst


def test_exact_steps_compose():
    assert composition_error() < 1e-12


# Momentum has a test of its own; a term that varies in time needs Evolve, which tells it the time.
OF_THE_WHOLE = [name for name in REVERSIBLE if "Momentum" not in name and "time" not in name]


@torch.no_grad()
def measured_order_of_reversible(name):
    """Against RK4 of the whole equation."""
    step = REVERSIBLE[name](GRID).double()
    whole = SumTerm(part.term for part in step.parts) if isinstance(step, Strang) else step.term
    u = state(2, channels=2 * CHANNELS)
    exact = advance(STEPS["RK4"](whole), u, 1.0, 128)
    errors = [float((advance(step, u, 1.0, n) - exact).norm()) for n in (8, 16)]
    return math.log2(errors[0] / errors[1])


@pytest.mark.parametrize("name", OF_THE_WHOLE)
def test_order_of_reversible_steps(name):
    assert measured_order_of_reversible(name) == pytest.approx(REVERSIBLE[name](GRID).order, abs=0.15)


@torch.no_grad()
def measured_order_of_momentum():
    """With a velocity that starts at 0 and soon follows the slope."""
    term = Diffusion(PeronaMalik(CHANNELS, contrast=0.5)).double()
    u = state(2)
    exact = advance(STEPS["RK4"](term), u, 1.0, 64)
    start = torch.cat((u, torch.zeros_like(u)), 1)
    step = Momentum(term, retention=0.5)
    errors = [float((advance(step, start, 1.0, n)[:, :CHANNELS] - exact).norm()) for n in (128, 256)]
    return math.log2(errors[0] / errors[1])


def test_momentum_solves_the_equation_at_order_one():
    assert measured_order_of_momentum() == pytest.approx(Momentum.order, abs=0.15)
