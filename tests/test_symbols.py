"""Law: a wave e^{iω·x} is multiplied by the symbol: of a kernel, of a term, of a step."""

import math

import pytest
import torch
from catalogue import STEPS, build
from states import CHANNELS, Field
from torch.nn import functional

from pdeconv import (
    RK4,
    SSPRK3,
    Advection,
    BackwardEuler,
    Constant,
    ConvVelocity,
    CrankNicolson,
    Diffusion,
    Euler,
    Exact,
    FixedCoefficient,
    Grid,
    Heun,
    PDEConvError,
    UnsupportedError,
)
from pdeconv.analysis import amplification, frequencies, kernel_symbol, term_symbol

SIZE = (6, 8)


def wave(place, size=SIZE):
    """(omega, e^{iω·x}) of the frequency at an index of the symbol."""
    omega = frequencies(size)[(slice(None), *place)]
    cells = torch.stack(torch.meshgrid(*[torch.arange(n, dtype=torch.float64) for n in size], indexing="ij"))
    return torch.exp(1j * torch.tensordot(omega, cells, 1))


@pytest.mark.parametrize("taps", [(3, 3), (5, 3), (1, 1)])
def test_kernels(taps):
    kernel = torch.randn(2, 3, *taps)
    symbol = kernel_symbol(kernel, SIZE)
    for place in [(0, 0), (1, 2), (3, 4), (5, 7)]:
        real, imaginary = (part.repeat(1, 3, 1, 1).float() for part in (wave(place).real, wave(place).imag))
        pads = [n // 2 for n in reversed(taps) for _ in range(2)]
        found = [functional.conv2d(functional.pad(part, pads, mode="circular"), kernel) for part in (real, imaginary)]
        expected = symbol[(..., *place)].sum(1)[:, None, None] * wave(place)
        assert torch.allclose(torch.complex(*found)[0].to(torch.complex128), expected, atol=1e-5)


LINEAR = ("constant_diffusion", "channel_diffusion", "fourth_order_diffusion", "biharmonic_diffusion", "advection")
LINEAR += ("q1_diffusion", "spectral_diffusion", "fractional_diffusion", "central_advection", "decay", "wave")
LINEAR += ("tensor_diffusion", "telegraph", "differential")


@pytest.mark.parametrize("name", LINEAR)
def test_a_term_multiplies_a_wave_by_its_symbol(name):
    grid = Grid((0.8, 1.25), "periodic")
    term = build(name, grid)
    symbol = term_symbol(term, SIZE, torch.zeros(CHANNELS))
    for place in [(0, 0), (1, 2), (3, 4), (5, 7)]:
        direction = torch.randn(CHANNELS, dtype=torch.complex128)
        state = direction[:, None, None] * wave(place)
        with torch.no_grad():
            parts = [term(part[None])(part[None])[0] for part in (state.real, state.imag)]
        expected = (symbol[place] @ direction)[:, None, None] * wave(place)
        assert torch.allclose(torch.complex(*parts), expected, atol=1e-5, rtol=1e-5)


# The stability functions R(z) of the methods (Hairer & Wanner), z = dt·λ(ω).
STABILITY = {
    Euler: lambda z: 1 + z,
    Heun: lambda z: 1 + z + z**2 / 2,
    SSPRK3: lambda z: 1 + z + z**2 / 2 + z**3 / 6,
    RK4: lambda z: 1 + z + z**2 / 2 + z**3 / 6 + z**4 / 24,
    BackwardEuler: lambda z: 1 / (1 - z),
    CrankNicolson: lambda z: (1 + z / 2) / (1 - z / 2),
    Exact: torch.exp,
}


@pytest.mark.parametrize("method", list(STABILITY))
@pytest.mark.parametrize("boundary", ["neumann", "periodic", "dirichlet"])
def test_the_amplification_of_a_method_is_its_stability_function_of_the_symbol(method, boundary):
    term = Diffusion(Constant(0.7), Grid(0.9, boundary))
    symbol = term_symbol(term, SIZE)[..., 0, 0]
    found = amplification(method(term), 0.3, SIZE)[..., 0, 0]
    assert torch.allclose(found, STABILITY[method](0.3 * symbol), atol=1e-10)


@pytest.mark.parametrize("name", [name for name in STEPS if name != "SemiLagrangian"])
def test_a_step_multiplies_a_wave_by_its_amplification(name):
    step = STEPS[name](build("channel_diffusion", Grid(boundary="periodic"))).double()
    found = amplification(step, 0.1, SIZE, torch.zeros(CHANNELS))
    for place in [(1, 2), (3, 4)]:
        state = torch.ones(CHANNELS, 1, 1) * wave(place)
        with torch.no_grad():
            parts = [step(part[None], torch.tensor(0.1, dtype=part.dtype))[0] for part in (state.real, state.imag)]
        expected = found[place].sum(1)[:, None, None] * wave(place)
        assert torch.allclose(torch.complex(*parts), expected, atol=1e-5)


def test_euler_is_unstable_beyond_the_limit_and_stable_at_it():
    step = Euler(Diffusion(Constant(1.0)))
    limit = step.guaranteed_limit
    assert amplification(step, limit, SIZE).abs().max() <= 1 + 1e-12
    assert amplification(step, 1.5 * limit, SIZE).abs().max() > 1.5


def test_a_state_other_than_zero_is_where_the_equation_is_linearised():
    """u_t = u(1 − u) at u = 1 decays at the rate −1."""
    term = build("logistic")
    at_zero, at_one = (term_symbol(term, SIZE, torch.full((CHANNELS,), value)) for value in (0.0, 1.0))
    assert torch.allclose(at_zero, -at_one) and at_zero[0, 0].real.trace() > 0


def test_what_differs_from_cell_to_cell_has_no_symbol():
    with pytest.raises(UnsupportedError, match="same at all cells"):
        term_symbol(Diffusion(Field()), SIZE)


def test_a_difference_anywhere_is_found():
    kappa = torch.full((1, 1, *SIZE), 0.5, dtype=torch.float64)
    assert term_symbol(Diffusion(FixedCoefficient(kappa)), SIZE).real.max() < 1e-12
    kappa[0, 0, 1, 2] = 0.4
    with pytest.raises(UnsupportedError, match="same at all cells"):
        term_symbol(Diffusion(FixedCoefficient(kappa)), SIZE)


@pytest.mark.parametrize("name", ["relu_convolution", "residual", "conv_advection", "channel_diffusion"])
@pytest.mark.parametrize("boundary", ["neumann", "dirichlet", "reflect"])
def test_the_boundary_of_a_term_does_not_matter_to_its_symbol(name, boundary):
    torch.manual_seed(0)
    term = build(name, Grid(boundary=boundary))
    torch.manual_seed(0)
    periodic = build(name, Grid(boundary="periodic"))
    state = torch.full((CHANNELS,), 0.3)
    if name != "relu_convolution":  # whose bound of the norm knows the boundary
        assert torch.allclose(term_symbol(term, SIZE, state), term_symbol(periodic, SIZE, state))
    assert term_symbol(term, SIZE, state).isfinite().all()


@pytest.mark.parametrize("state", [torch.zeros(()), torch.zeros(1, 2), torch.zeros(0)])
def test_a_state_has_one_number_a_channel(state):
    with pytest.raises(PDEConvError, match="one number a channel"):
        term_symbol(Diffusion(Constant(1.0)), SIZE, state)


def test_velocities_of_a_uniform_state_carry():
    """A first-order upwind scheme with courant 1 moves by a cell: |G| = 1 at all frequencies."""
    term = Advection(ConvVelocity(1, ceiling=1.0, dims=1), Grid(dims=1))
    with torch.no_grad():
        for parameter in term.parameters():
            parameter.fill_(40.0 if parameter.dim() == 1 else 0.0)
    found = amplification(Euler(term), 1.0, (8,))
    assert torch.allclose(found.abs(), torch.ones_like(found.abs()), atol=1e-6)
    assert math.isclose(float(found[2, 0, 0].angle()), -math.pi / 2, abs_tol=1e-6)
