"""Clean signals, images or volumes held in an array, as a source for denoising: random crops, or all of them whole."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pdeconv.training.labelled_images import read_ahead
from pdeconv.training.randomness import uniform


@dataclass(frozen=True, eq=False)
class CleanArrays:
    """A `Source` of crops at random places of random samples; or, without a ``count``, of all samples in order.

    Args:
        values: (N, C, *S) held in memory, or a function that reads the samples at some indices to (B, C, *S).
        samples: N.
        offset, scale: what is given is (value − offset)/scale, within [0, 1] for the training set.
        side: of a crop along each axis, of which a shorter axis gives all it has; None for all.
        count: crops in one epoch; None for the samples themselves.
        flips: numbers of the spatial axes along which half of the crops are flipped.
        workers: processes that read ahead.
    """

    values: Tensor | Callable[[Tensor], Tensor]
    samples: int
    offset: float
    scale: float
    side: int | None = None
    count: int | None = None
    flips: tuple[int, ...] = ()
    workers: int = 0
    same_size = True
    names: tuple[str, ...] = ()

    @property
    def in_memory(self) -> bool:
        return isinstance(self.values, Tensor)

    def __len__(self) -> int:
        return self.samples if self.count is None else self.count

    def batch(self, indices: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        if self.count is None:
            clean = self._scaled(self._read(indices))
        else:
            draws = uniform(seed, indices, 7)  # a sample; a place and a flip along each of at most three axes
            chosen = (draws[:, 0] * self.samples).long()
            crops = [self._cropped(self._read(place[None])[0], own) for place, own in zip(chosen, draws, strict=True)]
            clean = self._scaled(torch.stack(crops))
        return clean, clean

    def _read(self, indices: Tensor) -> Tensor:
        return self.values[indices] if isinstance(self.values, Tensor) else self.values(indices)

    def _cropped(self, sample: Tensor, draws: Tensor) -> Tensor:
        for place in range(sample.dim() - 1):
            cells = sample.shape[1 + place]
            side = cells if self.side is None else min(self.side, cells)
            sample = sample.narrow(1 + place, int(draws[1 + place] * (cells - side + 1)), side)
            if place in self.flips and draws[4 + place] < 0.5:
                sample = sample.flip(1 + place)
        return sample

    def _scaled(self, values: Tensor) -> Tensor:
        return ((values.float() - self.offset) / self.scale).contiguous()

    def iterate(self, batches: Iterable[tuple[Tensor, int]]) -> Iterator[tuple[Tensor, Tensor]]:
        return read_ahead(self, batches, 0 if self.in_memory else self.workers)
