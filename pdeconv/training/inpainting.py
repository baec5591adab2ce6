"""Filling the holes of an image from what is known around them."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric, MetricCollection

from pdeconv.errors import PDEConvError
from pdeconv.training.comparison import comparison_table
from pdeconv.training.data import Data
from pdeconv.training.image_quality import quality
from pdeconv.training.masks import Kind, masks_of_test, training_masks
from pdeconv.training.tasks import Task

if TYPE_CHECKING:
    from rich.table import Table

COMPARED, PICTURED = 6, 3
METRICS = ("psnr_hole", "psnr", "ssim")


class Inpainting(Task):
    """A network that is given an image with holes, and where it is known: ``model(image, mask)``.

    PSNR in the holes, and PSNR and SSIM over the image, each the mean over the test images, at full size. Masks are
    drawn anew in every step; those of the test depend on the image and the known share alone.

    Args:
        mask: kind of the masks, see :func:`pdeconv.training.masks.drawn_mask`.
        known: share of the image that is known in training, or the ends of a range.
        test_known: share or shares in the test; None for ``known``, or the ends and the middle of its range.
        compare: whether the report compares with homogeneous and biharmonic diffusion.
    """

    def __init__(
        self,
        mask: Kind = "pixels",
        known: float | Sequence[float] = 0.2,
        test_known: float | Sequence[float] | None = None,
        compare: bool = False,
    ) -> None:
        low, high = (known, known) if isinstance(known, int | float) else tuple(known)
        if not 0 < low <= high < 1:
            raise PDEConvError(f"expected known as one share or a range [low, high], between 0 and 1; got {known}")
        self.mask: Kind = mask
        self.known = (float(low), float(high))
        if test_known is None:
            test_known = [low] if low == high else [low, round((low + high) / 2, 6), high]
        shares = [test_known] if isinstance(test_known, int | float) else test_known
        self.test_known = [float(share) for share in shares]
        different = len(set(self.test_known)) == len(self.test_known) > 0
        if not different or not 0 < min(self.test_known) <= max(self.test_known) < 1:
            raise PDEConvError(f"expected test_known as different shares between 0 and 1, got {self.test_known}")
        self.compare = compare
        self.headline = self._named("psnr_hole", self._shown)

    @property
    def _shown(self) -> float:
        """The share that pictures and the table show: the middle one."""
        return sorted(self.test_known)[len(self.test_known) // 2]

    def _named(self, metric: str, share: float) -> str:
        return metric if len(self.test_known) == 1 else f"{metric}_{share:g}"

    def loss(self, model: Callable[..., Tensor], inputs: Tensor, targets: Tensor, seed: int, first: int = 0) -> Tensor:
        known = training_masks(inputs, self.mask, self.known, seed, first)
        filled = model(torch.where(known, inputs, 0.0), known).float()
        return hole_error(filled, targets, known).mean()

    def metrics(self) -> MetricCollection:
        keys = [f"{metric}{place}" for place in range(len(self.test_known)) for metric in METRICS]
        return MetricCollection({key: MeanMetric(nan_strategy="disable") for key in keys}, compute_groups=False)

    @torch.no_grad()
    def update(self, metrics: MetricCollection, model: nn.Module, inputs: Tensor, targets: Tensor, index: int) -> None:
        for place, share in enumerate(self.test_known):
            known = masks_of_test(inputs, self.mask, share, index)
            filled = model(torch.where(known, inputs, 0.0), known).float()
            values = (hole_psnr(filled, targets, known), *quality(filled, targets))
            for metric, value in zip(METRICS, values, strict=True):
                metrics[f"{metric}{place}"].update(value)

    def summary(self, metrics: MetricCollection) -> dict[str, float]:
        means = metrics.compute()
        return {
            self._named(metric, share): float(means[f"{metric}{place}"])
            for place, share in enumerate(self.test_known)
            for metric in METRICS
        }

    @torch.no_grad()
    def pictures(
        self, model: nn.Module, data: Data, metrics: MetricCollection, folder: Path, device: torch.device | str
    ) -> list[Path]:
        from pdeconv.viz import BeforeAfter, before_after_figure, evolution_figure

        folder.mkdir(parents=True, exist_ok=True)
        images = []
        for name, clean, known, filled in self._filled(model, data, device, PICTURED):
            label = f"inpainted, {float(hole_psnr(filled[None], clean[None], known[None])):.2f} dB in the holes"
            shown = torch.where(known, clean, 0.0)
            images.append(BeforeAfter(name, clean, shown, filled, "masked", label, "inpainted"))
        paths = [folder / "before_after.png"]
        before_after_figure(images, title=self._described()).savefig(paths[0])
        if hasattr(model, "trajectory"):
            clean, _ = data.test.batch(torch.tensor([0]), 0)
            known = masks_of_test(clean, self.mask, self._shown, 0)
            given = torch.where(known, clean, 0.0)
            trajectory = model.trajectory(given.to(device), known.to(device))  # pyright: ignore[reportCallIssue]
            paths.append(folder / "evolution.png")
            title = f"{images[0].name.capitalize()}, filled from coarse to fine"
            figure = evolution_figure(trajectory, picture=given[0], as_picture=True, columns=6, title=title)
            figure.savefig(paths[1])
        return paths

    @torch.no_grad()
    def report(self, model: nn.Module, data: Data, device: torch.device | str) -> "Table | None":
        if not self.compare:
            return None
        from pdeconv.training.inpainting_baselines import biharmonic, homogeneous

        rows: dict[str, list[tuple[float, float]]] = {}
        names = []
        for name, clean, known, filled in self._filled(model, data, device, COMPARED):
            names.append(name)
            pair = clean[None], known[None]
            results = {"homogeneous": homogeneous(*pair), "biharmonic": biharmonic(*pair)}
            for method, result in (results | {"this model": filled[None]}).items():
                scores = hole_psnr(result, *pair), quality(result, pair[0])[0]
                rows.setdefault(method, []).append((float(scores[0]), float(scores[1])))
        title = f"PSNR in dB in the holes / over the image, {self._described()}"
        return comparison_table(
            rows, names, title, len(data.test), "homogeneous and biharmonic diffusion, solved to the end", "{:.2f}"
        )

    def _described(self) -> str:
        shown = "of the pixels known" if self.mask == "pixels" else f"known beside {self.mask}"
        return f"{100 * self._shown:g} % {shown}"

    def _filled(
        self, model: nn.Module, data: Data, device: torch.device | str, count: int
    ) -> Iterator[tuple[str, Tensor, Tensor, Tensor]]:
        """(name, clean, known, filled) of the first test images, each (C, H, W) on the CPU."""
        for index in range(min(count, len(data.test))):
            clean, _ = data.test.batch(torch.tensor([index]), 0)
            known = masks_of_test(clean, self.mask, self._shown, index)
            filled = model(torch.where(known, clean, 0.0).to(device), known.to(device)).float().cpu()
            name = data.test.names[index] if data.test.names else f"image {index + 1}"
            yield name, clean[0], known[0], filled[0]


def hole_error(filled: Tensor, clean: Tensor, known: Tensor) -> Tensor:
    """The mean squared error over the pixels that are not known, (B,); 0 where all are."""
    hole = (~known).to(filled.dtype)
    errors = ((filled - clean).square() * hole).flatten(1).sum(1)
    return errors / (clean.shape[1] * hole.flatten(1).sum(1)).clamp(min=1)


def hole_psnr(filled: Tensor, clean: Tensor, known: Tensor) -> Tensor:
    """PSNR in dB over the pixels that are not known, (B,), for values of the range 1, clipped to [0, 1]."""
    return -10 * torch.log10(hole_error(filled.clamp(0, 1), clean, known))
