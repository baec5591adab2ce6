"""Forecasting the frames to come from the frames so far."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from accelerate.utils import extract_model_from_parallel
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric, MetricCollection, SumMetric

from pdeconv.errors import PDEConvError
from pdeconv.training.data import Data
from pdeconv.training.image_quality import quality
from pdeconv.training.tasks import Task

if TYPE_CHECKING:
    from rich.table import Table

COMPARED = 64  # sequences of the table by lead time


class Forecasting(Task):
    """A network that is given frames and says those to come, ``model(frames, horizon)``.

    It learns by the mean squared error of every frame that it forecasts: where its ``forward`` has ``all_frames``, of
    the given frames after the first too, each from those before it. Cells without a measurement, NaN, are 0 to the
    network, and do not count. The metrics are over the frames to come: ``psnr`` of the mean squared error ``mse``
    over all cells, the mean absolute error ``mae``, the mean ``ssim`` of frames, in which unknown cells are 0 in both,
    and for each threshold the critical success index ``csi``, hits / (hits + misses + false alarms) of reaching it. Of
    several processes each takes the mean over the cells that it knows.

    Args:
        thresholds: from 0 to 1, for the critical success index.
        compare: whether the report compares with persistence.
    """

    headline = "psnr"

    def __init__(self, thresholds: list[float] | tuple[float, ...] = (), compare: bool = False) -> None:
        if not all(0 <= value <= 1 for value in thresholds) or len(set(thresholds)) != len(thresholds):
            raise PDEConvError(f"expected different thresholds from 0 to 1, got {list(thresholds)}")
        self.thresholds, self.compare = tuple(thresholds), compare

    def loss(self, model: Callable[..., Tensor], inputs: Tensor, targets: Tensor, seed: int, first: int = 0) -> Tensor:
        frames, horizon = inputs.nan_to_num(0.0), targets.shape[1]
        if _forecasts_all(model):
            forecast, truth = model(frames, horizon, all_frames=True), torch.cat((inputs[:, 1:], targets), 1)
        else:
            forecast, truth = model(frames, horizon), targets
        known = truth.isfinite()
        errors = torch.where(known, forecast.float() - truth.nan_to_num(0.0), 0.0).square()
        return errors.sum() / known.sum().clamp(min=1)

    def metrics(self) -> MetricCollection:
        found: dict[str, Metric | MetricCollection] = {
            key: MeanMetric(nan_strategy="disable") for key in ("mse", "mae", "ssim")
        }
        found |= {f"{kind}{place}": SumMetric() for place in range(len(self.thresholds)) for kind in ("hit", "event")}
        return MetricCollection(found, compute_groups=False)

    @torch.no_grad()
    def update(self, metrics: MetricCollection, model: nn.Module, inputs: Tensor, targets: Tensor, index: int) -> None:
        forecast = model(inputs.nan_to_num(0.0), targets.shape[1]).float().clamp(0, 1)
        known = targets.isfinite()
        truth = targets.nan_to_num(0.0)
        error, count = torch.where(known, forecast - truth, 0.0), known.sum()
        metrics["mse"].update(error.square().sum() / count.clamp(min=1), count)
        metrics["mae"].update(error.abs().sum() / count.clamp(min=1), count)
        _, ssim = quality(torch.where(known, forecast, 0.0).flatten(0, 1), truth.flatten(0, 1))
        metrics["ssim"].update(ssim)
        for place, threshold in enumerate(self.thresholds):
            there, said = (truth >= threshold) & known, (forecast >= threshold) & known
            metrics[f"hit{place}"].update((there & said).sum())
            metrics[f"event{place}"].update((there | said).sum())

    def summary(self, metrics: MetricCollection) -> dict[str, float]:
        found = {name: float(value) for name, value in metrics.compute().items()}
        summary = {"psnr": float(-10 * torch.log10(torch.tensor(found["mse"])))}
        summary |= {name: found[name] for name in ("mse", "mae", "ssim")}
        for place, threshold in enumerate(self.thresholds):
            events = found[f"event{place}"]
            summary[f"csi_{threshold:g}"] = found[f"hit{place}"] / events if events else float("nan")
        return summary

    @torch.no_grad()
    def pictures(
        self, model: nn.Module, data: Data, metrics: MetricCollection, folder: Path, device: torch.device | str
    ) -> list[Path]:
        from pdeconv.viz import forecast_figure

        folder.mkdir(parents=True, exist_ok=True)
        inputs, targets = data.test.batch(torch.tensor([0]), 0)
        forecast = model(inputs.nan_to_num(0.0).to(device), targets.shape[1]).float().cpu()
        forecast_figure(inputs[0], targets[0], forecast[0]).savefig(folder / "forecast.png")
        return [folder / "forecast.png"]

    @torch.no_grad()
    def report(self, model: nn.Module, data: Data, device: torch.device | str) -> "Table | None":
        if not self.compare:
            return None
        from rich import box
        from rich.table import Table

        horizon = data.test.batch(torch.tensor([0]), 0)[1].shape[1]
        sums = {name: torch.zeros(horizon) for name in ("persistence", "this model")}
        known = torch.zeros(horizon)
        count = min(COMPARED, len(data.test))
        for index in (torch.arange(count) * len(data.test) // count).tolist():
            inputs, targets = data.test.batch(torch.tensor([index]), 0)
            frames = inputs.nan_to_num(0.0)
            sums["persistence"] += lead_errors(frames[:, -1:].expand_as(targets), targets)
            sums["this model"] += lead_errors(model(frames.to(device), horizon).float().cpu(), targets)
            known += targets.isfinite().sum((0, 2, 3, 4))
        title = f"Mean absolute error by lead time, on {count} of {len(data.test)} test sequences"
        table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        leads = sorted({1, *range(5, horizon, 5), horizon})
        for heading in ("frames ahead", *map(str, leads)):
            table.add_column(heading, justify="left" if heading == "frames ahead" else "right", no_wrap=True)
        for name, errors in sums.items():
            style = "bold" if name == "this model" else ""
            table.add_row(name, *(f"{errors[lead - 1] / known[lead - 1]:.4f}" for lead in leads), style=style)
        return table


def lead_errors(forecast: Tensor, truth: Tensor) -> Tensor:
    """The sum of absolute errors of each frame to come, (horizon,), where it is known; forecasts are held in [0, 1]."""
    return torch.where(truth.isfinite(), forecast.clamp(0, 1) - truth.nan_to_num(0.0), 0.0).abs().sum((0, 2, 3, 4))


def _forecasts_all(model: Callable[..., Tensor]) -> bool:
    """Whether a model, wrapped or not, can be asked for the frames after the first."""
    alone = extract_model_from_parallel(model) if isinstance(model, nn.Module) else model
    return "all_frames" in inspect.signature(getattr(alone, "forward", alone)).parameters
