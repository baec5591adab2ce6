"""Law: morphology by equations: discs grow, circles shrink, edges sharpen; the range is kept up to the limit."""

import math

import numpy as np
import pytest
import torch
from catalogue import build
from scipy.ndimage import distance_transform_edt
from states import BOUNDARIES, DIMS, excess, grid_of, initial_states, number, saturate, state

from pdeconv import (
    CFL,
    Constant,
    Diffusion,
    Dilation,
    Erosion,
    Euler,
    Evolve,
    Grid,
    Heun,
    MeanCurvatureMotion,
    ShockFilter,
)
from pdeconv.operator import RANGE_WITH_ZERO
from pdeconv.terms.morphology import steepness


def radius(cells):
    """The distance of each cell of a square from its middle, (1, 1, N, N)."""
    x = torch.arange(cells, dtype=torch.float64) - (cells - 1) / 2
    return torch.hypot(x[:, None], x[None])[None, None]


@torch.no_grad()
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_erosion_is_the_dual_of_dilation(boundary):
    for dims in DIMS:
        dilation, u = build("dilation", grid_of(boundary, dims)), state(dims)
        erosion = build("erosion", grid_of(boundary, dims))
        erosion.load_state_dict(dilation.state_dict())
        assert torch.equal(erosion(u)(u), -dilation(-u)(-u))
        assert (dilation(u)(u) >= 0).all() and dilation(u)(u).max() > 0.1


def test_slopes_are_exact_on_planes():
    """Inside, |∇u| of a plane, upwards and downwards, on a grid of three spacings."""
    grid = Grid((0.5, 0.7, 2.0))
    x = torch.meshgrid(*[torch.arange(5, dtype=torch.float64) * dx for dx in grid.spacings], indexing="ij")
    plane = sum((i + 1) * xi for i, xi in enumerate(x))[None, None]
    for rising in (True, False):
        inner = steepness(plane, grid, rising)[..., 1:-1, 1:-1, 1:-1]
        assert torch.allclose(inner, torch.full_like(inner, math.sqrt(1 + 4 + 9)))


@torch.no_grad()
def test_a_disc_dilates_and_erodes_by_its_speed():
    """To the disc of radius r ± s·t, as SciPy's Euclidean distance transform dilates it, within a cell."""
    r, time, speed = 10.0, 8.0, 0.75
    cone = r - radius(49)  # the disc is where it is positive
    for term, sign in ((Dilation(Constant(speed)), 1), (Erosion(Constant(speed)), -1)):
        after = Evolve(Heun(term), time, CFL(0.9))(cone)[0, 0].numpy() >= 0
        disc = cone[0, 0].numpy() >= 0
        if sign > 0:
            certainly = distance_transform_edt(~disc) <= speed * time - 1
            perhaps = distance_transform_edt(~disc) <= speed * time + 1
        else:
            certainly = distance_transform_edt(disc) > speed * time + 1
            perhaps = distance_transform_edt(disc) > speed * time - 1
        assert (certainly <= after).all() and (after <= perhaps).all() and certainly.sum() > 20
        assert math.sqrt(after.sum() / np.pi) == pytest.approx(r + sign * speed * time, abs=0.4)


@torch.no_grad()
def test_dilation_converges_to_the_ball():
    """A dilated cosine ripple is its maximum over the interval [x − t, x + t]: order 1 in dx."""
    errors = []
    for cells in (100, 200):
        grid = Grid((1 / cells,), "periodic")
        x = (torch.arange(cells, dtype=torch.float64) + 0.5) / cells
        u = torch.cos(2 * math.pi * x)[None, None]
        grown = Evolve(Heun(Dilation(grid=grid)), 0.2, CFL(0.9))(u)
        distance = torch.minimum(x, 1 - x)  # of the crest
        exact = torch.cos(2 * math.pi * (distance - 0.2).clamp(min=0))
        errors.append(float((grown[0, 0] - exact).abs().mean()))
    assert errors[1] < 0.02 and errors[0] / errors[1] > 1.6


@torch.no_grad()
@pytest.mark.parametrize("name", ["dilation", "erosion", "shock_filter", "mean_curvature"])
def test_broken_beyond_the_limit(name):
    """One Euler step at 1.2 times the limit leaves the range from some state; at the limit it does not."""
    for boundary in BOUNDARIES:
        for dims in DIMS:
            term = saturate(build(name, grid_of(boundary, dims)))
            step, worst, states = Euler(term), 0.0, initial_states(dims)
            if name == "shock_filter":
                # Nearly 1 where each axis has a 1 on one side and a 0 on the other: concave, and about to overshoot.
                term.contrast = 1e-6
                middle = [xi - 3 for xi in torch.meshgrid(*[torch.arange(6)] * dims, indexing="ij")]
                above = torch.stack(middle).amax(0).sign()
                states["shoulder"] = (above > 0).double()
                states["shoulder"][(3,) * dims] = 0.9
                states["shoulder"] = states["shoulder"].expand(1, 2, *[6] * dims)
            for u in states.values():
                low, high = u.amin(), u.amax()
                if RANGE_WITH_ZERO in step.keeps:
                    low = low.clamp(max=0)
                limit = float(step.limit(u).min()) if name == "mean_curvature" else step.guaranteed_limit
                assert excess(step(u, number(limit)), low, high) < 1e-9
                worst = max(worst, excess(step(u, number(1.2 * limit)), low, high))
            assert worst > 1e-3, (boundary, dims)


@torch.no_grad()
@pytest.mark.parametrize("speed", [1.0, 0.5])
def test_a_circle_shrinks_by_its_curvature(speed):
    """r² = r₀² − 2st in the plane, r₀² − 4st in space, as the mean curvature of a sphere is 2/r."""
    r, time, dx = 10.0, 30.0 / speed, 0.5
    shrink = Evolve(Euler(MeanCurvatureMotion(Constant(speed), grid=Grid(dx))), time / 2, CFL(0.9))
    half = shrink(r - dx * radius(80))
    for now, u in ((time / 2, half), (time, shrink(half))):
        area = float(torch.sigmoid(4 * u / dx).sum()) * dx**2  # the disc, its edge smoothed to below a cell
        assert area / math.pi == pytest.approx(r**2 - 2 * speed * now, rel=0.015)


@torch.no_grad()
def test_a_sphere_shrinks_twice_as_fast():
    x = torch.arange(23, dtype=torch.float64) - 11
    distance = (x[:, None, None] ** 2 + x[None, :, None] ** 2 + x[None, None] ** 2).sqrt()[None, None]
    after = Evolve(Euler(MeanCurvatureMotion(grid=Grid(dims=3))), 8.0, CFL(0.9))(8.0 - distance)
    volume = float(torch.sigmoid(4 * after).sum())
    assert (volume * 3 / (4 * math.pi)) ** (2 / 3) == pytest.approx(8.0**2 - 4 * 8.0, rel=0.04)


@torch.no_grad()
def test_straight_edges_rest_under_curvature():
    """An oblique edge has no curvature; heat blurs it."""
    x, y = torch.meshgrid(*[torch.arange(49, dtype=torch.float64) - 24] * 2, indexing="ij")
    edge, moved = torch.tanh((x + 2 * y) / 12)[None, None], []
    for term in (MeanCurvatureMotion(), Diffusion(Constant(1.0))):
        moved.append(float((Evolve(Euler(term), 2.0)(edge) - edge)[..., 12:-12, 12:-12].abs().max()))
    assert moved[0] < 0.05 * moved[1]


@torch.no_grad()
def test_a_shock_filter_sharpens_a_smoothed_step():
    """The blurred step tends to a jump in the place of its steepest slope; the range stays, and nothing rings."""
    x = torch.arange(40, dtype=torch.float64) - 19.5
    blurred = torch.sigmoid(x / 3)[None, None]
    sharpen = Evolve(Euler(ShockFilter(contrast=1e-3, grid=Grid(dims=1))), 20.0, CFL(0.5))
    states = sharpen.trajectory(blurred).states
    steepest = [float(u.diff().max()) for u in states]
    assert steepest[0] < 0.1 and steepest[-1] > 0.9
    assert torch.allclose(states[-1], (x > 0).double(), atol=0.1)
    for u in states:
        assert excess(u, blurred.min(), blurred.max()) < 1e-12
        assert float(u.diff().abs().sum()) <= float(blurred.diff().abs().sum()) + 1e-12


@pytest.mark.parametrize(
    "term",
    [
        MeanCurvatureMotion(epsilon=1e-5),
        MeanCurvatureMotion(epsilon=1e-3),
        ShockFilter(contrast=1e-5),
        ShockFilter(contrast=0.1),
        Dilation(),
        Erosion(),
    ],
    ids=repr,
)
@pytest.mark.parametrize("size", [1.0, 300.0])
def test_half_precision_is_single_precision_rounded(term, size):
    """Squares of small and of large numbers leave the range of float16."""
    u = torch.rand(1, 1, 9, 9)
    u[..., :4, :] = 0.5  # flat, where the small numbers are
    step, dt = Euler(term), torch.tensor(0.05)
    half = step((size * u).half(), dt.half()) / size
    torch.testing.assert_close(half.float(), step(size * u, dt) / size, rtol=0.0, atol=0.02)
