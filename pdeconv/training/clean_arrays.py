"""Clean signals, images or volumes held in an array, as a source for denoising: random crops, or all of them whole."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pdeconv.image_square import wide
from pdeconv.training.array_files import MappedSamples, as_tensor
from pdeconv.training.labelled_images import read_ahead
from pdeconv.training.randomness import uniform


@dataclass(frozen=True, eq=False)
class CleanArrays:
    """A `Source` of crops at random places of random samples; or, without a ``count``, of all samples in order.

    Args:
        values: (N, C, *S), held in memory or mapped.
        samples: N.
        offset, scale: what is given is (value − offset)/scale, within [0, 1] for the training set.
        side: of a crop along each axis, of which a shorter axis gives all it has; None for all.
        count: crops in one epoch; None for the samples themselves.
        flips: numbers of the spatial axes along which half of the crops are flipped.
        workers: processes that read ahead.
    """

    values: Tensor | MappedSamples
    samples: int
    offset: float
    scale: float
    side: int | None = None
    count: int | None = None
    flips: tuple[int, ...] = ()
    workers: int = 0
    names: tuple[str, ...] = ()

    @property
    def in_memory(self) -> bool:
        return isinstance(self.values, Tensor)

    @property
    def same_size(self) -> bool:
        """Whole samples go one by one: they may be much larger than crops."""
        return self.count is not None

    def __len__(self) -> int:
        return self.samples if self.count is None else self.count

    def batch(self, indices: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        if self.count is None:
            whole = self.values[indices] if isinstance(self.values, Tensor) else self.values(indices)
            clean = self._scaled(whole)
        else:
            draws = uniform(seed, indices, 7)  # a sample; a place and a flip along each of at most three axes
            clean = self._scaled(torch.stack([self._crop(own) for own in draws]))
        return clean, clean

    def _crop(self, draws: Tensor) -> Tensor:
        """A crop, of which no more than it is read."""
        index = int(draws[0] * self.samples)
        sample = self.values[index] if isinstance(self.values, Tensor) else self.values.array[index]
        inside, flipped = [slice(None)], []
        for place, cells in enumerate(sample.shape[1:]):
            side = cells if self.side is None else min(self.side, cells)
            first = int(draws[1 + place] * (cells - side + 1))
            inside.append(slice(first, first + side))
            if place in self.flips and draws[4 + place] < 0.5:
                flipped.append(1 + place)
        crop = sample[tuple(inside)]
        return (crop if isinstance(crop, Tensor) else as_tensor(crop)).flip(flipped)

    def _scaled(self, values: Tensor) -> Tensor:
        return ((wide(values) - self.offset) / self.scale).float().contiguous()

    def iterate(self, batches: Iterable[tuple[Tensor, int]]) -> Iterator[tuple[Tensor, Tensor]]:
        return read_ahead(self, batches, 0 if self.in_memory else self.workers)
