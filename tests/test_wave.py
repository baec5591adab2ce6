"""Law: waves stand at the exact frequency of the discrete Laplacian, energies stay, halves add up to the whole."""

import math

import numpy as np
import pytest
import torch
from catalogue import build
from scipy.integrate import solve_ivp
from states import BOUNDARIES, Field, grid_of, number, randomise, state
from test_exact_solutions import heat_mode

from pdeconv import (
    RK4,
    Constant,
    Evolve,
    Exact,
    Fixed,
    Grid,
    HamiltonianSystem,
    PDEConvError,
    Strang,
    SymmetricConvolution,
    Telegraph,
    Wave,
)

SEPARABLE = ("wave", "hamiltonian")


@torch.no_grad()
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_a_standing_wave(boundary):
    """u = cos(ωt)·mode, v = −ω sin(ωt)·mode with ω² = −c²λ; damped as e^{−γt/2} with ω² − γ²/4."""
    spacings, stiffness, damping, time = (0.5, 1.0), 0.3, 0.4, 10.0
    u, square = torch.ones(1, 1, 1, 1, dtype=torch.float64), 0.0
    for axis, dx in enumerate(spacings):
        wave, eigenvalue = heat_mode(6 + axis, boundary, axis + 1)
        u = u * wave.reshape([-1 if i == axis else 1 for i in range(2)])
        square -= stiffness * eigenvalue / dx**2
    grid, start = Grid(spacings, boundary), torch.cat((u, torch.zeros_like(u)), 1)
    term = Wave(Constant(stiffness), grid)
    frequency = math.sqrt(square)
    assert frequency < term.frequency
    after = Evolve(RK4(term), time, Fixed(400, unchecked=True))(start)
    expected = torch.cat((math.cos(frequency * time) * u, -frequency * math.sin(frequency * time) * u), 1)
    assert torch.allclose(after, expected, atol=1e-6)
    damped = Evolve(RK4(Telegraph(Constant(stiffness), Constant(damping), grid)), time, Fixed(400, unchecked=True))
    slower = math.sqrt(square - damping**2 / 4)
    amplitude = math.exp(-damping * time / 2) * (
        math.cos(slower * time) + damping / (2 * slower) * math.sin(slower * time)
    )
    assert torch.allclose(damped(start)[:, :1], amplitude * u, atol=1e-6)


def test_the_frequency_is_reached():
    """The bound is that of the zigzag on a periodic grid: RK4 is stable just below 2√2/ω, and blows up above."""
    term = Wave(Constant(0.7), Grid((0.5, 1.5), "periodic"))
    u = ((torch.arange(6)[:, None] + torch.arange(4)) % 2 * 2.0 - 1).double()[None, None]
    u = torch.cat((u, 0 * u), 1)
    assert torch.allclose(term(u)(u)[:, 1:], -(term.frequency**2) * u[:, :1])
    for share, stable in ((0.99, True), (1.01, False)):
        v = u
        for _ in range(300):
            v = RK4(term)(v, number(share * math.sqrt(8) / term.frequency))
        assert bool(v.abs().max() < term.frequency) == stable


@torch.no_grad()
@pytest.mark.parametrize("name", SEPARABLE)
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_halves(name, boundary):
    """They add up to the whole, share its weights, change one half only, flow and solve exactly."""
    for dims in (1, 2):
        term, u, v = build(name, grid_of(boundary, dims)), state(dims), state(dims)
        first, second = term.halves
        assert torch.allclose(first(u)(v) + second(u)(v), term(u)(v))
        assert {id(p) for half in term.halves for p in half.parameters()} == {id(p) for p in term.parameters()}
        for half, rests, moves in ((first, 1, 0), (second, 0, 1)):
            slope = half(u)(v)
            assert not slope[:, rests].any() and slope[:, moves].any()
            assert torch.equal(half(u)(torch.where(torch.arange(2).reshape(-1, *[1] * dims) == moves, 7.0, v)), slope)
            flowed = half(u).flow(v, number(0.7))
            by_rk4 = Evolve(RK4(half), 0.7, Fixed(1, unchecked=True))(v)
            assert torch.allclose(flowed, by_rk4, atol=1e-12)
            solved = half(u).solve(v, number(0.7))
            assert torch.allclose(solved - 0.7 * half(u)(solved), v, atol=1e-12)
    with pytest.raises(PDEConvError, match="two fields"):
        term(u[:, :1])


@torch.no_grad()
@pytest.mark.parametrize("boundary", ["neumann", "periodic", "dirichlet"])
def test_the_exact_flow_keeps_the_energy(boundary):
    """Of a wave in a medium that varies; Strang of the exact halves is leapfrog, and keeps it nearly for long."""
    term = Wave(Field(), grid_of(boundary, 2)).double()
    u = torch.randn(2, 2, 5, 6, dtype=torch.float64)
    energy = term.energy(u)
    fine = Evolve(RK4(term), 5.0, Fixed(500, unchecked=True))(u)
    assert torch.allclose(term.energy(fine), energy, rtol=1e-7)
    assert (fine - u).norm() > 1
    leapfrog, v = Strang(*(Exact(half) for half in term.halves)), u
    for _ in range(300):
        v = leapfrog(v, number(1 / term.frequency))
        assert (term.energy(v) / energy - 1).abs().max() < 0.2
    damped = Telegraph(Field(), Constant(0.3), grid_of(boundary, 2))
    states = Evolve(RK4(damped), 4.0, Fixed(40, unchecked=True)).trajectory(u).states
    energies = torch.stack([damped.wave.energy(v) for v in states])
    assert (energies.diff(dim=0) < 0).all()


@torch.no_grad()
def test_a_hamiltonian_system_keeps_its_energy():
    """Σ log cosh(Kv + b) + Σ log cosh(Ku + b), as S′ = tanh; against SciPy too."""
    for boundary in ("neumann", "periodic", "dirichlet"):
        term = HamiltonianSystem(2, 3, norm=1.2, grid=Grid(boundary=boundary)).double()
        randomise(term)
        u = torch.randn(1, 4, 5, 6, dtype=torch.float64)

        def energy(u, term=term):
            kernel, total = term.convolution.kernel, 0.0
            for half in u.chunk(2, 1):
                padding = 1 if term.grid.boundary == "dirichlet" else 0
                if term.grid.boundary == "periodic":
                    half = torch.nn.functional.pad(half, (1, 1, 1, 1), mode="circular")
                response = torch.nn.functional.conv2d(half, kernel, term.bias, padding=padding)
                total += float(torch.log(torch.cosh(response)).sum())
            return total

        after = Evolve(RK4(term), 4.0, Fixed(80, unchecked=True))(u)
        assert energy(after) == pytest.approx(energy(u), rel=1e-6)
        assert (after - u).norm() > 1

        def slope(_, values, term=term, u=u):
            v = torch.from_numpy(values).reshape(u.shape)
            return term(v)(v).flatten().numpy()

        expected = solve_ivp(slope, (0, 4), u.flatten().numpy(), method="DOP853", rtol=1e-8, atol=1e-8).y[:, -1]
        assert np.abs(after.flatten().numpy() - expected).max() < 1e-5


def test_a_hamiltonian_system_is_two_symmetric_convolutions():
    """Without a bias: u_t = −(−Kᵀσ(Kv)), v_t = −Kᵀσ(Ku)."""
    term = HamiltonianSystem(2, 3, kernel_size=5)
    assert isinstance(term.convolution, SymmetricConvolution)
    u, v = torch.randn(2, 2, 6, 7), torch.randn(2, 2, 6, 7)
    state = torch.cat((u, v), 1)
    expected = torch.cat((-term.convolution(v)(v), term.convolution(u)(u)), 1)
    assert torch.allclose(term(state)(state), expected, atol=1e-6)
