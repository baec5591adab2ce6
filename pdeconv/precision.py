"""Where half and mixed precision must not reach."""

import torch
from torch import Tensor


def wider_than_half(u: Tensor) -> Tensor:
    """``u`` in float32 if it is float16, whose range squares and reciprocals leave; else as it is.

    Example:
        >>> wider_than_half(torch.zeros(1, dtype=torch.float16)).dtype, wider_than_half(torch.zeros(1)).dtype
        (torch.float32, torch.float32)
    """
    return u.float() if u.dtype == torch.float16 else u


def without_autocast(like: Tensor) -> torch.autocast:
    """A context in which operations on the device of ``like`` keep the types of their inputs.

    Example:
        >>> with torch.autocast("cpu", dtype=torch.bfloat16), without_autocast(torch.eye(2)):
        ...     (torch.eye(2) @ torch.eye(2)).dtype
        torch.float32
    """
    device = like.device.type
    return torch.autocast("cpu" if device == "meta" else device, enabled=False)  # meta tensors know no autocast
