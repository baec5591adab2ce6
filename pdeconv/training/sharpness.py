"""How sharp the loss is while a network learns, beside what the learning rate can bear."""

from __future__ import annotations

import copy
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from accelerate.utils import DistributedType
from torch import Tensor, nn

from pdeconv.analysis.gradient_flow import sharpest_direction
from pdeconv.errors import PDEConvError
from pdeconv.training.config import TrainConfig
from pdeconv.training.data import Source
from pdeconv.training.metrics_log import read_metrics
from pdeconv.training.state import random_state, set_random_state
from pdeconv.training.synchronised_norms import without_synchronised_norms

if TYPE_CHECKING:
    from accelerate import Accelerator

    from pdeconv.training.tasks import Task

SAMPLES, FIRST_PRODUCTS, PRODUCTS = 64, 10, 4


class SharpnessProbe:
    """Measures the largest eigenvalue of the Hessian of the training loss at the end of epochs.

    Of a copy of the network as it trains, with its own weights rather than their average, always on the same samples.
    What it costs is about 15 gradients of a batch of 64, as each measurement begins with the direction of the one
    before. Gradient descent on all samples is stable where lr·sharpness ≤ 2, with Nesterov's momentum β where it is at
    most 2(1 + β)/(1 + 2β), 1.36 for 0.9; small batches bear less, and methods that scale each weight by itself, such
    as AdamW, have another measure.

    Args:
        config: of the run; ``sharpness_every`` says after which epochs.
        task: whose loss it is.
        network: without a wrapper.
        accelerator: of the run; the first process measures.

    Raises:
        PDEConvError: If it is asked for under FSDP, where no process has all weights.

    References:
        J. Cohen et al. Gradient descent on neural networks typically occurs at the edge of stability. ICLR 2021.
    """

    def __init__(self, config: TrainConfig, task: Task, network: nn.Module, accelerator: Accelerator) -> None:
        self._every, self._task, self._network = config.sharpness_every, task, network
        self._direction: Tensor | None = None
        self._device, self._measures = accelerator.device, accelerator.is_main_process
        if self._every is not None and accelerator.distributed_type == DistributedType.FSDP:
            raise PDEConvError("sharpness_every: expected none under FSDP, which has no weights in one place")

    def measured(self, epoch: int, source: Source, rate: float) -> dict[str, dict[str, float]]:
        """A line of metrics if it is due after an epoch, counted from 0: sharpness, 2/lr, and seconds."""
        if self._every is None or (epoch + 1) % self._every or not self._measures:
            return {}
        start, random, value = time.perf_counter(), random_state(self._device), float("nan")
        try:
            value, self._direction = self._look(source)
        except (RuntimeError, PDEConvError):  # no second derivative, no memory, nothing finite: training matters more
            self._direction = None
        finally:
            set_random_state(random, self._device)  # training goes on as if nobody had looked
        seconds = time.perf_counter() - start
        return {"sharpness": {"sharpness": value, "limit": 2 / rate if rate > 0 else float("inf"), "seconds": seconds}}

    def _look(self, source: Source) -> tuple[float, Tensor | None]:
        network = lone_copy(self._network).train()
        indices = torch.linspace(0, len(source) - 1, min(SAMPLES, len(source))).round().long()
        inputs, targets = source.batch(indices, 0)
        with torch.enable_grad(), torch.autocast(self._device.type, enabled=False):
            loss = self._task.loss(network, inputs.to(self._device), targets.to(self._device), seed=0)
            products = FIRST_PRODUCTS if self._direction is None else PRODUCTS
            return sharpest_direction(loss, network.parameters(), products, self._direction)


def lone_copy(network: nn.Module) -> nn.Module:
    """A copy that is of one process and full precision: without accelerate's autocast, its norms unsynchronised."""
    copied = copy.deepcopy(network)
    for name in ("forward", "_original_forward"):  # accelerate sets them on the instance
        vars(copied).pop(name, None)
    return without_synchronised_norms(copied)


def draw_sharpness(folder: Path) -> list[Path]:
    """Draw sharpness.png of a run that has measured it; the path, or none."""
    records = read_metrics(folder / "metrics.jsonl")
    if not any(record.get("sharpness") is not None for record in records):
        return []
    from pdeconv.viz import sharpness_figure  # matplotlib is not needed before

    sharpness_figure(records).savefig(folder / "sharpness.png")
    return [folder / "sharpness.png"]
