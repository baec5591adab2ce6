"""Law: line solves are exact on every boundary and size, keep the range to rounding, and differentiate twice."""

import pytest
import torch
from states import BOUNDARIES, DIMS, Field, grid_of, matrix, number, state

from pdeconv import Constant, Diffusion, Grid, PeronaMalik, UnsupportedError
from pdeconv.tridiagonal import cyclic_tridiagonal_solve, line_solve, tridiagonal_solve


def dense(excess, lower, upper, cyclic):
    """The matrix of one line."""
    size = len(excess)
    full = torch.diag(excess + lower + upper)
    for i in range(size):
        if i > 0 or cyclic:
            full[i, i - 1] -= lower[i]
        if i < size - 1 or cyclic:
            full[i, (i + 1) % size] -= upper[i]
    return full


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 8, 13])
@pytest.mark.parametrize("solve", [tridiagonal_solve, cyclic_tridiagonal_solve])
def test_equals_the_dense_solve(solve, size):
    """Of matrices that are not symmetric, along any axis."""
    cyclic = solve is cyclic_tridiagonal_solve
    for strength in (0.0, 1.0, 1e3):
        excess, lower, upper = (torch.rand(size, dtype=torch.float64) + 0.1 for _ in range(3))
        lower, upper = strength * lower, strength * upper
        if not cyclic:
            lower[0] = upper[-1] = 0
        b = torch.randn(2, size, 3, dtype=torch.float64)
        x = solve(b, *(band[None, :, None] for band in (excess, lower, upper)), 1)
        assert torch.allclose(x, torch.linalg.solve(dense(excess, lower, upper, cyclic), b), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("term", ["constant", "field", "perona_malik"])
@pytest.mark.parametrize("dims", DIMS)
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_axes_add_up_and_are_solved(boundary, dims, term):
    """Σ Aᵢ = A, Σ rateᵢ ≥ rate, and v − dt·Aᵢv = b, each sample with its own dt, from one cell on."""
    coefficient = {"constant": Constant(0.7), "field": Field(), "perona_malik": PeronaMalik(2).double()}[term]
    for cells in (1, 2, 3, 6):
        u, b = state(dims, cells=cells), torch.randn_like(state(dims, cells=cells))
        operator = Diffusion(coefficient, grid_of(boundary, dims))(u)
        assert len(operator.axes) == dims
        assert torch.allclose(sum(axis(b) for axis in operator.axes), operator(b), atol=1e-12)
        assert (sum(axis.rate for axis in operator.axes) >= operator.rate * (1 - 1e-12)).all()
        assert all(axis.keeps == operator.keeps for axis in operator.axes)
        for dt in (number(1e-9), torch.tensor([0.3, 1e3], dtype=torch.float64)):
            for axis in operator.axes:
                v = axis.solve(b, dt)
                wide = dt.reshape(-1, *[1] * (dims + 1))
                assert (v - wide * axis(v) - b).norm() <= 1e-12 * b.norm() + 1e-13 * dt.max() * v.norm()


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_no_precision_is_lost_to_strong_couplings(boundary):
    """In float32, where the condition of the matrix is beyond 1/epsilon: still a mean, and the right one."""
    for strength in (1e3, 1e9, 1e15):
        for size in (5, 16, 33):
            b = torch.rand(1, 1, size)
            varied = torch.full((1, 1, size + 1), strength)
            varied[..., 1:-1] *= torch.rand(size - 1) + 0.01
            varied[..., -1] = varied[..., 0]
            v = line_solve(b, varied, 2, boundary)
            low, high = (b.min(), b.max()) if boundary != "dirichlet" else (0.0, b.max())
            assert (v >= low - 1e-6).all() and (v <= high + 1e-6).all()
            if boundary in ("neumann", "periodic"):
                assert v.mean() == pytest.approx(float(b.mean()), rel=1e-5)
            exact = line_solve(b.double(), varied.double(), 2, boundary)
            assert torch.allclose(v.double(), exact, rtol=3e-6, atol=0)


@pytest.mark.parametrize("cells", [1, 2, 3, 4])
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_gradients_of_a_line_solve(boundary, cells):
    """In the right-hand side, dt and the diffusivity, to second order: where it varies in space and where not."""
    b = torch.randn(2, 2, cells, dtype=torch.float64, requires_grad=True)
    dt = torch.tensor([0.5, 2.0], dtype=torch.float64, requires_grad=True)
    for shape in ((), (1, 2, 1), (2, 1, cells)):
        kappa = (torch.rand(shape, dtype=torch.float64) + 0.2).requires_grad_()
        term = Diffusion(Constant(1.0), Grid(0.8, boundary, dims=1))

        def solve(b, dt, kappa, term=term):
            term.diffusivity.forward = lambda u, grid: kappa
            return term(b).axes[0].solve(b, dt)

        assert torch.autograd.gradcheck(solve, (b, dt, kappa))
        assert torch.autograd.gradgradcheck(solve, (b, dt, kappa), atol=1e-5)


def test_the_reduction_itself_differentiates():
    bands = [(torch.rand(4, dtype=torch.float64) + 0.1).requires_grad_() for _ in range(3)]
    b = torch.randn(4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *x: cyclic_tridiagonal_solve(*x, 0), (b, *bands))
    assert torch.autograd.gradgradcheck(lambda *x: cyclic_tridiagonal_solve(*x, 0), (b, *bands))


def test_the_matrix_of_a_solve_is_an_average():
    """No entry is negative, and rows sum to 1 where nothing leaves."""
    for boundary in BOUNDARIES:
        u = state(2, batch=1, cells=4)
        for axis in Diffusion(Field(), grid_of(boundary, 2))(u).axes:
            inverse = matrix(lambda v, axis=axis: axis.solve(v, number(3.0)), u)
            assert (inverse >= 0).all()
            rows = inverse.sum(1)
            assert (rows < 1).all() if boundary == "dirichlet" else torch.allclose(rows, torch.ones_like(rows))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    u = torch.rand(2, 2, 9, 10)
    for coefficient in (Constant(0.7), PeronaMalik(2)):
        half = Diffusion(coefficient)(u.to(dtype)).axes[0].solve(u.to(dtype), torch.tensor(10.0))
        full = Diffusion(coefficient)(u).axes[0].solve(u, torch.tensor(10.0))
        assert half.dtype == dtype
        assert (half.float() - full).abs().max() < 0.02


def test_what_does_not_split_says_so():
    u = state(2)
    with pytest.raises(UnsupportedError, match="AOS and ADI"):
        _ = (Diffusion(Constant(1.0)) + Diffusion(Constant(1.0)))(u).axes
