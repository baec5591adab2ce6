"""Layers that classifiers are put together from."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional

from pdeconv.grid import Grid
from pdeconv.influence import ReLUInfluence, TanhInfluence
from pdeconv.layers_by_dims import CONVOLUTION
from pdeconv.models.classifier import Layer
from pdeconv.terms import SymmetricConvolution
from pdeconv.tracing import traced_leaf


def default_norm(channels: int) -> nn.Module:
    """Group normalisation of at most 8 groups: no sample depends on its batch-mates.

    A group has two channels at least, so that a single cell can be normalised.
    """
    return nn.GroupNorm(math.gcd(8, channels // 2) if channels % 2 == 0 else 1, channels)


def convolution(
    before: int,
    after: int,
    kernel_size: int,
    norm_layer: Layer,
    act_layer: Layer | None,
    stride: int = 1,
    dims: int = 2,
) -> nn.Sequential:
    """Convolution, normalisation and, unless ``act_layer`` is None, activation; stride 2 halves the sides, rounded up.

    Args:
        before: Channels before.
        after: Channels after.
        kernel_size: Width of the kernel, odd.
        norm_layer: Of the normalisation, called with the number of channels.
        act_layer: Of the activation.
        stride: Of the convolution.
        dims: Number of spatial axes.
    """
    conv = CONVOLUTION[dims](before, after, kernel_size, stride, padding=kernel_size // 2, bias=False)
    return nn.Sequential(conv, norm_layer(after), *([] if act_layer is None else [act_layer()]))


class _ToEven(nn.Module):
    """Before a convolution: a row of zeros at the end of each axis that has an odd number of cells."""

    def forward(self, u: Tensor) -> Tensor:
        leaf = traced_leaf(self, u)
        if leaf is not None:
            return leaf
        odd = [cells % 2 for cells in u.shape[2:]]
        if any(odd):
            u = functional.pad(u, [width for cells in reversed(odd) for width in (0, cells)])
        return super().forward(u)


class _Merging1d(_ToEven, nn.Conv1d):
    pass


class _Merging2d(_ToEven, nn.Conv2d):
    pass


class _Merging3d(_ToEven, nn.Conv3d):
    pass


def merging(before: int, after: int, dims: int = 2) -> nn.Module:
    """2 × 2 cells become one, by a linear map of all their channels: half the resolution, rounded up."""
    layer = {1: _Merging1d, 2: _Merging2d, 3: _Merging3d}[dims]
    return layer(before, after, 2, stride=2, bias=False)


class _AvgPool3d(nn.AvgPool3d):
    """Torch's refuses an axis of one cell, which those of fewer axes leave as it is."""

    def forward(self, input: Tensor) -> Tensor:
        leaf = traced_leaf(self, input)
        if leaf is not None:
            return leaf
        size = [min(2, cells) for cells in input.shape[2:]]
        return functional.avg_pool3d(input, size, 2, ceil_mode=True, count_include_pad=False)


def coarsening(
    before: int, after: int, norm_layer: Layer, act_layer: Layer | None = None, dims: int = 2
) -> nn.Sequential:
    """Half the resolution, rounded up, by means of 2 × 2 cells, then ``after`` mixtures of the channels."""
    pool = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: _AvgPool3d}[dims](2, ceil_mode=True, count_include_pad=False)
    return nn.Sequential(pool, *convolution(before, after, 1, norm_layer, act_layer, dims=dims))


def normalised_diffusion(channels: int, norm_layer: Layer, act_layer: Layer, dims: int = 2) -> SymmetricConvolution:
    """u_t = −Kᵀσ(N(Ku)), with a normalisation N and an activation σ; unproven, because of N.

    Without one, ``norm_layer=nn.Identity``, K has norm at most 1, and with ReLU or tanh it is proven: no two states
    part. With one K has no bound, which would prove nothing and cost accuracy (docs/classification.md).
    """
    norm, activation = norm_layer(channels), act_layer()
    plain = type(norm) is nn.Identity
    influence = _INFLUENCES.get(type(activation)) if plain else None
    return SymmetricConvolution(
        channels,
        influence=nn.Sequential(norm, activation) if influence is None else influence(),
        norm=1.0 if plain else None,
        grid=Grid(dims=dims),
    )


_INFLUENCES = {nn.ReLU: ReLUInfluence, nn.Tanh: TanhInfluence}
