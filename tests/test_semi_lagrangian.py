"""Law: the semi-Lagrangian step looks values up where the flow came from, at any dt, for every boundary."""

import math

import pytest
import torch
from states import BOUNDARIES, CHANNELS, DIMS, excess, grid_of, initial_states, number, randomise, state
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call

from pdeconv import (
    CFL,
    Advection,
    Clamp,
    ClampedCubicInterpolation,
    Constant,
    ConstantVelocity,
    ConvVelocity,
    CrankNicolson,
    CubicInterpolation,
    Diffusion,
    Evolve,
    Fixed,
    FixedVelocity,
    Grid,
    LinearInterpolation,
    PDEConvError,
    PerChannelVelocity,
    SemiLagrangian,
    StabilityError,
    Strang,
    VelocityField,
)
from pdeconv.operator import NOTHING, range_kept
from pdeconv.stencil import extend_wide

INTERPOLATIONS = {
    "linear": LinearInterpolation(),
    "cubic": CubicInterpolation(),
    "clamped": ClampedCubicInterpolation(),
}
DTS = (0.1, 0.37, 1.0, 3.3, 41.0, 1e4)


def carried(velocity, grid, interpolation="linear"):
    return SemiLagrangian(Advection(velocity, grid), INTERPOLATIONS[interpolation])


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_whole_cells_are_moved_exactly(boundary, interpolation):
    """What comes in is what the boundary says is beyond the edge, at any distance, along each axis its own way."""
    for dims in DIMS:
        grid, u = grid_of(boundary, dims), state(dims)
        for shift in ((1, -2, 3), (-7, 0, 20)):
            velocity = ConstantVelocity([k * dx / 0.5 for k, dx in zip(shift, grid.spacings, strict=False)])
            moved, expected = carried(velocity, grid, interpolation)(u, number(0.5)), u
            for axis, k in zip(grid.axes, shift, strict=False):
                wide = extend_wide(expected, axis, boundary, 20)
                expected = wide.narrow(axis, 20 - k, u.shape[axis])
            assert torch.allclose(moved, expected, atol=1e-11)


@torch.no_grad()
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_constants_rest_and_the_range_is_kept_at_any_dt(boundary, interpolation):
    """Whatever the weights; except that the unclamped cubic leaves the range, and 0 comes in at dirichlet edges."""
    left = 0.0
    for dims in DIMS:
        velocity = randomise(ConvVelocity(CHANNELS, ceiling=0.9, dims=dims).double(), 3.0)
        step = carried(velocity, grid_of(boundary, dims), interpolation)
        assert step.keeps == (NOTHING if interpolation == "cubic" else range_kept(step.term.grid))
        for dt in DTS:
            constant = torch.full_like(state(dims), 0.7)
            after = step(constant, number(dt))
            if boundary != "dirichlet":
                assert torch.allclose(after, constant, atol=1e-12)
            elif dt > 3:
                assert after.min() < 0.7
            for u in initial_states(dims).values():
                after = step(u, number(dt))
                low = 0 if boundary == "dirichlet" else u.min()
                left = max(left, excess(after, low, u.max()))
    assert (left > 1e-2) if interpolation == "cubic" else (left < 1e-12)


def test_any_dt_is_safe_and_controls_know():
    step = carried(ConstantVelocity((3.0, 1.0)), Grid())
    assert step.guaranteed_limit == math.inf and Evolve(step, 100.0, CFL()).steps == 1
    assert Evolve(step, 1.0, Clamp(2))(torch.rand(1, 1, 4, 4)).shape == (1, 1, 4, 4)
    assert step.courant(0.5) == pytest.approx(0.5 * 3.0 * 2)
    text = repr(Evolve(step, 1.0, Fixed(2)))
    assert "SemiLagrangian(Advection)" in text and "LinearInterpolation" in text
    cubic = carried(ConstantVelocity((3.0, 1.0)), Grid(), "cubic")
    with pytest.raises(StabilityError, match="unchecked"):
        Evolve(cubic, 1.0, CFL())
    both = Strang(CrankNicolson(Diffusion(Constant(0.1))), step)
    assert both.keeps == {"range"} and both.guaranteed_limit == pytest.approx(10.0)
    with pytest.raises(PDEConvError, match="Strang"):
        SemiLagrangian(Diffusion(Constant(0.1)))
    with pytest.raises(PDEConvError, match="CubicInterpolation"):
        SemiLagrangian(Advection(ConstantVelocity((1.0, 1.0))), "cubic")


def polynomial(x, degree):
    return sum((a + 1) * xi**degree + xi for a, xi in enumerate(x)) + math.prod(x)


@pytest.mark.parametrize(("interpolation", "degree"), [("linear", 1), ("cubic", 3), ("clamped", 1)])
def test_interpolation_is_exact_on_polynomials(interpolation, degree):
    """And has its order elsewhere: the error of a wave falls by 2ᵖ with the spacing."""
    for dims in DIMS:
        at = [torch.rand(1, 1, *[8] * dims, dtype=torch.float64) * 3 + 2 for _ in range(dims)]
        cells = [x[None, None].double() for x in torch.meshgrid(*[torch.arange(8)] * dims, indexing="ij")]
        interpolated = INTERPOLATIONS[interpolation](polynomial(cells, degree), at, "neumann")
        assert torch.allclose(interpolated, polynomial(at, degree), rtol=1e-12)
    errors = []
    for n in (32, 64):
        at = torch.arange(n, dtype=torch.float64)
        wave = torch.sin(2 * math.pi * (at + 0.5) / n)[None, None]  # its crest is between two cells
        at = at + 0.4
        exact = torch.sin(2 * math.pi * (at + 0.5) / n)
        errors.append(float((INTERPOLATIONS[interpolation](wave, [at], "periodic")[0, 0] - exact).abs().mean()))
    order = {"linear": 2, "cubic": 4, "clamped": 3}[interpolation]  # clamped: order 2 at the two crests alone
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.3)


def measured_order():
    """v = x, u = x: u(t) = x·e^{−t}. Linear interpolation is exact, so that only the error of the time step is left."""
    x = torch.linspace(-2, 2, 41, dtype=torch.float64)[None, None]
    step = SemiLagrangian(Advection(FixedVelocity(x[0][None]), Grid((0.1,))))
    errors = []
    for n in (8, 16):
        after = Evolve(step, 1.0, Fixed(n))(x)
        errors.append(float((after - x * math.exp(-1))[..., 10:-10].abs().max()))
    return math.log2(errors[0] / errors[1])


def test_characteristics_of_order_2():
    assert measured_order() == pytest.approx(SemiLagrangian.order, abs=0.15)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_gradients(boundary, interpolation):
    """In the state, the velocity's weights and dt, once and twice; also where cells move by whole cells."""
    for dims in (1, 2):
        for velocity in (
            VelocityField((3,) * dims),
            PerChannelVelocity(CHANNELS, dims=dims),
            ConvVelocity(2, dims=dims),
        ):
            step = carried(randomise(velocity.double(), 0.5), grid_of(boundary, dims), interpolation)
            names, weights = zip(*step.named_parameters(), strict=True)

            def advance(u, dt, *values, step=step, names=names):
                return functional_call(step, dict(zip(names, values, strict=True)), (u, dt))

            u = state(dims, cells=4).requires_grad_()
            dt = torch.tensor([0.4, 1.1], dtype=torch.float64, requires_grad=True)
            assert gradcheck(advance, (u, dt, *weights), fast_mode=True)
            if dims == 1:
                assert gradgradcheck(advance, (u, dt, *weights), fast_mode=True, atol=1e-4)
    still = carried(VelocityField((3, 3)).double(), grid_of(boundary, 2), interpolation)
    still(state(2), number(0.5)).square().sum().backward()
    assert all(weight.grad.isfinite().all() and weight.grad.any() for weight in still.parameters())


def test_half_precision_and_single_cells():
    for boundary in BOUNDARIES:
        for dims in DIMS:
            step = carried(ConvVelocity(1, dims=dims), grid_of(boundary, dims))
            one = torch.rand(1, 1, *[1] * dims)
            assert step(one, torch.tensor(0.3)).shape == one.shape
            u = torch.rand(2, 1, *[40] * dims if dims < 3 else [9] * 3)
            full = step(u, torch.tensor(2.3))
            for dtype, tolerance in ((torch.float16, 0.02), (torch.bfloat16, 0.15)):
                half = step.to(dtype)(u.to(dtype), torch.tensor(2.3))
                assert half.dtype == dtype and (half.float() - full).abs().max() < tolerance
                step.float()
