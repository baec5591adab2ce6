"""Forecasting, from frames in files to pictures of a run."""

import gzip
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import evaluate
import train
from pdeconv.errors import PDEConvError
from pdeconv.training.config import parse_config, restored_config
from pdeconv.training.data import load_data
from pdeconv.training.data_config import DataConfig
from pdeconv.training.forecasting import Forecasting, lead_errors
from pdeconv.training.frame_sequences import list_sequences, shrunk
from pdeconv.training.image_files import image_size, read_image, write_image
from pdeconv.training.metrics_log import read_metrics
from pdeconv.training.moving_digits import MovingDigits
from pdeconv.training.run_folder import as_plain

NEEDED = ["--task", "forecast", "--model.name", "advection_forecaster", "--data.name", "moving_digits", "--run", "r"]
TINY = ["--model.channels", "4", "--model.patch", "4", "--data.frames", "3", "--data.horizon", "2"]
TINY += ["--data.sequences_per_epoch", "4", "--data.test_sequences", "3", "--epochs", "1", "--batch_size", "2"]


class Persistence(nn.Module):
    """The last frame stays."""

    def forward(self, frames: Tensor, horizon: int) -> Tensor:
        return frames[:, -1:].expand(-1, horizon, -1, -1, -1)


def digits(**options: int) -> MovingDigits:
    shapes = torch.arange(1, 6, dtype=torch.uint8)[:, None, None].expand(5, 4, 4) * 50
    return MovingDigits(shapes, **{"side": 12, "count": 8, "frames": 4, "horizon": 3} | options)


@pytest.fixture
def sequences(tmp_path):
    """Two sequences of 8 frames of 10 × 12 pixels, in which a bright square moves."""
    for number in (1, 2):
        for time in range(8):
            frame = torch.zeros(10, 12)
            frame[number : number + 3, time : time + 3] = 1
            write_image(tmp_path / "all" / f"s{number}" / f"frame{time}.png", frame)
    return tmp_path / "all"


def test_digits_move_in_a_line_and_bounce():
    inputs, targets = digits(frames=30, horizon=10).batch(torch.arange(8), 1)
    assert inputs.shape == (8, 30, 1, 12, 12) and targets.shape == (8, 10, 1, 12, 12)
    video = torch.cat((inputs, targets), 1)
    assert video.min() >= 0 and video.max() <= 1
    one = MovingDigits(torch.full((1, 4, 4), 255, dtype=torch.uint8), 12, 1, 30, 10)
    corners = one._corners(torch.tensor([[0.2, 0.9]]), torch.tensor([[0.5, 0.5]]), torch.tensor([[0.0, 0.25]]))
    assert corners.min() == 0 and corners.max() == 8 and corners.shape == (1, 40, 2, 2)
    across, down = corners[0, :, 0], corners[0, :, 1]
    assert across[:, 0].unique().tolist() == [1] and len(across[:, 1].unique()) == 9
    assert down[0, 0] == 8 and down[:, 1].unique().tolist() in ([3], [4], [3, 4])


def test_a_sequence_depends_on_the_seed_and_its_index_alone():
    source = digits()
    together = source.batch(torch.tensor([5, 2]), 7)
    assert all(torch.equal(part[1], source.batch(torch.tensor([2]), 7)[k][0]) for k, part in enumerate(together))
    assert not torch.equal(together[0][1], source.batch(torch.tensor([2]), 8)[0][0])


def test_packaged_digits_are_split():
    data = load_data(DataConfig("moving_digits", test_sequences=3), "forecast", 0)
    assert (len(data.train), len(data.test), data.channels, data.classes) == (4096, 3, 1, None)
    assert data.test.batch(torch.arange(3), 0)[0].shape == (3, 10, 1, 32, 32)
    with pytest.raises(PDEConvError, match=r"data.image_size: expected 16, the side of a digit, or more, got 8"):
        load_data(DataConfig("moving_digits", image_size=8), "forecast", 0)


def test_frames_of_folders(sequences):
    config = DataConfig(
        "frames", train=str(sequences / "s1"), test=str(sequences / "s2"), frames=2, horizon=3, patch_size=6
    )
    data = load_data(config, "forecast", 0)
    assert (len(data.train), len(data.test)) == (4096, 4)
    both = load_data(DataConfig("frames", test=str(sequences), frames=2, horizon=3), "forecast", 0).test
    assert len(both) == 8
    inputs, targets = both.batch(torch.tensor([1, 5]), 0)
    assert inputs.shape == (2, 2, 1, 10, 12) and targets.shape == (2, 3, 1, 10, 12)
    assert torch.equal(inputs[0, 0, 0, 2], torch.tensor([0.0, 1, 1, 1, *[0] * 8]))
    assert torch.equal(targets[1, 2, 0, 2], torch.tensor([*[0.0] * 5, 1, 1, 1, *[0] * 4]))
    windows = data.train.batch(torch.arange(64), 3)
    assert windows[0].shape == (64, 2, 1, 6, 6) and windows[0].sum() > 0
    assert torch.equal(data.train.batch(torch.tensor([9]), 3)[1][0], windows[1][9])


def test_frames_may_be_read_when_they_are_needed(sequences):
    config = DataConfig("frames", root=str(sequences), train_share=0.7, frames=2, horizon=2, patch_size=6)
    held, read = (load_data(replace(config, memory_gib=gib), "forecast", 0) for gib in (1.0, 0.0))
    assert held.test.in_memory and not read.test.in_memory
    for part in ("train", "test"):
        for one, other in zip(*(getattr(data, part).batch(torch.arange(2), 1) for data in (held, read)), strict=True):
            assert torch.equal(one, other)


def test_the_beginning_of_a_sequence_is_for_training(sequences):
    config = DataConfig("frames", root=str(sequences), frames=1, horizon=1, patch_size=10, train_share=0.5)
    data = load_data(config, "forecast", 0)
    assert len(data.test) == 8
    given, coming = data.test.batch(torch.tensor([0]), 0)
    assert given[0, 0, 0, 1, :6].tolist() == [0, 0, 0, 1, 1, 1]
    assert coming[0, 0, 0, 1, :6].tolist() == [0, 0, 0, 0, 1, 1]


def test_frame_2_comes_before_frame_10(tmp_path):
    for number in (10, 2, 1):
        write_image(tmp_path / f"frame{number}.png", torch.zeros(2, 2))
    assert [path.stem for path in list_sequences(tmp_path)[0]] == ["frame1", "frame2", "frame10"]


def test_packed_radar_composites(tmp_path):
    """A PGM in gzip, with comments in its header and a number for no data."""
    pixels = bytes([0, 51, 255, 102, 255, 255, 153, 204])
    path = tmp_path / "composite.pgm.gz"
    path.write_bytes(gzip.compress(b"P5\n# obstime 201705091045\n# projection radar {\n4 2\n255\n" + pixels))
    frame = read_image(path, "gray", no_data=255)
    torch.testing.assert_close(frame[0, 0], torch.tensor([0.0, 0.2, math.nan, 0.4]), equal_nan=True)
    assert read_image(path, "gray").max() == 1 and frame.isnan().sum() == 3
    assert image_size(path) == (2, 4)
    halved = shrunk(frame, 2)
    torch.testing.assert_close(halved, torch.tensor([[[0.1, 0.6]]]))
    assert shrunk(torch.full((1, 2, 2), math.nan), 2).isnan().all()
    assert list_sequences(tmp_path) == [[path]]
    path.write_bytes(path.read_bytes()[:30])
    with pytest.raises(PDEConvError, match=r"cannot read the image .*composite.pgm.gz"):
        read_image(path, "gray")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give --data.train FOLDER and --data.test FOLDER, or --data.root FOLDER"),
        ({"root": "."}, r"data.frames \+ data.horizon = 9 frames to test on, the longest has 8"),
        ({"train": ".", "test": "s2", "frames": 2}, "8 of the test frames are training frames too"),
        ({"root": ".", "train": "s1"}, "give --data.train FOLDER and"),
        ({"train": "s1", "test": "s2", "frames": 2, "patch_size": 11}, "data.patch_size: expected at most 10, as"),
        ({"test": "s1", "frames": 2}, "needs --data.train FOLDER to train on"),
        ({"train": "s1", "test": "missing"}, "expected a folder of images at"),
        ({"train": "s1", "test": "s2", "frames": 2, "shrink": 11}, "data.shrink: 11 leaves no pixel"),
    ],
)
def test_slips_of_folders_are_told(sequences, options, message):
    config = DataConfig("frames", frames=6, horizon=3)
    for key, value in options.items():
        setattr(config, key, str(sequences / value) if key in ("root", "train", "test") else value)
    with pytest.raises(PDEConvError, match=message):
        len(load_data(config, "forecast", 0).train)


def test_short_sequences_are_left_out(sequences):
    write_image(sequences / "s3" / "frame0.png", torch.zeros(5, 5))
    with pytest.warns(UserWarning, match="1 of 3 sequences to test on have less than 4 frames"):
        data = load_data(DataConfig("frames", test=str(sequences), frames=2, horizon=2), "forecast", 0)
    assert len(data.test) == 10


def test_a_training_folder_is_not_needed_for_a_test(sequences):
    config = DataConfig("frames", train="missing", test=str(sequences / "s1"), frames=2, horizon=2)
    assert len(load_data(config, "forecast", 0).test) == 5


def test_frames_of_two_sizes_are_told(sequences):
    write_image(sequences / "s2" / "frame7.png", torch.zeros(9, 12))
    with pytest.raises(PDEConvError, match=r"frames of one size, got .* resize them"):
        load_data(DataConfig("frames", test=str(sequences), frames=2, horizon=2), "forecast", 0)


def test_cells_without_a_measurement_do_not_count():
    inputs, targets = torch.rand(2, 3, 1, 8, 8), torch.rand(2, 2, 1, 8, 8)
    holes = targets.clone()
    holes[:, :, :, :4] = math.nan
    task, model = Forecasting(), Persistence()
    error = inputs[:, -1:, :, 4:] - targets[:, :, :, 4:]
    assert task.loss(model, inputs, holes, 0).item() == pytest.approx(error.square().mean().item())
    metrics = task.metrics()
    task.update(metrics, model, inputs, holes, 0)
    found = task.summary(metrics)
    assert found["mae"] == pytest.approx(error.abs().mean().item())
    assert found["psnr"] == pytest.approx(-10 * math.log10(error.square().mean()), rel=1e-4)
    torch.testing.assert_close(lead_errors(inputs[:, -1:].expand_as(holes), holes), error.abs().sum((0, 2, 3, 4)))
    assert lead_errors(torch.full_like(holes, math.nan), holes).isnan().all()


def test_the_critical_success_index_counts_hits_misses_and_false_alarms():
    truth = torch.tensor([0.9, 0.9, 0.1, 0.1, math.nan, 0.9]).reshape(1, 1, 1, 1, 6)
    frames = torch.tensor([0.8, 0.2, 0.8, 0.2, 0.8, 0.8]).reshape(1, 1, 1, 1, 6)
    task = Forecasting(thresholds=[0.5, 0.95])
    metrics = task.metrics()
    task.update(metrics, Persistence(), frames, truth, 0)
    found = task.summary(metrics)
    assert found["csi_0.5"] == pytest.approx(0.5) and math.isnan(found["csi_0.95"])
    with pytest.raises(PDEConvError, match="different thresholds from 0 to 1"):
        Forecasting(thresholds=[0.5, 0.5])


def test_a_run_from_its_configuration_to_pictures(tmp_path, capsys):
    run = str(tmp_path / "run")
    arguments = [*NEEDED[:-1], run, *TINY, "--forecast.compare", "true", "--forecast.thresholds", "[0.5]"]
    assert train.main(arguments) == 0
    assert "persistence" in capsys.readouterr().out
    assert (tmp_path / "run" / "pictures" / "forecast.png").stat().st_size > 1000
    tested = [line for line in read_metrics(tmp_path / "run" / "metrics.jsonl") if line["kind"] == "test"][-1]
    assert {"psnr", "mse", "mae", "ssim", "csi_0.5"} <= tested.keys()
    assert evaluate.main([run, "--output", str(tmp_path / "out"), "--root", "anywhere"]) == 0
    assert "forecast.png" in capsys.readouterr().out and (tmp_path / "out" / "forecast.png").exists()
    with pytest.raises(SystemExit):
        evaluate.main([run, "--horizon", "3"])
    assert "horizon: give --frames" in capsys.readouterr().err
    with pytest.raises(PDEConvError, match="image: this network forecasts"):
        evaluate.main([run, "--image", "picture.png"])


def test_a_folder_of_frames_is_forecast(tmp_path, sequences, capsys):
    run, output = str(tmp_path / "run"), tmp_path / "out"
    data = [
        "--data.name",
        "frames",
        "--data.root",
        str(sequences),
        "--data.train_share",
        "0.5",
        "--data.patch_size",
        "8",
    ]
    model = ["--task", "forecast", "--model.name", "convlstm_forecaster", "--model.widths", "[4]"]
    length = ["--data.frames", "2", "--data.horizon", "2", "--data.sequences_per_epoch", "4"]
    assert train.main([*model, *data, *length, "--epochs", "1", "--batch_size", "2", "--run", run]) == 0
    assert evaluate.main([run, "--frames", str(sequences / "s1"), "--horizon", "3", "--output", str(output)]) == 0
    assert sorted(path.name for path in output.iterdir()) == ["s1.gif", "s1_+001.png", "s1_+002.png", "s1_+003.png"]
    assert read_image(output / "s1_+001.png", "gray").shape == (1, 10, 12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model.name", "resnet_classifier"], "resnet_classifier is not for forecast, as it takes no horizon"),
        (["--data.name", "cifar10"], "the data cifar10 is not for forecast, which takes moving_digits"),
        (["--channels_last", "true"], "channels_last: expected false"),
        (["--data.horizon", "0"], "data.horizon: expected 1 or more"),
        (["--data.train_share", "1"], "data.train_share: expected between 0 and 1"),
        (["--forecast.thresholds", "[2]"], "forecast.thresholds: expected different values from 0 to 1"),
        (["--levels.share", "[0.5,0.5]"], "levels.share: expected none when task is forecast"),
    ],
)
def test_slips_of_a_configuration_are_told(arguments, message, capsys):
    with pytest.raises((PDEConvError, SystemExit)) as error:
        train.main([*NEEDED, *arguments])
    text = str(error.value) + capsys.readouterr().err
    assert message in " ".join(text.split())


def test_a_configuration_is_restored():
    config = parse_config([*NEEDED, "--forecast.thresholds", "[0.25]", "--model.layers", "3", "--data.no_data", "255"])
    assert restored_config(as_plain(config)) == config
