"""Multilevel training: few time steps on small images, then more on larger ones. A function of the epoch alone."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pdeconv.errors import PDEConvError
from pdeconv.refine import Coarsening
from pdeconv.training.config import TrainConfig
from pdeconv.training.data import Source

if TYPE_CHECKING:
    from pdeconv.training.norm_statistics import NormStatistics


class Levels:
    """The levels of a run (Haber et al. 2018, Chang et al. 2018), and the network on the grid of the present one.

    The weights are the same tensors on every level: see :class:`pdeconv.refine.Coarsening`. So a checkpoint does not
    say its level; the step does. On a coarse level the network is tested as it is trained, on small images.

    Args:
        config: of the run; without levels there is one, the finest.
        network: on its device, not yet compiled or wrapped.
        per_epoch: steps in an epoch.

    Raises:
        PDEConvError: the network cannot be put on the grid of a level.
    """

    def __init__(self, config: TrainConfig, network: nn.Module, per_epoch: int) -> None:
        self._scales, self._ends = config.levels.scales(), config.levels.ends(config.epochs)
        self._per_epoch, self._current, self._coarsening = per_epoch, -1, Coarsening(network)
        for number, (space, time) in enumerate(self._scales, start=1):
            try:
                self._coarsening.set(time, space)
            except PDEConvError as error:
                raise type(error)(f"levels: level {number}, steps x {time:g}: {error}") from error

    def at(self, epoch: int) -> int:
        """The number of the level of an epoch, both counted from 0."""
        return min(bisect_right(self._ends, epoch), len(self._ends) - 1)

    def begins(self, epoch: int) -> bool:
        """Whether a level begins with an epoch that is not the first of the run."""
        return epoch in self._ends[:-1]

    def mark(self, epoch: int) -> dict[str, int]:
        """What the lines of an epoch say besides: the number of its level, counted from 1, unless it is the finest."""
        return {} if self.at(epoch) == len(self._ends) - 1 else {"level": self.at(epoch) + 1}

    def shown(self, epoch: int) -> dict[str, str]:
        """What a person sees of the level."""
        return {"level": f"{self.at(epoch) + 1}/{len(self._ends)}"} if len(self._ends) > 1 else {}

    def sized(self, source: Source) -> Source:
        """A source with its images of the size of the present level."""
        space, _ = self._scales[self._current]
        return source if space == 1 else Resized(source, space)

    def enter(self, epoch: int, step: int, statistics: NormStatistics) -> float:
        """Put the network on the grid of an epoch; returns the seconds that it took.

        Where a level begins, the statistics of batch normalisation are those of the grid before; they are taken anew.

        Args:
            epoch: that comes next, or that goes on.
            step: of the optimizer, which says whether it goes on.
            statistics: of the network.
        """
        if self.at(epoch) == self._current:
            return 0.0
        start, self._current = perf_counter(), self.at(epoch)
        space, time = self._scales[self._current]
        self._coarsening.set(time, space)
        if len(self._scales) > 1:
            torch.compiler.reset()  # else it would compile for any size, unlike a run that resumes here
        if self.begins(epoch) and step == epoch * self._per_epoch:
            statistics.estimate(self.sized(statistics.source), epoch)
        return perf_counter() - start

    def refine(
        self, epoch: int, step: int, before: Mapping[str, float], statistics: NormStatistics, test: Source
    ) -> dict[str, dict[str, float]]:
        """Enter the level that begins with an epoch, if one does, and measure what that changes: a line of metrics.

        Args:
            epoch, step, statistics: as of ``enter``.
            before: the metrics on the level before.
            test: the test source.
        """
        if not self.begins(epoch):
            return {}
        line = {"level": self.at(epoch) + 1, "seconds": self.enter(epoch, step, statistics)}
        after = statistics.measured(self.sized(test))
        for name, value in before.items():
            line |= {f"{name}_before": value, f"{name}_after": after[name]}
        return {"refinement": line}

    def refined(self, lines: Mapping[str, Mapping[str, float]], headline: str) -> dict[str, str]:
        """What a person sees of a refinement: the level that it led to, and the headline metric just after it."""
        if "refinement" not in lines:
            return {}
        line = lines["refinement"]
        return {f"refined to level {line['level']}, {headline}": f"{line[f'{headline}_after']:.4g}"}


@dataclass(frozen=True)
class Resized:
    """A source with its images, and targets that are images, made smaller by averaging over areas.

    Args:
        source: of the images.
        scale: side in place of 1, in (0, 1]; a side has at least one pixel.
    """

    source: Source
    scale: float

    @property
    def in_memory(self) -> bool:
        return self.source.in_memory

    @property
    def same_size(self) -> bool:
        return self.source.same_size

    @property
    def names(self) -> tuple[str, ...]:
        return self.source.names

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, indices: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        return self._resized(*self.source.batch(indices, seed))

    def iterate(self, batches: Iterable[tuple[Tensor, int]]) -> Iterator[tuple[Tensor, Tensor]]:
        return (self._resized(*pair) for pair in self.source.iterate(batches))

    def _resized(self, inputs: Tensor, targets: Any) -> tuple[Tensor, Any]:
        image = isinstance(targets, Tensor) and targets.ndim == inputs.ndim
        small = shrunk(inputs, self.scale)
        return small, small if targets is inputs else shrunk(targets, self.scale) if image else targets


def shrunk(images: Tensor, scale: float) -> Tensor:
    """(B, C, *S) → (B, C, *⌊scale·S⌉), by means over areas."""
    size = [max(1, round(scale * side)) for side in images.shape[2:]]
    return images if size == list(images.shape[2:]) else F.interpolate(images, size=size, mode="area")
