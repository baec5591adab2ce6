"""Signals, images and volumes: arrays of one's own, generated solids, packaged signals; whole runs on tiny ones."""

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_data_sets import assert_pure

import evaluate
import train
from pdeconv import create_model
from pdeconv.errors import PDEConvError
from pdeconv.training import array_sets
from pdeconv.training.array_files import MappedSamples, as_tensor
from pdeconv.training.augmentation import erased
from pdeconv.training.axis_changes import ShiftAndFlipAxes
from pdeconv.training.clean_arrays import CleanArrays
from pdeconv.training.command_line import run_program
from pdeconv.training.data import load_data
from pdeconv.training.data_config import DataConfig
from pdeconv.training.denoising import Denoising
from pdeconv.training.image_quality import quality
from pdeconv.training.levels import Resized, shrunk
from pdeconv.training.solids import SOLIDS, solids

CONFIGS = Path(__file__).parents[2] / "configs"
PACKAGED = importlib.util.find_spec("tslearn") is not None


def archive(folder, npz=True, size=(5, 6, 7), kind=np.uint8, classes=3, count=9, **more):
    """A file in the manner of MedMNIST, or a folder of the same arrays."""
    draws = np.random.default_rng(0)
    arrays = {}
    for part in ("train", "val", "test"):
        arrays[f"{part}_images"] = draws.integers(0, 200, (count, *size)).astype(kind)
        arrays[f"{part}_labels"] = (np.arange(count) % classes).astype(np.uint8)[:, None]
    arrays |= more
    if npz:
        np.savez(folder / "set.npz", **arrays)
        return str(folder / "set.npz"), arrays
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return str(folder), arrays


@pytest.mark.parametrize("npz", [True, False])
@pytest.mark.parametrize(
    ("size", "axis"), [((12,), None), ((5, 6), None), ((5, 6, 3), -1), ((2, 9), 1), ((5, 6, 7), None)]
)
def test_arrays_to_classify(tmp_path, npz, size, axis):
    """Every sample as it lies in the file, normalised by the training samples, channel by channel."""
    root, arrays = archive(tmp_path, npz, size)
    data = load_data(DataConfig("arrays", root=root, channel_axis=axis, memory_gib=0.0), "classification", 0)
    assert data.train.in_memory == npz, "a folder beyond memory_gib is read from disk"
    assert data.dims == len(size) - (axis is not None) and data.classes == ("0", "1", "2")
    given = arrays["train_images"][:, None] if axis is None else np.moveaxis(arrays["train_images"], axis, 1)
    values = torch.from_numpy(given.astype(np.float64))
    over = [0, *range(2, values.dim())]
    expected = (values - values.mean(over, keepdim=True)) / values.std(over, correction=0, keepdim=True)
    found, labels = data.train.batch(torch.arange(9), 0)
    assert found.dtype == torch.float32 and labels.tolist() == [0, 1, 2] * 3
    torch.testing.assert_close(found, expected.float(), rtol=1e-5, atol=1e-5)
    tested = data.test.batch(torch.tensor([4]), 0)[0]
    raw = torch.from_numpy(np.ascontiguousarray(arrays["test_images"][4:5])).float()
    raw = raw[:, None] if axis is None else raw.movedim(axis, 1)
    mean, deviation = (torch.tensor(part).reshape(-1, *(1,) * data.dims) for part in data.statistics)
    torch.testing.assert_close(tested, (raw - mean) / deviation, rtol=1e-4, atol=1e-5)
    given = DataConfig("arrays", root=root, channel_axis=axis, offset=[1.0] * raw.shape[1], scale=[2.0] * raw.shape[1])
    torch.testing.assert_close(load_data(given, "classification", 0).test.batch(torch.tensor([4]), 0)[0], (raw - 1) / 2)
    few = DataConfig("arrays", root=root, channel_axis=axis, train_images=3, memory_gib=0.0)
    assert load_data(few, "classification", 0).train.batch(torch.arange(3), 0)[1].tolist() == [0, 1, 2]


@pytest.mark.parametrize("npz", [True, False])
def test_arrays_to_denoise(tmp_path, npz):
    """Bytes by 255, other numbers by the range of the training samples; crops are parts of samples; without labels."""
    root, arrays = archive(tmp_path, npz, kind=np.float64)
    config = DataConfig("arrays", root=root, patch_size=4, patches_per_epoch=40, flips=[0, 2], memory_gib=0.0)
    data = load_data(config, "denoising", 0)
    low, high = arrays["train_images"].min(), arrays["train_images"].max()
    assert data.statistics == ((low,), (high - low,)) and data.dims == 3 and data.classes is None
    clean, same = data.test.batch(torch.arange(9), 0)
    expected = torch.from_numpy((arrays["test_images"][:, None] - low) / (high - low)).float()
    torch.testing.assert_close(clean, expected)
    assert clean is same and len(data.train) == 40
    assert_pure(data.train, 20)
    crop = data.train.batch(torch.arange(1), 0)[0]
    assert crop.shape == (1, 1, 4, 4, 4)
    samples = torch.from_numpy((arrays["train_images"][:, None] - low) / (high - low)).float()
    windows = torch.cat(
        [
            turned.unfold(2, 4, 1).unfold(3, 4, 1).unfold(4, 4, 1).reshape(-1, 64)
            for axes in ([], [2], [4], [2, 4])
            for turned in [samples.flip(axes)]
        ]
    )
    assert torch.cdist(crop.reshape(1, 64), windows).min() < 1e-5
    bytes_root, arrays = archive(tmp_path, True, train_labels=np.zeros(1))
    assert load_data(DataConfig("arrays", root=bytes_root), "denoising", 0).statistics == ((0.0,), (255.0,))


def test_every_place_of_a_signal_is_cropped():
    source = CleanArrays(torch.arange(6.0)[None, None], 1, 0.0, 1.0, side=4, count=300)
    starts = source.batch(torch.arange(300), 0)[0][:, 0, 0].long()
    assert sorted(set(starts.tolist())) == [0, 1, 2]
    assert source.batch(torch.arange(2), 0)[0].shape == (2, 1, 4)


@pytest.mark.parametrize(
    ("more", "settings", "expected"),
    [
        (dict(test_images=np.zeros((9, 5, 6, 4), np.uint8)), {}, "looks like 4 channels.*data.channel_axis to -1"),
        (dict(test_images=np.zeros((9, 2, 6, 7), np.uint8)), {}, "looks like 2 channels.*data.channel_axis to 1"),
        (dict(test_images=np.zeros((9, 3, 6, 17), np.uint8)), dict(channel_axis=-1), "17 entries.*set it to 1"),
        (dict(test_images=np.zeros(9)), {}, r"1 to 3 spatial axes.*\(9,\)"),
        (dict(test_images=np.zeros((9, 5, 6, 7, 8))), {}, "data.channel_axis, got the shape"),
        (dict(test_images=np.zeros((9, 5, 6), np.complex64)), {}, "real numbers, got complex64"),
        (dict(test_images=np.array(["a"] * 9)), {}, "real numbers, got <U1"),
        (dict(test_images=np.full((9, 5, 6, 7), np.nan)), {}, "test_images: expected finite numbers"),
        (dict(train_images=np.full((9, 5, 6, 7), np.inf)), {}, "train_images: expected finite numbers"),
        (dict(train_images=np.full((9, 5, 6, 7), 3)), {}, "values that vary, got 3 throughout channel 0"),
        (dict(train_images=np.ones((9, 5, 6, 8)) * np.arange(8)), {}, "samples of the same shape"),
        (dict(test_labels=np.zeros(8, int)), {}, "test_labels: expected a whole number for each of the 9"),
        (dict(test_labels=np.zeros((9, 2), int)), {}, "test_labels: expected a whole number"),
        (dict(test_labels=np.zeros(9)), {}, "of float64"),
        (dict(train_labels=np.arange(9) - 1), {}, "class numbers from 0, got -1"),
        (dict(train_labels=np.arange(9) + 1), {}, "none of 0; renumber"),
        (dict(test_labels=np.full(9, 3)), {}, "classes from 0 to 2.*got 3"),
        ({}, dict(channel_axis=0), "expected 1 or -1"),
        ({}, dict(channel_axis=4), "expected 1 or -1"),
        ({}, dict(test="train"), "expected test or val"),
        ({}, dict(offset=[0.0]), "expected both, of 1 numbers"),
        ({}, dict(offset=[0.0], scale=[0.0]), "scales above 0"),
        ({}, dict(flips=[3]), "spatial axes from 0 to 2, got 3"),
        ({}, dict(root=None), "needs --data.root"),
        ({}, dict(root="nowhere"), "there is none"),
        ({}, dict(root=__file__), "another file"),
    ],
)  # fmt: skip
def test_arrays_that_do_not_fit(tmp_path, more, settings, expected):
    root, _ = archive(tmp_path, **more)
    with pytest.raises(PDEConvError, match=expected):
        load_data(DataConfig("arrays", **dict(root=root) | settings), "classification", 0).train  # noqa: B018


def test_a_key_that_is_missing_is_named_with_those_that_are_there(tmp_path):
    np.savez(tmp_path / "set.npz", train_images=np.zeros((2, 3)), images=np.zeros(3))
    with pytest.raises(PDEConvError, match=r"val_images in .*holds images, train_images"):
        load_data(DataConfig("arrays", root=str(tmp_path / "set.npz")), "denoising", 0)
    root, _ = archive(tmp_path, train_images=np.array([{}, {}], dtype=object))
    with pytest.raises(PDEConvError, match="cannot be read as plain numbers"):
        load_data(DataConfig("arrays", root=root), "denoising", 0)


def test_which_part_is_tested(tmp_path):
    root, _ = archive(tmp_path)
    parts = {}
    for part in ("val", "test", None):
        data = load_data(DataConfig("arrays", root=root, test=part), "denoising", 0)
        parts[part] = data.test.batch(torch.arange(9), 0)[0]
    assert torch.equal(parts[None], parts["test"]) and not torch.equal(parts["val"], parts["test"])


def test_sets_are_for_classification_and_denoising():
    for name in ("arrays", "solids", "trace"):
        with pytest.raises(PDEConvError, match="is not for inpainting"):
            load_data(DataConfig(name), "inpainting", 0)
    with pytest.raises(PDEConvError, match=r"data\.erase is for classification"):
        load_data(DataConfig("solids", erase=0.5, image_size=4), "denoising", 0)
    with pytest.raises(PDEConvError, match="at least 4 cells"):
        load_data(DataConfig("solids", image_size=3), "denoising", 0)


def test_shifts_and_flips_along_each_axis():
    volumes = torch.rand(64, 2, 5, 6, 4)
    change = ShiftAndFlipAxes(0.4, flips=(1,))
    assert torch.equal(ShiftAndFlipAxes()(volumes, torch.arange(64), 0), volumes)
    changed = change(volumes, torch.arange(64), 7)
    assert torch.equal(changed[3:5], change(volumes[3:5], torch.arange(3, 5), 7)), "each by its own index"
    flipped = ShiftAndFlipAxes(flips=(0, 2))(volumes, torch.arange(64), 1)
    kinds = [
        [torch.equal(a, b.flip(axes)) for axes in ([], [1], [3], [1, 3])] for a, b in zip(flipped, volumes, strict=True)
    ]
    assert all(sum(kind) == 1 for kind in kinds) and all(any(column) for column in zip(*kinds, strict=True))
    ramp = torch.arange(10.0).expand(40, 1, 10)
    moved = ShiftAndFlipAxes(0.2)(ramp, torch.arange(40), 0)
    assert set((moved[:, 0, 5] - 5).tolist()) == {-2, -1, 0, 1, 2}


def test_a_cube_is_erased():
    gone = erased(torch.ones(30, 1, 6, 6, 6), torch.rand(30, 3, generator=torch.manual_seed(0)), 2) == 0
    counts = gone.flatten(1).sum(1)
    assert counts.max() == 8 and set(counts.tolist()) <= {1, 2, 4, 8}


def test_levels_shrink_any_axes():
    for dims in (1, 2, 3):
        u = torch.rand(2, 1, *(8,) * dims)
        assert shrunk(u, 0.5).shape == (2, 1, *(4,) * dims)
        source = CleanArrays(u, 2, 0.0, 1.0)
        small, target = Resized(source, 0.5).batch(torch.arange(2), 0)
        assert small is target and torch.allclose(small.mean(), u.mean())


def test_the_quality_of_signals_and_volumes():
    """PSNR by all cells; SSIM by a window of as many axes, so that a signal has that of an image of its copies."""
    for dims in (1, 3):
        clean = torch.rand(2, 1, *(14,) * dims)
        noisy = clean + 0.1 * torch.randn(clean.shape)
        psnr, ssim = quality(noisy, clean)
        expected = -10 * F.mse_loss(noisy.clamp(0, 1), clean, reduction="none").flatten(1).mean(1).log10()
        torch.testing.assert_close(psnr, expected)
        assert ssim.shape == (2,) and ssim.min() > 0 and ssim.max() < 1
        torch.testing.assert_close(quality(clean, clean)[1], torch.ones(2))
    signal, noisy = torch.rand(1, 1, 20), torch.rand(1, 1, 20)
    rows = [part[:, :, None].expand(1, 1, 16, 20).contiguous() for part in (noisy, signal)]
    torch.testing.assert_close(quality(noisy, signal)[1], quality(*rows)[1])


def test_solids_are_made_from_a_seed_alone():
    volumes, kinds = solids(13, seed=0, side=8)
    assert torch.equal(volumes[:7], solids(7, seed=0, side=8)[0]) and not torch.equal(volumes, solids(13, 1, 8)[0])
    assert kinds.tolist() == [*range(6), *range(6), 0] and len(SOLIDS) == 6
    assert volumes.min() >= 0 and volumes.amax((1, 2, 3, 4)).min() > 0.3 and volumes.max() <= 1
    more = solids(13, seed=0, side=8, bodies=2, noise=0.0)[0]
    assert (more >= volumes - 1e-6).all() and more.mean() > volumes.mean()
    noisy = solids(13, seed=0, side=8, noise=0.3)[0]
    assert (noisy - volumes).std().item() == pytest.approx(0.3, abs=0.02)


@pytest.mark.skipif(not PACKAGED, reason="tslearn is not there")
def test_trace_is_what_it_is():
    data = load_data(DataConfig("trace"), "classification", 0)
    assert (len(data.train), len(data.test), data.channels, data.dims, len(data.classes)) == (100, 100, 1, 1, 4)
    signals, labels = data.test.batch(torch.arange(100), 0)
    assert signals.shape == (100, 1, 275) and sorted(labels.unique().tolist()) == [0, 1, 2, 3]


RUNS = {
    "volumes/solids": ["--data.image_size", "6", "--data.train_images", "12", "--model.widths", "[4, 8]"],
    "volumes/denoise_solids": ["--data.image_size", "6", "--data.patches_per_epoch", "8", "--data.patch_size", "4"],
    "signals/trace": ["--data.train_images", "8", "--model.widths", "[4, 4, 8]", "--evaluate_every", "1"],
    "signals/denoise_trace": ["--data.patches_per_epoch", "8", "--data.patch_size", "32", "--model.channels", "2"],
}


like_others = pytest.mark.like_others


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if number in (1, 2) else like_others) for number, name in enumerate(RUNS)]
)
def test_a_run_from_its_configuration_to_its_pictures(name, tmp_path, monkeypatch, capsys):
    if name.startswith("signals") and not PACKAGED:
        pytest.skip("tslearn is not there")
    monkeypatch.setattr(array_sets, "TRAIN", (12, 11))
    monkeypatch.setattr(array_sets, "TEST", (6, 12))
    folder = tmp_path / "run"
    arguments = ["--config", str(CONFIGS / f"{name}.yaml"), *RUNS[name], "--epochs", "1", "--batch_size", "4"]
    assert train.main([*arguments, "--run", str(folder)]) == 0
    (tested,) = [record for record in map(json.loads, (folder / "metrics.jsonl").open()) if record["kind"] == "test"]
    told = capsys.readouterr().out
    first = "before_after.png" if "denoise" in name else "confusion.png"
    assert {path.name for path in (folder / "pictures").iterdir()} == {first, "evolution.png"}
    assert not (folder / "explore.html").exists() and "parameters" in told
    assert evaluate.main([str(folder), "--output", str(tmp_path / "again")]) == 0
    headline = "psnr" if "denoise" in name else "top1"
    assert f"{tested[headline]:.4f}" in capsys.readouterr().out
    with pytest.raises(PDEConvError, match="not of pictures"):
        evaluate.main([str(folder), "--image", "photo.png"])


def test_an_evaluation_repeats_the_normalisation_of_the_run(tmp_path, capsys):
    """By the numbers that the checkpoint holds: the training samples of another file do not matter."""
    root, arrays = archive(tmp_path, size=(8,))
    options = ["--task", "classification", "--model.name", "resnet_classifier", "--model.dims", "1", "--epochs", "1"]
    options += ["--batch_size", "4"]
    options += ["--model.widths", "[4]", "--model.depths", "[1]", "--data.name", "arrays", "--data.root", root]
    assert train.main([*options, "--run", str(tmp_path / "run")]) == 0
    line = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    (tmp_path / "other").mkdir()
    other, _ = archive(tmp_path / "other", **arrays | {"train_images": arrays["train_images"] * 0.01 + 7})
    assert evaluate.main([str(tmp_path / "run"), "--root", other, "--output", str(tmp_path / "out")]) == 0
    assert f"{line['loss']:.4f}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            ["--model.name", "resnet_classifier"],
            "model.dims: expected 3.*volumes.*got a model for images.*model.dims to 3",
        ),
        (["--model.name", "resnet_classifier", "--model.dims", "1"], "model.dims: expected 3"),
        (["--model.name", "resnet_classifier", "--model.dims", "4"], "dims=4"),
        (
            ["--model.name", "resnet_classifier", "--model.dims", "3", "--channels_last", "true"],
            "channels_last: .*images",
        ),
        (["--task", "denoising", "--model.name", "multiscale_denoiser_small", "--model.dims", "3"], "no option 'dims'"),
        (
            ["--task", "denoising", "--model.name", "adr_denoiser", "--model.dims", "3", "--denoising.compare", "true"],
            "denoising.compare: .*images",
        ),
    ],
)
def test_a_model_that_does_not_fit_is_one_line(given, expected, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(array_sets, "TRAIN", (12, 11))
    monkeypatch.setattr(array_sets, "TEST", (6, 12))
    task = [] if "--task" in given else ["--task", "classification"]
    arguments = [*task, *given, "--data.name", "solids", "--data.image_size", "6", "--batch_size", "4"]
    arguments += ["--run", str(tmp_path / "run")]
    with pytest.raises(SystemExit):
        run_program("train.py", lambda: train.main(arguments))
    told = capsys.readouterr().err
    assert re.search(expected, " ".join(told.split())), told
    assert not (tmp_path / "run").exists()


def test_a_run_on_two_channels_ends_with_pictures(tmp_path):
    generator = np.random.default_rng(0)
    for part in ("train", "test"):
        np.save(tmp_path / f"{part}_images.npy", generator.random((6, 2, 12, 12), dtype=np.float32))
    task = Denoising(25.0)
    data = load_data(DataConfig("arrays", root=str(tmp_path), channel_axis=1), "denoising", 0)
    model = create_model("adr_denoiser", in_channels=2).eval()
    assert len(task.pictures(model, data, task.metrics(), tmp_path / "pictures", "cpu")) >= 2


def test_a_test_sample_beyond_the_training_range_is_not_clipped_away():
    clean = torch.linspace(-0.5, 1.5, 64).reshape(1, 1, 64)
    psnr, ssim = quality(clean.clone(), clean)
    assert psnr.isinf().all() and ssim.item() == pytest.approx(1)
    inside = clean.clamp(0, 1)
    assert quality(clean, inside)[0].isinf().all()


def test_a_crop_is_read_alone_and_a_copy_is_one(tmp_path):
    array = np.arange(2 * 20 * 20, dtype=np.float64).reshape(2, 1, 20, 20) + 1e9
    np.save(tmp_path / "train_images.npy", array)
    mapped = np.load(tmp_path / "train_images.npy", mmap_mode="r")
    held, read = (CleanArrays(values, 2, 1e9, 1.0, 4, 8) for values in (torch.from_numpy(array), MappedSamples(mapped)))
    crops = held.batch(torch.arange(8), 3)[0]
    assert torch.equal(crops, read.batch(torch.arange(8), 3)[0])
    assert set(crops.unique().tolist()) <= set(range(800))  # not rounded to single precision before 1e9 goes
    assert not np.shares_memory(as_tensor(mapped).numpy(), mapped)
    assert torch.equal(MappedSamples(mapped, torch.tensor([1]))(torch.tensor([0])), torch.from_numpy(array[1:]))


def test_keys_of_arrays_are_refused_for_other_data():
    with pytest.raises(PDEConvError, match=r"data.flips is for arrays, solids, trace, the data is photographs"):
        load_data(DataConfig("photographs", flips=[0]), "denoising", 0)
    with pytest.raises(PDEConvError, match=r"data.margin is for cifar10, .*, stl10, the data is digits"):
        load_data(DataConfig("digits", margin=0.0), "classification", 0)
    with pytest.raises(PDEConvError, match=r"data.channel_axis is for arrays, .* the data is digits"):
        load_data(DataConfig("digits", channel_axis=0), "classification", 0)
