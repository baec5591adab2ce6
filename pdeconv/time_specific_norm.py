"""Batch normalisation whose statistics depend on time, as the states of an evolution do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pdeconv.errors import PDEConvError, checked_count, checked_type
from pdeconv.layers_by_dims import BATCH_NORM


class _Now(threading.local):
    fraction = 0.0


_now = _Now()


class AtTime:
    """In this context the thread computes a step whose middle is at ``fraction`` of the duration of an evolution."""

    def __init__(self, fraction: float) -> None:
        self.fraction = fraction

    def __enter__(self) -> None:
        self.before, _now.fraction = _now.fraction, self.fraction

    def __exit__(self, *_: object) -> None:
        _now.fraction = self.before


class TimeSpecificNorm(nn.Module):
    """Batch normalisation inside an evolution, with shared weights and running statistics of each step's own.

    The steps of an ``Evolve`` share their weights, not the means and variances of the states that they meet. Plain
    batch normalisation averages those over all steps, which suits none of them: what it computes in evaluation is
    another function than in training. Here each step takes the statistics of its time. With another
    number of steps than ``steps`` it takes those of the nearest time; called by itself, those of the first. With one
    step it is the plain normalisation. pdeconv's classifiers, ``PDEBasicBlock`` and what ``replace_blocks`` makes have
    it wherever they take several fixed steps. Put it in before the ``Evolve`` is built, or call ``set_control`` again.
    An evolution inside of another has a time of its own. The stages of a step, such as Heun's two, share its
    statistics.

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
        place = min(int(_now.fraction * len(self.copies)), len(self.copies) - 1)
        if place == 0:
            return self.copies[0](u)
        # The first one again, but for its buffers: nothing is changed that another thread could be using.
        norm = object.__new__(type(self.copies[0]))
        norm.__dict__.update(self.copies[0].__dict__, _buffers=self.copies[place]._buffers)
        return norm(u)

    def retimed(self, steps: int) -> TimeSpecificNorm:
        """The same normalisation with statistics of other steps, those of the nearest times."""
        nearest = [self.copies[_nearest(place, steps, len(self.copies))] for place in range(steps)]
        statistics = [[value.clone() for value in each.buffers(recurse=False)] for each in nearest]
        norm = TimeSpecificNorm(self.copies[0], steps)  # pyright: ignore[reportArgumentType]
        for each, values in zip(norm.copies, statistics, strict=True):
            for own, value in zip(each.buffers(recurse=False), values, strict=True):
                own.copy_(value)
        return norm

    def extra_repr(self) -> str:
        return f"steps={len(self.copies)}"

    def _load_from_state_dict(self, state_dict, prefix, *others):
        """Statistics of the plain normalisation are taken at all times, those of other steps at the nearest."""
        for key in [key for key in state_dict if key.startswith(prefix) and not key.startswith(f"{prefix}copies.")]:
            state_dict[f"{prefix}copies.0.{key.removeprefix(prefix)}"] = state_dict.pop(key)
        for name, _ in self.copies[0].named_buffers(recurse=False):
            known = []
            while (key := f"{prefix}copies.{len(known)}.{name}") in state_dict:
                known.append(state_dict.pop(key))
            for place in range(len(self.copies) if known else 0):
                nearest = known[_nearest(place, len(self.copies), len(known))]
                own = len(known) == len(self.copies)  # else several of these would be one tensor
                state_dict[f"{prefix}copies.{place}.{name}"] = nearest if own else nearest.clone()
        super()._load_from_state_dict(state_dict, prefix, *others)


def _statistics_of(norm: _BatchNorm) -> _BatchNorm:
    """The statistics of ``norm`` as they are now, without its weights."""
    kind = next((known for known in type(norm).__mro__ if known in BATCH_NORM.values()), nn.BatchNorm2d)
    lone: Any = kind(norm.num_features, norm.eps, norm.momentum, affine=False)
    for name, value in norm.named_buffers(recurse=False):
        lone.register_buffer(name, value.clone())
    return lone.train(norm.training)


def _nearest(place: int, steps: int, known: int) -> int:
    """Which of ``known`` times is nearest to the middle of a step, of ``steps``."""
    return int((place + 0.5) / steps * known)


def of_plain_norms(state: dict[str, Any], plain: Callable[[str], bool] = lambda key: True) -> None:
    """Turn entries of a ``TimeSpecificNorm`` into those of plain normalisation, in place: the statistics midway.

    Args:
        state: Of a network.
        plain: Whether a key of plain normalisation is one of the network that is to load it.
    """
    mark = "copies.0.running_var"
    for place in [key.removesuffix(mark) for key in state if key.endswith(f".{mark}")]:
        if not plain(f"{place}running_var"):
            continue
        known: dict[int, dict[str, Any]] = {}
        for key in [key for key in state if key.startswith(f"{place}copies.")]:
            time, _, name = key.removeprefix(f"{place}copies.").partition(".")
            known.setdefault(int(time), {})[name] = state.pop(key)
        for name, value in (known[0] | known[_nearest(0, 1, len(known))]).items():
            state[place + name] = value
