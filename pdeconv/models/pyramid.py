"""What classifiers of several levels share."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from pdeconv.evolve import Evolve, Trajectory


def default_norm(channels: int) -> nn.Module:
    """Group normalisation of at most 8 groups: no sample depends on its batch-mates.

    A group has two channels at least, so that a single cell can be normalised.
    """
    return nn.GroupNorm(math.gcd(8, channels // 2) if channels % 2 == 0 else 1, channels)


def pyramid_trajectory(levels: Iterable[nn.Module], image: Tensor) -> Trajectory:
    """The states of every ``Evolve`` in ``levels`` (sequences of modules); time goes on from one to the next."""
    times, states, start, u = [], [], torch.zeros((), device=image.device), image
    for level in levels:
        for module in level.children():
            if isinstance(module, Evolve):
                evolution = module.trajectory(u)
                times.append(start + evolution.times)
                states.extend(evolution.states)
                start, u = times[-1][-1], evolution.states[-1]
            else:
                u = module(u)
    return Trajectory(torch.cat(times), tuple(states))
