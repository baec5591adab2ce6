"""Laws of terms that vary in time: linear between control points, order 2, bounded at all times, all points learn."""

import copy
import math
import pickle

import pytest
import torch
from catalogue import build
from states import BOUNDARIES, CHANNELS, excess, grid_of, initial_states, number, randomise, state
from torch import nn

from pdeconv import (
    CFL,
    SSPRK3,
    Adaptive,
    Advection,
    Clamp,
    Constant,
    Decay,
    Diffusion,
    DormandPrince,
    Euler,
    Evolve,
    Exact,
    Fixed,
    Grid,
    Heun,
    Measured,
    Momentum,
    PDEConvError,
    PerChannel,
    PerChannelVelocity,
    Reaction,
    Residual,
    Strang,
    TimeVarying,
)
from pdeconv.terms.varying import values_at


def decay(points=3, spread=2.0):
    """u_t = −s(t) u, s = 1.2·sigmoid(w(t)), w linear between the control points."""
    return randomise(TimeVarying(Reaction(Decay(CHANNELS, ceiling=1.2)), points).double(), spread)


def integrated_strength(term, duration):
    """∫ s dt by the midpoint rule on a very fine grid."""
    weights = torch.stack([part.law.strength.weight for part in term.copies])
    fraction = (torch.arange(20_000).double() + 0.5) / 20_000 * (len(weights) - 1)
    low = fraction.floor().long()
    share = (fraction - low)[:, None]
    between = (1 - share) * weights[low] + share * weights[low + 1]
    return duration * (1.2 * between.sigmoid()).mean(0)


@torch.no_grad()
@pytest.mark.parametrize("step", [Exact, Heun, SSPRK3])
def test_the_exact_solution_at_order_two(step):
    """u(T) = u(0)·exp(−∫ s dt); a third-order step falls to 2, as documented."""
    term, u = decay(), state(1)
    exact = u * torch.exp(-integrated_strength(term, 2.0))[:, None]
    errors = [float((Evolve(step(term), 2.0, Fixed(n))(u) - exact).norm()) for n in (32, 64)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.15)


@torch.no_grad()
def test_linear_between_the_control_points():
    term = decay(points=5)
    named = {f"term.{name}": weight for name, weight in term.named_parameters()}
    first = "term.copies.0.law.strength.weight"
    points = [named[first.replace("0", str(k))] for k in range(5)]
    for fraction, expected in (
        (0.0, points[0]),
        (0.25, points[1]),
        (1.0, points[4]),
        (0.6, 0.6 * points[2] + 0.4 * points[3]),
    ):
        values = values_at(Euler(term), named, fraction)
        assert torch.allclose(values[first], expected, atol=1e-14)
        assert all(values[name] is weight for name, weight in named.items() if name != first)


@torch.no_grad()
@pytest.mark.parametrize("name", ["perona_malik", "conv_advection", "logistic", "tanh_convolution", "sum", "residual"])
def test_equal_control_points_are_the_term_itself(name):
    term, u = build(name), state(2)
    expected = Evolve(Heun(term), 0.3, Fixed(3, unchecked=True))(u)
    for points in (1, 2, 5):
        varying = TimeVarying(copy.deepcopy(term), points)
        assert (varying.ceiling, varying.keeps, varying.growth) == (term.ceiling, term.keeps, term.growth)
        assert torch.allclose(Evolve(Heun(varying), 0.3, Fixed(3, unchecked=True))(u), expected, atol=1e-14)
        assert torch.equal(Heun(varying)(u, number(0.1)), Heun(term)(u, number(0.1)))


@torch.no_grad()
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_the_range_is_kept_whatever_the_weights(boundary):
    """At the limit of the ceilings, whose bound holds at every time; beyond it is broken."""
    grid = grid_of(boundary, 2)
    term = randomise(TimeVarying(Diffusion(PerChannel(CHANNELS, ceiling=1.5), grid), 3).double(), 40.0)
    for start in initial_states(2).values():
        after = Evolve(Euler(term), 1.0, CFL(1.0)).trajectory(start)
        low, high = start.min().clamp(max=0), start.max()
        assert all(excess(u, low, high) < 1e-12 for u in after.states)
    with pytest.raises(PDEConvError, match="limit"):
        Evolve(Euler(term), 1.0, Fixed(2))


def test_every_control_point_gets_a_gradient():
    u = state(2)
    step = Strang(
        Heun(TimeVarying(Diffusion(PerChannel(CHANNELS)), 3)),
        Heun(TimeVarying(Advection(PerChannelVelocity(CHANNELS)) + Reaction(Decay(CHANNELS)), 4)),
    ).double()
    randomise(step, 0.3)
    for memory in ("store", "checkpoint"):
        evolve = Evolve(step, 2.0, Fixed(20), memory=memory)
        step.zero_grad()
        evolve(u).square().sum().backward()
        if memory == "store":
            stored = [weight.grad.clone() for weight in step.parameters()]
    assert all(grad.any() for grad in stored)
    assert all(torch.allclose(w.grad, g, atol=1e-13) for w, g in zip(step.parameters(), stored, strict=True))
    weight = next(step.parameters())
    grad, h = weight.grad[0].clone(), 1e-6
    losses = []
    for shift in (h, -2 * h):
        with torch.no_grad():
            weight[0] += shift
            losses.append(evolve(u).square().sum())
    assert float((losses[0] - losses[1]) / (2 * h)) == pytest.approx(float(grad), rel=1e-3)


def test_a_good_module():
    torch.compiler.reset()
    branch = nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), nn.BatchNorm2d(CHANNELS), nn.Tanh())
    evolve = Evolve(Euler(TimeVarying(Residual(branch), 3)), 1.0, Fixed(4, unchecked=True))
    randomise(evolve, 0.1)
    u = torch.rand(2, CHANNELS, 5, 5)
    evolve(u)
    assert int(branch[1].num_batches_tracked) == 4
    evolve.eval()
    for other in (copy.deepcopy(evolve), pickle.loads(pickle.dumps(evolve))):
        assert torch.equal(other(u), evolve(u))
    assert torch.allclose(torch.compile(evolve, fullgraph=True, backend="aot_eager")(u), evolve(u), atol=1e-6)
    assert torch.equal(evolve.trajectory(u).states[-1], evolve(u))
    assert "points=3" in repr(evolve)
    assert evolve.to("meta")(u.to("meta")).shape == u.shape


@torch.no_grad()
def test_nested_and_shared():
    """A varying part of a varying sum varies with both; a term that two steps share varies in both."""
    inner = TimeVarying(Reaction(Decay(CHANNELS)), 2)
    nested = randomise(TimeVarying(inner + Diffusion(PerChannel(CHANNELS)), 2).double())
    assert Evolve(Heun(nested), 1.0, Fixed(8))(state(2)).isfinite().all()
    term, u = decay(), state(2)
    twice = Evolve(Strang(Exact(term), Exact(term)), 1.0, Fixed(3))(u)
    assert torch.allclose(twice, Evolve(Exact(term), 2.0, Fixed(3))(u), atol=1e-14)
    assert all(isinstance(weight, nn.Parameter) for weight in term.parameters())


def test_a_weight_that_two_modules_share_varies_in_both():
    """In either, and its gradient is that of both: the step is that of a module used twice."""
    shared = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
    second = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
    second.weight, second.bias = shared.weight, shared.bias
    found = []
    for branch, memory in (((shared, shared), "store"), ((shared, second), "store"), ((shared, second), "reversible")):
        torch.manual_seed(1)
        term = randomise(TimeVarying(Residual(*copy.deepcopy(nn.Sequential(*branch))), 3))
        evolve = Evolve(Momentum(term, 0.95), 1.0, Fixed(6, unchecked=True), memory=memory)
        loss = evolve(torch.linspace(0, 1, 4 * 16 * CHANNELS).reshape(2, 2 * CHANNELS, 4, 4)).square().sum()
        found.append((loss, *torch.autograd.grad(loss, tuple(term.parameters()))))
    for other in found[1:]:
        assert len(other) == len(found[0])
        assert all(torch.allclose(a, b, rtol=1e-3, atol=1e-4) for a, b in zip(found[0], other, strict=True))


def test_slips_are_refused():
    varying = TimeVarying(Diffusion(PerChannel(1)), 3)
    for control in (Clamp(2), Measured(0.9)):
        with pytest.raises(PDEConvError, match="Fixed or CFL"):
            Evolve(Euler(varying), 1.0, control)
    with pytest.raises(PDEConvError, match="Fixed or CFL"):
        Evolve(DormandPrince(varying), 1.0, Adaptive())
    with pytest.raises(PDEConvError, match="Term"):
        TimeVarying(Constant(1.0), 3)
    for bad in (0, 2.5):
        with pytest.raises(PDEConvError, match="points"):
            TimeVarying(Diffusion(Constant(1.0), Grid()), bad)
