"""Law: anisotropic diffusion follows its tensor: along edges and stripes, within the range where the tensor allows."""

import math

import pytest
import torch
from catalogue import TENSORS, build
from states import BOUNDARIES, grid_of, matrix, number, state
from test_spatial_order import centres, inner

from pdeconv import (
    CFL,
    AnisotropicDiffusion,
    CoherenceEnhancing,
    Constant,
    ConstantTensor,
    ConvTensor,
    Diffusion,
    DiffusionTensor,
    EdgeEnhancing,
    Euler,
    Evolve,
    Grid,
    PDEConvError,
    PerChannelTensor,
    PeronaMalik,
)
from pdeconv.structure_tensor import smoothed, structure
from pdeconv.terms.anisotropic import largest_condition

ROUND = 3 + 2 * math.sqrt(2)


def tilted(angle, condition, largest=1.0):
    """A tensor whose larger eigenvalue is in the direction ``angle`` of the (rows, columns) plane."""
    mean, spread = largest * (1 + 1 / condition) / 2, largest * (1 - 1 / condition) / 2
    cosine, sine = spread * math.cos(2 * angle), spread * math.sin(2 * angle)
    return ConstantTensor(((mean + cosine, sine), (sine, mean - cosine)))


class Swirl(DiffusionTensor):
    """A smooth tensor field that turns, on a periodic unit box, of a fixed condition number."""

    ceiling = 1.0

    def __init__(self, condition):
        super().__init__()
        self.condition = condition

    def entries(self, x, y):
        angle = 2 * math.pi * x + torch.sin(2 * math.pi * y)
        mean, spread = (1 + 1 / self.condition) / 2, (1 - 1 / self.condition) / 2
        return mean + spread * torch.cos(angle), spread * torch.sin(angle), mean - spread * torch.cos(angle)

    def forward(self, u, grid):
        x, y = (xi[0, 0] for xi in centres(u.shape[-1], grid))
        return torch.stack(self.entries(x, y))[None, :, None]


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_an_isotropic_tensor_is_diffusion(boundary):
    grid, u = grid_of(boundary, 2), state(2)
    term = AnisotropicDiffusion(ConstantTensor(((0.7, 0.0), (0.0, 0.7))), grid)
    heat = Diffusion(Constant(0.7), grid)
    assert torch.allclose(term(u)(u), heat(u)(u), atol=1e-12)
    assert term.ceiling == pytest.approx(heat.ceiling) and term.keeps == heat.keeps
    assert float(term(u).rate) == pytest.approx(heat.ceiling)


def test_exact_on_quadratics():
    """∇·D∇ of x², xy and y² is 2a, 2b and 2c, and of a plane 0, away from the edge."""
    grid = Grid((0.5, 0.8))
    x, y = centres(6, grid)
    for matrix_, values in (
        (((2.0, 0.6), (0.6, 1.0)), (2.0, 0.6, 1.0)),
        (((2.0, -1.2), (-1.2, 1.0)), (2.0, -1.2, 1.0)),
    ):
        term = AnisotropicDiffusion(ConstantTensor(matrix_), grid)
        for u, value in zip((x**2, x * y, y**2), values, strict=True):
            assert torch.allclose(inner(term(u)(u)), torch.full_like(inner(u), 2 * value), atol=1e-10)
        assert inner(term(u)(x - 3 * y)).abs().max() < 1e-12


def measured_order(condition):
    """For a tensor that turns from cell to cell."""
    errors = []
    for cells in (32, 64, 128):
        grid = Grid(1 / cells, "periodic")
        x, y = (xi[0, 0].clone().requires_grad_() for xi in centres(cells, grid))
        tensor = Swirl(condition)
        a, b, c = tensor.entries(x, y)
        u = torch.cos(2 * math.pi * x) * torch.sin(2 * math.pi * (y + x)) + 0.0
        ux, uy = torch.autograd.grad(u.sum(), (x, y), create_graph=True)
        fluxes = (a * ux + b * uy, b * ux + c * uy)
        exact = sum(
            torch.autograd.grad(f.sum(), xi, retain_graph=True)[0] for f, xi in zip(fluxes, (x, y), strict=True)
        )
        u = u.detach()[None, None]
        errors.append(float((AnisotropicDiffusion(tensor, grid)(u)(u)[0, 0] - exact).detach().square().mean().sqrt()))
    return math.log2(errors[1] / errors[2])


@pytest.mark.parametrize("condition", [3.0, 100.0])
def test_order_by_refinement(condition):
    """Of order 2 whatever the condition number."""
    assert measured_order(condition) == pytest.approx(2, abs=0.15)


@pytest.mark.parametrize("condition", [3.0, 1e4])
def test_it_descends_its_energy(condition):
    """A v is minus the gradient of Σ gᵀDg/2 + (a + c − 2|b|)t²/8 over the corners; no eigenvalue is positive."""
    grid = Grid((0.8, 1.25), "periodic")
    v = torch.randn(1, 1, 6, 6, dtype=torch.float64, requires_grad=True)
    tensor = Swirl(condition)
    a, b, c = tensor(v, grid).unbind(1)

    def corner(field, signs):  # sums over the four cells of each corner, by these signs
        parts = [
            s * field.roll(shift, (2, 3)) for s, shift in zip(signs, ((0, 0), (1, 0), (0, 1), (1, 1)), strict=True)
        ]
        return sum(parts)

    a, b, c = (corner(field, (0.25,) * 4) / scale for field, scale in ((a, 0.64), (b, 1.0), (c, 1.5625)))
    gx, gy = corner(v, (0.5, -0.5, 0.5, -0.5)), corner(v, (0.5, 0.5, -0.5, -0.5))
    twist = corner(v, (1.0, -1.0, -1.0, 1.0))
    density = (a * gx**2 + 2 * b * gx * gy + c * gy**2) / 2 + (a + c - 2 * b.abs()) * twist**2 / 8
    (descent,) = torch.autograd.grad(-density.sum(), v)
    term = AnisotropicDiffusion(tensor, grid)
    assert torch.allclose(term(v)(v), descent, atol=1e-12)
    assert torch.linalg.eigvalsh(matrix(term(v), v)).max() < 1e-12


@torch.no_grad()
@pytest.mark.parametrize("spacing", [(1.0, 1.0), (1.0, 1.4), (1.3, 1.0)])
def test_the_condition_number_that_keeps_the_range(spacing):
    """At the bound no weight is negative whatever the direction; beyond, some direction leaves the range at once."""
    grid = Grid(spacing, "periodic")
    bound = largest_condition(grid)
    assert spacing != (1.0, 1.0) or bound == pytest.approx(ROUND)
    spike = torch.zeros(1, 1, 5, 5, dtype=torch.float64)
    spike[..., 2, 2] = 1.0
    worst = {}
    for condition in (bound * (1 - 1e-9), 1.2 * bound):
        lowest = 0.0
        for angle in torch.linspace(0, math.pi, 181).tolist():
            term = AnisotropicDiffusion(tilted(angle, condition), grid)
            assert ("range" in term.keeps) == (condition < bound) and "energy" in term.keeps
            lowest = min(lowest, float(Euler(term)(spike, number(0.5 / term.ceiling)).min()))
        worst[condition < bound] = lowest
    assert worst[True] > -1e-9 and worst[False] < -1e-3


@torch.no_grad()
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("name", [name for name in TENSORS if name != "strong_tensor_diffusion"])
def test_the_measured_limit_is_sharp(name, boundary):
    """An Euler step at the limit has no negative weight; at 1.2 times it, the fastest cell has −0.2 of itself.

    But at a neumann wall, which counts as a neighbour that nothing is exchanged with.
    """
    term, u = build(name, grid_of(boundary, 2), 2.0), state(2, batch=1)
    operator = term(u)
    identity, weights = torch.eye(u[0].numel(), dtype=u.dtype), matrix(operator, u)
    assert (identity + weights / operator.rate).min() > -1e-12
    if boundary != "neumann":
        assert float((identity + 1.2 * weights / operator.rate).min()) == pytest.approx(-0.2, abs=1e-9)


@torch.no_grad()
@pytest.mark.parametrize("name", TENSORS)
def test_eigenvalues_within_their_bounds(name):
    """Between ceiling-bounded κ₀/condition and κ₀, at random weights and states of any size."""
    for size in (1e-3, 1.0, 1e3):
        for _ in range(5):
            term = build(name, Grid(), scale=3.0)
            a, b, c = term.tensor(size * torch.randn(2, 2, 7, 8, dtype=torch.float64), Grid()).unbind(1)
            spread = torch.hypot((a - c) / 2, b)
            low, high = (a + c) / 2 - spread, (a + c) / 2 + spread
            assert high.max() <= term.tensor.ceiling * (1 + 1e-12) and low.min() >= -1e-15
            assert (high - term.tensor.condition * low).max() <= 1e-12


@pytest.mark.parametrize("direction", [(5, 0), (4, 3), (3, 4), (0, 5), (-3, 4)])
def test_structure_tells_the_direction(direction):
    """Of a plane wave its double angle, and after integration the mean energy of its gradient everywhere."""
    grid, n = Grid(boundary="periodic"), 32
    x, y = torch.meshgrid(torch.arange(n).double(), torch.arange(n).double(), indexing="ij")
    wave = torch.sin(2 * math.pi / n * (direction[0] * x + direction[1] * y))[None, None]
    cosine, sine = structure(wave, 0.5, 6.0, grid)
    angle = 2 * math.atan2(math.sin(2 * math.pi * direction[1] / n), math.sin(2 * math.pi * direction[0] / n))
    size = torch.hypot(cosine, sine)
    assert torch.allclose(cosine / size, torch.full_like(size, math.cos(angle)), atol=1e-3)
    assert torch.allclose(sine / size, torch.full_like(size, math.sin(angle)), atol=1e-3)
    assert float(size.std() / size.mean()) < 1e-3


def test_smoothing_is_gaussian():
    spike = torch.zeros(1, 1, 41, 41, dtype=torch.float64)
    spike[..., 20, 20] = 1.0
    x = torch.arange(-20, 21, dtype=torch.float64)
    exact = torch.exp(-(x[:, None] ** 2 + x[None] ** 2) / (2 * 9.0)) / (2 * math.pi * 9.0)
    smooth = smoothed(spike, 3.0, Grid())[0, 0]
    assert float((smooth * x**2).sum()) == pytest.approx(9.0, rel=1e-3) and float(smooth.sum()) == pytest.approx(1.0)
    assert torch.allclose(smooth, exact, atol=0.05 * float(exact.max()))
    assert torch.equal(smoothed(spike, 0.0, Grid()), spike)


DIRECTIONS = [(5, 0), (4, 3), (3, 4), (0, 5), (-3, 4)]


@torch.no_grad()
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("condition", [ROUND, 100.0])
def test_coherence_flows_along_stripes_whatever_their_direction(direction, condition):
    """Ripples along the stripes decay as heat of κ₀, those across as of κ₀/condition, by the frozen operator."""
    n, grid = 64, Grid(boundary="periodic")
    x, y = torch.meshgrid(torch.arange(n).double(), torch.arange(n).double(), indexing="ij")

    def wave(k):
        return torch.cos(2 * math.pi / n * (k[0] * x + k[1] * y))[None, None]

    tensor = CoherenceEnhancing(1, contrast=1e-3, integration_scale=8.0, condition=condition).double()
    operator = AnisotropicDiffusion(tensor, grid)(wave(direction))

    def decay(v):
        heat = Diffusion(Constant(0.9), grid)(v)  # κ₀ at initialisation
        return float((v * operator(v)).sum() / (v * heat(v)).sum())

    across, along = decay(wave(direction)), decay(wave((-direction[1], direction[0])))
    assert along == pytest.approx(1.0, abs=0.03)  # of which second order takes 0.02 at 13 cells a wave
    assert across == pytest.approx(1 / condition, abs=0.02)


@torch.no_grad()
def test_an_interrupted_line_closes():
    """Coherence enhancement fills the gap of a tilted stripe; isotropic diffusion of the same strength blurs both."""
    x, y = torch.meshgrid(torch.arange(48).double() - 23.5, torch.arange(48).double() - 23.5, indexing="ij")
    across, along = (x - 2 * y) / math.sqrt(5), (2 * x + y) / math.sqrt(5)
    stripe = torch.exp(-(across**2) / 8)
    broken = (stripe * (1 - torch.exp(-(along**2) / 6)))[None, None]
    gap, beside = (across.abs() < 1) & (along.abs() < 1), (across.abs() > 5) & (across.abs() < 7) & (along.abs() < 8)
    filled = {}
    coherence = AnisotropicDiffusion(CoherenceEnhancing(1, 0.01, 0.7, 4.0, condition=50.0))
    for name, term in {"coherence": coherence, "heat": Diffusion(Constant(0.9))}.items():
        after = Evolve(Euler(term.double()), 12.0, CFL(0.9))(broken)[0, 0]
        filled[name] = float(after[gap].mean() - after[beside].mean())
    assert float(broken[0, 0][gap].mean()) < 0.1
    assert filled["coherence"] > 0.5 > 1.5 * filled["heat"]


@torch.no_grad()
def test_noise_on_an_edge_goes_and_the_edge_stays():
    """Edge-enhancing diffusion smooths a noisy step along it; Perona and Malik's leaves the noise on it."""
    step = torch.zeros(1, 1, 24, 24, dtype=torch.float64)
    step[..., 12:] = 1.0
    noisy = step + 0.1 * torch.randn_like(step)
    tensor = EdgeEnhancing(1, contrast=0.15, noise_scale=1.0, condition=100.0)
    after = Evolve(Euler(AnisotropicDiffusion(tensor).double()), 6.0, CFL(0.9))(noisy)[0, 0]
    scalar = Evolve(Euler(Diffusion(PeronaMalik(1, contrast=0.05)).double()), 6.0, CFL(0.9))(noisy)[0, 0]
    assert float((after[:, 12] - after[:, 11]).mean()) > 0.6
    assert float(after[:, 12].std()) < 0.5 * float(scalar[:, 12].std()) < 0.5 * float(noisy[0, 0, :, 12].std())


def test_slips_are_refused():
    for dims in (1, 3):
        with pytest.raises(PDEConvError, match="2 axes"):
            AnisotropicDiffusion(PerChannelTensor(2), Grid(dims=dims))
    with pytest.raises(PDEConvError, match="DiffusionTensor"):
        AnisotropicDiffusion(PeronaMalik(1))
    for bad in (((1.0, 2.0), (2.0, 1.0)), ((1.0, 0.5), (0.4, 1.0)), ((1.0, 0.0),), 3.0, ((math.nan, 0.0), (0.0, 1.0))):
        with pytest.raises(PDEConvError, match="ConstantTensor"):
            ConstantTensor(bad)
    for kind in (PerChannelTensor, ConvTensor, EdgeEnhancing, CoherenceEnhancing):
        with pytest.raises(PDEConvError, match="condition"):
            kind(1, condition=0.5)
    with pytest.raises(PDEConvError, match="channels"):
        AnisotropicDiffusion(ConvTensor(3))(torch.rand(1, 2, 5, 5))
