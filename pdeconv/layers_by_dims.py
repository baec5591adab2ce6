"""Layers for 1, 2 or 3 spatial axes, chosen by their number: signals, images, volumes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch.fx
from torch import Tensor, nn

from pdeconv.errors import PDEConvError

CONVOLUTION = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
BATCH_NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_NORMS = {
    1: (nn.BatchNorm1d, nn.InstanceNorm1d),
    2: (nn.BatchNorm2d, nn.InstanceNorm2d),
    3: (nn.BatchNorm3d, nn.InstanceNorm3d),
}
SAMPLES = {1: "signals (B, C, L)", 2: "images (B, C, H, W)", 3: "volumes (B, C, D, H, W)"}
"""What a model of so many spatial axes takes."""


def checked_dims(owner: str, dims: object) -> int:
    """``dims`` as an int. Raises ``PDEConvError`` unless it is 1, 2 or 3."""
    if isinstance(dims, bool) or not isinstance(dims, int) or dims not in SAMPLES:
        raise PDEConvError(
            f"{owner} needs dims=1 for {SAMPLES[1]}, 2 for {SAMPLES[2]} or 3 for {SAMPLES[3]}, but got dims={dims!r}."
        )
    return dims


def checked_norm(owner: str, norm_layer: Callable[..., nn.Module] | None, dims: int) -> Callable[..., nn.Module]:
    """A normalisation for ``dims`` axes: ``norm_layer``, or batch normalisation for None.

    Raises:
        PDEConvError: If it is one of torch's for another number of axes, or ``dims`` is not 1, 2 or 3.
    """
    dims = checked_dims(owner, dims)
    if norm_layer is None:
        return BATCH_NORM[dims]
    made = norm_layer.func if isinstance(norm_layer, partial) else norm_layer
    for axes, norms in _NORMS.items():
        if axes != dims and isinstance(made, type) and issubclass(made, norms):
            raise PDEConvError(
                f"{owner} with dims={dims} takes {SAMPLES[dims]}, but norm_layer={made.__name__} normalises "
                f"{SAMPLES[axes]}; leave it out, or give one of {' or '.join(norm.__name__ for norm in _NORMS[dims])}."
            )
    return norm_layer


def check_axes(owner: str, u: Tensor, dims: int) -> None:
    """Raise ``PDEConvError`` unless ``u`` is (B, C, *S) with ``dims`` spatial axes; stand-ins of a tracer pass."""
    if isinstance(u, torch.fx.Proxy) or u.dim() == 2 + dims:
        return
    remedy = f"build it with dims={u.dim() - 2}" if u.dim() - 2 in SAMPLES else "reshape it"
    if u.dim() == 1 + dims:
        remedy += ", or, if it is one sample, give it a batch axis: u[None]"
    raise PDEConvError(f"{owner} with dims={dims} takes {SAMPLES[dims]}, but got the shape {tuple(u.shape)}; {remedy}.")
