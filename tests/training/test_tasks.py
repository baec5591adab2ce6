"""Losses, metrics, noise and pictures of the tasks."""

import io
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pdeconv.errors import PDEConvError
from pdeconv.training.classification import Classification, mixing
from pdeconv.training.config import TrainConfig
from pdeconv.training.data import Data
from pdeconv.training.data_config import DataConfig
from pdeconv.training.denoising import Denoising
from pdeconv.training.image_quality import quality
from pdeconv.training.labelled_images import LabelledImages
from pdeconv.training.model_config import ModelConfig
from pdeconv.training.noise import noisy_test_image, training_noise
from pdeconv.training.photographs import Patches, WholeImages
from pdeconv.training.task_config import ClassificationConfig, DenoisingConfig
from pdeconv.training.tasks import create_task


class Blur(nn.Module):
    """A denoiser that evolves the image itself."""

    def trajectory(self, u: Tensor, sigma: object = None) -> SimpleNamespace:
        states = [u]
        for _ in range(4):
            states.append(F.avg_pool2d(F.pad(states[-1], (1, 1, 1, 1), mode="replicate"), 3, stride=1))
        return SimpleNamespace(times=torch.arange(5) / 4, states=tuple(states))

    def forward(self, u: Tensor, sigma: object = None) -> Tensor:
        return self.trajectory(u).states[-1]


class Same(nn.Module):
    """A denoiser that leaves the image as it is."""

    def forward(self, u: Tensor, sigma: object = None) -> Tensor:
        return u


class Linear(nn.Module):
    """A classifier with two channels of features."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(classes, 64, generator=torch.Generator().manual_seed(0)))

    def trajectory(self, x: Tensor) -> SimpleNamespace:
        u = torch.cat([x, -x], dim=1)
        return SimpleNamespace(times=torch.tensor([0.0, 1.0]), states=(u, F.avg_pool2d(u, 2)))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight.t()


def smooth_images() -> tuple[Tensor, ...]:
    across = torch.linspace(0, 1, 40)
    return (across[None, None, :].expand(1, 36, 40).contiguous(), (across[:36, None] * across[None, :])[None])


@pytest.fixture
def pictures() -> Data:
    images = smooth_images()
    return Data(lambda: Patches.of(images, 16, 8, True), WholeImages(images, ("ramp", "saddle")), 1, None)


def test_the_named_task_is_made(pictures: Data) -> None:
    config = TrainConfig("denoising", ModelConfig("x"), DataConfig("photographs"), "run")
    config.denoising = DenoisingConfig(sigma=(5.0, 55.0))
    task = create_task(config, pictures)
    assert isinstance(task, Denoising) and task.test_sigma == [5, 30, 55] and task.headline == "psnr_30"
    config = TrainConfig("classification", ModelConfig("x"), DataConfig("digits"), "run")
    config.classification = ClassificationConfig(label_smoothing=0.1, mixup=0.2)
    with pytest.raises(PDEConvError, match="no classes"):
        create_task(config, pictures)
    task = create_task(config, Data(pictures.load_train, pictures.test, 1, ("a", "b")))
    assert isinstance(task, Classification) and (task.label_smoothing, task.mixup) == (0.1, 0.2)


def test_training_noise_depends_on_step_and_position_alone() -> None:
    clean = torch.zeros(6, 1, 32, 32)
    noise, levels = training_noise(clean, (5, 45), seed=3)
    split = [training_noise(clean[:2], (5, 45), 3, 0), training_noise(clean[2:], (5, 45), 3, 2)]
    for whole, parts in zip((noise, levels), zip(*split, strict=True), strict=True):
        assert torch.equal(whole, torch.cat(parts))
    noise, levels = training_noise(clean, (25, 25), seed=3)
    assert torch.equal(levels, torch.full((6,), 25 / 255))
    assert not torch.equal(noise, training_noise(clean, (25, 25), seed=4)[0])
    assert len({sample.sum().item() for sample in noise}) == 6
    assert noise.std().item() == pytest.approx(25 / 255, rel=0.05) and abs(noise.mean().item()) < 0.005
    before = torch.get_rng_state()
    training_noise(clean, (25, 25), seed=3)
    assert torch.equal(before, torch.get_rng_state())


def test_a_range_of_noise_levels_is_drawn_evenly() -> None:
    noise, told = training_noise(torch.zeros(400, 1, 24, 24), (10, 50), seed=0)
    levels = noise.flatten(1).std(dim=1) * 255
    torch.testing.assert_close(levels, told * 255, rtol=0.15, atol=0.0)
    assert 9 < levels.min() < 12 and 48 < levels.max() < 54
    assert levels.mean().item() == pytest.approx(30, abs=2)


def test_test_noise_is_not_clipped_and_always_the_same() -> None:
    clean = torch.cat([torch.zeros(2, 1, 32, 32), torch.ones(2, 1, 32, 32)])
    noisy = noisy_test_image(clean, 25, 5)
    assert noisy.min() < 0 and noisy.max() > 1
    assert torch.equal(noisy[2:], noisy_test_image(clean[2:], 25, 7))
    assert torch.equal(noisy, noisy_test_image(clean, 25.0, 5))
    assert not torch.equal(noisy - clean, noisy_test_image(clean, 25.5, 5) - clean)
    with pytest.raises(PDEConvError, match="at least 0"):
        noisy_test_image(clean, -1, 0)


def test_quality_against_values_computed_by_hand() -> None:
    clean = torch.full((2, 1, 16, 16), 0.5)
    estimate = clean + torch.tensor([0.1, 0.2]).view(2, 1, 1, 1)
    psnr, ssim = quality(estimate, clean)
    assert psnr.tolist() == pytest.approx([20, -10 * math.log10(0.04)], abs=1e-4)
    by_hand = [
        (2 * a * b + 1e-4) / (a * a + b * b + 1e-4) for a, b in ((0.5, 0.6), (0.5, 0.7))
    ]  # no structure: only means
    assert ssim.tolist() == pytest.approx(by_hand, abs=1e-4)
    assert quality(torch.full((1, 1, 8, 8), 1.5), torch.ones(1, 1, 8, 8))[0].item() == math.inf
    assert quality(torch.zeros(1, 1, 3, 3), torch.ones(1, 1, 3, 3))[1].isnan().all()


def test_quality_agrees_with_scikit_image() -> None:
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    clean = torch.rand(1, 1, 40, 48, generator=torch.Generator().manual_seed(0))
    estimate = (clean + 0.1 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    psnr, ssim = quality(estimate, clean)
    pair = clean[0, 0].double().numpy(), estimate[0, 0].double().numpy()
    reference = structural_similarity(
        *pair, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert psnr.item() == pytest.approx(peak_signal_noise_ratio(*pair, data_range=1), abs=1e-4)
    assert ssim.item() == pytest.approx(float(np.asarray(reference)), abs=1e-3)  # they differ at the border


def test_denoising_loss_is_the_mean_squared_error(pictures: Data) -> None:
    clean, target = pictures.train.batch(torch.arange(8), 0)
    task = Denoising(25)
    noise, _ = training_noise(clean, (25, 25), 9, 4)
    assert task.loss(Same(), clean, target, 9, 4).item() == pytest.approx(noise.square().mean().item(), rel=1e-5)
    halves = [task.loss(Blur(), clean[part], target[part], 9, part.start) for part in (slice(0, 4), slice(4, 8))]
    assert torch.stack(halves).mean().item() == pytest.approx(task.loss(Blur(), clean, target, 9).item(), rel=1e-5)


def test_denoising_metrics_are_means_over_images(pictures: Data) -> None:
    task = Denoising(25, [12.5, 50])
    metrics = task.metrics()
    expected: dict[str, list[float]] = {}
    for index in range(2):
        clean, target = pictures.test.batch(torch.tensor([index]), 0)
        task.update(metrics, Blur(), clean, target, index)
        for sigma in (12.5, 50):
            psnr, ssim = quality(Blur()(noisy_test_image(clean, sigma, index)), clean)
            expected.setdefault(f"psnr_{sigma}", []).append(psnr.item())
            expected.setdefault(f"ssim_{sigma}", []).append(ssim.item())
    summary = task.summary(metrics)
    assert summary == pytest.approx({name: sum(values) / 2 for name, values in expected.items()}, abs=1e-4)
    assert task.headline in summary


@pytest.mark.parametrize(("sigma", "levels"), [((30, 10), None), (-1, None), (25, []), (25, [15, 15]), (25, [-1])])
def test_impossible_noise_levels_are_refused(sigma, levels) -> None:
    with pytest.raises(PDEConvError, match="sigma"):
        Denoising(sigma, levels)


def test_classification_loss_is_cross_entropy() -> None:
    inputs, targets = torch.randn(6, 1, 8, 8), torch.tensor([0, 1, 2, 0, 1, 2])
    model = Linear(3)
    wanted = F.cross_entropy(model(inputs), targets, label_smoothing=0.1)
    assert torch.equal(Classification("abc", 0.1).loss(model, inputs, targets, 0), wanted)


def test_mixup_mixes_neighbours_of_the_global_batch() -> None:
    inputs, targets = torch.randn(8, 1, 8, 8), torch.arange(8) % 3
    model, task = Linear(3), Classification("abc", 0.1, mixup=0.4)
    loss = task.loss(model, inputs, targets, 5)
    halves = [task.loss(model, inputs[part], targets[part], 5, part.start) for part in (slice(0, 4), slice(4, 8))]
    assert loss.item() == pytest.approx(torch.stack(halves).mean().item(), rel=1e-5)
    partner, weight = mixing(8, 0.4, 5, 0)
    assert partner.tolist() == [1, 0, 3, 2, 5, 4, 7, 6]
    mixed = weight.view(-1, 1, 1, 1) * inputs + (1 - weight.view(-1, 1, 1, 1)) * inputs[partner]
    hot = F.one_hot(targets, 3).float()
    soft = weight[:, None] * hot + (1 - weight[:, None]) * hot[partner]
    assert loss.item() == pytest.approx(F.cross_entropy(model(mixed), soft, label_smoothing=0.1).item(), rel=1e-4)
    assert mixing(3, 0.4, 5, 1)[0].tolist() == [0, 2, 1]


def test_mixup_weights_follow_the_beta_distribution() -> None:
    weight = mixing(4000, 0.5, 1, 0)[1]
    assert weight.min() >= 0 and weight.max() <= 1
    assert weight.mean().item() == pytest.approx(0.5, abs=0.02)
    assert weight.var().item() == pytest.approx(0.25 / 2, abs=0.01)


def test_a_classifier_whose_logits_are_no_numbers_has_no_accuracy() -> None:
    """Else one that diverged in its last step would end as if it had gone well: NaN is the largest of NaNs."""
    task = Classification(("a", "b"))
    metrics = task.metrics()
    task.update(metrics, nn.Identity(), torch.full((4, 2), torch.nan), torch.tensor([0, 1, 0, 1]), 0)
    assert math.isnan(task.summary(metrics)[task.headline])


def test_classification_metrics_by_hand() -> None:
    logits = torch.tensor([[3.0, 2, 1, 0, -1, -2], [3, 2, 1, 0, -1, -2], [3, 2, 1, 0, -1, -2], [0, 1, 2, 3, 4, 5]])
    targets = torch.tensor([0, 4, 5, 5])
    task = Classification("abcdef")
    metrics = task.metrics()
    task.update(metrics, nn.Identity(), logits[:3], targets[:3], 0)
    task.update(metrics, nn.Identity(), logits[3:], targets[3:], 3)
    loss = float(F.cross_entropy(logits, targets))
    assert task.summary(metrics) == pytest.approx({"top1": 50, "top5": 75, "loss": loss}, rel=1e-5)
    confusion = metrics["confusion"].compute()
    assert confusion.sum() == 4 and confusion[4, 0] == confusion[5, 0] == confusion[5, 5] == 1
    assert Classification("ab").metrics()["top5"].top_k == 2


@pytest.mark.parametrize("settings", [("a", 0.0, 0.0), ("ab", 1.0, 0.0), ("ab", 0.0, -1.0)])
def test_impossible_classification_settings_are_refused(settings) -> None:
    with pytest.raises(PDEConvError, match="expected"):
        Classification(*settings)


def test_pictures_of_denoising(pictures: Data, tmp_path: Path) -> None:
    task = Denoising(25)
    paths = task.pictures(Blur(), pictures, task.metrics(), tmp_path / "new", "cpu")
    assert [path.name for path in paths] == ["before_after.png", "evolution.png"]
    assert all(path.stat().st_size > 10_000 for path in paths)
    paths = task.pictures(Same(), pictures, task.metrics(), tmp_path, "cpu")
    assert [path.name for path in paths] == ["before_after.png"]


def test_pictures_of_classification(tmp_path: Path) -> None:
    images = LabelledImages(torch.randint(256, (6, 1, 8, 8)).byte(), torch.arange(6) % 3, 255.0, ((0.5,), (0.5,)))
    task, metrics = Classification("abc"), Classification("abc").metrics()
    task.update(metrics, Linear(3), *images.batch(torch.arange(6), 0), 0)
    paths = task.pictures(Linear(3), Data(lambda: images, images, 1, ("a", "b", "c")), metrics, tmp_path, "cpu")
    assert [path.name for path in paths] == ["confusion.png", "evolution.png"]
    assert all(path.stat().st_size > 5_000 for path in paths)


def test_the_report_compares_with_classical_filters(pictures: Data) -> None:
    from rich.console import Console

    assert Denoising(25).report(Blur(), pictures, "cpu") is None
    table = Denoising(25, compare=True).report(Blur(), pictures, "cpu")
    console = Console(width=120, file=io.StringIO(), record=True)
    console.print(table)
    text = console.export_text()
    for word in ("noisy", "wavelet", "total variation", "non-local means", "this model", "ramp", "saddle", "mean"):
        assert word in text
    assert table is not None and table.row_count == 5
