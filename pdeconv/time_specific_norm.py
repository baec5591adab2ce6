"""Batch normalisation whose statistics depend on time, as the states of an evolution do."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pdeconv.errors import PDEConvError, checked_count, checked_type
from pdeconv.layers_by_dims import BATCH_NORM
from pdeconv.replaced import replaced

if TYPE_CHECKING:
    from pdeconv.evolve import Evolve


class TimeSpecificNorm(nn.Module):
    """Batch normalisation inside an evolution, with shared weights and running statistics of each step's own.

    The steps of an ``Evolve`` share their weights, not the means and variances of the states that they meet. Plain
    batch normalisation averages those over all steps, which suits none of them: what it computes in evaluation is
    another function than in training. Here at each step ``Evolve`` puts in the statistics of that time. With another
    number of steps than ``steps`` it takes those of the nearest time; called by itself, those of the first. With one
    step it is the plain normalisation. pdeconv's classifiers and ``PDEBasicBlock`` have it wherever they take several
    steps.

    A ``state_dict`` of the plain normalisation loads, its statistics at all times; one of another number of steps too,
    those of the nearest times.

    Args:
        norm: Batch normalisation with running statistics, that of the first step.
        steps: Times at which the statistics are kept: the steps of the evolution in training.

    Raises:
        PDEConvError: If ``norm`` is another module or keeps no statistics; when ``Evolve`` is built, unless its control
            is ``Fixed`` or ``CFL``.

    References:
        Q. Liao, T. Poggio. Bridging the gaps between residual learning, recurrent neural networks and visual cortex.
        arXiv:1604.03640, 2016.
        S. Jastrzębski et al. Residual connections encourage iterative inference. ICLR 2018.

    Example:
        >>> import torch
        >>> from pdeconv import Euler, Evolve, Fixed, Residual, TimeSpecificNorm
        >>> norm = TimeSpecificNorm(nn.BatchNorm2d(4), steps=3)
        >>> branch = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, bias=False), norm)
        >>> layer = Evolve(Euler(Residual(branch)), duration=1.0, control=Fixed(3, unchecked=True))
        >>> layer(torch.rand(8, 4, 6, 6)).shape
        torch.Size([8, 4, 6, 6])
        >>> [int(each.num_batches_tracked) for each in norm.copies]
        [1, 1, 1]
    """

    def __init__(self, norm: _BatchNorm, steps: int) -> None:
        super().__init__()
        checked_type("TimeSpecificNorm", norm, _BatchNorm, "give for example nn.BatchNorm2d(channels)")
        if not norm.track_running_stats:
            raise PDEConvError(
                "TimeSpecificNorm needs a normalisation with running statistics, but got track_running_stats=False; "
                "without them it is the same at all times: use it as it is."
            )
        steps = checked_count("TimeSpecificNorm", "steps", steps)
        self.copies = nn.ModuleList([norm, *(_statistics_of(norm) for _ in range(steps - 1))])

    def forward(self, u: Tensor) -> Tensor:
        return self.copies[0](u)

    def statistics_at(self, fraction: float) -> Iterator[tuple[str, str]]:
        """Names of the statistics that the first step has, and of those that hold at ``fraction`` of the duration."""
        place = min(int(fraction * len(self.copies)), len(self.copies) - 1)
        for name, _ in self.copies[0].named_buffers(recurse=False):
            yield f"copies.0.{name}", f"copies.{place}.{name}"

    def extra_repr(self) -> str:
        return f"steps={len(self.copies)}"

    def _load_from_state_dict(self, state_dict, prefix, *others):
        """Statistics of the plain normalisation are taken at all times, those of other steps at the nearest."""
        first = f"{prefix}copies.0."
        for name, _ in (*self.copies[0].named_parameters(recurse=False), *self.copies[0].named_buffers(recurse=False)):
            if prefix + name in state_dict:
                state_dict[first + name] = state_dict.pop(prefix + name)
        for name, _ in self.copies[0].named_buffers(recurse=False):
            known = []
            while (key := f"{prefix}copies.{len(known)}.{name}") in state_dict:
                known.append(state_dict.pop(key))
            for place in range(len(self.copies) if known else 0):
                nearest = known[int((place + 0.5) / len(self.copies) * len(known))]
                own = len(known) == len(self.copies)  # else several of these would be one tensor
                state_dict[f"{prefix}copies.{place}.{name}"] = nearest if own else nearest.clone()
        super()._load_from_state_dict(state_dict, prefix, *others)


def _statistics_of(norm: _BatchNorm) -> _BatchNorm:
    """The statistics of ``norm`` as they are now, without its weights."""
    lone = copy.deepcopy(norm)
    lone.register_parameter("weight", None)
    lone.register_parameter("bias", None)
    lone.affine = False
    return lone


def with_norms_of_each_step(evolve: Evolve) -> Evolve:
    """The evolution, in which torch's batch normalisations keep statistics of each of its steps; of one, as it is."""

    def made(module: nn.Module) -> nn.Module | None:
        if isinstance(module, _BatchNorm) and type(module) in BATCH_NORM.values() and module.track_running_stats:
            return TimeSpecificNorm(module, evolve.steps)
        return module if isinstance(module, TimeSpecificNorm) else None

    if evolve.steps > 1:
        replaced(evolve.step, made)
        evolve.set_control(evolve.control)  # it looks at what varies in time
    return evolve
