"""Whether the network computes in the channels-last memory layout: as configured, or as measured at the start."""

from __future__ import annotations

import copy
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn

from pdeconv.training.config import TrainConfig
from pdeconv.training.data import Source
from pdeconv.training.sampling import Batches
from pdeconv.training.state import random_state, set_random_state

if TYPE_CHECKING:
    from accelerate import Accelerator

    from pdeconv.training.tasks import Task

ROUNDS = 3
LAYOUTS = {False: torch.contiguous_format, True: torch.channels_last}


def with_layout(
    config: TrainConfig, network: nn.Module, task: Task, source: Source, batches: Batches, accelerator: Accelerator
) -> tuple[TrainConfig, list[str]]:
    """The configuration with ``channels_last`` decided, and what to tell about it.

    ``auto`` is measured on a real batch, by the first process for all, and kept: the run's configuration holds the
    outcome, so a continuation does not measure again and computes what the run would have.

    Args:
        config: of the run.
        network: on its device, not yet compiled or wrapped; left as it is.
        task: that gives the loss.
        source: of the training samples.
        batches: of this process.
        accelerator: of the run.
    """
    if config.channels_last != "auto":
        return config, []
    if config.model.dims not in (None, 2):
        return replace(config, channels_last=False), []  # a layout of images alone
    decided: list[tuple[bool, str] | None] = [None]
    if accelerator.is_main_process:
        inputs, targets = source.batch(*batches.at_step(0))
        inputs, targets = inputs.to(accelerator.device), targets.to(accelerator.device)
        plain, last = measured_layouts(network, task, inputs, targets, accelerator)
        name = "channels_last" if last < plain else "contiguous"
        text = f"layout {name}: a step takes {1000 * last:.3g} ms channels_last, {1000 * plain:.3g} ms contiguous"
        decided = [(last < plain, text)]
    broadcast_object_list(decided)
    assert decided[0] is not None
    chosen, text = decided[0]
    return replace(config, channels_last=chosen), [text]


def measured_layouts(
    network: nn.Module, task: Task, inputs: Tensor, targets: Tensor, accelerator: Accelerator
) -> tuple[float, float]:
    """Seconds of a forward and backward pass, contiguous and channels-last: the fastest of some, in alternation.

    A copy of the network is measured, uncompiled, and the random numbers are put back.
    """
    random, seconds = random_state(accelerator.device), {False: [], True: []}
    networks = {key: copy.deepcopy(network).train().to(memory_format=layout) for key, layout in LAYOUTS.items()}  # pyright: ignore
    for _ in range(1 + ROUNDS):  # the first warms up
        for key, layout in LAYOUTS.items():
            start = time.perf_counter()
            with accelerator.autocast():
                given = inputs.contiguous(memory_format=layout)
                loss = task.loss(networks[key], given, targets, seed=0)
            loss.backward()
            _wait_for(accelerator.device)
            seconds[key].append(time.perf_counter() - start)
            networks[key].zero_grad()
    set_random_state(random, accelerator.device)
    return min(seconds[False][1:]), min(seconds[True][1:])


def _wait_for(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
