"""Which samples are in which batch: a pure function of (seed, epoch), on every process alike."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pdeconv.errors import PDEConvError
from pdeconv.training.randomness import derived_seeds

ORDER, AUGMENTATION, LOSS = 1, 2, 3


def stream_seed(seed: int, stream: int, number: int) -> int:
    """The seed for one purpose (``ORDER``, …) of one epoch or step."""
    return derived_seeds(derived_seeds(seed, torch.tensor([stream]))[0], torch.tensor([number]))[0]


@dataclass(frozen=True)
class Batches:
    """The batches of a run. Each process takes its contiguous part of every global batch.

    Args:
        samples: in the training set.
        batch_size: of all processes together; the samples that do not fill a last batch are left out of an epoch.
        seed: of the run.
        process: number of this process.
        processes: how many there are.
    """

    samples: int
    batch_size: int
    seed: int
    process: int = 0
    processes: int = 1

    def __post_init__(self) -> None:
        if self.batch_size % self.processes:
            raise PDEConvError(f"batch_size {self.batch_size} does not divide by {self.processes} processes")
        if self.samples < self.batch_size:
            raise PDEConvError(
                f"batch_size {self.batch_size} exceeds the {self.samples} training samples of an epoch; make it smaller"
            )

    @property
    def per_epoch(self) -> int:
        """Batches, and so optimizer steps, in one epoch."""
        return self.samples // self.batch_size

    @property
    def part(self) -> int:
        """Samples of a batch on this process."""
        return self.batch_size // self.processes

    @property
    def first(self) -> int:
        """Position of this process's first sample within the global batch."""
        return self.process * self.part

    def epoch(self, number: int, start: int = 0) -> Iterator[tuple[Tensor, int]]:
        """(indices, seed of the augmentation) for each batch of an epoch, from batch ``start`` on."""
        generator = torch.Generator().manual_seed(stream_seed(self.seed, ORDER, number))
        order = torch.randperm(self.samples, generator=generator)
        augmentation = stream_seed(self.seed, AUGMENTATION, number)
        for batch in range(start, self.per_epoch):
            first = batch * self.batch_size + self.first
            yield order[first : first + self.part], augmentation

    def at_step(self, step: int) -> tuple[Tensor, int]:
        """The batch of one optimizer step, counted from 0 over the whole run."""
        return next(self.epoch(step // self.per_epoch, step % self.per_epoch))

    def loss_seed(self, step: int) -> int:
        """The seed of the noise, mixup … of one optimizer step."""
        return stream_seed(self.seed, LOSS, step)
