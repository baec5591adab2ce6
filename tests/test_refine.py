"""Laws of refinement: the same equation with more steps or smaller cells; equal parameters, nothing shared."""

import itertools
import math

import pytest
import torch
from catalogue import STEPS, TERMS, build
from states import CHANNELS, Field, grid_of, number, randomise, state
from torch import nn

from pdeconv import (
    CFL,
    Adaptive,
    Advection,
    Clamp,
    Constant,
    ConvVelocity,
    CrankNicolson,
    Decay,
    Diffusion,
    DormandPrince,
    Euler,
    Evolve,
    Fixed,
    Grid,
    Heun,
    Measured,
    PDEConvError,
    PerChannel,
    PerChannelVelocity,
    PeronaMalik,
    Reaction,
    Residual,
    StabilityError,
    Strang,
    SymmetricConvolution,
    Term,
    TimeVarying,
    TwoFields,
    UnsupportedError,
    create_model,
    operator,
    refine_space,
    refine_time,
)


def per_cell(module):
    return isinstance(module, Residual) or getattr(module, "per_cell", False)


PER_CELL = [name for name in TERMS if any(map(per_cell, build(name).modules()))]
PER_CELL += ["nonlocal", "windowed_nonlocal", "fidelity"]  # attention counts cells, data lie on them


def assert_separate_but_equal(one, other):
    assert list(one.state_dict()) == list(other.state_dict())
    for weight, copied in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(weight, copied) and weight.data_ptr() != copied.data_ptr()
    assert not {id(part) for part in one.modules()} & {id(part) for part in other.modules()}


@torch.no_grad()
@pytest.mark.parametrize("name", ["Euler", "Heun", "SSPRK3", "RK4", "BackwardEuler", "CrankNicolson", "Lie", "Strang"])
def test_more_steps_converge_at_the_order_of_the_step(name):
    step = STEPS[name](randomise(Diffusion(Field(), Grid((0.8, 1.1)))).double())
    evolve, u = Evolve(step, 1.6, Fixed(8)), state(2)
    exact = Evolve(step, 1.6, Fixed(1024))(u)
    if name in ("Lie", "Strang"):  # decay commutes with diffusion: no error of splitting
        exact = refine_time(evolve, 64)(u)
    errors = [float((refine_time(evolve, factor)(u) - exact).norm()) for factor in (2, 4)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(step.order, abs=0.15)


@torch.no_grad()
def test_a_varying_equation_on_a_finer_grid_of_times():
    """4 control points, 6 to 96 states: order 2, though the points lie between the states."""
    term = TimeVarying(Diffusion(PerChannel(CHANNELS, ceiling=0.2)) + Reaction(Decay(CHANNELS)), 4)
    evolve, u = Evolve(Heun(randomise(term.double(), 2.0)), 2.0, Fixed(6)), state(2)
    exact = refine_time(evolve, 512)(u)
    errors = [float((refine_time(evolve, factor)(u) - exact).norm()) for factor in (4, 16)]
    assert math.log2(errors[0] / errors[1]) / 2 == pytest.approx(2, abs=0.15)


def test_time_is_refined_in_whole_networks():
    model = create_model("adr_classifier", in_channels=1, widths=(8, 16), depths=(1, 1), steps=1)
    fine, u = refine_time(model, 3), torch.rand(1, 1, 9, 9)
    assert_separate_but_equal(model, fine)
    steps = [[part.steps for part in module.modules() if isinstance(part, Evolve)] for module in (model, fine)]
    assert steps[1] == [3 * n for n in steps[0]]
    assert fine(u).shape == model(u).shape and not torch.equal(fine(u), model(u))
    assert torch.equal(refine_time(model, 1)(u), model(u))
    evolve = Evolve(Euler(build("residual")), 1.0, Fixed(2, unchecked=True), memory="checkpoint")
    fine = refine_time(evolve, 4)
    assert (fine.steps, fine.memory, fine.control) == (8, "checkpoint", Fixed(8, unchecked=True))
    assert evolve.steps == 2


def image(cells, grid, phase=0.3):
    """A smooth image on the unit square, at the centres of ``cells`` cells an axis."""
    x = (torch.arange(cells).double() + 0.5) / cells
    x, y = torch.meshgrid(x, x, indexing="ij")
    wave = (math.pi * x).cos() * (2 * math.pi * y).cos()
    if grid.boundary == "periodic":
        wave = (2 * math.pi * x + phase).cos() * (2 * math.pi * y).sin()
    return (0.5 + 0.3 * torch.stack((wave, wave.square())))[None]


def coarse(u, cells):
    """The mean over each coarse cell."""
    factor = u.shape[-1] // cells
    return nn.functional.avg_pool2d(u, factor)


SPATIAL = {
    "constant": (lambda grid: Diffusion(Constant(0.02), grid), 2),
    "per channel": (lambda grid: Diffusion(PerChannel(CHANNELS, ceiling=0.05), grid), 2),
    "perona_malik": (lambda grid: Diffusion(PeronaMalik(CHANNELS, contrast=2.0, ceiling=0.02), grid), 2),
    "varying sum": (
        lambda grid: TimeVarying(Diffusion(PerChannel(CHANNELS, ceiling=0.05), grid) + Reaction(Decay(CHANNELS)), 2),
        2,
    ),
    "advection": (lambda grid: Advection(PerChannelVelocity(CHANNELS, ceiling=1.0), grid), 1),
}


@torch.no_grad()
@pytest.mark.parametrize("boundary", ["neumann", "periodic"])
@pytest.mark.parametrize("name", SPATIAL)
def test_smaller_cells_converge_to_the_same_solution(name, boundary):
    """A network for 8² cells run on 16² to 64²: order 2 for diffusion, 1 for upwind advection."""
    build_term, order = SPATIAL[name]
    cells = 8 if order == 2 else 16
    grid = Grid(spacing=1 / cells, boundary=boundary)
    evolve = Evolve(Heun(randomise(build_term(grid).double(), 0.5)), 0.2, CFL(0.9))
    results = []
    for factor in (1, 2, 4, 8):
        fine = evolve if factor == 1 else refine_space(evolve, factor)
        results.append(coarse(fine(image(cells * factor, grid)), cells))
    # Differences of successive results shrink as the error does.
    gaps = [float((a - b).norm()) for a, b in itertools.pairwise(results)]
    assert math.log2(gaps[1] / gaps[2]) == pytest.approx(order, abs=0.25)


@torch.no_grad()
def test_a_heat_mode_at_any_resolution():
    """Against the equation itself: exp(−κπ²T)·cos(πx)."""
    evolve = Evolve(CrankNicolson(Diffusion(Constant(0.05), Grid(1 / 8, dims=1))), 1.0, Fixed(64))
    errors = []
    for factor in (1, 2, 4):
        x = (torch.arange(8 * factor).double() + 0.5) / (8 * factor)
        u = (math.pi * x).cos()[None, None]
        errors.append(float((refine_space(evolve, factor)(u) - math.exp(-0.05 * math.pi**2) * u).abs().max()))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.1)
    assert math.log2(errors[1] / errors[2]) == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("name", [name for name in TERMS if name not in PER_CELL])
def test_what_is_declared_is_refined_too(name):
    """The ceiling, the limit and the operator are those of a term that is built on the fine grid."""
    for dims in (1, 2, 3):
        grid = grid_of("neumann", dims)
        term = build(name, grid)
        control = CFL(0.9) if term.keeps and math.isfinite(term.ceiling) else Fixed(3, unchecked=True)
        evolve = Evolve(Euler(term), 0.1, control)
        fine = refine_space(evolve, 2)
        assert_separate_but_equal(evolve, fine)
        built = TERMS[name](Grid([dx / 2 for dx in grid.spacings], "neumann")).double()
        built.load_state_dict(evolve.step.term.state_dict())
        assert (fine.step.term.ceiling, fine.step.term.keeps) == (built.ceiling, built.keeps)
        assert fine.step.term.growth == built.growth
        assert fine.steps == Evolve(Euler(built), 0.1, control).steps
        u = state(dims)
        assert torch.equal(fine.step(u, number(0.01)), Euler(built)(u, number(0.01)))
        back = refine_space(fine, 0.5)
        assert torch.allclose(back.step(u, number(0.01)), evolve.step(u, number(0.01)), atol=1e-14)
        assert back.steps == evolve.steps


@pytest.mark.parametrize("name", PER_CELL)
def test_weights_of_cells_are_refused(name):
    with pytest.raises(UnsupportedError, match="cell"):
        refine_space(Evolve(Euler(build(name)), 0.1, Fixed(2, unchecked=True)), 2)


class Unknown(Term):
    def forward(self, u):
        return operator(lambda v: -v, rate=1.0)


def test_slips_are_refused():
    heat = Evolve(Euler(Diffusion(Constant(1.0))), 1.0, Fixed(4))
    with pytest.raises(StabilityError, match=r"Fixed\(16\)"):
        refine_space(heat, 2)
    assert refine_space(refine_time(heat, 4), 2).steps == 16 and heat.step.term.grid.spacings == (1.0, 1.0)
    for module in (nn.Conv2d(1, 1, 1), nn.Sequential(SymmetricConvolution(1), Residual(nn.Identity()))):
        for refine in (refine_time, refine_space):
            with pytest.raises(PDEConvError, match="needs an Evolve"):
                refine(module, 2)
    for control in (Clamp(4), Measured(0.9)):
        with pytest.raises(PDEConvError, match="Fixed or CFL"):
            refine_time(Evolve(Euler(Diffusion(Constant(1.0))), 1.0, control), 2)
    with pytest.raises(PDEConvError, match="Fixed or CFL"):
        refine_time(Evolve(DormandPrince(Diffusion(Constant(1.0))), 1.0, Adaptive()), 2)
    for bad in (0, 1.5, -1):
        with pytest.raises(PDEConvError, match="factor"):
            refine_time(heat, bad)
    for bad in (0.0, -1.0, math.inf):
        with pytest.raises(PDEConvError, match="factor"):
            refine_space(heat, bad)
    with pytest.raises(UnsupportedError, match="refine"):
        refine_space(Evolve(Euler(Unknown()), 1.0, Fixed(2, unchecked=True)), 2)
    shared = Diffusion(Constant(1.0))
    twice = refine_space(Evolve(Strang(Euler(shared), Heun(shared)), 0.01, Fixed(1)), 2)
    assert twice.step.parts[0].term.grid.spacings == (0.5, 0.5)
    with pytest.raises(UnsupportedError, match="ConvVelocity"):
        refine_space(Evolve(Euler(Advection(ConvVelocity(1))), 0.1, Fixed(1)), 2)


def test_two_fields_of_one_term_refine_it_once():
    term = Diffusion(Constant(1.0))
    both = TwoFields(term, first=term)
    both.refine(2.0)
    assert term.grid.spacings == both.grid.spacings == (0.5, 0.5)
