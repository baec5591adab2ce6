"""Evaluation mode for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(*networks: nn.Module) -> Iterator[None]:
    """Networks in evaluation mode; afterwards every part is in the mode that it was in, frozen ones too.

    Example:
        >>> net = nn.Sequential(nn.Dropout(), nn.BatchNorm2d(3).eval())
        >>> with evaluating(net):
        ...     net.training
        False
        >>> net[0].training, net[1].training
        (True, False)
    """
    modes = {part: part.training for network in networks for part in network.modules()}
    for part in modes:
        part.training = False
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training
