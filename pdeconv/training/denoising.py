"""Removing Gaussian noise from an image."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MeanMetric, MetricCollection

from pdeconv.errors import PDEConvError
from pdeconv.training.comparison import comparison_table
from pdeconv.training.data import Data
from pdeconv.training.image_quality import quality
from pdeconv.training.noise import EIGHT_BIT, noisy_test_image, training_noise
from pdeconv.training.tasks import Task

if TYPE_CHECKING:
    from rich.table import Table

COMPARED = 12  # classical filters take seconds an image: of a larger test set, the first so many are compared
PICTURED = 3
LEAST_ERROR = 1e-5  # of a patch, about 50 dB: a nearly clean one shall not dominate the mean of logarithms


class Denoising(Task):
    """A network that is told the noise level; PSNR and SSIM, each the mean over the test images, at full size.

    Noise is drawn anew in every step, and never clipped. Test noise depends on the image and the level alone.

    Args:
        sigma: standard deviation of the training noise in 8-bit units, or the ends of a range.
        test_sigma: level or levels of the test noise; None for ``sigma``, or the ends and the middle of its range.
        compare: whether the report compares with classical filters.
        criterion: "mse", the mean squared error, or "psnr", minus the mean PSNR of the patches, which weighs weak and
            strong noise alike.
    """

    def __init__(
        self,
        sigma: float | Sequence[float] = 25.0,
        test_sigma: float | Sequence[float] | None = None,
        compare: bool = False,
        criterion: Literal["mse", "psnr"] = "mse",
    ) -> None:
        low, high = (sigma, sigma) if isinstance(sigma, int | float) else tuple(sigma)
        if not 0 <= low <= high:
            raise PDEConvError(f"expected sigma as one level or a range [low, high], at least 0; got {sigma}")
        self.sigma = (float(low), float(high))
        if test_sigma is None:
            test_sigma = [low] if low == high else [low, (low + high) / 2, high]
        levels = [test_sigma] if isinstance(test_sigma, int | float) else test_sigma
        self.test_sigma = [float(level) for level in levels]
        if not self.test_sigma or min(self.test_sigma) < 0 or len(set(self.test_sigma)) < len(self.test_sigma):
            raise PDEConvError(f"expected test_sigma as different levels of at least 0, got {self.test_sigma}")
        self.compare, self.criterion = compare, criterion

    @property
    def levels(self) -> list[float]:
        """Those of the test, each of which has metrics of its own."""
        return self.test_sigma

    @property
    def headline(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._named("psnr", self._shown)

    @property
    def _shown(self) -> float:
        """The level that pictures and the table show: the middle one."""
        return sorted(self.levels)[len(self.levels) // 2]

    def _named(self, metric: str, level: float) -> str:
        return metric if len(self.levels) == 1 else f"{metric}_{level:g}"

    def noisy_batch(self, clean: Tensor, seed: int, first: int) -> tuple[Tensor, Tensor]:
        """A training batch with its noise, and the level that the network is told."""
        noise, sigma = training_noise(clean, self.sigma, seed, first)
        return clean + noise, sigma

    def noisy_test(self, clean: Tensor, level: float, index: int) -> tuple[Tensor, float | Tensor]:
        """Test images with their noise, and the level that the network is told."""
        return noisy_test_image(clean, level, index), level / EIGHT_BIT

    def mean_level(self, level: float, clean: Sequence[Tensor]) -> float:
        """Standard deviation of the noise over all images (C, H, W), in 8-bit units, from which filters start."""
        return level

    def described(self, level: float) -> str:
        """The noise of a level in words."""
        return f"Gaussian noise of σ = {level:g}/255"

    def loss(self, model: Callable[..., Tensor], inputs: Tensor, targets: Tensor, seed: int, first: int = 0) -> Tensor:
        denoised = model(*self.noisy_batch(inputs, seed, first)).float()
        if self.criterion == "mse":
            return F.mse_loss(denoised, targets)
        errors = (denoised - targets).square().flatten(1).mean(1)
        return 10 * torch.log10(errors + LEAST_ERROR).mean()

    def metrics(self) -> MetricCollection:
        keys = [f"{metric}{place}" for place in range(len(self.levels)) for metric in ("psnr", "ssim")]
        return MetricCollection({key: MeanMetric(nan_strategy="disable") for key in keys}, compute_groups=False)

    @torch.no_grad()
    def update(self, metrics: MetricCollection, model: nn.Module, inputs: Tensor, targets: Tensor, index: int) -> None:
        for place, level in enumerate(self.levels):
            psnr, ssim = quality(model(*self.noisy_test(inputs, level, index)), targets)
            metrics[f"psnr{place}"].update(psnr)
            metrics[f"ssim{place}"].update(ssim)

    def summary(self, metrics: MetricCollection) -> dict[str, float]:
        means = metrics.compute()
        return {
            self._named(metric, level): float(means[f"{metric}{place}"])
            for place, level in enumerate(self.levels)
            for metric in ("psnr", "ssim")
        }

    @torch.no_grad()
    def pictures(
        self, model: nn.Module, data: Data, metrics: MetricCollection, folder: Path, device: torch.device | str
    ) -> list[Path]:
        from pdeconv.training.explored import explored
        from pdeconv.training.pictures_by_dims import as_drawn, before_and_after, draw_evolution
        from pdeconv.viz import BeforeAfter, evolution_figure
        from pdeconv.viz.comparison import busiest_square

        folder.mkdir(parents=True, exist_ok=True)
        images = []
        for name, clean, noisy, denoised in self._denoised(model, data, device, PICTURED):
            before, after = (float(quality(image[None], clean[None])[0]) for image in (noisy, denoised))
            labels = f"noisy, {before:.2f} dB", f"denoised, {after:.2f} dB"
            images.append(BeforeAfter(name, clean, noisy, denoised, *labels))
        paths = [folder / "before_after.png"]
        before_and_after(images, self.described(self._shown)).savefig(paths[0])
        if data.dims != 2 and hasattr(model, "trajectory"):
            trajectory = model.trajectory(images[0].noisy[None].to(device), self._shown / EIGHT_BIT)  # pyright: ignore
            title = f"{images[0].name.capitalize()}, from noisy to denoised"
            paths.append(
                draw_evolution(folder / "evolution.png", trajectory, title, as_picture=data.channels in (1, 3))
            )
        elif hasattr(model, "trajectory"):
            top, left, side = busiest_square(images[0].clean, 128)
            part = images[0].noisy[:, top : top + side, left : left + side]
            clean, _ = data.test.batch(torch.tensor([0]), 0)
            _, told = self.noisy_test(clean.to(device), self._shown, 0)
            if isinstance(told, Tensor) and told.ndim == 4:
                told = told[..., top : top + side, left : left + side]
            trajectory = model.trajectory(part[None].to(device), told)  # pyright: ignore[reportCallIssue]
            same = all(state.shape[1] == data.channels for state in trajectory.states)
            as_picture = same and data.channels in (1, 3)
            paths.append(folder / "evolution.png")
            evolution_figure(
                trajectory,
                picture=None if as_picture else as_drawn(part),
                as_picture=as_picture,
                columns=6,
                title=f"{images[0].name.capitalize()}, from noisy to denoised",
            ).savefig(paths[1])
            shown = part[None].to(device), as_drawn(part), None, f"{images[0].name.capitalize()}, denoised"
            paths += explored(folder.parent / "explore.html", model, *shown)
        return paths

    @torch.no_grad()
    def report(self, model: nn.Module, data: Data, device: torch.device | str) -> "Table | None":
        if not self.compare:
            return None
        from pdeconv.training.baselines import classical_filters

        names, clean, noisy, denoised = zip(*self._denoised(model, data, device, COMPARED), strict=True)
        rows: dict[str, list[tuple[float, float]]] = {"noisy": _scores(noisy, clean)}
        for name, scores in classical_filters(clean, noisy, self.mean_level(self._shown, clean)).items():
            rows[name] = [(score.psnr, score.ssim) for score in scores]
        rows["this model"] = _scores(denoised, clean)
        title = f"PSNR in dB / SSIM, {self.described(self._shown)}"
        caption = "each classical filter is tuned on every image for its best PSNR"
        return comparison_table(rows, names, title, len(data.test), caption)

    def _denoised(
        self, model: nn.Module, data: Data, device: torch.device | str, count: int
    ) -> Iterator[tuple[str, Tensor, Tensor, Tensor]]:
        """(name, clean, noisy, denoised) of the first test images, each (C, H, W) on the CPU."""
        for index in range(min(count, len(data.test))):
            clean, _ = data.test.batch(torch.tensor([index]), 0)
            noisy, told = self.noisy_test(clean, self._shown, index)
            told = told.to(device) if isinstance(told, Tensor) else told
            denoised = model(noisy.to(device), told).float().cpu()
            name = data.test.names[index] if data.test.names else f"sample {index + 1}"
            yield name, clean[0], noisy[0], denoised[0]


def _scores(images: Sequence[Tensor], clean: Sequence[Tensor]) -> list[tuple[float, float]]:
    pairs = [quality(image[None], truth[None]) for image, truth in zip(images, clean, strict=True)]
    return [(float(psnr), float(ssim)) for psnr, ssim in pairs]
