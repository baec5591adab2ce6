"""Law: Du Fort and Frankel's scheme is theirs, never blows up, and converges as dt/K with K."""

import math

import pytest
import torch
from catalogue import build
from states import BOUNDARIES, CHANNELS, DIMS, excess, grid_of, initial_states, number, state

from pdeconv import (
    RK4,
    Constant,
    Diffusion,
    DuFortFrankel,
    Evolve,
    Fixed,
    Grid,
    Heun,
    Logistic,
    PerChannel,
    Reaction,
    Residual,
    StabilityError,
)

UNLIMITED = (0.3, 1.0, 3.0, 30.0, 1e4)


def test_is_the_scheme_of_the_paper():
    """(1 + σ)uᵏ⁺¹ᵢ = (1 − σ)uᵏ⁻¹ᵢ + σ(uᵏᵢ₋₁ + uᵏᵢ₊₁), σ = 2hκ/dx²."""
    kappa, dx, h = 0.7, 1.3, 2.0
    step = DuFortFrankel(Diffusion(Constant(kappa), Grid(dx, "periodic", dims=1)), stages=3)
    before = torch.rand(1, 1, 8, dtype=torch.float64)
    sigma = 2 * h * kappa / dx**2

    def neighbours(u):
        return u.roll(1, -1) + u.roll(-1, -1)

    now = before + sigma / (1 + sigma) * (neighbours(before) / 2 - before)
    u = before
    for _ in range(2):
        before, now = now, ((1 - sigma) * before + sigma * neighbours(now)) / (1 + sigma)
    assert torch.allclose(step(u, number(3 * h)), now, atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize("dims", DIMS)
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_the_energy_never_grows(boundary, dims):
    """However long the step and however many the levels; on a reflecting edge it does not blow up."""
    term = Diffusion(PerChannel(CHANNELS, ceiling=1.5), grid_of(boundary, dims)).double()
    for stages in (1, 2, 3, 8, 25):
        step = DuFortFrankel(term, stages)
        for courant in UNLIMITED:
            for u in initial_states(dims).values():
                after = step(u, number(courant * stages / term.ceiling))
                assert after.norm() <= u.norm() * (1 + 1e-12 if boundary != "reflect" else 2 ** (dims / 2))


@torch.no_grad()
def test_the_start_matters():
    """After Heun's, over a time that is near h where h is short, the zigzag grows nearly threefold at long steps."""
    term = Diffusion(Constant(1.0), Grid(boundary="periodic", dims=1))
    u, h = initial_states(1)["zigzag"] - 0.5, 25.0
    courant = h * term.ceiling
    start = Heun(term)(u, number(h / math.sqrt(1 + courant**2)))
    assert start.norm() <= u.norm()
    ahead = ((1 - courant) * u + 2 * (courant * start + h * term(start)(start))) / (1 + courant)
    assert ahead.norm() > 2.5 * u.norm()
    assert DuFortFrankel(term, 2)(u, number(2 * h)).norm() <= u.norm()


@torch.no_grad()
def test_the_range_is_left_beyond_the_limit():
    """On two axes; on one, a walk that remembers its direction, it seems to be kept."""
    for boundary in BOUNDARIES:
        step = DuFortFrankel(Diffusion(Constant(1.0), Grid(boundary=boundary)), 4)
        states = initial_states(2, cells=8).values()
        assert max(excess(step(u, number(step.guaranteed_limit)), 0.0, 1.0) for u in states) < 1e-12
        assert max(excess(step(u, number(4 * step.guaranteed_limit)), 0.0, 1.0) for u in states) > 1e-2
    with pytest.raises(StabilityError, match="exceeds the limit"):
        Evolve(step, 100.0, Fixed(1))
    assert Evolve(step, 100.0, Fixed(1, unchecked=True))(state(2)).isfinite().all()


@torch.no_grad()
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_consistent_of_order_2_in_the_length_of_a_level(boundary):
    """One step of more and more levels, with a reaction beside the diffusion."""
    grid = grid_of(boundary, 2)
    term = (Diffusion(PerChannel(CHANNELS, ceiling=1.5), grid) + Reaction(Logistic(CHANNELS))).double()
    u = state(2)
    exact = Evolve(RK4(term), 0.5, Fixed(200, unchecked=True))(u)
    errors = [float((DuFortFrankel(term, stages)(u, number(0.5)) - exact).norm()) for stages in (64, 128)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.15)


@torch.no_grad()
def test_consistent_of_order_2_in_dx_if_dt_is_of_dx_squared_and_not_if_of_dx():
    """A heat mode on finer grids; with h ~ dx the term of u_tt remains, and the error does not fall."""

    def error(cells, levels):
        x = (torch.arange(cells, dtype=torch.float64) + 0.5) / cells
        u = torch.cos(math.pi * x)[None, None]
        step = DuFortFrankel(Diffusion(Constant(1.0), Grid(1 / cells, dims=1)), levels)
        return float((step(u, number(0.1)) - math.exp(-0.1 * math.pi**2) * u).abs().max())

    fine = error(8, 13), error(16, 52), error(32, 208)
    assert math.log2(fine[0] / fine[1]) == pytest.approx(2, abs=0.3)
    assert math.log2(fine[1] / fine[2]) == pytest.approx(2, abs=0.15)
    assert error(64, 26) > 0.5 * error(32, 13)


@torch.no_grad()
def test_terms_that_amplify_keep_their_interval():
    term = build("sum", grid_of("neumann", 2), 3.0)
    step = DuFortFrankel(term, 5)
    for u in initial_states(2).values():
        u = 2 * u - 1
        for _ in range(4):
            u = step(u, number(step.guaranteed_limit))
            assert excess(u, -1.0, 1.0) < 1e-12


def test_arguments():
    with pytest.raises(ValueError, match="finite ceiling"):
        DuFortFrankel(Residual(torch.nn.Identity()), 4)
    with pytest.raises(ValueError, match="stages"):
        DuFortFrankel(Diffusion(Constant(1.0)), 0)
