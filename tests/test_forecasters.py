"""Forecasters: frames in, frames out."""

from dataclasses import replace

import pytest
import torch

from pdeconv import PDEConvError, create_model, list_models
from pdeconv.models.advection_forecaster import AdvectionForecaster, Carried

NAMES = list_models("*_forecaster")
SMALL = {
    "advection_forecaster": {"channels": 8, "patch": 4, "speed": 2.0},
    "convlstm_forecaster": {"widths": (8,), "patch": 4},
}


def small(name: str, **options: object) -> torch.nn.Module:
    return create_model(name, **SMALL[name] | options)


def wild(model: torch.nn.Module) -> torch.nn.Module:
    """With weights that are neither small nor at rest."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(0.5 * torch.randn(weight.shape, generator=generator))
    return model


@pytest.mark.parametrize("name", NAMES)
def test_the_catalogue_names_all(name):
    assert name in SMALL


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


def steady(**options: object) -> AdvectionForecaster:
    """Whose velocities never change, and which corrects nothing."""
    model = small("advection_forecaster", **options)
    assert isinstance(model, AdvectionForecaster)
    with torch.no_grad():
        model.trust.zero_()
        model.change.weight.zero_()
        model.correction.bias.chunk(2)[0].fill_(-30.0)  # pyright: ignore[reportOptionalMemberAccess]
    return model


def moving(model: AdvectionForecaster, frame: torch.Tensor, *velocity: float) -> Carried:
    """A state before a frame, in which every layer has a velocity in pixels per time."""
    state = model._at_rest(frame)
    push = torch.tensor(velocity).div(model.speed).atanh().repeat(model.layers)
    return replace(state, push=push[:, None, None] + torch.zeros_like(state.push))


def test_advection_moves_the_layers_by_their_velocity():
    model, frame = steady(longest=2.0), torch.zeros(1, 1, 16, 16)
    frame[0, 0, 3:5, 2:6] = 0.7
    forecast, state = model.advance(frame, moving(model, frame, 0.5, 1.0), torch.tensor(2.0))
    for lead in (1, 2, 3):
        torch.testing.assert_close(forecast[0, 0], frame[0, 0].roll((lead, 2 * lead), (0, 1)))
        forecast, state = model.advance(None, state, torch.tensor(2.0))


def test_a_frame_is_interpolated_once_however_far_it_goes():
    model, frame = steady(), torch.rand(1, 1, 16, 16)
    forecast, state = model.advance(frame, moving(model, frame, 0.25, 0.0), torch.tensor(1.0))
    for _ in range(3):
        forecast, state = model.advance(None, state, torch.tensor(1.0))
    torch.testing.assert_close(forecast[..., 1:, :], frame[..., :-1, :])


def test_the_time_between_frames_is_a_duration():
    model, frame = steady(longest=2.0), torch.rand(2, 1, 16, 16)
    start = moving(model, frame, 0.3, -0.4)
    once, _ = model.advance(frame, start, torch.tensor([2.0, 1.0]))
    first, state = model.advance(frame, start, torch.ones(()))
    twice, _ = model.advance(None, state, torch.ones(()))
    torch.testing.assert_close(once[0], twice[0])
    torch.testing.assert_close(once[1], first[1])


def test_times_are_given_for_all_frames():
    model, given = small("advection_forecaster", longest=2.0), torch.rand(2, 2, 1, 8, 8)
    assert torch.equal(model(given, 2, times=torch.arange(4.0)), model(given, 2))
    assert not torch.equal(model(given, 2, times=torch.tensor([0.0, 0.5, 2.5, 3.0])), model(given, 2))
    with pytest.raises(PDEConvError, match="times of all 4 frames"):
        model(given, 2, times=torch.arange(3.0))
    with pytest.raises(PDEConvError, match="dt from 0 to longest=2"):
        model(given, 2, times=torch.tensor([0.0, 3.0, 4.0, 5.0]))
    with pytest.raises(PDEConvError, match="leave out times"):
        small("convlstm_forecaster")(given, 2, times=torch.arange(4.0))


def test_optical_flow_finds_the_velocity_of_a_smooth_blob():
    """Before any training, the second frame says how fast the first moved."""
    model = small("advection_forecaster", layers=1, speed=4.0)
    with torch.no_grad():
        model.change.weight.zero_()
        model.correction.bias.chunk(2)[0].fill_(-30.0)
    rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    frames = torch.stack([torch.exp(-((rows - 14 - t) ** 2 + (columns - 16 + t / 2) ** 2) / 30) for t in range(9)])
    forecast = model(frames[None, :6, None], 3)[0, :, 0]
    for lead in (1, 2, 3):
        still, error = frames[5] - frames[5 + lead], forecast[lead - 1] - frames[5 + lead]
        assert error.norm() < 0.15 * still.norm()


def test_the_layers_of_a_frame_add_up_to_it():
    model, given = wild(small("advection_forecaster")), torch.rand(2, 3, 1, 8, 8)
    _, state = model.advance(given[:, 0], None, torch.ones(()))
    _, state = model.advance(given[:, 1], state, torch.ones(()))
    torch.testing.assert_close(state.layers.unflatten(0, (2, 2)).sum(1), given[:, 1])
