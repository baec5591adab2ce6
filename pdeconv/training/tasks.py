"""What a network learns: its loss, its metrics, its pictures."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torchmetrics import MetricCollection

from pdeconv.errors import PDEConvError
from pdeconv.training.config import TrainConfig
from pdeconv.training.data import Data
from pdeconv.training.network import require_argument, require_dims

if TYPE_CHECKING:
    from rich.table import Table


class Task(ABC):
    """What training, evaluation and the end of a run need to know about a task."""

    headline: str
    """the metric that sums up the run; higher is better"""

    @abstractmethod
    def loss(self, model: Callable[..., Tensor], inputs: Tensor, targets: Tensor, seed: int, first: int = 0) -> Tensor:
        """The mean loss over the local batch.

        Args:
            model: the network, or its first stages, called as the network is.
            inputs: (B, C, H, W) of a training source.
            targets: what the source gives with them.
            seed: of this optimizer step.
            first: position of the first local sample within the global batch. Noise and mixing depend on the seed and
                the position in the global batch alone, so several processes draw what one alone would.
        """

    @abstractmethod
    def metrics(self) -> MetricCollection:
        """Empty metrics, to be moved to the device, updated batch by batch, and reduced over the processes."""

    @abstractmethod
    def update(self, metrics: MetricCollection, model: nn.Module, inputs: Tensor, targets: Tensor, index: int) -> None:
        """Count one test batch; ``index`` is the number of its first sample within the test set."""

    @abstractmethod
    def summary(self, metrics: MetricCollection) -> dict[str, float]:
        """The metrics as plain numbers by name, ``headline`` among them."""

    @abstractmethod
    def pictures(
        self, model: nn.Module, data: Data, metrics: MetricCollection, folder: Path, device: torch.device | str
    ) -> list[Path]:
        """Write the pictures that show what the network does, and return their paths.

        Args:
            model: the network itself, in evaluation mode, not wrapped for distribution or compilation.
            data: the run's data.
            metrics: those of the last evaluation.
            folder: where the pictures go; made if it is not there.
            device: where the model is.
        """

    @abstractmethod
    def report(self, model: nn.Module, data: Data, device: torch.device | str) -> "Table | None":
        """A table for the end of the run, or None."""


def create_task(config: TrainConfig, data: Data) -> Task:
    """The task that a configuration names."""
    require_dims(config, data)
    if config.task == "classification":
        from pdeconv.training.classification import Classification

        if data.classes is None:
            raise PDEConvError(f"the data {config.data.name} has no classes, so it cannot be classified")
        settings = config.classification
        return Classification(data.classes, settings.label_smoothing, settings.mixup)
    if config.task == "inpainting":
        from pdeconv.training.inpainting import Inpainting

        require_argument(config.model.name, "mask", config.task)
        return Inpainting(**dataclasses.asdict(config.inpainting))
    if config.task == "forecast":
        from pdeconv.training.forecasting import Forecasting

        require_argument(config.model.name, "horizon", config.task)
        return Forecasting(config.forecast.thresholds, config.forecast.compare)
    require_argument(config.model.name, "sigma", config.task)
    from pdeconv.training.denoising import Denoising

    settings = config.denoising
    if settings.noise == "poisson_gaussian":
        from pdeconv.training.camera_denoising import CameraDenoising

        tested = settings.test_sigma
        read = tested[0] if isinstance(tested, list) else tested
        return CameraDenoising(settings.gain, settings.sigma, settings.test_gain, read, settings.compare, settings.loss)
    return Denoising(settings.sigma, settings.test_sigma, settings.compare, settings.loss)
