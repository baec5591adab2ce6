"""Law: a step has the order that it states, within 0.15, for coefficients that do not depend on the state."""

import math

import pytest
import torch
from catalogue import PARTITIONED, STEPS
from pairing import can_step
from states import CHANNELS, Field, FieldVelocity, number, randomise

from pdeconv import (
    SSPRK3,
    Advection,
    Constant,
    Decay,
    Diffusion,
    Fidelity,
    Grid,
    Heun,
    Lie,
    Logistic,
    PerChannel,
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


@pytest.mark.parametrize("term_name", TERMS)
@pytest.mark.parametrize("step_name", SINGLE)
def test_order_of_single_steps(step_name, term_name):
    torch.manual_seed(1)
    term = randomise(TERMS[term_name]().double(), 0.3)
    if not can_step(step_name, term, smooth_state()):
        pytest.skip("no solve")
    step = STEPS[step_name](term)
    tolerance = 0.15 if step.order < 5 else 0.2  # rounding forbids the shorter steps that would tell better
    assert measured_order(step) == pytest.approx(step.order, abs=tolerance)


@pytest.mark.parametrize("step_name", [s for s in (*SINGLE, "Exact") if s not in ("AOS", "ADI")])
def test_order_for_a_reaction_that_depends_on_the_state(step_name):
    """Runge–Kutta keeps its order; a step of the frozen operator falls to order 1."""
    law = PointwiseNetwork(CHANNELS, 3, lipschitz=3.0) if step_name == "Exact" else Logistic(CHANNELS, ceiling=1.0)
    step = STEPS[step_name](Reaction(law).double())
    order = step.order if isinstance(step, RungeKutta) else 1
    reference = STEPS["DormandPrince"](step.term)
    assert measured_order(step, duration=1.6, reference=reference) == pytest.approx(order, abs=0.15)


EXPLICIT = {
    "advection": advection,
    "logistic": lambda: Reaction(Logistic(CHANNELS)),
    "diffusion": lambda: Diffusion(Constant(0.2), GRID),
}


@pytest.mark.parametrize("term_name", EXPLICIT)
@pytest.mark.parametrize("step_name", PARTITIONED)
def test_order_of_partitioned_steps(step_name, term_name):
    """Against the whole equation, the explicit term linear or not; a diffusivity constant in space, as ETD needs."""
    step = PARTITIONED[step_name](Diffusion(Constant(0.3), GRID), EXPLICIT[term_name]()).double()
    whole = STEPS["RK4"]((step.stiff + step.explicit).double())
    assert measured_order(step, steps=32, reference=whole) == pytest.approx(step.order, abs=0.15)


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


@pytest.mark.parametrize("name", SPLITTINGS)
def test_order_of_splittings(name):
    """Against the unsplit equation: only so does the error of the splitting show."""
    step = SPLITTINGS[name]().double()
    whole = SumTerm(part.term for part in step.parts)
    assert len(step.parts) == (3 if "three" in name else 4 if "four" in name else 2)
    assert step.order == (1 if "Lie" in name or "Euler" in name else 2)
    measured = measured_order(step, reference=STEPS["RK4"](whole.double()))
    assert measured == pytest.approx(step.order, abs=0.15)


def test_exact_steps_compose():
    """Two exact steps are one of twice the length."""
    for term in (Diffusion(Constant(0.7), GRID), Reaction(Decay(CHANNELS))):
        step, u = STEPS["Exact"](term.double()), smooth_state()
        assert torch.allclose(advance(step, u, 3.0, 1), advance(step, u, 3.0, 7), atol=1e-12)
