"""Law: advection schemes keep what they say up to their limit, and know neither side nor scale."""

import math

import pytest
import torch
from catalogue import SCHEMES, build
from states import BOUNDARIES, CHANNELS, DIMS, FieldVelocity, excess, grid_of, number, state

from pdeconv import (
    TVD,
    Advection,
    ConservativeAdvection,
    ConstantVelocity,
    ConvVelocity,
    Euler,
    Grid,
    PDEConvError,
    PerChannelVelocity,
    Superbee,
    Upwind,
    Velocity,
)
from pdeconv.operator import NON_NEGATIVE
from pdeconv.stencil import extend, extend_wide, source_cell

FORMS = {"advective": Advection, "flux": ConservativeAdvection}
PROVEN = [name for name, scheme in SCHEMES.items() if math.isfinite(scheme.steepness)]
STEEPNESS = {"upwind": 1.0, "minmod": 1.5, "van_leer": 2.0, "superbee": 2.0}


class VaryingVelocity(FieldVelocity, Velocity):
    """That of the catalogue, with values at the faces."""


class Given(Velocity):
    """A velocity that is given as a tensor."""

    def __init__(self, values):
        super().__init__()
        self.values, self.ceiling = values, float(values.abs().max())

    def forward(self, u, grid):
        return self.values


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_mirror_image(scheme, form):
    """Space and velocity mirrored, the result is: no axis and no direction is preferred."""
    for boundary in BOUNDARIES:
        for dims in DIMS:
            grid, u = grid_of(boundary, dims), state(dims)
            velocity = torch.randn(2, dims, CHANNELS, *u.shape[2:], dtype=torch.float64)
            rates = FORMS[form](Given(velocity), grid, SCHEMES[scheme])(u)(u)
            for axis in grid.axes:
                signs = torch.ones(dims, dtype=torch.float64)
                signs[axis - 2] = -1
                other = velocity.flip(axis + 1) * signs.reshape(1, -1, 1, *[1] * dims)
                mirrored = FORMS[form](Given(other), grid, SCHEMES[scheme])(u.flip(axis))(u.flip(axis))
                assert torch.allclose(mirrored, rates.flip(axis), atol=1e-12)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_units_do_not_matter(scheme):
    """u in other units: the same picture, in those units. In float32 from 1e-12 to 1e12, squares and all."""
    for name in FORMS:
        velocity = ConvVelocity(1, dims=2)
        torch.nn.init.zeros_(velocity.conv.weight)  # the velocity is that of the bias
        term, u = FORMS[name](velocity, Grid(), SCHEMES[scheme]), torch.rand(1, 1, 8, 9)
        rates = term(u)(u)
        for scale in (1e-6, 1e6, 1e12):
            assert torch.allclose(term(scale * u)(scale * u) / scale, rates, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_frozen_operators_are_linear(scheme):
    for form in FORMS.values():
        u, v, w = state(2), torch.randn_like(state(2)), torch.randn_like(state(2))
        operator = form(VaryingVelocity(), grid_of("periodic", 2), SCHEMES[scheme])(u)
        assert torch.allclose(operator(2 * v - 3 * w), 2 * operator(v) - 3 * operator(w), atol=1e-11)


def staircases(dims, boundary):
    """States in [0, 1] on which limited slopes are steepest: after a small rise, a large one."""
    ramp = torch.tensor([0.0, 0.0, 0.03, 1.0, 1.0, 0.97, 0.0, 0.0], dtype=torch.float64)
    even = torch.tensor([0.0, 0.0, 0.5, 1.0, 1.0, 0.5, 0.0, 0.0], dtype=torch.float64)
    bands = []
    for line in (ramp, even, 1 - ramp, 1 - even, ramp.flip(0), (torch.arange(8) % 2).double()):
        bands.append(line.reshape(1, 1, -1, *[1] * (dims - 1)).expand(1, 1, *[8] * dims))
        cells = torch.meshgrid(*[torch.arange(8)] * dims, indexing="ij")
        bands.append(line[sum(cells) % 8][None, None])  # along the diagonal
    return torch.cat(bands)


@torch.no_grad()
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("scheme", PROVEN)
def test_the_range_is_kept_at_the_limit_and_broken_beyond(scheme, boundary):
    """The factors 1, 2/3, 1/2 and 1/2 of the upwind step are right: 1.2 times more leaves the range."""
    for dims in DIMS:
        grid = grid_of(boundary, dims)
        for sign in (1.0, -1.0):
            velocity = [sign * 0.9] * dims
            step = Euler(Advection(ConstantVelocity(velocity), grid, SCHEMES[scheme]))
            upwind = Euler(Advection(ConstantVelocity(velocity), grid))
            assert step.guaranteed_limit == pytest.approx(upwind.guaranteed_limit / STEEPNESS[scheme])
            u = staircases(dims, boundary)
            assert excess(step(u, number(step.guaranteed_limit)), 0, 1) < 1e-12
            assert excess(step(u, number(1.2 * step.guaranteed_limit)), 0, 1) > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("scheme", PROVEN)
def test_densities_stay_non_negative_at_the_limit_and_not_beyond(scheme, boundary):
    """The flux form: where the velocity diverges, a cell drains through all of its faces."""
    for dims in DIMS:
        grid = grid_of(boundary, dims)
        u = staircases(dims, boundary)
        cells = torch.meshgrid(*[torch.arange(8)] * dims, indexing="ij")
        source = torch.stack([torch.where(i < 4, -0.9, 0.9) for i in cells])[None, :, None].double()
        worst = 0.0
        for velocity in (source, -source, torch.roll(source, 1, 3), 0.9 * torch.randn_like(source).sign()):
            step = Euler(ConservativeAdvection(Given(velocity), grid, SCHEMES[scheme]))
            assert step.guaranteed_limit == pytest.approx(1 / (1.8 * sum(1 / dx for dx in grid.spacings)))
            assert step.keeps == {NON_NEGATIVE}
            measured = float(step.limit(u))
            assert measured >= step.guaranteed_limit * (1 - 1e-12)
            assert excess(step(u, number(step.guaranteed_limit)), 0, math.inf) < 1e-12
            assert excess(step(u, number(measured)), 0, math.inf) < 1e-12
            worst = max(worst, excess(step(u, number(1.2 * measured)), 0, math.inf))
        assert worst > 1e-3


def variation(u):
    """Σ|u_{i+1} − u_i| around a periodic axis."""
    return (extend(u, 2, "periodic")[..., 1:] - extend(u, 2, "periodic")[..., :-1]).abs()[..., 1:].sum(2)


@torch.no_grad()
@pytest.mark.parametrize("scheme", SCHEMES)
def test_total_variation(scheme):
    """In 1-D it does not grow under TVD schemes at their limit, and a monotone front stays monotone; else it grows."""
    grown = 0.0
    for form in FORMS.values():
        for sign in (1, -1):
            term = form(ConstantVelocity((sign * 1.0,)), Grid((1.0,), "periodic"), SCHEMES[scheme])
            u = torch.rand(20, 1, 30, dtype=torch.float64)
            u[0] = (torch.arange(30) // 15).double()
            for _ in range(15):
                after = Euler(term)(u, number(1 / min(SCHEMES[scheme].steepness, 2)))
                grown = max(grown, float((variation(after) - variation(u)).max()))
                u = after
            if scheme in PROVEN:
                assert variation(u)[0] == pytest.approx(2.0)  # one rise and one fall, as at first
    assert (grown < 1e-12) if scheme in PROVEN else (grown > 1e-3)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_mass_is_conserved_by_the_flux_form(scheme):
    """By any velocity: all under periodic and neumann, with half of the edge cells under reflect; not dirichlet."""
    for boundary in BOUNDARIES:
        for dims in DIMS:
            term, u = build("conservative_advection", grid_of(boundary, dims)), state(dims)
            term.scheme = SCHEMES[scheme]
            weights = torch.ones_like(u)
            if boundary == "reflect":
                for axis in term.grid.axes:
                    for edge in (0, u.shape[axis] - 1):
                        weights.select(axis, edge).mul_(0.5)
            rates = term(u)(u)
            balance = (rates * weights).flatten(2).sum(2).abs().max()
            assert (balance > 1e-3) if boundary == "dirichlet" else (balance < 1e-12)
            assert rates.abs().max() > 1e-2


def test_the_forms_agree_where_the_velocity_is_constant():
    u = state(2)
    for scheme in ("upwind", "central", "minmod", "superbee"):
        both = [form(ConstantVelocity((0.4, -0.7)), Grid((0.8, 1.2), "periodic"), SCHEMES[scheme])(u)(u)
                for form in FORMS.values()]  # fmt: skip
        assert torch.allclose(*both, atol=1e-12)


def test_the_forms_differ_by_the_divergence():
    """−∇·(v u) = −v·∇u − u ∇·v: v = x, u = 1: 0 and −1."""
    x = torch.linspace(-1, 1, 9, dtype=torch.float64)
    u = torch.ones(1, 1, 9, dtype=torch.float64)
    rates = [form(Given(x[None, None, None]), Grid((0.25,)))(u)(u)[0, 0, 1:-1] for form in FORMS.values()]
    assert torch.allclose(rates[0], torch.zeros(7).double()) and torch.allclose(rates[1], -torch.ones(7).double())


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_ghosts_of_any_width(boundary):
    """The cells that ``source_cell`` names; the same as ``extend`` where that can; on short axes too."""
    for size in (1, 2, 3, 5):
        u = torch.randn(2, 3, size, 4, dtype=torch.float64)
        for width in (1, 2, 3, 7):
            wide = extend_wide(u, 2, boundary, width)
            index = torch.arange(-width, size + width)
            expected = u[:, :, source_cell(index, size, boundary)]
            if boundary == "dirichlet":
                expected = expected * ((index >= 0) & (index < size))[:, None]
            assert torch.equal(wide, expected)
            try:
                assert torch.equal(wide, extend(u, 2, boundary, width))
            except PDEConvError:
                assert size <= width


def test_slips_are_refused():
    for slip in (lambda: Advection(ConvVelocity(1), scheme="weno5"), lambda: Advection(ConvVelocity(1), scheme=Upwind)):
        with pytest.raises(PDEConvError, match="VanLeer"):
            slip()
    with pytest.raises(PDEConvError, match="VanLeer"):
        TVD("minmod")
    with pytest.raises(PDEConvError, match="Velocity"):
        ConservativeAdvection(FieldVelocity())
    with pytest.raises(PDEConvError, match="dims=1"):
        Advection(PerChannelVelocity(1), Grid(dims=1))(torch.zeros(1, 1, 4))


def test_a_limiter_that_is_too_steep_proves_nothing():
    class Steep(Superbee):
        steepness = 2.5

    term = Advection(ConvVelocity(1), scheme=TVD(Steep()))
    assert term.ceiling == math.inf and not term.keeps
