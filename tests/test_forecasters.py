"""Forecasters: frames in, frames out."""

from dataclasses import replace

import pytest
import torch

from pdeconv import PDEConvError, create_model, list_models
from pdeconv.models.advection_forecaster import AdvectionForecaster

SMALL = {
    "advection_forecaster": {"channels": 8, "patch": 4, "speed": 2.0},
    "advection_forecaster alone": {"channels": 8, "patch": 4, "speed": 2.0, "reaction": False},
    "convlstm_forecaster": {"widths": (8,), "patch": 4},
}
NAMES = list(SMALL)


def small(name: str, **options: object) -> torch.nn.Module:
    return create_model(name.removesuffix(" alone"), **SMALL[name] | options)


def wild(model: torch.nn.Module) -> torch.nn.Module:
    """With weights that are neither small nor at rest."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(0.5 * torch.randn(weight.shape, generator=generator))
    return model


def test_all_forecasters_are_here():
    assert set(list_models("*_forecaster")) <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("frames", "horizon", "size"), [(1, 1, (1, 1)), (3, 2, (9, 14)), (2, 4, (8, 8))])
def test_shapes(name, frames, horizon, size):
    model, given = small(name, in_channels=3), torch.rand(2, frames, 3, *size)
    assert model(given, horizon).shape == (2, horizon, 3, *size)
    assert model(given, horizon, all_frames=True).shape == (2, frames - 1 + horizon, 3, *size)


@pytest.mark.parametrize("name", NAMES)
def test_all_frames_end_with_the_forecast(name):
    model, given = wild(small(name)), torch.rand(2, 3, 1, 8, 8)
    torch.testing.assert_close(model(given, 2, all_frames=True)[:, -2:], model(given, 2))


@pytest.mark.parametrize("name", NAMES)
def test_a_forecast_knows_nothing_of_later_frames(name):
    model, given = wild(small(name)), torch.rand(2, 4, 1, 8, 8)
    other = given.clone()
    other[:, 2:] = torch.rand(2, 2, 1, 8, 8)
    first, second = (model(frames, 1, all_frames=True)[:, :2] for frames in (given, other))
    assert torch.equal(first, second)


@pytest.mark.parametrize("name", NAMES)
def test_samples_do_not_see_each_other(name):
    model, given = wild(small(name)).double(), torch.rand(3, 3, 1, 8, 8, dtype=torch.float64)
    alone = torch.cat([model(given[[place]], 2) for place in range(3)])
    torch.testing.assert_close(model(given, 2), alone)


@pytest.mark.parametrize("name", NAMES)
def test_under_autocast_a_forecast_is_nearly_the_same(name):
    model, given = small(name), torch.rand(2, 3, 1, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        halved = model(given, 2)
    halved.float().square().sum().backward()
    gradients = [weight.grad for weight in model.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
    full = model(given, 2)
    assert (halved.float() - full).norm() < 0.02 * full.norm()


@pytest.mark.parametrize("name", NAMES)
def test_in_half_precision_nothing_breaks(name):
    model, given = wild(small(name)).bfloat16(), torch.rand(2, 3, 1, 8, 8).bfloat16()
    given[:, :, :, :, :5] = given[:, :, :, :1, :5]  # gradients along one axis alone
    assert model(given, 2).isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_a_compiled_forecaster_gives_the_same(name):
    model, given = wild(small(name)), torch.rand(2, 2, 1, 8, 8)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(given, 2), model(given, 2), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_every_weight_has_a_gradient(name):
    model = wild(small(name))
    model(torch.rand(2, 3, 1, 8, 8), 2, all_frames=True).square().sum().backward()
    assert [key for key, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()] == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("frames", "options", "message"),
    [
        (torch.rand(2, 1, 8, 8), {}, r"frames \(B, T, 1, H, W\), but got shape \(2, 1, 8, 8\)"),
        (torch.rand(2, 3, 2, 8, 8), {}, r"frames \(B, T, 1, H, W\)"),
        (torch.rand(2, 0, 1, 8, 8), {}, "frames"),
        (torch.zeros(2, 3, 1, 8, 8, dtype=torch.uint8), {}, "convert them by .float"),
        (torch.rand(2, 3, 1, 8, 8), {"horizon": 0}, "horizon"),
    ],
)
def test_slips_are_told(name, frames, options, message):
    with pytest.raises(PDEConvError, match=message):
        small(name)(frames, **options)


def steady(*velocity: float, **options: object) -> AdvectionForecaster:
    """Whose layers all have one velocity, in pixels per time, and which adds nothing."""
    model = small("advection_forecaster", **options)
    assert isinstance(model, AdvectionForecaster)
    with torch.no_grad():
        model.velocity.weight.zero_()
        model.velocity.bias.copy_(torch.tensor(velocity).div(model.speed).atanh().repeat(model.layers))  # pyright: ignore
        if model.source is not None:
            model.source.bias.chunk(2)[0].fill_(-30.0)  # pyright: ignore[reportOptionalMemberAccess]
    return model


def test_advection_moves_the_layers_by_their_velocity():
    model, given = steady(0.5, 1.0, longest=2.0), torch.zeros(1, 1, 1, 16, 16)
    given[0, 0, 0, 3:5, 2:6] = 0.7
    forecast = model(given, 3, times=torch.arange(4) * 2.0)[0, :, 0]
    for lead in (1, 2, 3):
        torch.testing.assert_close(forecast[lead - 1], given[0, 0, 0].roll((lead, 2 * lead), (0, 1)))


def test_the_time_between_frames_is_a_duration():
    model, frame = steady(1.0, -2.0, longest=2.0), torch.rand(2, 1, 16, 16)
    moved, _ = model.advance(frame, None, torch.tensor([2.0, 1.0]))
    for sample, shift in ((0, (2, -4)), (1, (1, -2))):
        torch.testing.assert_close(moved[sample, :, 2:, :-4], frame[sample].roll(shift, (-2, -1))[:, 2:, :-4])


def test_the_source_flows_exactly():
    """Over two units of time as over one and one, towards an aim that is held."""
    model, frame = steady(0.0, 0.0, longest=2.0), torch.rand(2, 1, 8, 8)
    with torch.no_grad():
        model.source.bias.copy_(torch.rand_like(model.source.bias))  # pyright: ignore
    _, start = model.advance(frame, None, torch.zeros(()))
    twice, _ = model.advance(None, start, torch.full((), 2.0))
    _, state = model.advance(None, start, torch.ones(()))
    again, _ = model.advance(None, state, torch.ones(()))
    torch.testing.assert_close(again, twice)


def test_without_reaction_a_frame_is_interpolated_once_however_far_it_goes():
    model, given = steady(0.25, 0.0, reaction=False), torch.rand(1, 1, 1, 16, 16)
    torch.testing.assert_close(model(given, 4)[0, -1, :, 1:], given[0, 0, :, :-1])
    with_reaction = steady(0.25, 0.0)
    assert (with_reaction(given, 4)[0, -1, :, 1:] - given[0, 0, :, :-1]).abs().mean() > 0.05


def test_layers_stay_within_0_and_1():
    model = wild(small("advection_forecaster", layers=3))
    state = model._at_rest(torch.rand(2, 1, 8, 8))
    state = replace(state, layers=torch.rand_like(state.layers))
    for _ in range(4):
        _, state = model.advance(None, state, torch.ones(()))
        assert state.layers.min() >= 0 and state.layers.max() <= 1


def test_surprise_tells_how_far_a_blob_moved():
    """The least squares of one layer, for a blob that was expected 0.8 and 0.4 pixels before where it is."""
    model = small("advection_forecaster", layers=1, patch=8)
    rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    expected, came = (torch.exp(-((rows - 16 - d) ** 2 + (columns - 16 + d / 2) ** 2) / 40) for d in (0.0, 0.8))
    surprise = (came - expected)[None, None]
    for dt in (1.0, 0.5):
        flow = 2.0 * model._flow(expected[None, None], surprise, torch.tensor(dt))
        expect = torch.tensor([0.8, -0.4]) / dt
        torch.testing.assert_close(flow[0, :, 1:3, 1:3].mean((1, 2)), expect, rtol=0.1, atol=0.03)


def test_times_are_given_for_all_frames():
    model, given = small("advection_forecaster", longest=2.0), torch.rand(2, 2, 1, 8, 8)
    assert torch.equal(model(given, 2, times=torch.arange(4.0)), model(given, 2))
    assert not torch.equal(model(given, 2, times=torch.tensor([0.0, 0.5, 2.5, 3.0])), model(given, 2))
    with pytest.raises(PDEConvError, match="times of all 4 frames"):
        model(given, 2, times=torch.arange(3.0))
    for times in ([0.0, 3.0, 4.0, 5.0], [0.0, 1.0, 1.0, 2.0], [0.0, 1.0, float("nan"), 2.0]):
        with pytest.raises(PDEConvError, match="that rise by at most longest=2, but"):
            model(given, 2, times=torch.tensor(times))
    with pytest.raises(PDEConvError, match=r"give them as torch.tensor"):
        model(given, 2, times=[0.0, 1.0, 2.0, 3.0])
    with pytest.raises(PDEConvError, match="leave out times"):
        small("convlstm_forecaster")(given, 2, times=torch.arange(4.0))


def test_the_layers_of_a_frame_add_up_to_it():
    """Each takes its share of what they did not explain, and of nothing else."""
    model, given = steady(0.0, 0.0), torch.rand(2, 3, 1, 8, 8)
    state = None
    for frame in given.unbind(1):
        forecast, state = model.advance(frame, state, torch.ones(()))
        torch.testing.assert_close(forecast, frame)
        torch.testing.assert_close(state.layers.unflatten(0, (-1, 2)).sum(1), frame)
