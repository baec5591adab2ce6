"""Laws of energies: their gradient is their gradient, and each Euler step within the limit lowers them."""

import math

import pytest
import torch
from states import BOUNDARIES, DIMS, grid_of, initial_states, number, randomise, state, unit
from torch import nn
from torch.autograd import gradcheck, gradgradcheck

from pdeconv import (
    CFL,
    Clamp,
    Constant,
    Decay,
    Diffusion,
    Energy,
    EnergyFlow,
    Euler,
    Evolve,
    FieldsOfExperts,
    Fixed,
    Grid,
    Heun,
    Lie,
    NetworkEnergy,
    PDEConvError,
    Potential,
    Reaction,
    SplinePotential,
    StabilityError,
    SymmetricConvolution,
    TanhInfluence,
    TimeVarying,
)
from pdeconv.operator import ENERGY, OWN_ENERGY

CONCAVITIES = {"convex": 0.0, "weakly convex": 0.4, "free": 1.7}


class Quadratic(Potential):
    """z²/2."""

    curvature = 1.0

    def forward(self, z):
        return z.square() / 2

    def slope(self, z):
        return z


class LogCosh(Potential):
    """log cosh z, whose slope is tanh z."""

    curvature = 1.0

    def forward(self, z):
        return nn.functional.softplus(2 * z) - z - math.log(2)

    def slope(self, z):
        return torch.tanh(z)


def spline(concavity):
    return SplinePotential(3, knots=9, reach=0.7, curvature=1.7, concavity=concavity)


def experts(potential, boundary="neumann", dims=2, scale=3.0):
    grid = unit(grid_of(boundary, dims))
    return randomise(FieldsOfExperts(2, 3, potential=potential, norm=1.3, grid=grid).double(), scale)


@pytest.mark.parametrize("concavity", CONCAVITIES.values())
def test_a_spline_potential_is_twice_the_primitive_of_its_curvature(concavity):
    """ρ(0) = ρ′(0) = 0, ρ′ is the derivative of ρ, −concavity ≤ ρ″ ≤ curvature and both are reached; ends included."""
    z = torch.linspace(-1, 1, 161, dtype=torch.float64)[None, None].expand(1, 3, -1).clone().requires_grad_()
    lowest, highest = [], []
    for scale in (0.0, 3.0, 100.0):
        potential = randomise(spline(concavity).double(), scale)
        value, slope = potential(z), potential.slope(z)
        assert value[..., 80].abs().max() < 1e-14 and slope[..., 80].abs().max() < 1e-14
        (derivative,) = torch.autograd.grad(value.sum(), z, create_graph=True)
        assert torch.allclose(derivative, slope, atol=1e-13)
        (curvature,) = torch.autograd.grad(slope.sum(), z)
        lowest.append(float(curvature.min())), highest.append(float(curvature.max()))
        beyond = z.abs() > 0.7
        assert (curvature[beyond] == 0).all() and (concavity > 0 or (value > -1e-14).all())
    assert min(lowest) >= -concavity - 1e-12 and max(highest) <= 1.7 + 1e-12
    assert min(lowest) < 0.01 - concavity and max(highest) > 1.69


def test_a_spline_potential_differentiates_twice():
    potential, z = randomise(spline(0.4).double()), torch.randn(2, 3, 9, dtype=torch.float64).requires_grad_()
    for function in (potential, potential.slope):
        assert gradcheck(function, z, fast_mode=True)
        assert gradgradcheck(function, z, fast_mode=True, atol=1e-4)
    half = potential.half()(z.detach().half())
    assert half.dtype == torch.float16
    assert (half.double() - potential.double()(z.half().double())).abs().max() < 1e-2


@pytest.mark.parametrize("dims", DIMS)
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_the_closed_gradient_is_the_automatic_one(boundary, dims):
    for potential in (spline(0.0), spline(0.4), LogCosh()):
        energy, u = experts(potential, boundary, dims), state(dims)
        assert energy(u).shape == (2,)
        assert energy.gradient(u).norm() > 0.01
        assert torch.allclose(energy.gradient(u), Energy.gradient(energy, u), atol=1e-12)
        weights = list(energy.parameters())
        gradients = [
            torch.autograd.grad(gradient.square().sum(), weights)
            for gradient in (energy.gradient(u), Energy.gradient(energy, u))
        ]
        assert all(torch.allclose(one, other, atol=1e-10) for one, other in zip(*gradients, strict=True))


def test_the_flow_of_a_known_potential_is_a_known_term():
    """log cosh: −Kᵀ tanh(Ku). A quadratic of differences: the heat equation."""
    energy = experts(LogCosh())
    term = SymmetricConvolution(2, 3, influence=TanhInfluence(), norm=1.3).double()
    term.load_state_dict(energy.state_dict())
    u = state(2)
    flow = EnergyFlow(energy)
    assert torch.allclose(flow(u)(u), term(u)(u), atol=1e-12)
    assert (flow.ceiling, flow.keeps - {OWN_ENERGY}) == (term.ceiling, term.keeps)
    energy = FieldsOfExperts(1, potential=Quadratic(), norm=10.0, grid=Grid(boundary="periodic", dims=1)).double()
    with torch.no_grad():
        energy.weight.copy_(math.sqrt(3) * torch.tensor([[[0.0, -1.0, 1.0]]]))
    u, heat = torch.randn(2, 1, 9, dtype=torch.float64), Diffusion(Constant(1.0), energy.grid)
    assert torch.allclose(EnergyFlow(energy)(u)(u), heat(u)(u), atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("kind", CONCAVITIES)
def test_each_euler_step_at_the_limit_lowers_the_energy(kind, boundary):
    """By what the descent lemma says, whatever the weights, convex or not."""
    for dims in DIMS:
        for scale in (0.3, 3.0):
            flow = EnergyFlow(experts(spline(CONCAVITIES[kind]), boundary, dims, scale))
            assert flow.ceiling == pytest.approx(1.3**2 * 1.7 / 2 * (2**dims if boundary == "reflect" else 1))
            starts = torch.cat(list(initial_states(dims).values()))
            for share in (1.0, 0.5):
                u = starts
                for _ in range(5):
                    squared_slope = flow.energy.gradient(u).flatten(1).square().sum(1)
                    after = Euler(flow)(u, number(share / flow.ceiling))
                    lemma = share / flow.ceiling * (1 - share) * squared_slope
                    assert (flow.energy(after) <= flow.energy(u) - lemma + 1e-10).all()
                    u = after


@torch.no_grad()
def test_beyond_the_limit_a_quadratic_energy_grows():
    """Its steepest mode is mirrored at the limit, and doubles in the end beyond it."""
    grid = Grid(boundary="periodic", dims=1)
    energy = FieldsOfExperts(1, potential=Quadratic(), norm=2.0, grid=grid).double()
    energy.weight.copy_(math.sqrt(3) * torch.tensor([[[0.0, -1.0, 1.0]]]))
    u = torch.tensor([1.0, -1.0] * 4, dtype=torch.float64)[None, None]
    kernel_norm = float(energy.kernel[0, 0, 2]) * 2  # the bound is slightly above it
    assert 1.95 < kernel_norm <= 2
    step = Euler(EnergyFlow(energy))
    sizes = {}
    for factor in (0.5, 1.0, 1.1):
        v = u
        for _ in range(20):
            v = step(v, number(factor * step.guaranteed_limit))
        sizes[factor] = float(energy(v) / energy(u))
    assert sizes[0.5] < 1e-6 and 0.01 < sizes[1.0] <= 1 and sizes[1.1] > 2


@torch.no_grad()
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_steps_of_a_convex_energy_bring_states_together(boundary):
    """At the limit, by cocoercivity: so balls about any state of least energy are kept, not only about 0."""
    flow = EnergyFlow(experts(spline(0.0), boundary))
    u, v = state(2), state(2) - 0.3
    for _ in range(20):
        closer_u, closer_v = (Euler(flow)(w, number(1 / flow.ceiling)) for w in (u, v))
        assert (closer_u - closer_v).norm() <= (u - v).norm() * (1 + 1e-12)
        u, v = closer_u, closer_v


def test_what_is_claimed():
    """Of a convex energy its own sublevel sets and the balls about 0; of any other nothing, and rightly."""
    convex, weakly = EnergyFlow(experts(spline(0.0))), EnergyFlow(experts(spline(0.4)))
    network = EnergyFlow(NetworkEnergy(nn.Conv2d(2, 3, 3), nn.Softplus()).double())
    assert convex.keeps == convex(state(2)).keeps == {ENERGY, OWN_ENERGY}
    assert weakly.keeps == network.keeps == weakly(state(2)).keeps == frozenset()
    assert (convex.growth, weakly.growth) == (0, pytest.approx(0.4 * 1.69))
    assert (weakly.ceiling, network.ceiling) == (convex.ceiling, math.inf)
    for flow in (weakly, network):
        for control in (CFL(0.9), Fixed(3), Clamp(3)):
            with pytest.raises(StabilityError, match="unchecked"):
                Evolve(Euler(flow), 1.0, control)
    assert Evolve(Heun(convex), 1.0, CFL(1.0)).steps == math.ceil(convex.ceiling)
    # An energy belongs to one term with its weights of now.
    decay = Reaction(Decay(2))
    for combined in (convex + decay, Lie(Euler(convex), Euler(decay)), TimeVarying(convex, 2)):
        assert combined.keeps == {ENERGY}
    free = EnergyFlow(experts(spline(1.7)))
    u = state(2)
    with torch.no_grad():
        grown = [Euler(free)(size * u, number(0.5 / free.ceiling)).norm() / (size * u.norm()) for size in (0.1, 0.3)]
    assert max(grown) > 1.001


class Well(Energy):
    """A user's own: Σ (u − 1)²/2, of least energy at 1."""

    curvature, concavity = 1.0, 0.0

    def forward(self, u):
        return (u - 1).square().flatten(1).sum(1) / 2


def test_an_energy_of_ones_own():
    flow, u = EnergyFlow(Well()), state(1)
    assert flow.keeps == {OWN_ENERGY}
    out = Evolve(Euler(flow), 40.0, CFL(0.25))(u)
    assert torch.allclose(out, torch.ones_like(u))
    assert torch.allclose(flow(u)(u), 1 - u)
    assert not flow(u)(u).requires_grad  # nothing learns


def test_automatic_gradients_live_with_every_memory_and_mode():
    flow = EnergyFlow(NetworkEnergy(nn.Conv2d(2, 3, 3), nn.Softplus()).double())
    results = []
    for memory in ("store", "checkpoint"):
        u = torch.ones(1, 2, 5, 6, dtype=torch.float64, requires_grad=True)
        evolve = Evolve(Euler(flow), 0.5, Fixed(20, unchecked=True), memory=memory)
        results.append(torch.autograd.grad(evolve(u).square().sum(), (u, *flow.parameters())))
    assert all(torch.allclose(one, other, atol=1e-13) for one, other in zip(*results, strict=True))
    u, expected = state(2), flow(state(2))
    expected = flow(u)(u).detach()
    for off in (torch.no_grad(), torch.inference_mode()):
        with off:
            out = flow(u)(u)
            assert torch.equal(out, expected) and not out.requires_grad
            assert torch.equal(flow(u.clone())(u.clone()), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (flow.float()(u.float())(u.float()) - expected).abs().max() < 0.05 * expected.abs().max()


def test_a_state_smaller_than_the_kernel_has_no_energy():
    energy, u = FieldsOfExperts(1), torch.rand(3, 1, 2, 9)
    assert torch.equal(energy(u), torch.zeros(3)) and not energy.gradient(u).any()


def test_slips_are_refused():
    for bad in (dict(knots=4), dict(knots=1), dict(reach=0.0), dict(curvature=0.0), dict(concavity=-1.0)):
        with pytest.raises(PDEConvError):
            SplinePotential(**{"features": 2, **bad})
    with pytest.raises(PDEConvError, match="3 features, but got 2"):
        spline(0.0)(torch.zeros(1, 2, 4))
    with pytest.raises(PDEConvError, match="Potential"):
        FieldsOfExperts(2, potential=TanhInfluence())
    with pytest.raises(PDEConvError, match="NetworkEnergy"):
        EnergyFlow(nn.Conv2d(1, 1, 1))
    with pytest.raises(PDEConvError, match="at least one"):
        NetworkEnergy()
    with pytest.raises(PDEConvError, match="spacing 1"):
        FieldsOfExperts(2, grid=Grid(0.5))
    with pytest.raises(PDEConvError, match="2 channels"):
        FieldsOfExperts(2)(torch.zeros(1, 3, 5, 5))
