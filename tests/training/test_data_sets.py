"""The embedded and torchvision sets, and the randomness of their samples."""

import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from pdeconv.errors import PDEConvError
from pdeconv.training.augmentation import jittered, mirrored, shifted_and_flipped, turned_places, zoomed_and_flipped
from pdeconv.training.data import Data, Source, load_data
from pdeconv.training.data_config import DataConfig
from pdeconv.training.embedded import TEST_PHOTOGRAPHS, TRAIN_PHOTOGRAPHS
from pdeconv.training.photographs import Patches
from pdeconv.training.randomness import derived_seeds, uniform
from pdeconv.training.torchvision_sets import SETS


@pytest.fixture(scope="module")
def photographs() -> Data:
    return load_data(DataConfig("photographs", patch_size=24, patches_per_epoch=64), "denoising", 0)


@pytest.fixture(scope="module")
def digits() -> Data:
    return load_data(DataConfig("digits"), "classification", 0)


def assert_pure(source: Source, count: int) -> None:
    """A batch that is split, reordered or drawn again gives the same samples; another seed gives others."""
    indices = torch.randperm(len(source), generator=torch.Generator().manual_seed(1))[:count]
    whole, labels = source.batch(indices, 7)
    halves = [source.batch(part, 7) for part in (indices[: count // 3], indices[count // 3 :])]
    assert torch.equal(whole, torch.cat([images for images, _ in halves]))
    assert torch.equal(labels, torch.cat([part for _, part in halves]))
    assert torch.equal(whole.flip(0), source.batch(indices.flip(0), 7)[0])
    assert torch.equal(whole, next(iter(source.iterate([(indices, 7)])))[0])
    assert not torch.equal(whole, source.batch(indices, 8)[0])
    assert whole.dtype == torch.float32 and whole.is_contiguous()


def test_uniform_numbers_depend_on_seed_and_index_alone() -> None:
    draws = uniform(3, torch.arange(20000), 2)
    assert torch.equal(uniform(3, torch.tensor([19, 4]), 1), draws[[19, 4], :1])
    assert draws.min() >= 0 and draws.max() < 1
    assert draws.mean().item() == pytest.approx(0.5, abs=0.01)
    assert draws.var().item() == pytest.approx(1 / 12, abs=0.002)
    other_seed = uniform(4, torch.arange(19999), 1)[:, 0]
    columns = [draws[:-1, 0], draws[1:, 0], draws[:-1, 1], other_seed]
    correlations = torch.corrcoef(torch.stack(columns))
    assert (correlations - torch.eye(4)).abs().max() < 0.03
    seeds = derived_seeds(3, torch.arange(1000)) + derived_seeds(-1, torch.arange(1000))
    assert len(set(seeds)) == 2000 and min(seeds) >= 0
    assert derived_seeds(2**70 + 5, torch.arange(2)) == derived_seeds(5, torch.arange(2))


def test_photographs_for_training_and_test_share_none(photographs: Data) -> None:
    assert not set(TRAIN_PHOTOGRAPHS) & set(TEST_PHOTOGRAPHS)
    assert photographs.test.names == ("camera", "coins", "coffee")
    assert len(photographs.train) == 64 and photographs.channels == 1 and photographs.classes is None
    image = photographs.test.batch(torch.tensor([1]), 0)[0]
    assert image.shape == (1, 1, 303, 384) and image.min() >= 0 and image.max() <= 1


def test_patches_are_pure(photographs: Data) -> None:
    assert_pure(photographs.train, 30)


def test_colour_photographs() -> None:
    data = load_data(DataConfig("photographs", color="rgb", patch_size=16), "denoising", 0)
    assert data.channels == 3
    assert data.train.batch(torch.arange(5), 0)[0].shape == (5, 3, 16, 16)
    camera = data.test.batch(torch.tensor([0]), 0)[0]
    assert torch.equal(camera[:, 0], camera[:, 2])


def test_every_place_of_every_image_is_as_likely() -> None:
    images = [torch.arange(6.0).view(1, 2, 3), 6 + torch.arange(12.0).view(1, 4, 3)]
    patches = Patches.of(images, side=2, count=1, augment=False)
    corners = patches.batch(torch.arange(20000), 0)[0][:, 0, 0, 0].long()
    counts = corners.bincount()
    places = counts.nonzero()[:, 0].tolist()
    assert places == [0, 1, 6, 7, 9, 10, 12, 13]
    assert (counts[places] / 20000 - 1 / 8).abs().max() < 0.012


def test_patches_appear_in_eight_symmetries() -> None:
    image = torch.arange(9.0).view(1, 3, 3)
    patches = Patches.of([image], side=3, count=1, augment=True).batch(torch.arange(200), 0)[0]
    seen = {tuple(patch.flatten().tolist()) for patch in patches}
    wanted = {tuple(t.rot90(k).flatten().tolist()) for k in range(4) for t in (image[0], image[0].t())}
    assert seen == wanted
    rows, columns = turned_places(3, torch.zeros(1))
    assert torch.equal((rows * 3 + columns)[0], torch.arange(9).view(3, 3))


def test_small_images_continue_by_reflection() -> None:
    assert mirrored(torch.arange(-4, 8), 3).tolist() == [0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1]
    assert mirrored(torch.arange(-3, 3), 1).tolist() == [0] * 6
    patch = Patches.of([torch.tensor([[[1.0, 2.0, 3.0]]])], side=5, count=1, augment=False).batch(torch.arange(1), 0)[0]
    assert patch[0, 0].tolist() == [[1, 2, 3, 2, 1]] * 5


def test_digits_are_split_by_class(digits: Data) -> None:
    assert len(digits.train) == 1437 and len(digits.test) == 360
    images, labels = digits.test.batch(torch.arange(360), 0)
    assert images.shape == (360, 1, 8, 8) and digits.classes == tuple("0123456789")
    train_labels = digits.train.batch(torch.arange(1437), 0)[1]
    shares = labels.bincount() / (labels.bincount() + train_labels.bincount())
    assert (shares - 0.2).abs().max() < 0.005
    again = load_data(DataConfig("digits"), "classification", 5)
    assert torch.equal(images, again.test.batch(torch.arange(360), 3)[0])


def test_digits_for_training_and_test_are_disjoint() -> None:
    data = load_data(DataConfig("digits", augment=False), "classification", 0)
    train, test = (source.batch(torch.arange(len(source)), 0)[0] for source in (data.train, data.test))
    assert train.mean().abs() < 0.01 and train.std().item() == pytest.approx(1, abs=0.01)
    assert torch.cdist(train.flatten(1), test.flatten(1)).min() > 0.1


def test_augmented_digits_are_pure(digits: Data) -> None:
    assert_pure(digits.train, 50)


def test_shifts_and_flips() -> None:
    image = torch.arange(12, dtype=torch.uint8).view(1, 1, 3, 4)
    still = torch.full((1, 3), 0.49)
    assert torch.equal(shifted_and_flipped(image, still, 1, flip=False), image)
    assert torch.equal(shifted_and_flipped(image, still + 0.02, 1, flip=True), image.flip(3))
    moved = shifted_and_flipped(image, torch.tensor([[0.99, 0.0, 0.0]]), 1, flip=True)
    assert moved[0, 0].tolist() == [[5, 4, 5, 6], [9, 8, 9, 10], [5, 4, 5, 6]]


def test_jitter_and_zoom() -> None:
    image = torch.rand(2, 3, 9, 12)
    assert torch.allclose(jittered(image, torch.full((2, 4), 0.5)), image, atol=1e-5)
    right = jittered(image, torch.tensor([[0.5, 0.5, 1.0, 0.5]]).expand(2, 4))
    assert torch.allclose(right[..., :-1], image[..., 1:], atol=1e-4)
    whole = torch.tensor([[1.0, 0.5, 0.3, 0.7, 0.0]]).expand(2, 5)
    square = torch.rand(2, 3, 8, 8)
    assert torch.allclose(zoomed_and_flipped(square, whole, 8), square, atol=1e-5)
    flipped = torch.tensor([[1.0, 0.5, 0.3, 0.7, 0.9]]).expand(2, 5)
    assert torch.allclose(zoomed_and_flipped(square, flipped, 8), square.flip(3), atol=1e-5)
    draws = torch.rand(2, 5, generator=torch.Generator().manual_seed(0))
    inside = zoomed_and_flipped(square, draws, 4)
    assert inside.shape == (2, 3, 4, 4) and inside.min() >= square.min() and inside.max() <= square.max()


def test_data_must_fit_the_task() -> None:
    with pytest.raises(PDEConvError, match="digits is not for denoising, which takes photographs"):
        load_data(DataConfig("digits"), "denoising", 0)


def write_idx(path: Path, values: np.ndarray) -> None:
    header = struct.pack(">HBB", 0, 8, values.ndim) + struct.pack(f">{values.ndim}I", *values.shape)
    path.write_bytes(header + values.tobytes())


def test_mnist_from_its_files(tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    random = np.random.default_rng(0)
    for part, count in (("train", 12), ("t10k", 5)):
        write_idx(raw / f"{part}-images-idx3-ubyte", random.integers(0, 256, (count, 28, 28), dtype=np.uint8))
        write_idx(raw / f"{part}-labels-idx1-ubyte", np.arange(count, dtype=np.uint8) % 10)
    data = load_data(DataConfig("mnist", root=str(tmp_path)), "classification", 0)
    assert (len(data.train), len(data.test), data.channels) == (12, 5, 1)
    assert data.classes == tuple("0123456789") and data.train.in_memory
    images, labels = data.train.batch(torch.arange(12), 0)
    assert images.shape == (12, 1, 28, 28) and labels.tolist() == [*range(10), 0, 1]
    assert_pure(data.train, 12)


def test_cifar_from_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets

    monkeypatch.setattr(datasets.CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr(datasets.cifar, "check_integrity", lambda *_: True)
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    names = [str(k) for k in range(10)]
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names}))
    pixels = np.random.default_rng(0).integers(0, 256, (6, 3072), dtype=np.uint8)
    for name in [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]:
        (folder / name).write_bytes(pickle.dumps({"data": pixels, "labels": list(range(6))}))
    data = load_data(DataConfig("cifar10", root=str(tmp_path), augment=False), "classification", 0)
    assert (len(data.train), len(data.test), data.channels, data.classes) == (30, 6, 3, tuple(names))
    image = data.train.batch(torch.tensor([8]), 0)[0][0]
    mean, deviation = torch.tensor([0.4914, 0.4822, 0.4465]), torch.tensor([0.2470, 0.2435, 0.2616])
    raw = torch.from_numpy(pixels[2].reshape(3, 32, 32)) / 255
    assert torch.allclose(image, (raw - mean[:, None, None]) / deviation[:, None, None], atol=1e-5)


class FakeSplitSet:
    """As torchvision's SVHN and STL10: parts by ``split``, images as (N, C, H, W), ``labels`` for ``targets``."""

    classes = ("a", "b")

    def __init__(self, root: str, split: str, download: bool) -> None:
        count = {"train": 4, "test": 2}[split]
        self.data = np.full((count, 3, 32, 32), 7, dtype=np.uint8)
        self.labels = np.arange(count) % 2


def test_sets_in_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets

    monkeypatch.setattr(datasets, "SVHN", FakeSplitSet)
    monkeypatch.setattr(datasets, "STL10", FakeSplitSet)
    svhn = load_data(DataConfig("svhn", root=str(tmp_path)), "classification", 0)
    stl10 = load_data(DataConfig("stl10", root=str(tmp_path)), "classification", 0)
    assert (len(svhn.train), len(svhn.test), len(svhn.classes or ())) == (4, 2, 10)
    assert stl10.classes == ("a", "b")
    assert svhn.train.batch(torch.arange(4), 0)[0].shape == (4, 3, 32, 32)


class Ramps(FakeSplitSet):
    def __init__(self, *given, **named) -> None:
        super().__init__(*given, **named)
        self.data[:] = np.arange(32, dtype=np.uint8)


@pytest.mark.parametrize(("margin", "most"), [(None, 4), (0.07, 2), (0.0, 0)])
def test_images_shift_by_as_much_as_the_configuration_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, margin: float | None, most: int
) -> None:
    from torchvision import datasets

    monkeypatch.setattr(datasets, "SVHN", Ramps)
    train = load_data(DataConfig("svhn", root=str(tmp_path), margin=margin), "classification", 0).train
    mean, deviation = SETS["svhn"].statistics
    middle = torch.stack([train.batch(torch.tensor([0]), seed)[0][0, 0, 16, 16] for seed in range(100)])
    moved = ((middle * deviation[0] + mean[0]) * 255 - 16).round()
    assert (moved.min(), moved.max()) == (-most, most)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "mnist", "fashion_mnist", "svhn", "stl10"])
def test_a_missing_set_says_where_it_should_be(tmp_path: Path, name: str) -> None:
    with pytest.raises(PDEConvError, match=rf"{tmp_path}.*--data\.download true"):
        load_data(DataConfig(name, root=str(tmp_path)), "classification", 0)  # pyright: ignore[reportArgumentType]
    with pytest.raises(PDEConvError, match=r"--data\.root"):
        load_data(DataConfig(name), "classification", 0)  # pyright: ignore[reportArgumentType]
