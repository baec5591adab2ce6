"""Laws of steps of (u, v): reversal, volume, the energy of waves up to the limit, what a momentum step is."""

import copy
import math

import pytest
import torch
from separable import REVERSIBLE, SEPARABLE, Applied, Separable
from states import BOUNDARIES, CHANNELS, DIMS, grid_of, matrix, number, randomise, state
from torch import nn
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call

from pdeconv import (
    CFL,
    Clamp,
    Constant,
    Diffusion,
    Euler,
    Evolve,
    Fixed,
    Grid,
    Heun,
    Leapfrog,
    Lie,
    Measured,
    Momentum,
    PDEConvError,
    Residual,
    StabilityError,
    Strang,
    SymmetricConvolution,
    SymplecticEuler,
    TimeVarying,
    TwoFields,
    UnsupportedError,
    VelocityVerlet,
)
from pdeconv.linear import inner_product_weights

SYMPLECTIC = (SymplecticEuler, Leapfrog, VelocityVerlet)
GRID = Grid(boundary="periodic", dims=1)


def march(step, u, dt, steps):
    for _ in range(steps):
        u = step(u, number(dt).to(u.dtype))
    return u


def reversible(name, grid, dtype=torch.float64):
    return randomise(REVERSIBLE[name](grid).to(dtype), 0.3)


@torch.no_grad()
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("name", REVERSIBLE)
def test_steps_are_undone(name, boundary):
    """200 steps and 200 back; γ⁻²⁰⁰ = 57 for the momentum steps. In float32 what is lost are the last digits."""
    for dims in DIMS:
        for dtype, tolerance in ((torch.float64, 1e-11), (torch.float32, 1e-2)):
            step = reversible(name, grid_of(boundary, dims), dtype)
            start = state(dims, cells=4, channels=2 * CHANNELS).to(dtype)
            steps = 200 if dims == 1 else 20
            u = march(step, start, 0.1, steps)
            assert not torch.allclose(u, start, atol=0.1)
            for _ in range(steps):
                u = step.inverse(u, number(0.1).to(dtype))
            assert float((u - start).abs().max()) < tolerance


@pytest.mark.parametrize("name", REVERSIBLE)
def test_dt_of_each_sample_and_gradients(name):
    step = reversible(name, grid_of("neumann", 1))
    u, dt = state(1, cells=3, channels=2 * CHANNELS).requires_grad_(), torch.tensor([0.05, 0.11]).double()
    alone = torch.cat([step(u[i : i + 1], dt[i]) for i in range(2)])
    assert torch.allclose(step(u, dt), alone, atol=1e-14)
    assert torch.allclose(step.inverse(step(u, dt), dt), u, atol=1e-13)
    names, weights = zip(*step.named_parameters(), strict=True)

    def advance(u, dt, *values):
        return functional_call(step, dict(zip(names, values, strict=True)), (u, dt))

    assert gradcheck(advance, (u, dt.requires_grad_(), *weights), fast_mode=True)
    assert gradgradcheck(advance, (u, dt, *weights), fast_mode=True, atol=1e-4)


@pytest.mark.parametrize("step", SYMPLECTIC)
def test_volume_is_kept(step):
    """Whatever the halves: det ∂u⁺/∂u = 1. Heun's is not."""
    term = randomise(SEPARABLE["network"](GRID).double())
    u = state(1, batch=1, cells=3, channels=2 * CHANNELS)

    def determinant(step):
        jacobian = torch.autograd.functional.jacobian(lambda u: step(u, number(0.5)), u)
        return float(torch.linalg.det(jacobian.reshape(u.numel(), -1)))

    assert determinant(step(term)) == pytest.approx(1, abs=1e-12)
    assert abs(determinant(Heun(term)) - 1) > 1e-3


class Negated(nn.Module):
    def forward(self, u):
        return -u


@torch.no_grad()
@pytest.mark.parametrize("step", SYMPLECTIC)
def test_energy_of_an_oscillator_over_ten_thousand_steps(step):
    """u_t = v, v_t = −u at dt = 0.2: (u² + v²)/2 stays within dt²/4 for ever; Heun's grows as e^{n·dt⁴/4}.

    Symplectic Euler's, of order 1, keeps u² + dt·uv + v², and so stays within dt/(1 − dt/2).
    """
    term, u, dt = Separable(nn.Identity(), Negated(), GRID, 1.0), torch.ones(1, 2, 1).double(), number(0.2)

    def energies(step, u, steps):
        found = []
        for _ in range(steps):
            u = step(u, dt)
            found.append(u.square().sum() / 2)
        return torch.stack(found)

    bound = 0.2 / (1 - 0.1) if step is SymplecticEuler else 0.2**2 / 4
    assert float((energies(step(term), u, 10_000) - 1).abs().max()) < bound
    assert float(energies(Heun(term), u, 2_500)[-1]) > 2.5


def wave(grid, ceiling=0.7):
    diffusion = Diffusion(Constant(ceiling), grid)
    return Separable(nn.Identity(), Applied(diffusion), grid, math.sqrt(2 * diffusion.ceiling)), diffusion


def discrete_energy(step, diffusion, u, dt):
    """½⟨v, v⟩ + ½⟨u, Lu⟩ − dt²/8 ‖Lu‖² for kick–drift–kick; the last term is ⟨v, Lv⟩ for drift–kick–drift. L = −c²Δ.

    For symplectic Euler it is dt/2 ⟨v, Lu⟩, and added.
    """
    u, v = u.chunk(2, 1)
    weights = inner_product_weights(u, diffusion.grid)
    weights = torch.ones_like(u) if weights is None else weights

    def stiffness(u):
        return -diffusion(u)(u)

    if isinstance(step, SymplecticEuler):
        return float((weights * (v.square() / 2 + u * stiffness(u) / 2 + dt / 2 * v * stiffness(u))).sum())
    correction = stiffness(u).square() if isinstance(step, VelocityVerlet) else v * stiffness(v)
    return float((weights * (v.square() / 2 + u * stiffness(u) / 2 - dt**2 / 8 * correction)).sum())


@torch.no_grad()
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("build_step", SYMPLECTIC)
def test_the_energy_of_a_wave_up_to_the_limit(build_step, boundary):
    """dt ≤ 1 / (c √Σ dx⁻²): an energy that is never negative is kept exactly; 1.05 times beyond u explodes."""
    for dims in DIMS:
        grid = grid_of(boundary, dims)
        term, diffusion = wave(grid)
        step = build_step(term)
        limit = 1 / math.sqrt(0.7 * sum(1 / dx**2 for dx in grid.spacings))
        assert step.guaranteed_limit == pytest.approx(limit) and float(step.limit(state(dims))) == pytest.approx(limit)
        assert step.keeps == {"discrete energy"}
        u = torch.randn(1, 2, *[8, 6, 4][:dims], dtype=torch.float64)
        start = discrete_energy(step, diffusion, u, limit)
        assert start > 0
        for _ in range(50):
            u = step(u, number(limit))
            assert discrete_energy(step, diffusion, u, limit) == pytest.approx(start, rel=1e-9)
        symmetric = matrix(lambda v, d=diffusion: d(v)(v), u[:, :1])
        assert float(torch.linalg.eigvals(symmetric).real.min()) >= -(term.frequency**2) * (1 + 1e-12)
    if boundary in ("periodic", "reflect"):  # there the zigzag has the highest frequency of all
        term, _ = wave(Grid(0.8, boundary, dims=1))
        u = torch.randn(1, 2, 8, dtype=torch.float64) if boundary == "periodic" else torch.randn(1, 2, 9).double()
        step = build_step(term)
        assert march(step, u, 1.05 * step.guaranteed_limit, 100).abs().max() > 1e6
        assert march(step, u, 0.95 * step.guaranteed_limit, 100).abs().max() < 1e3


@torch.no_grad()
def test_a_standing_wave():
    """u = cos(kx) cos(ωt) on a periodic axis, ω the frequency of the stencil."""
    cells, dx, c2 = 16, 0.5, 0.7
    term, _ = wave(Grid(dx, "periodic", dims=1))
    x = torch.arange(cells, dtype=torch.float64) * 2 * math.pi / cells
    u = torch.stack((x.cos(), torch.zeros_like(x)))[None]
    omega = math.sqrt(c2) * 2 / dx * math.sin(math.pi / cells)
    after = Evolve(Leapfrog(term), 3.0, Fixed(300))(u)
    assert torch.allclose(after[0, 0], x.cos() * math.cos(3 * omega), atol=1e-4)
    assert torch.allclose(after[0, 1], -omega * x.cos() * math.sin(3 * omega), atol=1e-4)


def test_controls_know_the_limit_of_a_wave_and_refuse_the_unproven():
    term, _ = wave(Grid(dims=1))
    step = Leapfrog(term)
    assert Evolve(step, 10.0, CFL(0.9)).steps == math.ceil(10 / (0.9 * step.guaranteed_limit))
    with pytest.raises(StabilityError, match=r"Leapfrog\(Separable\); use Fixed"):
        Evolve(step, 10.0, Fixed(2))
    assert "courant ≤" in repr(Evolve(step, 10.0, CFL(0.9)))
    u = torch.rand(2, 2, 6)
    for control in (Clamp(20), Measured(0.9)):
        assert torch.allclose(Evolve(step, 1.0, control).trajectory(u).times[-1], torch.tensor(1.0))
    for unproven in (
        Leapfrog(SEPARABLE["network"](GRID)),
        SymplecticEuler(SEPARABLE["two_convolutions"](GRID)),
        Leapfrog(TimeVarying(term, 3)),  # a speed that varies in time can pump the energy
        Momentum(Diffusion(Constant(1.0))),
        Strang(step, step),  # each keeps an energy of its own: nothing in common
        Lie(step, Euler(Diffusion(Constant(1.0), Grid(dims=1)))),
    ):
        assert unproven.guaranteed_limit == 0 and not unproven.keeps
        with pytest.raises(StabilityError, match="unchecked=True"):
            Evolve(unproven, 1.0, Fixed(100))


@torch.no_grad()
def test_two_fields_are_the_layers_of_the_paper():
    """Ruthotto and Haber's Hamiltonian layer, and their second-order one, which on u alone is a leapfrog."""
    first, second = (randomise(SymmetricConvolution(CHANNELS, 3).double(), 0.3) for _ in range(2))
    u, v, dt = state(2), state(2), 0.3
    step, together = SymplecticEuler(TwoFields(second, first)), torch.cat((u, v), 1)
    assert step.order == 1 and step.guaranteed_limit == 0 and not step.keeps
    after = step(together, number(dt))
    u = u - dt * first(v)(v)
    v = v + dt * second(u)(u)
    assert torch.allclose(after, torch.cat((u, v), 1), atol=1e-14)
    slope = step.term(together)(together)
    halves = [half(together)(together) for half in step.term.halves]
    assert torch.allclose(slope, halves[0] + halves[1]) and not halves[0][:, CHANNELS:].any()

    wave, states = SymplecticEuler(TwoFields(second)), [torch.cat((state(2), state(2)), 1)]
    for _ in range(3):
        states.append(wave(states[-1], number(dt)))
    before, now, ahead = (whole[:, :CHANNELS] for whole in states[1:])
    assert torch.allclose(ahead, 2 * now - before + dt**2 * second(now)(now), atol=1e-13)


@torch.no_grad()
def test_momentum_is_the_residual_network_of_the_paper():
    """v⁺ = γv + (1 − γ)f(u), u⁺ = u + v⁺."""
    branch = nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), nn.Tanh()).double()
    u, v = state(2), state(2)
    together = march(Momentum(Residual(branch), retention=0.8), torch.cat((u, v), 1), 1.0, 5)
    for _ in range(5):
        v = 0.8 * v + 0.2 * branch(u)
        u = u + v
    assert torch.allclose(together, torch.cat((u, v), 1), atol=1e-14)


@torch.no_grad()
def test_undoing_momentum_loses_digits_as_documented():
    """Rounding grows as γ⁻ⁿ: at γ = 1 − 5/n by 150 at most, at γ = 0.9 over 200 steps all is lost in float32."""
    errors = []
    for retention in (1 - 5 / 200, 0.9):
        step = Momentum(Residual(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), nn.Tanh()), retention)
        start = state(2, channels=2 * CHANNELS).float()
        u = march(step, start, 0.1, 200)
        for _ in range(200):
            u = step.inverse(u, torch.tensor(0.1))
        errors.append(float((u - start).abs().max()))
    assert errors[0] < 150 * 100 * torch.finfo(torch.float32).eps and errors[1] > 1


@torch.no_grad()
def test_a_sick_sample_stays_alone():
    for name in REVERSIBLE:
        step, u = reversible(name, grid_of("neumann", 2)), state(2, batch=3, channels=2 * CHANNELS)
        sick = u.clone()
        sick[1, 0, 2, 2] = torch.nan
        assert torch.equal(march(step, sick, 0.1, 3)[::2], march(step, u, 0.1, 3)[::2]), name


def test_slips_are_refused():
    term, _ = wave(Grid(dims=1))
    with pytest.raises(PDEConvError, match="halves"):
        Leapfrog(Diffusion(Constant(1.0)))
    for bad in (dict(second=nn.ReLU()), dict(second=term, first="wave")):
        with pytest.raises(PDEConvError, match="TwoFields needs a Term"):
            TwoFields(**bad)
    for bad in (0.0, 1.0, -0.5, math.nan):
        with pytest.raises(PDEConvError, match="retention"):
            Momentum(Diffusion(Constant(1.0)), retention=bad)
    for step in (Leapfrog(term), Momentum(Diffusion(Constant(1.0), Grid(dims=1)))):
        with pytest.raises(PDEConvError, match="even number"):
            step(torch.rand(1, 3, 4), torch.tensor(0.1))
    with pytest.raises(UnsupportedError, match="SymplecticEuler, Leapfrog, VelocityVerlet, Momentum"):
        Heun(term).inverse(torch.rand(1, 2, 4), torch.tensor(0.1))
    with pytest.raises(UnsupportedError, match="no inverse"):
        Lie(Leapfrog(term), Heun(term)).inverse(torch.rand(1, 2, 4), torch.tensor(0.1))


@pytest.mark.parametrize("name", ["Leapfrog of a wave", "Momentum of diffusion"])
def test_one_graph_and_half_precision(name):
    torch.compiler.reset()
    evolve = Evolve(reversible(name, Grid()), 0.5, Fixed(2, unchecked=True))
    u = state(2, channels=2 * CHANNELS)
    compiled = torch.compile(evolve, fullgraph=True, backend="aot_eager")
    assert torch.allclose(compiled(u), evolve(u), atol=1e-12)
    expected = evolve(u)
    for dtype, tolerance in ((torch.bfloat16, 0.1), (torch.float16, 0.02)):
        out = copy.deepcopy(evolve).to(dtype)(u.to(dtype))
        assert out.dtype == dtype and float((out.double() - expected).detach().abs().max()) < tolerance
