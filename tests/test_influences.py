"""Laws of influence functions: bounded slopes whatever the weights, tables as good as the sums that they stand for."""

import math

import pytest
import torch
from states import BOUNDARIES, number, randomise
from torch import nn
from torch.autograd import gradcheck, gradgradcheck
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pdeconv import (
    CFL,
    Euler,
    Evolve,
    FieldsOfExperts,
    Fixed,
    Grid,
    HamiltonianSystem,
    NormalisedInfluence,
    PDEConvError,
    RationalInfluence,
    RBFInfluence,
    ReLUInfluence,
    SplineInfluence,
    StabilityError,
    SymmetricConvolution,
    TanhInfluence,
)
from pdeconv.spline import cubic_coefficients, cubic_spline, spline, spline_weights

FEATURES = 3
INFLUENCES = {
    "relu": ReLUInfluence,
    "tanh": TanhInfluence,
    "rational": lambda: RationalInfluence(FEATURES),
    "spline": lambda: SplineInfluence(FEATURES, ceiling=2.5),
    "rbf": lambda: RBFInfluence(FEATURES, ceiling=2.5),
    "normalised": lambda: NormalisedInfluence(FEATURES, TanhInfluence(), ceiling=2.5),
    "normalised spline": lambda: NormalisedInfluence(FEATURES, SplineInfluence(FEATURES, ceiling=0.5), ceiling=5.0),
}


def truncated_powers(x, degree):
    """βⁿ by its definition as a difference of truncated powers."""
    total = torch.zeros_like(x)
    for k in range(degree + 2):
        total = total + (-1) ** k * math.comb(degree + 1, k) * (x + (degree + 1) / 2 - k).clamp(min=0) ** degree
    return total / math.factorial(degree)


@pytest.mark.parametrize("degree", [1, 2, 3, 4])
def test_splines_are_sums_of_truncated_powers(degree):
    coefficients = torch.randn(FEATURES, 9, dtype=torch.float64)
    x = 9 * torch.rand(2, FEATURES, 40, dtype=torch.float64) - 0.5
    knots = torch.arange(-5, 14)
    repeated = coefficients[:, knots.clamp(0, 8)]
    direct = (truncated_powers(x[..., None] - knots, degree) * repeated[None, :, None]).sum(-1)
    assert torch.allclose(spline(coefficients, x, degree), direct, atol=1e-12)
    weights = spline_weights(x.remainder(1), degree)
    assert len(weights) == degree + 1 and all((weight >= 0).all() for weight in weights)
    assert torch.allclose(sum(weights), torch.ones_like(x))


def test_cubic_coefficients_are_of_order_4():
    """Exact for cubics; the error of a wave falls 16 times as the knots halve, within the stated bound."""
    x = torch.linspace(0, 1, 101, dtype=torch.float64)[None, None]
    cubic = torch.arange(-2, 14, dtype=torch.float64)[None]
    assert torch.allclose(spline(cubic_coefficients(cubic**3), 10 * x + 1, 3), (10 * x) ** 3, atol=1e-10)
    errors = []
    for knots in (10, 20):
        at = torch.arange(-2, knots + 4, dtype=torch.float64)[None] / knots
        fitted = spline(cubic_coefficients(torch.sin(3 * at)), knots * x + 1, 3)
        errors.append(float((fitted - torch.sin(3 * x)).abs().max()))
        assert errors[-1] <= 0.0304 * 81 / knots**4
    assert math.log2(errors[0] / errors[1]) == pytest.approx(4, abs=0.1)


def gaussians(influence, z):
    """b + Σⱼ wⱼ exp(−(z − μⱼ)²/2γ²), directly: a tensor as many times the state as there are centres."""
    count = influence.weight.shape[1]
    centres = torch.linspace(-influence.reach, influence.reach, count, dtype=z.dtype)
    width = 2 * influence.reach / (count - 1)
    bumps = torch.exp(-(z[..., None] - centres).square() / (2 * width**2))
    shape = (-1, *(1,) * (z.dim() - 2))
    return (bumps * influence.weight.reshape(*shape, count)).sum(-1) + influence.bias.reshape(shape)


@pytest.mark.parametrize("centres", [2, 31, 63])
def test_the_table_of_gaussians_is_as_good_as_stated(centres):
    """The sum to 5.7e-5·max|w|, and not much better; its slopes to 1 %, curvatures to 3 %, of their largest."""
    influence = RBFInfluence(FEATURES, centres, reach=1.5, ceiling=2.0).double()
    for scale in (0.1, 1.0):
        randomise(influence, scale)
        z = (4 * torch.rand(2, FEATURES, 500, dtype=torch.float64) - 2).requires_grad_()
        table, direct = torch.logit(influence(z) / influence.ceiling), gaussians(influence, z)
        largest = float(influence.weight.detach().abs().max())
        error = float((table - direct).detach().abs().max())
        assert 1e-6 * largest < error < 5.7e-5 * largest
        for tolerance in (0.01, 0.03):
            (table,) = torch.autograd.grad(table.sum(), z, create_graph=True)
            (direct,) = torch.autograd.grad(direct.sum(), z, create_graph=True)
            assert (table - direct).abs().max() < tolerance * direct.abs().max()


class Largest(TorchDispatchMode):
    """The most numbers that any tensor holds which is made meanwhile."""

    numel = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)]
        self.numel = max(self.numel, *(tensor.numel() for tensor in tensors), 0)
        return out


@pytest.mark.parametrize("name", ["rbf", "spline", "normalised spline"])
def test_no_tensor_is_larger_than_the_state(name):
    """Forward and backward; the direct sum makes one 63 times as large."""
    influence, z = INFLUENCES[name](), torch.randn(2, FEATURES, 48, 48, requires_grad=True)
    with Largest() as watched:
        influence(z).square().sum().backward()
    assert watched.numel == z.numel()
    if name == "rbf":
        with Largest() as watched:
            gaussians(influence, z).square().sum().backward()
        assert watched.numel == 63 * z.numel()


@torch.no_grad()
@pytest.mark.parametrize("name", INFLUENCES)
def test_slopes_stay_within_their_bounds(name):
    """Whatever the weights, at responses small, large and infinite."""
    for scale in (0.0, 1.0, 30.0):
        influence = randomise(INFLUENCES[name]().double(), scale)
        for size in (1e-3, 1.0, 1e6):
            slope = influence(size * torch.randn(2, FEATURES, 7, 8, dtype=torch.float64))
            assert (slope >= 0).all() and (slope <= influence.ceiling * (1 + 1e-12)).all()
        if name in ("rbf", "spline"):
            assert influence(torch.full((1, FEATURES, 1), math.inf)).isfinite().all()


@torch.no_grad()
@pytest.mark.parametrize("name", ["rbf", "spline"])
def test_a_constant_table_is_at_the_ceiling(name):
    """So the ceiling is the least bound."""
    influence = INFLUENCES[name]()
    for weight in influence.parameters():
        weight.fill_(40.0)
    assert torch.allclose(influence(torch.randn(1, FEATURES, 50)), torch.tensor(2.5))


@pytest.mark.parametrize("name", ["rbf", "spline", "normalised spline"])
def test_influences_differentiate_twice_at_knots_too(name):
    influence = randomise(INFLUENCES[name]().double())
    knots = torch.linspace(-1, 1, 31, dtype=torch.float64)[[0, 1, 15, 28, 30]]
    z = torch.cat((knots, torch.tensor([-1.3, 0.123, 1.2])))[None, None].expand(1, FEATURES, -1).clone()
    assert gradcheck(influence, z.requires_grad_(), fast_mode=True)
    assert gradgradcheck(influence, z, fast_mode=True, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["rbf", "spline", "normalised"])
def test_half_precision_reaches_between_knots(name, dtype):
    """As good as float32 at the rounded responses, but for the rounding of the result."""
    influence = randomise(INFLUENCES[name]().to(dtype))
    z = torch.randn(2, FEATURES, 200).to(dtype)
    low, full = influence(z), influence.float()(z.float())
    assert low.dtype == dtype
    assert (low.float() - full).abs().max() < 4 * torch.finfo(dtype).eps * influence.ceiling


def test_how_steep_an_influence_is():
    """As declared; a learned curve is steeper than its ceiling where its slope rises, and so declares nothing."""
    line = torch.linspace(-3, 3, 601, dtype=torch.float64)
    z = line.expand(1, FEATURES, -1).clone().requires_grad_()
    for name, build in INFLUENCES.items():
        influence, steepest = build().double(), 0.0
        for _ in range(10):
            randomise(influence, 2.0)
            (steepness,) = torch.autograd.grad((influence(z) * z).sum(), z)
            steepest = max(steepest, float(steepness.abs().max()))
        assert steepest <= influence.lipschitz * (1 + 1e-6)
        if name in ("rbf", "spline"):
            assert steepest > 1.5 * influence.ceiling
        assert math.isfinite(influence.lipschitz) == (name in ("relu", "tanh", "rational"))
        assert HamiltonianSystem(2, FEATURES, influence=influence, norm=1.3).frequency == 1.3**2 * influence.lipschitz


def test_a_normalised_response_has_the_size_of_the_floor():
    """Its root mean square tends to scale·floor, whatever the response's; a small one is only scaled."""
    influence = NormalisedInfluence(2, ceiling=4.0, floor=0.5).double()
    scale, z = 0.9 * 4.0, torch.rand(3, 2, 6, 7, dtype=torch.float64) + 0.1  # positive: ReLU lets all pass

    def size(x):
        return x.square().mean((2, 3)).sqrt()

    large, small = 1e4 * z, 1e-4 * z
    after = influence(large) * large
    assert torch.allclose(size(after), torch.full((3, 2), scale * 0.5, dtype=torch.float64), rtol=1e-6)
    assert torch.allclose(after, influence(10 * large) * 10 * large, rtol=1e-6)
    assert torch.allclose(influence(small), torch.full_like(small, scale), rtol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_a_normalised_layer_is_the_one_of_ruthotto_and_haber(boundary):
    """−Kᵀσ(N(Ku)) by hand; within the limit the energy falls, for small states it breaks at 1.2 times it."""
    term = SymmetricConvolution(
        2, 1, 1, NormalisedInfluence(1, TanhInfluence(), ceiling=3.0, floor=0.2), grid=Grid(boundary=boundary)
    ).double()
    u = torch.randn(2, 2, 6, 7, dtype=torch.float64)
    response = nn.functional.conv2d(u, term.kernel)
    normalised = 0.9 * 3 * response / (1 + response.square().mean((2, 3), keepdim=True) / 0.04).sqrt()
    by_hand = -nn.functional.conv_transpose2d(normalised.tanh(), term.kernel)
    assert torch.allclose(term(u)(u), by_hand, atol=1e-12)
    assert term.ceiling == pytest.approx(3 / 2 * (4 if boundary == "reflect" else 1))
    nn.init.constant_(term.influence.weight, 40.0)
    if boundary != "reflect":  # no window of one cell is mirrored
        small = 1e-6 * term.kernel[0, :, 0, 0][None, :, None, None].expand(1, 2, 5, 5) / term.kernel.norm()
        term.norm = float(term.kernel.norm())
        for factor, grows in ((1.0, False), (1.2, True)):
            after = Euler(term)(small, number(factor * 2 / (3 * term.norm**2)))
            assert bool(after.norm() > small.norm() * (1 + 1e-6)) == grows


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_batch_normalisation_inside_keeps_nothing(mode):
    """−Kᵀσ(N(Ku)) with any module: it is what it says, and no control takes it for proven."""
    norm = nn.Sequential(nn.BatchNorm2d(5), nn.ReLU())
    term = getattr(SymmetricConvolution(3, features=5, influence=norm, grid=Grid(boundary="dirichlet")), mode)()
    assert (term.keeps, term.ceiling, term.symmetric) == (frozenset(), math.inf, False)
    for control in (CFL(0.9), Fixed(2)):
        with pytest.raises(StabilityError, match="unchecked"):
            Evolve(Euler(term), 1.0, control)
    u = torch.randn(4, 3, 6, 7)
    response = nn.functional.conv2d(u, term.kernel, padding=1)
    by_hand = -nn.functional.conv_transpose2d(norm(response), term.kernel, padding=1)
    assert torch.allclose(term(u)(u), by_hand, atol=1e-6)
    assert (term(u).keeps, float(term(u).rate)) == (frozenset(), math.inf)
    Evolve(Euler(term), 1.0, Fixed(2, unchecked=True))(u).sum().backward()
    assert all(weight.grad.isfinite().all() for weight in term.parameters())
    free = SymmetricConvolution(3, features=5, influence=norm, norm=None)  # K as it is learned, however large
    nn.init.constant_(free.weight, 70.0)
    assert torch.equal(free.kernel, free.weight / 3) and free.squared_norm == math.inf and "norm ≤" not in repr(free)
    small = u[..., :2, :2]  # no window fits
    assert not SymmetricConvolution(3, features=5, influence=norm)(small)(small).any()


def test_slips_are_refused():
    for build in (SplineInfluence, RBFInfluence):
        for bad in (dict(features=0), dict(reach=0.0), dict(ceiling=-1.0)):
            with pytest.raises(PDEConvError):
                build(**{"features": 2, **bad})
        with pytest.raises(PDEConvError, match="at least 2"):
            build(2, 1)
        with pytest.raises(PDEConvError, match="2 features, but got 3"):
            build(2)(torch.zeros(1, 3, 4))
    with pytest.raises(PDEConvError, match="Influence"):
        NormalisedInfluence(2, nn.ReLU())
    with pytest.raises(PDEConvError, match="Module"):
        SymmetricConvolution(2, influence=torch.relu)
    for build in (SymmetricConvolution, HamiltonianSystem, FieldsOfExperts):
        with pytest.raises(PDEConvError, match="norm"):
            build(2, norm=None)
    with pytest.raises(PDEConvError, match="keep the shape"):
        u = torch.zeros(1, 2, 5, 5)
        SymmetricConvolution(2, influence=nn.AvgPool2d(2))(u)(u)
    with pytest.raises(PDEConvError, match="Influence"):
        HamiltonianSystem(2, influence=nn.Tanh())


def test_half_precision_of_a_narrow_bump():
    z = torch.tensor([[[0.0, 1e-4, 300.0]]]).half().requires_grad_()
    slope = RationalInfluence(1, scales=(1e-3,)).half()(z)
    (gradient,) = torch.autograd.grad(slope.sum(), z)
    assert slope.isfinite().all() and slope[..., 0] > 0.8 and slope[..., 2] == 0 and gradient.isfinite().all()


def test_a_cubic_read_as_a_polynomial_is_the_spline():
    """Values and gradients, beyond the table too; what is no number stays alone."""
    table = torch.rand(3, 9, dtype=torch.float64, requires_grad=True)
    x = (torch.rand(2, 3, 4, 5, dtype=torch.float64) * 20 - 5).requires_grad_()
    ways = [spline(table, x, 3), cubic_spline(table, x)]
    gradients = [torch.autograd.grad(way.square().sum(), (table, x)) for way in ways]
    for one, other in zip([ways[0], *gradients[0]], [ways[1], *gradients[1]], strict=True):
        assert torch.allclose(one, other, atol=1e-12)
    wild = torch.tensor([torch.nan, torch.inf, -torch.inf, 2.0], dtype=torch.float64).expand(1, 3, 4)
    read = cubic_spline(table, wild)[0, 0]
    assert read[0].isnan() and torch.allclose(read[1:3], table[0, [-1, 0]]) and read[3].isfinite()
