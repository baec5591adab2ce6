"""Naming the class of an image."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix

from pdeconv.errors import PDEConvError
from pdeconv.training.data import Data
from pdeconv.training.randomness import uniform
from pdeconv.training.tasks import Task

if TYPE_CHECKING:
    from rich.table import Table


class Classification(Task):
    """Cross-entropy, with label smoothing and mixup if wanted; top-1 and top-5 accuracy in percent.

    Args:
        classes: their names.
        label_smoothing: share of the target spread evenly over the classes, 0 to below 1.
        mixup: parameter of the beta distribution of the mixing weights; 0 for none.
    """

    headline = "top1"

    def __init__(self, classes: Sequence[str], label_smoothing: float = 0.0, mixup: float = 0.0) -> None:
        if len(classes) < 2:
            raise PDEConvError(
                f"expected at least two classes, got {', '.join(classes) or 'none'}; add a folder for another"
            )
        if not 0 <= label_smoothing < 1:
            raise PDEConvError(f"expected label_smoothing of at least 0 and below 1, got {label_smoothing}")
        if mixup < 0:
            raise PDEConvError(f"expected mixup of at least 0, got {mixup}")
        self.classes = tuple(classes)
        self.label_smoothing = label_smoothing
        self.mixup = mixup

    def loss(self, model: Callable[..., Tensor], inputs: Tensor, targets: Tensor, seed: int, first: int = 0) -> Tensor:
        if self.mixup == 0:
            return F.cross_entropy(model(inputs).float(), targets, label_smoothing=self.label_smoothing)
        partner, weight = mixing(len(inputs), self.mixup, seed, first)
        partner, weight = partner.to(inputs.device), weight.to(inputs.device)
        shaped = weight.view(-1, *(1,) * (inputs.dim() - 1)).to(inputs.dtype)
        logits = model(torch.lerp(inputs[partner], inputs, shaped)).float()
        smoothing = self.label_smoothing
        own = F.cross_entropy(logits, targets, label_smoothing=smoothing, reduction="none")
        other = F.cross_entropy(logits, targets[partner], label_smoothing=smoothing, reduction="none")
        return torch.lerp(other, own, weight).mean()

    def metrics(self) -> MetricCollection:
        count = len(self.classes)
        return MetricCollection(
            {
                "top1": MulticlassAccuracy(count, average="micro"),
                "top5": MulticlassAccuracy(count, top_k=min(5, count), average="micro"),
                "confusion": MulticlassConfusionMatrix(count),
                "loss": MeanMetric(nan_strategy="disable"),
            },
            compute_groups=False,
        )

    @torch.no_grad()
    def update(self, metrics: MetricCollection, model: nn.Module, inputs: Tensor, targets: Tensor, index: int) -> None:
        logits = model(inputs).float()
        for name in ("top1", "top5", "confusion"):
            metrics[name].update(logits, targets)
        metrics["loss"].update(F.cross_entropy(logits, targets, reduction="none"))

    def summary(self, metrics: MetricCollection) -> dict[str, float]:
        loss = float(metrics["loss"].compute())
        accuracy = {name: 100 * float(metrics[name].compute()) for name in ("top1", "top5")}
        if not math.isfinite(loss):  # logits that are no numbers have an accuracy all the same
            accuracy = dict.fromkeys(accuracy, math.nan)
        return accuracy | {"loss": loss}

    @torch.no_grad()
    def pictures(
        self, model: nn.Module, data: Data, metrics: MetricCollection, folder: Path, device: torch.device | str
    ) -> list[Path]:
        from pdeconv.training.explored import explored
        from pdeconv.training.pictures_by_dims import draw_evolution
        from pdeconv.viz import confusion_figure, evolution_figure

        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / "confusion.png"]
        confusion_figure(metrics["confusion"].compute(), self.classes).savefig(paths[0])
        if hasattr(model, "trajectory"):
            images, labels = data.test.batch(torch.tensor([0]), 0)
            trajectory = model.trajectory(images.to(device))  # pyright: ignore[reportCallIssue]
            name = self.classes[int(labels[0])]
            if data.dims != 2:
                title = f"Features in time, for a test sample of {name}"
                return [*paths, draw_evolution(folder / "evolution.png", trajectory, title)]
            paths.append(folder / "evolution.png")
            figure = evolution_figure(
                trajectory, picture=_visible(images[0]), title=f"Feature maps in time, for a test image of {name}"
            )
            figure.savefig(paths[1])
            shown = images.to(device), _visible(images[0]), self.classes, f"A test image of {name}"
            paths += explored(folder.parent / "explore.html", model, *shown)
        return paths

    def report(self, model: nn.Module, data: Data, device: torch.device | str) -> "Table | None":
        return None


def mixing(count: int, strength: float, seed: int, first: int) -> tuple[Tensor, Tensor]:
    """Mixup's partner of each sample, and its own weight, which follows the beta distribution (strength, strength).

    Positions 2k and 2k+1 of the global batch, which is in random order, are each other's partners: so a batch split
    over processes at even places is mixed just as one in a single process. A sample without its partner stays alone.

    Returns:
        (B,) local indices and (B,) weights in [0, 1].
    """
    from scipy.special import betaincinv

    positions = torch.arange(first, first + count)
    partner = (positions ^ 1) - first
    alone = (partner < 0) | (partner >= count)
    partner = torch.where(alone, torch.arange(count), partner)
    weight = betaincinv(strength, strength, uniform(seed, positions, 1)[:, 0].numpy())
    return partner, torch.from_numpy(weight).float()


def _visible(image: Tensor) -> Tensor:
    """A normalised image brought back into [0, 1], for looking at; gray or RGB."""
    from pdeconv.training.pictures_by_dims import as_drawn  # matplotlib is not needed before

    image = as_drawn(image)
    low, high = image.min(), image.max()
    return (image - low) / (high - low).clamp(min=1e-12)
