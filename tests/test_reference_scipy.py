"""Against SciPy's solve_ivp: the equations written again in NumPy, by the method of lines, to 1e-6 in relative L2.

Other references: py-pde in test_reactions.py, torchdiffeq in test_adaptive.py; Burgers by Cole and Hopf, a rotating
Gaussian and Zalesak's disc in test_advection_exact.py; Barenblatt in test_diffusivities.py; closed forms in
test_exact_solutions.py; a wave in test_wave.py.
"""

import numpy as np
import pytest
import torch
from catalogue import DATA, TERMS
from scipy.integrate import solve_ivp
from states import BOUNDARIES, CHANNELS, DIMS, grid_of, randomise, state

from pdeconv import DormandPrince, Evolve, Fixed, Grid

PADDING = {"neumann": "edge", "periodic": "wrap", "dirichlet": "constant", "reflect": "reflect"}


def bounded(weight, ceiling):
    """ceiling · sigmoid(w), one a channel."""
    return ceiling / (1 + np.exp(-weight.detach().numpy().reshape(-1, 1)))


def laplacian(u, grid):
    """The second differences of (C, *S), its ghost cells by numpy.pad."""
    total = np.zeros_like(u)
    for axis, dx in enumerate(grid.spacings, 1):
        ghosts = [(1, 1) if i == axis else (0, 0) for i in range(u.ndim)]
        padded, n = np.pad(u, ghosts, mode=PADDING[grid.boundary]), u.shape[axis]
        below, above = (np.take(padded, range(k, k + n), axis) for k in (0, 2))
        total += (below - 2 * u + above) / dx**2
    return total


def relative_error(term, slope, u, duration, steps):
    """Of 4(5)-order steps of ``term`` from ``u``, beside SciPy's solution of u_t = slope(u) on (C, *S)."""

    def right_hand_side(_, flat):
        return slope(flat.reshape(u.shape[1:])).ravel()

    settings = dict(method="DOP853", rtol=1e-10, atol=1e-12)
    exact = solve_ivp(right_hand_side, (0, duration), u.numpy().ravel(), **settings).y[:, -1]
    with torch.no_grad():
        ours = Evolve(DormandPrince(term), duration, Fixed(steps, unchecked=True))(u).numpy().ravel()
    assert np.linalg.norm(exact - u.numpy().ravel()) > 0.05 * np.linalg.norm(exact)  # something happened
    return np.linalg.norm(ours - exact) / np.linalg.norm(exact)


def network(law):
    """s (N(u) − u), N(u) = ½ + ½ tanh(W₂ tanh(W₁u + b₁)/½ + b₂), with weights too small to be normalised."""
    with torch.no_grad():
        law.weight_in.mul_(0.1), law.weight_out.mul_(0.1)
    first, second, b, c = (p.detach().numpy() for p in (law.weight_in, law.weight_out, law.bias_in, law.bias_out))
    strength = bounded(law.strength.weight, 1.2)

    def slope(u):
        return strength * (0.5 + 0.5 * np.tanh(second @ np.tanh(first @ u + b[:, None]) / 0.5 + c[:, None]) - u)

    return slope


def gray_scott(law):
    feed, kill = bounded(law.feed.weight, 0.1), bounded(law.kill.weight, 0.2)
    return lambda u: np.concatenate(
        (feed * (1 - u[:1]) - u[:1] * u[1:] ** 2, u[:1] * u[1:] ** 2 - (feed + kill) * u[1:])
    )


def fitz_hugh_nagumo(law):
    rate = bounded(law.recovery.weight, 0.3)
    return lambda u: np.concatenate((u[:1] - u[:1] ** 3 / 3 - u[1:] + 0.5, rate * (u[:1] + 0.7 - 0.8 * u[1:])))


def friction(law):
    damping = bounded(law.damping.weight, 1.2)
    return lambda u: np.concatenate((0 * u[:1], -damping * u[1:]))


# The right-hand sides on (2, cells), with the weights of the law.
LAWS = {
    "decay": lambda law: lambda u: -bounded(law.strength.weight, 1.2) * u,
    "logistic": lambda law: lambda u: bounded(law.strength.weight, 1.2) * u * (1 - u),
    "bistable": lambda law: lambda u: bounded(law.strength.weight, 1.2) * u * (1 - u**2),
    "gray_scott": gray_scott,
    "fitz_hugh_nagumo": fitz_hugh_nagumo,
    "friction": friction,
    "pointwise_network": network,
}


@pytest.mark.parametrize("name", LAWS)
def test_reactions(name):
    """Of each cell by itself."""
    reaction = randomise(TERMS[name](Grid(dims=1)).double(), 0.5)
    u = torch.rand(1, CHANNELS, 6, dtype=torch.float64)
    assert relative_error(reaction, LAWS[name](reaction.law), u, 4.0, 60) < 1e-6


def test_fidelity():
    term = randomise(TERMS["fidelity"](Grid(dims=1)).double(), 0.5)
    strength = bounded(term.strength.weight, 1.2)
    u = torch.rand(1, CHANNELS, 6, dtype=torch.float64)
    assert relative_error(term, lambda u: strength * (DATA - u), u, 4.0, 60) < 1e-6


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("dims", DIMS)
def test_diffusion(dims, boundary):
    """Of another diffusivity in each channel, and of another spacing along each axis."""
    grid = grid_of(boundary, dims)
    term = randomise(TERMS["channel_diffusion"](grid).double(), 0.5)
    kappa = bounded(term.diffusivity.weight, 1.5).reshape(-1, *[1] * dims)
    u = state(dims, batch=1)
    assert relative_error(term, lambda u: kappa * laplacian(u, grid), u, 0.5, 60) < 1e-6


@pytest.mark.parametrize("boundary", ["neumann", "periodic"])
@pytest.mark.parametrize("name", ["logistic", "bistable", "gray_scott", "fitz_hugh_nagumo"])
def test_reaction_and_diffusion(name, boundary):
    """Fisher and KPP, Allen and Cahn, Gray and Scott, FitzHugh and Nagumo, from a spot in the plane."""
    grid = Grid((0.8, 1.25), boundary)
    diffusion = TERMS["channel_diffusion"](grid).double()
    reaction = randomise(TERMS[name](grid).double(), 0.5)
    kappa, law = bounded(diffusion.diffusivity.weight, 1.5)[..., None], LAWS[name](reaction.law)
    x, y = torch.meshgrid(*[torch.arange(n, dtype=torch.float64) for n in (12, 10)], indexing="ij")
    spot = 0.8 * torch.exp(-((x - 4) ** 2 + (y - 5) ** 2) / 6)
    u = torch.stack((1 - spot, spot))[None]

    def slope(u):
        return kappa * laplacian(u, grid) + law(u.reshape(2, -1)).reshape(u.shape)

    assert relative_error(diffusion + reaction, slope, u, 3.0, 100) < 1e-6
