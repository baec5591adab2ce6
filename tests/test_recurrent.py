"""A recurrent cell is a source and an equation over the time of a frame."""

import pytest
import torch

from pdeconv import (
    CFL,
    Adaptive,
    Constant,
    ConvVelocity,
    Decay,
    Diffusion,
    Euler,
    Exact,
    Fixed,
    PDECell,
    PDEConvError,
    Reaction,
    SemiLagrangian,
    StabilityError,
)
from pdeconv.terms import Advection

DOUBLE = torch.float64


def diffusing(**options: object) -> PDECell:
    cell = PDECell(2, 3, Euler(Diffusion(Constant(1.0))), **options)  # pyright: ignore[reportArgumentType]
    return cell.to(DOUBLE)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def test_no_time_no_change():
    frame, state = random(2, 2, 6, 5), random(2, 3, 6, 5, seed=1)
    assert torch.equal(diffusing()(frame, state, 0.0), state)
    assert torch.equal(diffusing().evolve(state, 0.0), state)


def test_the_source_is_the_solution_of_its_equation():
    """u_t = g (c − u) with g and c of the frame, by many small steps of Euler."""
    cell = PDECell(2, 3).to(DOUBLE)
    frame, state = random(2, 2, 6, 5), random(2, 3, 6, 5, seed=1)
    gate, candidate = cell.source(torch.cat((frame, state), 1)).chunk(2, 1)
    u, steps = state, 4000
    for _ in range(steps):
        u = u + 0.7 / steps * 4.0 * gate.sigmoid() * (candidate.tanh() - u)
    torch.testing.assert_close(cell(frame, state, 0.7), u, rtol=0.0, atol=1e-3)
    assert torch.equal(cell.evolve(state), state)


def test_the_equation_goes_on_without_frames():
    decaying = PDECell(1, 3, Exact(Reaction(Decay(Constant(0.5)))), longest=3.0).to(DOUBLE)
    state = random(2, 3, 4, 4)
    torch.testing.assert_close(decaying.evolve(state, 3.0), state * torch.exp(torch.tensor(-1.5, dtype=DOUBLE)))
    halves = decaying.evolve(decaying.evolve(state, 1.0), 2.0)
    torch.testing.assert_close(halves, decaying.evolve(state, 3.0))


def test_each_sample_has_its_own_time():
    cell, frame, state = diffusing(longest=2.0), random(3, 2, 6, 5), random(3, 3, 6, 5, seed=1)
    times = torch.tensor([0.0, 0.5, 2.0], dtype=DOUBLE)
    together = cell(frame, state, times)
    for place, dt in enumerate(times.tolist()):
        one = slice(place, place + 1)
        torch.testing.assert_close(together[one], cell(frame[one], state[one], dt))


@pytest.mark.parametrize(
    "step",
    [Euler(Diffusion(Constant(1.0))), Euler(Advection(ConvVelocity(3))), SemiLagrangian(Advection(ConvVelocity(3)))],
    ids=["diffusion", "advection", "semi-Lagrangian"],
)
def test_the_state_stays_in_its_range_whatever_the_weights(step):
    cell = PDECell(2, 3, step, longest=3.0).to(DOUBLE)
    for weight in cell.parameters():
        torch.nn.init.normal_(weight, std=3.0)
    state = None
    for number in range(6):
        state = cell(5 * random(2, 2, 6, 5, seed=number) - 2, state, 3.0)
        assert state.abs().max() <= 1 + 1e-12  # linear weights sum to 1 but for rounding


def test_the_number_of_steps_is_chosen_for_the_longest_time():
    assert diffusing().steps == 5 and diffusing(longest=2.0).steps == 9
    assert diffusing(control=Fixed(4)).steps == 4
    with pytest.raises(StabilityError, match=r"dt=1 exceeds the limit 0.25 of Euler\(Diffusion\)"):
        diffusing(control=Fixed(1))


def test_gradients_reach_all_weights_and_the_times():
    cell = PDECell(1, 2, Euler(Advection(ConvVelocity(2, ceiling=0.3)))).to(DOUBLE)
    times = torch.full((2,), 0.5, dtype=DOUBLE, requires_grad=True)
    state = cell(random(2, 1, 5, 5, seed=1), cell(random(2, 1, 5, 5), None, times), times)
    state.square().sum().backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in (*cell.parameters(), times))


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_any_number_of_axes(dims):
    assert PDECell(1, 2, dims=dims)(torch.rand(2, 1, *[5] * dims)).shape == (2, 2, *[5] * dims)


def test_a_compiled_cell_gives_the_same():
    cell, frame, state = diffusing(), random(2, 2, 6, 5), random(2, 3, 6, 5, seed=1)
    compiled = torch.compile(cell, fullgraph=True, backend="eager")
    times = torch.tensor([0.5, 1.0], dtype=DOUBLE)
    torch.testing.assert_close(compiled(frame, state, times), cell(frame, state, times))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda cell: cell(torch.rand(2, 1, 4, 4)), r"frames of 2 channels on 2 axes, but got shape \(2, 1, 4, 4\)"),
        (lambda cell: cell(torch.rand(2, 5, 2, 4, 4)), "one frame at a time"),
        (lambda cell: cell(torch.rand(2, 2, 4, 4), torch.rand(2, 3, 5, 4)), r"state of shape \(2, 3, 4, 4\)"),
        (lambda cell: cell(torch.rand(2, 2, 4, 4), None, 1.5), "from 0 to longest=1.*but got 1.5.*larger longest"),
        (lambda cell: cell(torch.rand(2, 2, 4, 4), None, -1.0), "but got -1"),
        (lambda cell: cell(torch.rand(2, 2, 4, 4), None, float("nan")), "but got nan"),
        (lambda cell: cell(torch.rand(2, 2, 4, 4), None, "1"), "but got '1'"),
        (lambda cell: cell(torch.rand(2, 2, 4, 4), None, torch.tensor([0.5, 2.0])), "but got 0.5 to 2"),
        (lambda cell: cell(torch.rand(2, 2, 4, 4), None, torch.ones(3)), r"a tensor of shape \(3,\)"),
        (lambda cell: cell(torch.rand(2, 2, 4, 4), 0.5), "the time goes by name, dt=0.5"),
        (lambda cell: cell.evolve(torch.rand(2, 3, 4, 4), 2.0), "but got 2"),
        (lambda cell: cell.evolve(torch.rand(2, 2, 4, 4)), "a state of 3 channels on 2 axes"),
    ],
)
def test_slips_are_told(call, message):
    with pytest.raises(PDEConvError, match=message):
        call(PDECell(2, 3, Euler(Diffusion(Constant(1.0)))))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step": Diffusion(Constant(1.0))}, "wrap a term as Euler"),
        ({"control": 3}, "CFL"),
        ({"control": Adaptive(1e-3, 1e-3)}, "by Fixed or CFL"),
        ({"kernel_size": 2}, "odd"),
        ({"longest": 0.0}, "longest"),
        ({"dims": 4}, "dims=1 for signals"),
        ({"ceiling": float("inf")}, "ceiling"),
    ],
)
def test_wrong_arguments_are_told(options, message):
    with pytest.raises(PDEConvError, match=message):
        PDECell(1, 2, **{"step": Euler(Diffusion(Constant(1.0))), "control": CFL(), **options})
