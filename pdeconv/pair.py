"""States of two fields: 2C channels, the first half one field, the second half the other."""

from __future__ import annotations

import torch
from torch import Tensor

from pdeconv.errors import PDEConvError


def pair(u: Tensor) -> tuple[Tensor, Tensor]:
    """The two fields (B, C, *S) of a state (B, 2C, *S).

    Raises:
        PDEConvError: If the number of channels is odd.

    Example:
        >>> first, second = pair(torch.tensor([[[1.0], [2.0]]]))
        >>> first.item(), second.item()
        (1.0, 2.0)
    """
    if u.shape[1] % 2:
        raise PDEConvError(
            f"Expected a state of two fields, an even number of channels, but got {u.shape[1]}; join the fields with "
            "torch.cat((first, second), 1), or start the second at rest with torch.cat((u, torch.zeros_like(u)), 1)."
        )
    first, second = u.chunk(2, 1)
    return first, second


def joined(first: Tensor, second: Tensor, like: Tensor) -> Tensor:
    """The state (B, 2C, *S) of two fields that broadcast to the shape of ``like`` (B, C, *S).

    Example:
        >>> joined(torch.tensor(1.0), torch.tensor(2.0), torch.zeros(1, 1, 1)).flatten()
        tensor([1., 2.])
    """
    return torch.cat((first.expand_as(like), second.expand_as(like)), 1)
