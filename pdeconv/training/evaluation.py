"""Measuring a model on a test set, shared out over the processes without duplicates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from pdeconv.training.data import Source
from pdeconv.training.state import random_state, set_random_state

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torchmetrics import MetricCollection

    from pdeconv.training.tasks import Task


def evaluate(
    task: Task, model: nn.Module, source: Source, accelerator: Accelerator, batch_size: int
) -> tuple[MetricCollection, dict[str, float]]:
    """The metrics of a model over a test set, the same on every process, and their summary by name.

    Images of one size go in batches, those of mixed sizes one by one. Process r takes the batches r, r + n, … of n
    processes. One that has none left in the last round repeats a batch without counting it: under FSDP all must run
    the model together, and metrics of a process that saw nothing would not know their groups when they are summed.
    """
    processes: int = accelerator.num_processes
    size = max(1, batch_size // processes) if source.same_size else 1
    firsts = list(range(0, len(source), size))
    own = firsts[accelerator.process_index :: processes]
    rounds = -(-len(firsts) // processes)
    device = accelerator.device
    metrics = task.metrics().to(device)
    spare = task.metrics().to(device) if own else metrics
    taken = own if len(own) == rounds else [*own, firsts[0]]
    batches = [(torch.arange(first, min(first + size, len(source))), 0) for first in taken]
    was_training, random = model.training, random_state(device)
    model.eval()
    with torch.no_grad():
        for place, (inputs, targets) in enumerate(source.iterate(batches)):
            counted = metrics if place < len(own) else spare
            task.update(counted, model, inputs.to(device), targets.to(device), taken[place])
    if not own:
        metrics.reset()
    model.train(was_training)
    set_random_state(random, device)  # training goes on as if it had not been interrupted
    return metrics, task.summary(metrics)
