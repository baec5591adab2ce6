"""Law: against solutions known in closed form."""

import math

import pytest
import torch
from catalogue import STEPS
from states import BOUNDARIES, DIMS

from pdeconv import (
    CFL,
    RK4,
    SSPRK3,
    Advection,
    Bistable,
    Constant,
    CrankNicolson,
    Decay,
    Diffusion,
    Evolve,
    Exact,
    Fixed,
    Grid,
    Heun,
    Logistic,
    PerChannelVelocity,
    Reaction,
    Strang,
)


def heat_mode(cells, boundary, mode):
    """An eigenvector of the second difference on ``cells`` cells of spacing 1, and its eigenvalue."""
    x = torch.arange(cells, dtype=torch.float64)
    if boundary == "neumann":
        angle = math.pi * mode / cells
        wave = torch.cos(angle * (x + 0.5))
    elif boundary == "periodic":
        angle = 2 * math.pi * mode / cells
        wave = torch.cos(angle * x)
    elif boundary == "dirichlet":
        angle = math.pi * mode / (cells + 1)
        wave = torch.sin(angle * (x + 1))
    else:
        angle = math.pi * mode / (cells - 1)
        wave = torch.cos(angle * x)
    return wave, -2 + 2 * math.cos(angle)


@pytest.mark.parametrize("dims", DIMS)
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_heat_modes_decay(boundary, dims):
    """A mode of the grid decays as exp(κλt) under every step, to its accuracy; as that exactly under Exact."""
    spacings = (0.5, 1.0, 2.0)[:dims]
    u, rate = torch.ones(1, 1, *[1] * dims, dtype=torch.float64), 0.0
    for axis, dx in enumerate(spacings):
        wave, eigenvalue = heat_mode(6 + axis, boundary, axis + 1)
        u = u * wave.reshape([-1 if i == axis else 1 for i in range(dims)])
        rate += 0.3 * eigenvalue / dx**2
    term = Diffusion(Constant(0.3), Grid(spacings, boundary))
    assert torch.allclose(term(u)(u), rate * u, atol=1e-12)
    for name, tolerance in (("Exact", 1e-12), ("RK4", 1e-8), ("SSPRK3", 1e-6), ("Heun", 1e-4), ("CrankNicolson", 1e-4)):
        decayed = Evolve(STEPS[name](term), 0.5, Fixed(64, unchecked=name == "RK4"))(u)
        assert torch.allclose(decayed, math.exp(0.5 * rate) * u, atol=tolerance), name


def gaussian(cells, centre, width):
    x = (torch.arange(cells, dtype=torch.float64) + 0.5) / cells
    away = (x - centre + 0.5).remainder(1.0) - 0.5
    return torch.exp(-(away**2) / (2 * width**2))


def test_a_gaussian_is_carried_along():
    """Once around a periodic axis, either way: upwinding converges with order 1 to where it started."""
    for sign in (1.0, -1.0):
        errors = []
        for cells in (200, 400):
            velocity = PerChannelVelocity(1, ceiling=1.0, dims=1, dtype=torch.float64)
            torch.nn.init.constant_(velocity.weight, math.atanh(0.5 * sign))
            carry = Evolve(Heun(Advection(velocity, Grid((1 / cells,), "periodic"))), 2.0, CFL(0.8))
            u = gaussian(cells, 0.5, 0.1)[None, None]
            errors.append(float((carry(u) - u).abs().mean()))
            if sign > 0:  # a quarter of the way: it moves towards larger x
                quarter = Evolve(carry.step, 0.5, CFL(0.8))(u)
                assert abs(float(quarter.argmax()) / cells - 0.75) < 0.01
        assert errors[1] < 0.03 and math.log2(errors[0] / errors[1]) == pytest.approx(1.0, abs=0.2)


def test_a_gaussian_spreads_and_moves():
    """Advection–diffusion: mean v·t, variance σ² + 2κt, by a splitting of order 2 in time; mass stays."""
    cells, kappa, speed, time = 400, 0.002, 0.3, 0.5
    velocity = PerChannelVelocity(1, ceiling=1.0, dims=1, dtype=torch.float64)
    torch.nn.init.constant_(velocity.weight, math.atanh(speed))
    grid = Grid((1 / cells,), "periodic")
    step = Strang(CrankNicolson(Diffusion(Constant(kappa), grid)), Heun(Advection(velocity, grid)))
    u = gaussian(cells, 0.3, 0.05)[None, None]
    after = Evolve(step, time, Fixed(640))(u)
    x = (torch.arange(cells, dtype=torch.float64) + 0.5) / cells
    mass = float(after.sum())
    mean = float((after * x).sum()) / mass
    variance = float((after * (x - mean) ** 2).sum()) / mass
    numerical = speed / cells / 2  # upwinding's own diffusivity
    assert mass == pytest.approx(float(u.sum()), rel=1e-10)
    assert mean == pytest.approx(0.3 + speed * time, abs=1e-4)
    assert variance == pytest.approx(0.05**2 + 2 * (kappa + numerical) * time, rel=0.03)


def test_reactions_follow_their_curves():
    u0 = torch.linspace(0.05, 0.95, 8, dtype=torch.float64)[None, None]
    s, t = 0.7, 3.0
    logistic = Evolve(RK4(Reaction(Logistic(Constant(s)))), t, Fixed(60, unchecked=True))(u0)
    assert torch.allclose(logistic, u0 * math.exp(s * t) / (1 + u0 * (math.exp(s * t) - 1)), atol=1e-7)
    bistable = Evolve(SSPRK3(Reaction(Bistable(Constant(s)))), t, Fixed(200))(u0)
    growth = math.exp(s * t)
    assert torch.allclose(bistable, u0 * growth / torch.sqrt(1 + u0**2 * (growth**2 - 1)), atol=1e-6)
    assert torch.allclose(Evolve(Exact(Reaction(Decay(Constant(s)))), t, Fixed(1))(u0), u0 * math.exp(-s * t))


@pytest.mark.parametrize("law", [Logistic, Bistable])
def test_a_reaction_of_known_solution_is_solved_at_once(law):
    """By one step, however long; two steps are one; what rests stays at rest, also after all else is decided."""
    step = Exact(Reaction(law(2)).double())
    u = torch.rand(1, 2, 5, 5, dtype=torch.float64)
    one, two = torch.tensor(2.5, dtype=torch.float64), torch.tensor(1.5, dtype=torch.float64)
    reference = Evolve(RK4(step.term), 2.5, Fixed(500, unchecked=True))(u)
    assert torch.allclose(step(u, one), reference, rtol=0, atol=1e-9)
    assert torch.allclose(step(step(u, one), two), step(u, one + two), rtol=0, atol=1e-14)
    assert math.isinf(step.guaranteed_limit) and math.isinf(step.order)
    for dtype in (torch.float16, torch.float32, torch.float64):
        ends = torch.tensor([0.0, 1e-3, 1.0], dtype=dtype).reshape(1, 1, 3).requires_grad_()
        after = Exact(Reaction(law(Constant(1.0))))(ends, torch.tensor(1e4, dtype=dtype))
        assert after.flatten().tolist() == [0.0, 1.0, 1.0]
        if dtype != torch.float16:  # beside 0 the slope is that of exponential growth
            assert torch.autograd.grad(after.sum(), ends)[0].isfinite().all()
