"""Laws of diffusivities that a layer reads off the state, and of Du Fort and Frankel's levels that read them once."""

import math

import pytest
import torch
from states import BOUNDARIES, CHANNELS, DIMS, excess, grid_of, initial_states, number, randomise, state
from torch.autograd import gradcheck

from pdeconv import (
    BackwardEuler,
    Bistable,
    ConvDiffusivity,
    Diffusion,
    DuFortFrankel,
    Euler,
    Evolve,
    Exact,
    Fixed,
    Grid,
    Heun,
    PDEConvError,
    PerChannel,
    PooledDiffusivity,
    Reaction,
    UnsupportedError,
    refine_space,
)

KINDS = {
    "conv": lambda grid: Diffusion(ConvDiffusivity(CHANNELS, 0.8, dims=grid.dims), grid),
    "pooled": lambda grid: Diffusion(PooledDiffusivity(CHANNELS, 0.8), grid),
}


def built(kind, grid, scale=2.0):
    return randomise(KINDS[kind](grid).double(), scale)


@torch.no_grad()
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_range_up_to_the_limit_and_the_mass(kind, boundary):
    for dims in DIMS:
        grid = grid_of(boundary, dims)
        term = built(kind, grid)
        step = Euler(term)
        for u in initial_states(dims).values():
            after = step(u, number(step.guaranteed_limit))
            assert excess(after, 0.0, 1.0) < 1e-12
            assert bool((term(u).rate <= term.ceiling).all())
            assert excess(BackwardEuler(term)(u, number(5.0)), 0.0, 1.0) < 1e-6
            if boundary in ("neumann", "periodic"):
                assert torch.allclose(after.flatten(2).mean(2), u.flatten(2).mean(2), atol=1e-12)


@torch.no_grad()
def test_the_formulas():
    u, grid = state(2), Grid()
    pooled = randomise(PooledDiffusivity(CHANNELS, 3.0).double())
    expected = 3 * torch.sigmoid(u.mean((2, 3)) @ pooled.weight.T + pooled.bias)
    assert torch.allclose(pooled(u, grid), expected[..., None, None])
    conv = randomise(ConvDiffusivity(CHANNELS, 3.0, kernel_size=5).double())
    padded = torch.nn.functional.pad(u, (2, 2, 2, 2), mode="replicate")
    inner = conv.ceiling * torch.sigmoid(conv.conv(padded))[..., 2:-2, 2:-2]
    assert torch.allclose(conv(u, grid)[..., 2:-2, 2:-2], inner)
    for layer in (PooledDiffusivity(CHANNELS, 4.0, initial=0.5), ConvDiffusivity(CHANNELS, 4.0, initial=0.5)):
        assert torch.allclose(layer(torch.zeros(1, CHANNELS, 4, 4), grid), torch.tensor(0.5))


@torch.no_grad()
@pytest.mark.parametrize("boundary", ["neumann", "periodic"])
def test_the_exact_flow_solves_the_equation_of_the_state(boundary):
    """The diffusivity depends on the means, which stay: steps compose, and many of Heun's come to the same."""
    for dims in DIMS:
        term, u = built("pooled", grid_of(boundary, dims)), state(dims, cells=4)
        once = Exact(term)(u, number(2.0))
        assert torch.allclose(Evolve(Exact(term), 2.0, Fixed(5))(u), once, atol=1e-12)
        assert torch.allclose(Evolve(Heun(term), 2.0, Fixed(400))(u), once, atol=1e-4)
        alone = torch.cat([Exact(term)(sample[None], number(2.0)) for sample in u])
        assert torch.allclose(alone, once, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients(kind):
    term, u = built(kind, Grid(dims=1), 0.5), state(1).requires_grad_()
    weights = tuple(term.parameters())
    assert gradcheck(lambda u, *_: term(u)(u), (u, *weights))
    if kind == "pooled":
        assert gradcheck(lambda u, *_: Exact(term)(u, number(0.7)), (u, *weights))


@torch.no_grad()
def test_levels_that_read_the_coefficients_once():
    """Frozen at the first state, the scheme of the linear equation; the same where nothing depends on the state."""
    term, u = built("conv", Grid()), state(2)
    operator, levels = term(u), [u]
    h, rate = 0.1, operator.rate.reshape(-1, 1, 1, 1)
    levels.append(u + h / (1 + h * rate) * operator(u))
    for _ in range(3):
        before, now = levels[-2:]
        ahead = h * rate * now + h * operator(now)
        levels.append(((1 - h * rate) * before + 2 * ahead) / (1 + h * rate))
    step = DuFortFrankel(term, 4, frozen=True)
    assert torch.allclose(step(u, number(0.4)), levels[-1], atol=1e-13)
    assert not torch.allclose(DuFortFrankel(term, 4)(u, number(0.4)), levels[-1], atol=1e-5)
    constant = Diffusion(PerChannel(CHANNELS)).double()
    steps = [DuFortFrankel(constant, 4, frozen)(u, number(0.4)) for frozen in (True, False)]
    assert torch.equal(*steps)
    for boundary in BOUNDARIES:
        step = DuFortFrankel(built("conv", Grid(boundary=boundary)), 4, frozen=True)
        for start in initial_states(2).values():
            assert excess(step(start, number(step.guaranteed_limit)), 0.0, 1.0) < 1e-12


def test_a_frozen_term_that_amplifies_keeps_nothing():
    term = Reaction(Bistable(PerChannel(CHANNELS)))
    assert DuFortFrankel(term, 3).keeps and not DuFortFrankel(term, 3, frozen=True).keeps
    assert DuFortFrankel(term, 3, frozen=True).guaranteed_limit == 0


def test_slips_and_other_spacings():
    for kind in (ConvDiffusivity, PooledDiffusivity):
        for bad in (dict(channels=0), dict(ceiling=-1.0), dict(ceiling=1.0, initial=1.0), dict(ceiling=math.inf)):
            with pytest.raises(PDEConvError, match=kind.__name__):
                kind(**dict(channels=2) | bad)
        with pytest.raises(PDEConvError, match="channels"):
            kind(3)(torch.rand(1, 2, 4, 4), Grid())
    with pytest.raises(PDEConvError, match="dims"):
        ConvDiffusivity(2, dims=1)(torch.rand(1, 2, 4, 4), Grid())
    with pytest.raises(PDEConvError, match="odd"):
        ConvDiffusivity(2, kernel_size=2)
    evolve = Evolve(Exact(KINDS["pooled"](Grid())), 1.0, Fixed(1))
    assert refine_space(evolve, 2).step.term.grid.spacing == 0.5
    with pytest.raises(UnsupportedError, match="weight per cell"):
        refine_space(Evolve(Euler(KINDS["conv"](Grid())), 0.1, Fixed(1)), 2)
