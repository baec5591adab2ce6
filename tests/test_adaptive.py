"""Laws of adaptive marching: errors follow the tolerance, samples are alone, evaluations counted, no endless loop."""

import math

import pytest
import torch
from catalogue import build
from states import CHANNELS, grid_of, number, state
from torch import nn
from torchdiffeq import odeint

from pdeconv import (
    RK4,
    Adaptive,
    BogackiShampine,
    Constant,
    Decay,
    Diffusion,
    DormandPrince,
    Euler,
    Evolve,
    Fixed,
    Grid,
    Heun,
    Logistic,
    PDEConvError,
    Reaction,
    Residual,
    StabilityError,
    Term,
    operator,
)

PAIRS = (BogackiShampine, DormandPrince)


class Function(nn.Module):
    """A function as a module that counts its calls."""

    def __init__(self, function):
        super().__init__()
        self.function, self.calls = function, 0

    def forward(self, u):
        self.calls += 1
        return self.function(u)


def field():
    return nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), nn.Tanh()).double()


@torch.no_grad()
@pytest.mark.parametrize("pair", PAIRS)
def test_the_error_estimate(pair):
    """The weights sum to 0; the estimate is of the order of the lower formula, and close to its true error."""
    assert sum(pair.error) == pytest.approx(0, abs=1e-15) and sum(pair.b) == pytest.approx(1)
    assert len(pair.error) == len(pair.b) + 1
    step, u = pair(Residual(field())), state(2)
    slope, errors = step.term(u)(u), []
    for dt in (0.2, 0.1):
        after, error, slope_after = step.attempt(u, number(dt), slope)
        assert torch.allclose(after, step(u, number(dt)), atol=1e-15)
        assert torch.equal(slope_after, step.term(after)(after))
        exact = u
        for _ in range(64):
            exact = RK4(step.term)(exact, number(dt / 64))
        assert float((after - error - exact).norm()) == pytest.approx(float(error.norm()), rel=0.3)
        errors.append(float(error.norm()))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(pair.order, abs=0.3)


@torch.no_grad()
@pytest.mark.parametrize("pair", PAIRS)
def test_exact_solutions_to_tolerance(pair):
    """Decay, the logistic curve, a heat mode: the error is about the tolerance, and falls with it."""
    u = state(1, cells=8)
    x = (torch.arange(8.0).double() + 0.5) * math.pi / 8
    mode = (0.5 + 0.3 * x.cos()).expand(2, CHANNELS, 8)
    eigenvalue = 2 - 2 * math.cos(math.pi / 8)
    cases = (
        (Reaction(Decay(Constant(1.3))), u, u * math.exp(-1.3 * 2)),
        (Reaction(Logistic(Constant(1.3))), u, u / (u + (1 - u) * math.exp(-1.3 * 2))),
        (Diffusion(Constant(0.7), Grid(dims=1)), mode, 0.5 + (mode - 0.5) * math.exp(-0.7 * eigenvalue * 2)),
    )
    for term, start, exact in cases:
        errors = []
        for tolerance in (1e-3, 1e-6, 1e-9):
            solve = Evolve(pair(term), 2.0, Adaptive(rtol=tolerance, atol=tolerance, max_steps=10_000))
            errors.append(float((solve(start) - exact).abs().max()))
            assert errors[-1] < 10 * tolerance, type(term).__name__
        assert errors[0] > 30 * errors[2]


@pytest.mark.parametrize(("pair", "method"), [(BogackiShampine, "bosh3"), (DormandPrince, "dopri5")])
def test_the_same_as_torchdiffeq(pair, method):
    """A Neural ODE of a convolution, its state and its gradients, both at a tolerance of 1e-8."""
    function, u = field(), state(2).requires_grad_()
    solve = Evolve(pair(Residual(function)), 1.5, Adaptive(rtol=1e-8, atol=1e-8))
    ours = solve(u)
    # Without step_t it steps beyond the end and interpolates, to 1e-6 with bosh3.
    times, end = torch.tensor([0.0, 1.5]).double(), dict(step_t=torch.tensor([1.5]).double())
    theirs = odeint(lambda t, u: function(u), u, times, method=method, rtol=1e-8, atol=1e-8, options=end)[1]
    assert torch.allclose(ours, theirs, rtol=0, atol=2e-7)
    weights = (u, *function.parameters())
    gradients = [torch.autograd.grad(out.square().sum(), weights) for out in (ours, theirs)]
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_about_as_many_evaluations_as_torchdiffeq():
    """One sample, the usual tolerances: at most a third more."""
    for pair, method in ((BogackiShampine, "bosh3"), (DormandPrince, "dopri5")):
        function, u = Function(field()), state(2, batch=1)
        ours = Evolve(pair(Residual(function)), 3.0, Adaptive(1e-5, 1e-6)).trajectory(u).evaluations
        assert ours == function.calls
        odeint(lambda t, u: function(u), u, torch.tensor([0.0, 3.0]).double(), method=method, rtol=1e-5, atol=1e-6)  # noqa: B023
        assert ours <= 4 / 3 * (function.calls - ours)


@pytest.mark.parametrize("pair", PAIRS)
def test_evaluations_are_counted(pair):
    """With gradients the accepted steps are computed once more."""
    function = Function(field())
    solve, u = Evolve(pair(Residual(function)), 1.0, Adaptive()), state(2)
    with torch.no_grad():
        free = solve.trajectory(u).evaluations
    assert free == function.calls
    assert solve.trajectory(u).evaluations == function.calls - free == 2 * (free - 2) + 2
    assert Evolve(pair(Residual(function)), 1.0, Fixed(2, unchecked=True)).trajectory(u).evaluations is None


class Fast(Term):
    """u_t = −s u, at a strength of each sample's own."""

    def forward(self, u):
        strength = 1 + 200 * (u[:, :1].flatten(1).mean(1) > 0.5).to(u.dtype).reshape(-1, 1, 1, 1)
        return operator(lambda v: -strength * v + strength * 0.7, rate=math.inf)


@torch.no_grad()
@pytest.mark.parametrize("pair", PAIRS)
def test_samples_never_share_a_step(pair):
    u = torch.cat([0.2 * state(2, batch=1), 0.6 + 0.1 * state(2, batch=2)])
    solve = Evolve(pair(Fast()), 1.0, Adaptive(rtol=1e-5))
    together = solve.trajectory(u)
    times = together.times
    assert times.shape == (len(together.states), 3) and times.dtype == torch.float64
    assert (times.diff(dim=0) >= 0).all() and torch.equal(times[-1], torch.ones(3).double())
    taken = (times.diff(dim=0) > 0).sum(0)
    assert taken[0] * 3 < taken[1]  # done, a sample takes dt = 0
    for i in range(3):
        alone = solve.trajectory(u[i : i + 1])
        assert torch.allclose(alone.states[-1][0], together.states[-1][i], atol=1e-13)
        assert len(alone.times) - 1 <= taken[i] + (alone.times.diff(dim=0) == 0).sum()
    done = int((times[:, 0] >= 1).nonzero()[0])
    assert torch.equal(together.states[done][0], together.states[-1][0])


@torch.no_grad()
def test_stiffness_costs_steps_and_no_stability():
    """Diffusion over 200 of its limits: the error estimate finds the limit of stability."""
    term = build("perona_malik", grid_of("neumann", 2))
    u = state(2)
    after = Evolve(DormandPrince(term), 200 / term.ceiling, Adaptive(rtol=1e-3))(u)
    assert u.min() <= after.min() + 1e-3 and after.max() <= u.max() + 1e-3


@pytest.mark.parametrize("pair", PAIRS)
def test_a_state_that_becomes_nan_raises(pair):
    """At the start, on the way (u_t = u² blows up, √ of a negative number), or by the cap: never an endless loop."""
    solve = Evolve(pair(Residual(nn.Identity())), 1.0, Adaptive())
    for bad in (torch.nan, torch.inf):
        u = state(2)
        u[1, 0, 0, 0] = bad
        with pytest.raises(StabilityError, match="not finite"):
            solve(u)
    for function, u in ((torch.square, 2 * torch.ones(1, 1, 4)), (lambda u: -u.sqrt() - 1, torch.ones(1, 1, 4))):
        counted = Function(function)
        with pytest.raises(StabilityError, match=r"blows up, becomes NaN"), torch.no_grad():
            Evolve(pair(Residual(counted)), 2.0, Adaptive())(u)
        assert counted.calls < 1500
    with pytest.raises(StabilityError, match="max_steps"):
        Evolve(pair(build("perona_malik")), 50.0, Adaptive(max_steps=3))(state(2))
    with pytest.raises(StabilityError, match=r"rounding|max_steps"):
        Evolve(pair(Residual(field().float())), 1.0, Adaptive(rtol=1e-12, atol=1e-12, max_steps=50))(state(2).float())


def test_what_a_rejected_attempt_overflows_to_gets_no_gradient():
    """The first guess of u_t = −u³ at u = 50 jumps far off; gradients are those of the accepted steps alone."""
    u = torch.tensor([50.0, 0.1]).double().reshape(2, 1, 1).requires_grad_()
    out = Evolve(DormandPrince(Residual(Function(lambda u: -(u**3)))), 1.0, Adaptive(rtol=1e-8, atol=1e-10))(u)
    (grad,) = torch.autograd.grad(out.sum(), u)
    exact = (1 / (1 / u.detach() ** 2 + 2)).sqrt()
    assert torch.allclose(out, exact, rtol=1e-6)
    assert torch.allclose(grad, (exact / u.detach()) ** 3, rtol=1e-3)


def test_checkpointing_changes_no_gradient():
    function, u = field(), state(2).requires_grad_()
    found = []
    for memory in ("store", "checkpoint"):
        solve = Evolve(DormandPrince(Residual(function)), 1.0, Adaptive(), memory=memory)
        found.append(torch.autograd.grad(solve(u).square().sum(), (u, *function.parameters())))
    assert all(torch.allclose(one, other, atol=1e-13) for one, other in zip(*found, strict=True))


@torch.no_grad()
def test_other_types_and_an_empty_batch():
    solve = Evolve(DormandPrince(Reaction(Decay(Constant(1.0)))), 1.0, Adaptive())
    expected = state(2) * math.exp(-1)
    for dtype, tolerance in ((torch.float32, 1e-3), (torch.bfloat16, 2e-2), (torch.float16, 2e-3)):
        loose = Evolve(solve.step, 1.0, Adaptive(rtol=0.05, atol=0.01)) if dtype.itemsize == 2 else solve
        torch.manual_seed(0)
        u = state(2)
        out = loose(u.to(dtype))
        assert out.dtype == dtype and float((out.double() - u * math.exp(-1)).abs().max()) < tolerance, expected.shape
    empty = state(2)[:0]
    assert solve(empty).shape == empty.shape


def test_a_zero_state_and_a_term_at_rest():
    """No scale to guess a first dt from."""
    solve = Evolve(DormandPrince(Residual(Function(torch.sin))), 1.0, Adaptive())
    assert torch.equal(solve(torch.zeros(1, 1, 3)), torch.zeros(1, 1, 3))
    grow = Evolve(DormandPrince(Residual(Function(lambda u: torch.ones_like(u)))), 1.0, Adaptive())
    assert torch.allclose(grow(torch.zeros(1, 1, 3)), torch.ones(1, 1, 3))


def test_slips_are_refused():
    for step in (Euler(Diffusion(Constant(1.0))), Heun(Diffusion(Constant(1.0)))):
        with pytest.raises(PDEConvError, match="BogackiShampine or DormandPrince"):
            Evolve(step, 1.0, Adaptive())
    for bad in (dict(rtol=0.0), dict(atol=-1.0), dict(rtol=math.nan), dict(max_steps=0), dict(max_steps=2.5)):
        with pytest.raises(PDEConvError, match=next(iter(bad))):
            Adaptive(**bad)
    control = Adaptive()
    step = DormandPrince(Diffusion(Constant(1.0)))
    first = control.next_dt(step, torch.rand(3, 1, 4, 4), torch.zeros(3), 1.0, 10)
    assert first.shape == (3,) and (first > 0).all() and (first <= 1).all()
