"""Whether somebody wants more of an operator than its value and its gradient."""

from __future__ import annotations

import torch

is_exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)  # torch < 2.7 has only this


def is_transformed() -> bool:
    """Whether torch exports or traces, or maps, or takes tangents: an operator of our own knows none of them.

    Exported programs must run without this package.
    """
    return (
        is_exporting()
        or torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]
        or torch._C._are_functorch_transforms_active()
        or torch.autograd.forward_ad._current_level >= 0
    )
