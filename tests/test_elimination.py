"""Law: elimination solves what cyclic reduction solves, positively, and differentiates as it does."""

import pytest
import torch
from states import BOUNDARIES

from pdeconv import AOS, Diffusion, PeronaMalik, tridiagonal
from pdeconv.elimination import eliminate
from pdeconv.tridiagonal import line_solve

LINES = [(1, (2, -1, 3)), (2, (2, 2, -1)), (0, (-1,))]  # the axis, and sizes of a right-hand side


def systems(size, axis, shape):
    """Two right-hand sides and the bands of one matrix, broadcast to them, free parameters all."""
    shape = tuple(size if n == -1 else n for n in shape)
    bands = [1] * len(shape)
    bands[axis] = size
    values = [torch.randn(shape), torch.randn(shape), *(torch.rand(bands) + 0.1 for _ in range(3))]
    return [value.double().requires_grad_() for value in values]


def without_ends(lower, upper, axis):
    """The first cell has none below, the last none above."""
    size = lower.shape[axis]
    cells = torch.arange(size).reshape([-1 if i == axis else 1 for i in range(lower.dim())])
    return lower * (cells > 0), upper * (cells < size - 1)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8])
@pytest.mark.parametrize(("axis", "shape"), LINES)
def test_elimination_equals_reduction(axis, shape, size):
    """Values and gradients by the right-hand sides and all bands."""
    inputs = systems(size, axis, shape)

    def solve(way, first, second, excess, lower, upper):
        return way((first, second), excess, *without_ends(lower, upper, axis), axis)

    results = [solve(way, *inputs) for way in (eliminate, tridiagonal._reduced)]
    for one, other in zip(*results, strict=True):
        assert torch.allclose(one, other, rtol=1e-12, atol=1e-13)
    gradients = [
        torch.autograd.grad(sum(x.square().sum() for x in result), inputs, materialize_grads=True) for result in results
    ]
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize(("axis", "shape"), LINES)
def test_second_derivatives_of_the_elimination(axis, shape):
    inputs = systems(3, axis, shape)

    def solve(first, second, excess, lower, upper):
        return eliminate((first, second), excess, *without_ends(lower, upper, axis), axis)

    assert torch.autograd.gradcheck(solve, inputs)
    assert torch.autograd.gradgradcheck(solve, inputs)


def test_the_elimination_under_torch_func():
    first, _, *bands = (value.detach() for value in systems(4, 1, (2, -1, 3)))
    gradient = torch.func.grad(lambda b: eliminate((b,), *bands, 1)[0].square().sum())(first)
    assert gradient.shape == first.shape and gradient.abs().max() > 0


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(("lines", "cells"), [(1, 257), (40, 33)])  # by reduction, by elimination
def test_strong_couplings_lose_no_precision_either_way(boundary, lines, cells, monkeypatch):
    called = []
    monkeypatch.setattr(tridiagonal, "eliminate", lambda *args: called.append(args) or eliminate(*args))
    for strength in (1.0, 1e9, 1e15):
        b, faces = torch.rand(lines, 1, cells), torch.rand(1, 1, cells + 1) * strength
        faces[..., -1] = faces[..., 0]
        v = line_solve(b, faces, 2, boundary)
        assert torch.allclose(v.double(), line_solve(b.double(), faces.double(), 2, boundary), rtol=3e-6, atol=0)
        assert (v >= 0).all() and (v <= b.max() + 1e-6).all()
    assert bool(called) == (lines == 40)


def test_samples_do_not_mix():
    """Bit for bit, though the whole batch is eliminated at once."""
    b, faces = torch.rand(3, 2, 8, 9), torch.rand(3, 2, 9, 9)
    faces.narrow(2, 0, 1).zero_()
    whole = line_solve(b, faces, 2, "neumann")
    for i in range(3):
        assert torch.equal(whole[i : i + 1], line_solve(b[i : i + 1], faces[i : i + 1], 2, "neumann"))


def test_tangents_and_batches_pass_through() -> None:
    step, u = AOS(Diffusion(PeronaMalik(2))), torch.rand(1, 2, 24, 25, dtype=torch.float64)
    step, dt, towards = step.double(), torch.tensor(2.0, dtype=torch.float64), torch.ones_like(u)
    _, tangent = torch.func.jvp(lambda v: step(v, dt), (u,), (towards,))
    _, product = torch.autograd.functional.jvp(lambda v: step(v, dt), u, towards)
    torch.testing.assert_close(tangent, product)
    torch.testing.assert_close(torch.func.vmap(lambda v: step(v, dt))(u[None]), step(u, dt)[None])
