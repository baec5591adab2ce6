"""Law: splitting by axes keeps the range for every dt (AOS), and is Peaceman and Rachford's scheme (ADI)."""

import itertools

import pytest
import torch
from catalogue import build
from states import BOUNDARIES, DIMS, Field, excess, grid_of, initial_states, matrix, number, state

from pdeconv import (
    ADI,
    AOS,
    BackwardEuler,
    Constant,
    CrankNicolson,
    Decay,
    Diffusion,
    Evolve,
    Fixed,
    MeanCurvatureMotion,
    PeronaMalik,
    Reaction,
    UnsupportedError,
)
from pdeconv.operator import ENERGY

LENGTHS = (0.1, 10.0, 1e3, 1e6, 1e9)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_aos_keeps_the_range_for_every_dt(boundary, dtype):
    """In single precision too, to rounding: the solves subtract nothing."""
    for dims in DIMS:
        for name in ("constant_diffusion", "channel_diffusion", "perona_malik", "mean_curvature"):
            step = AOS(build(name, grid_of(boundary, dims), 3.0).to(dtype))
            for u in initial_states(dims).values():
                u = u.to(dtype)
                for dt in LENGTHS:
                    after = step(u, torch.tensor(dt, dtype=dtype))
                    low = u.min().clamp(max=0) if boundary == "dirichlet" else u.min()
                    assert excess(after, low, u.max()) <= 8 * torch.finfo(dtype).eps
                    if ENERGY in step.keeps:
                        assert after.norm() <= u.norm() * (1 + 8 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_aos_is_the_mean_of_the_axes(boundary):
    """(1/d) Σ (I − d·dt·Aᵢ)⁻¹ by dense inverses."""
    for dims, name in itertools.product(DIMS, ("diffusion", "curvature")):
        u, grid = state(dims, batch=1, cells=3), grid_of(boundary, dims)
        term = Diffusion(Field(), grid) if name == "diffusion" else MeanCurvatureMotion(Field(), 0.1, grid)
        assert torch.allclose(sum(axis(u) for axis in term(u).axes), term(u)(u))
        eye = torch.eye(u.numel(), dtype=torch.float64)
        expected = sum(torch.linalg.inv(eye - dims * 0.7 * matrix(axis, u)) for axis in term(u).axes) / dims
        assert torch.allclose(AOS(term)(u, number(0.7)).flatten(), expected @ u.flatten(), atol=1e-11)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_on_one_axis_they_are_the_implicit_steps(boundary):
    u, dt = state(1), torch.tensor([0.7, 4.0], dtype=torch.float64)
    for coefficient in (Constant(0.7), PeronaMalik(2).double()):
        term = Diffusion(coefficient, grid_of(boundary, 1))
        assert torch.allclose(AOS(term)(u, dt), BackwardEuler(term)(u, dt), atol=1e-11)
        assert torch.allclose(ADI(term)(u, dt), CrankNicolson(term)(u, dt), atol=1e-11)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_adi_on_two_axes_is_peaceman_and_rachfords_and_douglass(boundary):
    u, h = state(2, batch=1), 0.4
    term = Diffusion(Field(), grid_of(boundary, 2))
    first, second = term(u).axes
    after = ADI(term)(u, number(2 * h))
    middle = first.solve(u + h * second(u), number(h))
    assert torch.allclose(after, second.solve(middle + h * first(middle), number(h)), atol=1e-12)
    predicted = first.solve(u + h * first(u) + 2 * h * second(u), number(h))
    assert torch.allclose(after, second.solve(predicted - h * second(u), number(h)), atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize("dims", DIMS)
def test_adi_keeps_the_energy_for_every_dt_where_axes_commute_but_leaves_the_range(dims):
    for boundary in ("neumann", "periodic", "dirichlet"):
        step = ADI(Diffusion(Constant(0.7), grid_of(boundary, dims)))
        worst = 0.0
        for u in initial_states(dims).values():
            for dt in LENGTHS[:3]:
                after = step(u, number(dt))
                assert after.norm() <= u.norm() * (1 + 1e-9)
                worst = max(worst, excess(after, 0.0, 1.0))
        assert worst > 0.1


@torch.no_grad()
def test_many_long_steps_reach_the_mean():
    u = torch.rand(1, 2, 12, 9, dtype=torch.float64)
    after = Evolve(AOS(Diffusion(PeronaMalik(2)).double()), 1e6, Fixed(24))(u)
    mean = u.mean((2, 3), keepdim=True)
    assert torch.allclose(after, mean.expand_as(u), atol=1e-4)


def test_other_terms_do_not_split_by_axes():
    for step in (AOS, ADI):
        with pytest.raises(UnsupportedError, match="Strang"):
            step(Reaction(Decay(2)))(state(2).float(), torch.tensor(0.1))
