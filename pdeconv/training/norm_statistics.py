"""The running statistics of batch normalisation, taken anew."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from pdeconv.training.data import Source
from pdeconv.training.evaluation import evaluate
from pdeconv.training.sampling import Batches
from pdeconv.training.state import random_state, set_random_state

if TYPE_CHECKING:
    from accelerate import Accelerator

    from pdeconv.training.tasks import Task

BATCHES = 32


@dataclass(frozen=True)
class NormStatistics:
    """Takes the means and variances of batch normalisation anew, for a network that sees images of another size.

    They are the means over the first ``BATCHES`` batches of an epoch, or all that it has, with the weights as they are.

    Args:
        task: that calls the network.
        network: as it is evaluated.
        source: of the training samples.
        batches: of this process.
        accelerator: of the run.
        batch_size: of a test.
    """

    task: Task
    network: nn.Module
    source: Source
    batches: Batches
    accelerator: Accelerator
    batch_size: int

    def measured(self, test: Source) -> dict[str, float]:
        """The metrics of the network on a test source, by name."""
        return evaluate(self.task, self.network, test, self.accelerator, self.batch_size)[1]

    @torch.no_grad()
    def estimate(self, source: Source, epoch: int) -> None:
        """Take them from the batches of an epoch; every process takes part. Random numbers go on as if it had not been.

        Args:
            source: ``self.source`` with images of the new size.
            epoch: whose first batches are taken.
        """
        norms = [part for part in self.network.modules() if isinstance(part, _BatchNorm) and part.track_running_stats]
        if not norms:
            return
        device, before = self.accelerator.device, self.network.training
        random, known = random_state(device), [(norm.momentum, norm.num_batches_tracked) for norm in norms]
        counted = [count.clone() if count is not None else None for _, count in known]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean over all batches
        self.network.train()
        chosen = list(islice(self.batches.epoch(epoch), BATCHES))
        first = epoch * self.batches.per_epoch
        with torch.compiler.set_stance("force_eager"):
            for place, (inputs, targets) in enumerate(source.iterate(chosen)):
                seed = self.batches.loss_seed(first + place)
                there = inputs.to(device), targets.to(device)
                self.task.loss(self.network, *there, seed=seed, first=self.batches.first)
        for norm, (momentum, _), count in zip(norms, known, counted, strict=True):
            norm.momentum = momentum
            if norm.num_batches_tracked is not None and count is not None:
                norm.num_batches_tracked.copy_(count)
            for part in (norm.running_mean, norm.running_var):
                if part is not None and self.accelerator.num_processes > 1:
                    part.copy_(self.accelerator.reduce(part, reduction="mean"))  # pyright: ignore[reportArgumentType]
        self.network.train(before)
        set_random_state(random, device)
