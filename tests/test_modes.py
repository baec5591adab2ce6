"""Law: matrices, one matrix of a whole image, and FFT give the same function of the Laplacian, and differentiate."""

import pytest
import torch
from states import BOUNDARIES, grid_of, number, state

from pdeconv import (
    BackwardEuler,
    Constant,
    CrankNicolson,
    Diffusion,
    Exact,
    FourthOrder,
    Grid,
    PerChannel,
    Q1Elements,
    Spectral,
    modes,
)
from pdeconv.modes import laplacian_basis, map_each_axis, map_modes
from pdeconv.operator import Operator, SpectralOperator

WAYS = {"matrices": (10**9, 0), "joint": (10**9, 10**9), "fft": (0, 0)}  # FFT_SIZE, JOINT_CELLS


def by(way, monkeypatch):
    monkeypatch.setattr(modes, "FFT_SIZE", WAYS[way][0])
    monkeypatch.setattr(modes, "JOINT_CELLS", WAYS[way][1])


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 64])
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_all_ways_are_one(boundary, size, monkeypatch):
    """Values, and gradients by the state and by the function, along each axis of one to three."""
    for shape in ((2, 3, size), (2, 3, size, 5), (2, 3, 4, size), (2, 1, size, 2, 3)):
        u = torch.randn(shape, dtype=torch.float64, requires_grad=True)
        kappa = torch.rand(1, shape[1], *[1] * (len(shape) - 2), dtype=torch.float64, requires_grad=True)
        results = []
        for way in WAYS:
            by(way, monkeypatch)
            v = map_modes(u, Grid(boundary=boundary, dims=len(shape) - 2), lambda z, k=kappa: 1 / (1 - k * sum(z)))
            results.append((v, *torch.autograd.grad(v.square().sum(), (u, kappa))))
        for result in results[1:]:
            for one, other in zip(result, results[0], strict=True):
                assert torch.allclose(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_fft_in_float32(boundary, monkeypatch):
    """Off by no more than the matrices are."""
    u, grid = torch.rand(1, 1, 300, 300), Grid(boundary=boundary)
    exact = map_modes(u.double(), grid, lambda z: 1 / (1 - 10 * (z[0] + z[1])))
    errors = {}
    for way in ("matrices", "fft"):
        by(way, monkeypatch)
        errors[way] = (map_modes(u, grid, lambda z: 1 / (1 - 10 * (z[0] + z[1]))) - exact).abs().max()
    assert errors["fft"] <= errors["matrices"] + 5e-7


@pytest.mark.parametrize("cells", [1, 2, 3, 4])
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_second_derivatives_by_fft(boundary, cells, monkeypatch):
    by("fft", monkeypatch)
    u = torch.randn(1, 2, cells, 3, dtype=torch.float64, requires_grad=True)
    kappa = torch.rand(1, 2, 1, 1, dtype=torch.float64, requires_grad=True)

    def solve(u, kappa):
        return map_modes(u, Grid(boundary=boundary), lambda z: 1 / (1 - kappa * (z[0] + z[1])))

    assert torch.autograd.gradcheck(solve, (u, kappa))
    assert torch.autograd.gradgradcheck(solve, (u, kappa))


def test_samples_do_not_mix_by_fft(monkeypatch):
    by("fft", monkeypatch)
    u = torch.rand(3, 2, 8, 9)
    for boundary in BOUNDARIES:
        grid = Grid(boundary=boundary)
        each = torch.cat([map_modes(sample[None], grid, lambda z: torch.exp(z[0] + z[1])) for sample in u])
        assert torch.equal(map_modes(u, grid, lambda z: torch.exp(z[0] + z[1])), each)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_one_graph_by_fft(boundary, monkeypatch):
    by("fft", monkeypatch)
    torch.compiler.reset()
    step, u = Exact(Diffusion(Constant(0.7), Grid(boundary=boundary))), state(2)
    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    assert torch.allclose(compiled(u, number(0.3)), step(u, number(0.3)), atol=1e-12)


def test_long_axes_build_no_basis(monkeypatch):
    monkeypatch.setattr(modes, "laplacian_basis", None)
    u = torch.rand(1, 1, 4096)
    smooth = BackwardEuler(Diffusion(Constant(1.0), Grid(dims=1)))(u, torch.tensor(10.0))
    assert smooth.mean() == pytest.approx(float(u.mean()), rel=1e-5)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_a_flow_is_the_product_of_those_of_its_axes(boundary, dims, monkeypatch):
    """One matrix an axis, for each discretisation that is a sum over the axes; of one κ, and of one a channel."""
    by("matrices", monkeypatch)
    u, called = state(dims), []
    monkeypatch.setattr(
        "pdeconv.terms.diffusion.map_each_axis", lambda *args: called.append(args) or map_each_axis(*args)
    )
    for discretisation in (None, FourthOrder(), Spectral(), Q1Elements()):
        for coefficient in (Constant(0.7), PerChannel(u.shape[1], ceiling=1.0).double()):
            operator = Diffusion(coefficient, grid_of(boundary, dims), discretisation)(u)
            called.clear()
            flowed = operator.flow(u, number(0.4))
            assert bool(called) != isinstance(discretisation, Q1Elements)
            assert torch.allclose(flowed, SpectralOperator.flow(operator, u, number(0.4)), atol=1e-12)
            each = torch.tensor([0.4, 0.9], dtype=torch.float64)  # a dt of its own for each sample
            assert torch.allclose(operator.flow(u, each)[:1], flowed[:1], atol=1e-12)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_crank_nicolson_is_one_function_of_the_modes(boundary):
    """The same as an explicit half and an implicit half."""
    for discretisation in (None, FourthOrder(), Spectral(), Q1Elements()):
        u, dt = state(2), number(0.8)
        term = Diffusion(Constant(0.7), grid_of(boundary, 2), discretisation)
        operator: Operator = term(u)
        halves = operator.solve(u + dt / 2 * operator(u), dt / 2)
        assert torch.allclose(CrankNicolson(term)(u, dt), halves, atol=1e-12)


def test_a_basis_met_in_inference_mode_can_train():
    with torch.inference_mode():
        map_modes(torch.rand(1, 1, 43, 47), Grid(), lambda z: torch.exp(z[0] + z[1]))
    u = torch.rand(1, 1, 43, 47, requires_grad=True)
    map_modes(u, Grid(), lambda z: torch.exp(z[0] + z[1])).sum().backward()
    assert u.grad is not None


def test_a_basis_is_kept_for_each_type():
    kind = "neumann", torch.float32, torch.device("cpu")
    assert laplacian_basis(9, *kind)[0] is laplacian_basis(9, *kind)[0]
    assert laplacian_basis(9, "neumann", torch.float64, torch.device("cpu"))[0].dtype == torch.float64
