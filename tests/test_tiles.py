"""Law: an image evolved tile by tile is the image evolved whole, in the memory of a tile."""

import numpy as np
import pytest
import torch
from catalogue import STEPS, TERMS, build
from states import BOUNDARIES, CHANNELS, DIMS, grid_of

from benchmarks.speed_rows.peak_memory import peak_bytes_of
from pdeconv import (
    SSPRK3,
    Clamp,
    Constant,
    CrankNicolson,
    Decay,
    Diffusion,
    Euler,
    Evolve,
    Fixed,
    FixedCoefficient,
    FractionalDiffusion,
    Grid,
    Heun,
    PDEConvError,
    PerChannel,
    PeronaMalik,
    Reaction,
    Residual,
    Strang,
    Term,
    TimeVarying,
    apply_in_tiles,
    evolve_in_tiles,
    operator,
)
from pdeconv.native.library import plain_operators
from pdeconv.tiles import tile_count

FILTERS = {
    "Euler of Perona and Malik": lambda grid: Euler(build("perona_malik", grid)),
    "Heun of Perona and Malik": lambda grid: Heun(build("perona_malik", grid)),
    "SSPRK3 of advection": lambda grid: SSPRK3(build("van_leer_advection", grid)),
    "Strang": lambda grid: Strang(Heun(Reaction(Decay(CHANNELS)).double()), Heun(build("perona_malik", grid))),
}


def march(step, steps=2):
    return Evolve(step, 0.02 * steps, Fixed(steps, unchecked=True))


def image(dims):
    sizes = (23, 17) if dims < 3 else (9, 8, 11)
    return torch.rand(2, CHANNELS, *sizes[:dims], dtype=torch.float64)


@pytest.mark.parametrize("dims", DIMS)
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("name", FILTERS)
def test_bit_for_bit(name, boundary, dims):
    """Last tiles that are shorter, tiles of one cell, halos longer than tiles, and than what an image repeats."""
    evolve, u = march(FILTERS[name](grid_of(boundary, dims))), image(dims)
    whole = evolve(u).detach()
    for tile in (7, (1, 64, 5)[:dims] if dims > 1 else 1, 100):
        assert torch.equal(evolve_in_tiles(evolve, u, tile), whole), tile
    small = u[..., :3]
    assert torch.equal(evolve_in_tiles(evolve, small, 2), evolve(small))


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("name", TERMS)
def test_every_term_to_rounding(name, boundary):
    term = build(name, grid_of(boundary, 2), scale=0.3)
    if term.radius == float("inf"):
        return
    evolve, u = march(Heun(term)), image(2)
    torch.testing.assert_close(evolve_in_tiles(evolve, u, 6), evolve(u).detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", STEPS)
def test_every_step_to_rounding(name):
    step = STEPS[name](build("decay" if name in ("BackwardEuler", "CrankNicolson", "Exact") else "advection"))
    if step.radius == float("inf"):
        return
    evolve, u = march(step.double()), image(2)
    torch.testing.assert_close(evolve_in_tiles(evolve, u, 6), evolve(u).detach(), rtol=1e-12, atol=1e-12)


def test_weights_that_vary_in_time():
    step = Euler(TimeVarying(build("perona_malik"), points=3))
    with torch.no_grad():
        for i, weight in enumerate(step.parameters()):
            weight.add_(0.3 * i)
    evolve, u = march(step, 5), image(2)
    assert torch.equal(evolve_in_tiles(evolve, u, 6), evolve(u))


def test_no_graph_is_left():
    evolve, u = march(Euler(build("perona_malik"))), image(2).requires_grad_()
    assert not evolve_in_tiles(evolve, u, 6).requires_grad


def test_into_a_file(tmp_path):
    evolve, u = march(Euler(build("perona_malik"))), image(2)
    stored = np.memmap(tmp_path / "image", np.float64, "w+", shape=tuple(u.shape))
    out = torch.from_numpy(stored)
    assert evolve_in_tiles(evolve, u, 8, out=out) is out
    stored.flush()
    again = torch.from_file(str(tmp_path / "image"), size=u.numel(), dtype=torch.float64).reshape(u.shape)
    assert torch.equal(again, evolve(u))


def test_memory_of_a_tile():
    """Beside the result, what the largest tile with its halo needs to evolve: 1/16 of that of the whole image."""
    evolve = Evolve(Euler(Diffusion(PeronaMalik(1))), 1.0, Fixed(5))
    u = torch.rand(1, 1, 512, 512)
    out, part = torch.empty_like(u), torch.rand(1, 1, 128 + 20, 128 + 20)
    with torch.no_grad(), plain_operators():  # kernels have memory of their own, which depends on the threads
        tile, whole = (peak_bytes_of(lambda: evolve(state)) for state in (part, u))  # noqa: B023
        tiled = peak_bytes_of(lambda: evolve_in_tiles(evolve, u, 128, out))
    assert tiled <= 1.1 * tile + part.numel() * 4 < whole / 8


class Unknown(Term):
    def forward(self, u):
        return operator(lambda v: -v, rate=1.0)


@pytest.mark.parametrize(
    ("step", "named"),
    [
        (CrankNicolson(Diffusion(Constant(1.0))), "CrankNicolson depends"),
        (Heun(FractionalDiffusion(0.5)), "FractionalDiffusion depends"),
        (Euler(Diffusion(FixedCoefficient(torch.ones(1, 1, 9, 9)))), "FixedCoefficient depends"),
        (Euler(Unknown() + Reaction(Decay(1))), "Unknown depends"),
        (Strang(Euler(Diffusion(Constant(0.1))), Euler(Residual(torch.nn.Identity()))), "Residual depends"),
    ],
)
def test_what_is_global_is_named(step, named):
    with pytest.raises(PDEConvError, match=named):
        evolve_in_tiles(march(step), torch.rand(1, 1, 9, 9))


def test_what_does_not_fit_is_refused():
    heat, u = Euler(Diffusion(PerChannel(CHANNELS))), image(2)
    with pytest.raises(PDEConvError, match="Fixed or CFL"):
        evolve_in_tiles(Evolve(heat, 1.0, Clamp(2)), u)
    with pytest.raises(PDEConvError, match="Evolve"):
        evolve_in_tiles(heat, u)
    evolve = march(heat)
    for tile in (0, 2.5, (4, 4, 4)):
        with pytest.raises(PDEConvError, match="tile"):
            evolve_in_tiles(evolve, u, tile)
    array = np.zeros(u.numel() + 1)  # two tensors of one array do not know of each other
    first, second = (torch.from_numpy(array[i:][: u.numel()]).view(u.shape) for i in (0, 1))
    for state, out in ((u, u), (u, u.view(-1).view(u.shape)), (first, second)):
        with pytest.raises(PDEConvError, match="shares the memory"):
            evolve_in_tiles(evolve, state, out=out)
    for tile in (0, 2.5):
        with pytest.raises(PDEConvError, match="tile"):
            tile_count((9, 9), tile)
    with pytest.raises(PDEConvError, match="multiple"):
        tile_count((9, 9), 3, multiple=0)
    for out in (u[..., 1:].clone(), u.float()):
        with pytest.raises(PDEConvError, match="out has"):
            evolve_in_tiles(evolve, u, out=out)
    with pytest.raises(PDEConvError, match="axes"):
        evolve_in_tiles(march(Euler(Diffusion(Constant(1.0), Grid(dims=1)))), u)


class Coarse(torch.nn.Module):
    """Blurs on a grid 4 times as coarse, and gives one channel more: what a network with two halvings does."""

    halo, multiple = 8, 4

    def forward(self, u):
        sizes = [-cells % 4 for cells in u.shape[2:]]
        padded = torch.nn.functional.pad(u, (0, sizes[1], 0, sizes[0]), mode="replicate")
        means = torch.nn.functional.avg_pool2d(padded, 4)
        means = torch.nn.functional.avg_pool2d(means, 3, 1, 1, count_include_pad=False)
        fine = means.repeat_interleave(4, 2).repeat_interleave(4, 3)[..., : u.shape[2], : u.shape[3]]
        return torch.cat((u - fine, fine[:, :1]), dim=1)


@pytest.mark.parametrize("tile", [1, 4, 6, (3, 100), 100])
def test_any_function_with_a_coarse_grid(tile):
    net, u = Coarse(), torch.rand(2, 2, 45, 38, dtype=torch.float64)
    calls = []
    net.register_forward_hook(lambda *_: calls.append(1))
    found = apply_in_tiles(net, u, tile, net.halo, net.multiple)
    assert len(calls) == tile_count(u.shape[2:], tile, net.multiple)
    torch.testing.assert_close(found, net(u), rtol=1e-12, atol=1e-12)
    out = torch.empty(2, 3, 45, 38, dtype=torch.float64)
    assert apply_in_tiles(net, u, tile, net.halo - 1, net.multiple, out) is out  # a halo is rounded up
    assert torch.equal(out, found)


def test_into_the_other_half_of_the_same_memory():
    halves = torch.rand(2, 1, 1, 24, 16)
    blur = torch.nn.AvgPool2d(3, 1, 1)
    assert torch.equal(apply_in_tiles(blur, halves[0], 7, halo=1, out=halves[1]), blur(halves[0]))


def test_no_states():
    none, evolve = image(2)[:0], march(Euler(build("perona_malik")))
    assert evolve_in_tiles(evolve, none, 7).shape == none.shape
    assert evolve_in_tiles(evolve, none, 7, out=torch.empty_like(none)).shape == none.shape


class Half(Term):
    """Moves towards the next cell, and says to reach halfway."""

    radius = 0.5

    def forward(self, u):
        return operator(lambda v: torch.cat((v[..., 1:], v[..., -1:]), -1) - v, rate=1.0)


def test_a_radius_that_is_no_whole_number_is_rounded_up():
    evolve, u = march(Euler(Half())), image(2)
    assert torch.equal(evolve_in_tiles(evolve, u, 5), evolve(u))


@pytest.mark.parametrize("cells", [(1, 1), (3, 38), (5, 2)])
@pytest.mark.parametrize("halo", [8, 50])
def test_a_halo_wider_than_the_image(cells, halo):
    net, u = Coarse(), torch.rand(2, 2, *cells, dtype=torch.float64)
    torch.testing.assert_close(apply_in_tiles(net, u, 1, halo, net.multiple), net(u), rtol=1e-12, atol=1e-12)


def test_the_halo_and_the_origin_matter():
    net, u = Coarse(), torch.rand(1, 1, 45, 38)
    for halo, multiple in ((0, 4), (8, 1)):
        assert not torch.allclose(apply_in_tiles(net, u, 6, halo, multiple), net(u), atol=1e-3)


def test_any_function_that_wraps():
    def blur(u):
        return (u.roll(2, 2) + u.roll(-2, 3)) / 2

    u = torch.rand(1, 1, 24, 16)
    assert torch.equal(apply_in_tiles(blur, u, 5, halo=2, multiple=4, wraps=True), blur(u))
    with pytest.raises(PDEConvError, match="multiples of 4"):
        apply_in_tiles(blur, u[..., 1:], 5, halo=2, multiple=4, wraps=True)


def test_functions_that_do_not_fit_are_refused():
    u = torch.rand(1, 1, 24, 16)
    with pytest.raises(PDEConvError, match="keeps the batch and the size"):
        apply_in_tiles(lambda u: u[..., 1:], u)
    for options, named in (
        ({"halo": -1}, "halo"),
        ({"multiple": 0}, "multiple"),
        ({"out": u[..., 1:].clone()}, "out has"),
    ):
        with pytest.raises(PDEConvError, match=named):
            apply_in_tiles(lambda u: u + 1, u, **options)
