"""Law: velocities stay within their ceiling, fit any resolution, and are free of divergence where they say so."""

import math

import pytest
import torch
from states import BOUNDARIES, CHANNELS, DIMS, grid_of, number, randomise, state
from torch.autograd import gradcheck
from torch.func import functional_call

from pdeconv import (
    CFL,
    Advection,
    ConservativeAdvection,
    ConstantVelocity,
    ConvVelocity,
    Euler,
    Evolve,
    Fixed,
    FixedVelocity,
    Grid,
    PDEConvError,
    PerChannelVelocity,
    SelfVelocity,
    StreamVelocity,
    VelocityField,
)
from pdeconv.stencil import divergence

CEILING = 0.7


def built(name, dims):
    velocity = {
        "constant": lambda: ConstantVelocity((CEILING, -0.2, 0.4)[:dims]),
        "per_channel": lambda: PerChannelVelocity(CHANNELS, CEILING, dims),
        "conv": lambda: ConvVelocity(CHANNELS, CEILING, dims),
        "self": lambda: SelfVelocity(CEILING),
        "field": lambda: VelocityField((4, 3, 5)[:dims], ceiling=CEILING),
        "fixed": lambda: FixedVelocity(torch.empty(dims, CHANNELS, *(4, 3, 5)[:dims]).uniform_(-CEILING, CEILING)),
        "stream": lambda: StreamVelocity(CHANNELS, CEILING, dims),
    }[name]()
    return randomise(velocity.double(), 5.0)


NAMES = ("constant", "per_channel", "conv", "self", "field", "fixed", "stream")
CASES = [(name, dims) for name in NAMES for dims in DIMS if (name, dims) != ("stream", 1)]


@pytest.mark.parametrize(("name", "dims"), CASES)
def test_within_the_ceiling(name, dims):
    """At the cells and at the faces, whatever the weights and the state; the rate is then within that of the term."""
    for boundary in BOUNDARIES:
        velocity, grid = built(name, dims), grid_of(boundary, dims)
        u = 10 * torch.randn_like(state(dims))
        cells, faces = velocity(u, grid), velocity.faces(u, grid)
        assert torch.broadcast_shapes(cells.shape, (2, dims, CHANNELS, *u.shape[2:])) == (2, dims, *u.shape[1:])
        assert 0.3 * velocity.ceiling < cells.abs().max() <= velocity.ceiling * (1 + 1e-12)
        for face, axis in zip(faces, grid.axes, strict=True):
            assert list(face.shape[2:]) == [n + (i == axis) for i, n in enumerate(u.shape)][2:]
            assert face.abs().max() <= velocity.ceiling * (1 + 1e-12)
            first, last = face.select(axis, 0), face.select(axis, -1)
            if boundary == "neumann":
                assert not first.any() and not last.any()
            if boundary == "periodic":
                assert torch.allclose(first, last, atol=1e-12)
        for form in (Advection, ConservativeAdvection):
            term = form(velocity, grid)
            assert (term(u).rate <= term.ceiling * (1 + 1e-12)).all()


@pytest.mark.parametrize(("name", "dims"), CASES)
def test_trains_in_both_forms(name, dims):
    """Right gradients in the state and the weights, through two steps; in half precision finite ones."""
    velocity, grid = built(name, dims), grid_of("reflect", dims)
    randomise(velocity, 0.1)
    for form in (Advection, ConservativeAdvection):
        evolve = Evolve(Euler(form(velocity, grid)), 0.1, Fixed(2))
        names, weights = [n for n, _ in evolve.named_parameters()], list(evolve.parameters())

        def run(u, *values, names=names, evolve=evolve):
            return functional_call(evolve, dict(zip(names, values, strict=True)), (u,))

        u = (0.3 * torch.rand_like(state(dims, cells=3)) + 0.2).requires_grad_()
        assert gradcheck(run, (u, *weights), fast_mode=True)
    half = Evolve(Euler(ConservativeAdvection(velocity.half(), grid)), 0.1, Fixed(1))
    out = half(state(dims, cells=3).half())
    assert out.dtype == torch.float16 and out.isfinite().all()


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_streams_are_free_of_divergence(boundary, dims):
    """∇·v = 0 in every cell, on single cells too; constants rest in the flux form, inside of a dirichlet edge."""
    for cells in (1, 5):
        for kernel_size in (2, 4):
            grid, u = grid_of(boundary, dims), state(dims, cells=cells)
            velocity = randomise(StreamVelocity(CHANNELS, 0.9, dims, kernel_size).double())
            faces = velocity.faces(u, grid)
            total = sum(divergence(face, axis, grid) for face, axis in zip(faces, grid.axes, strict=True))
            assert total.abs().max() < 1e-12
            assert cells == 1 or max(face.abs().max() for face in faces) > 0.03
            constant = torch.full_like(u, 0.3)
            rest = ConservativeAdvection(velocity, grid)(u)(constant)
            if boundary != "dirichlet":
                assert rest.abs().max() < 1e-12


def test_a_stream_carries_without_piling_up():
    """What the flux form of another velocity does not promise: the range is kept, with the mass, by divergence 0."""
    u = state(2, cells=9)
    for boundary in ("neumann", "periodic"):
        grid = grid_of(boundary, 2)
        stream = ConservativeAdvection(randomise(StreamVelocity(CHANNELS, 0.9).double()), grid)
        piles = ConservativeAdvection(randomise(ConvVelocity(CHANNELS, 0.9).double()), grid)
        evolved = {term: Evolve(Euler(term), 2.0, CFL(1.0))(u) for term in (stream, piles)}
        for after in evolved.values():
            assert torch.allclose(after.flatten(2).sum(2), u.flatten(2).sum(2), atol=1e-11)
        assert evolved[stream].max() <= u.max() and evolved[stream].min() >= u.min()
        assert evolved[piles].max() > 1.1 * u.max()


def test_fields_fit_any_resolution():
    """Linear in space: exact for a linear field between its outer cells; the same values at the same places."""
    for dims in DIMS:
        lines = [(torch.arange(n, dtype=torch.float64) + 0.5) / n for n in (6, 4, 5)[:dims]]
        x = torch.meshgrid(*lines, indexing="ij")
        velocity = FixedVelocity(
            torch.stack([sum((i + j + 1) * xj for j, xj in enumerate(x)) for i in range(dims)])[:, None]
        )
        grid = Grid(dims=dims)
        same = torch.zeros(1, 1, *x[0].shape, dtype=torch.float64)
        assert torch.equal(velocity(same, grid)[0, :, 0], velocity.values[:, 0])
        sizes = (18, 12, 15)[:dims]  # three cells in each
        fine = torch.meshgrid(*[(torch.arange(n, dtype=torch.float64) + 0.5) / n for n in sizes], indexing="ij")
        exact = torch.stack([sum((i + j + 1) * xj for j, xj in enumerate(fine)) for i in range(dims)])
        got = velocity(torch.zeros(1, 1, *sizes, dtype=torch.float64), grid)[0, :, 0]
        inner = (slice(None), *[slice(1, -1)] * dims)
        assert torch.allclose(got[inner], exact[inner])
    wave = torch.cos(2 * math.pi * (torch.arange(16, dtype=torch.float64) + 0.5) / 16)[None, None]
    u = torch.zeros(1, 1, 48, dtype=torch.float64)
    around = FixedVelocity(wave)(u, Grid(boundary="periodic", dims=1))[0, 0, 0]
    assert torch.allclose(around, torch.cos(2 * math.pi * (torch.arange(48).double() + 0.5) / 48), atol=0.03)


def test_burgers_is_never_cut_within_its_ceiling():
    term = Advection(SelfVelocity(1.0), Grid(dims=1))
    u = torch.tensor([-1.0, 0.2, 1.0, 1.7], dtype=torch.float64)[None, None]
    assert torch.equal(term.velocity(u, term.grid)[:, 0], u.clamp(max=1.0))
    assert Euler(term)(u[..., :3], number(0.5)).abs().max() <= 1


@pytest.mark.parametrize(
    ("slip", "message"),
    [
        (lambda: ConstantVelocity(1.0), "each axis"),
        (lambda: ConstantVelocity((1.0, math.nan)), "finite"),
        (lambda: ConstantVelocity(("fast", 1.0)), "finite"),
        (lambda: FixedVelocity(torch.zeros(3, 1, 4, 4)), "axes"),
        (lambda: FixedVelocity(torch.full((1, 1, 4), math.inf)), "finite"),
        (lambda: VelocityField((4, 0)), "at least 1"),
        (lambda: VelocityField((4, 4))(torch.zeros(1, 1, 4), Grid(dims=1)), "axes"),
        (lambda: StreamVelocity(1, dims=1), "PerChannelVelocity"),
        (lambda: StreamVelocity(1, kernel_size=3), "even"),
        (lambda: StreamVelocity(1, dims=3).faces(torch.zeros(1, 1, 4, 4), Grid()), "the same"),
        (lambda: StreamVelocity(2).faces(torch.zeros(1, 1, 4, 4), Grid()), "2 channels"),
        (lambda: SelfVelocity(0.0), "positive"),
        (lambda: Advection(ConstantVelocity((1.0,)), Grid())(torch.zeros(1, 1, 4, 4)), "dims=2"),
    ],
)
def test_slips_are_refused(slip, message):
    with pytest.raises(PDEConvError, match=message):
        slip()
