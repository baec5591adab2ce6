"""Where mixed precision must not reach."""

import torch
from torch import Tensor


def without_autocast(like: Tensor) -> torch.autocast:
    """A context in which operations on the device of ``like`` keep the types of their inputs.

    Example:
        >>> with torch.autocast("cpu", dtype=torch.bfloat16), without_autocast(torch.eye(2)):
        ...     (torch.eye(2) @ torch.eye(2)).dtype
        torch.float32
    """
    device = like.device.type
    return torch.autocast("cpu" if device == "meta" else device, enabled=False)  # meta tensors know no autocast
