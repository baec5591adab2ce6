"""Layers that classifiers are put together from."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional

from pdeconv.control import Fixed
from pdeconv.evolve import Evolve, Memory
from pdeconv.influence import ReLUInfluence, TanhInfluence
from pdeconv.models.classifier import Layer
from pdeconv.steps import Euler, Step
from pdeconv.terms import Residual, SymmetricConvolution


def default_norm(channels: int) -> nn.Module:
    """Group normalisation of at most 8 groups: no sample depends on its batch-mates.

    A group has two channels at least, so that a single cell can be normalised.
    """
    return nn.GroupNorm(math.gcd(8, channels // 2) if channels % 2 == 0 else 1, channels)


def convolution(
    before: int, after: int, kernel_size: int, norm_layer: Layer, act_layer: Layer | None, stride: int = 1
) -> nn.Sequential:
    """Convolution, normalisation and, unless ``act_layer`` is None, activation; stride 2 halves H and W, rounded up.

    Args:
        before: Channels before.
        after: Channels after.
        kernel_size: Width of the kernel, odd.
        norm_layer: Of the normalisation, called with the number of channels.
        act_layer: Of the activation.
        stride: Of the convolution.
    """
    conv = nn.Conv2d(before, after, kernel_size, stride, padding=kernel_size // 2, bias=False)
    return nn.Sequential(conv, norm_layer(after), *([] if act_layer is None else [act_layer()]))


class Merging(nn.Conv2d):
    """2 × 2 cells become one, by a linear map of all their channels: half the resolution, rounded up.

    Args:
        before: Channels before.
        after: Channels after.
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__(before, after, 2, stride=2, bias=False)

    def forward(self, u: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        height, width = u.shape[-2:]
        if height % 2 or width % 2:
            u = functional.pad(u, (0, width % 2, 0, height % 2))
        return super().forward(u)


def coarsening(before: int, after: int, norm_layer: Layer, act_layer: Layer | None = None) -> nn.Sequential:
    """Half the resolution, rounded up, by means of 2 × 2 cells, then ``after`` mixtures of the channels."""
    pool = nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False)
    return nn.Sequential(pool, *convolution(before, after, 1, norm_layer, act_layer))


def residual_steps(branch: nn.Module, steps: int = 1, duration: float = 1.0) -> Evolve:
    """u_t = f(u) by forward Euler: a residual block with weights that it shares over ``steps`` steps."""
    return unproven_steps(Euler(Residual(branch)), steps, duration)


def unproven_steps(step: Step, steps: int, duration: float = 1.0, memory: Memory = "store") -> Evolve:
    """An evolution whose stability normalisation decides, not a ceiling."""
    return Evolve(step, duration, Fixed(steps, unchecked=True), memory)


def normalised_diffusion(channels: int, norm_layer: Layer, act_layer: Layer) -> SymmetricConvolution:
    """u_t = −Kᵀσ(N(Ku)), with a normalisation N and an activation σ; unproven, because of N.

    Without one, ``norm_layer=nn.Identity``, and with ReLU or tanh, it is proven: no two states part.
    """
    norm, activation = norm_layer(channels), act_layer()
    influence = _INFLUENCES.get(type(activation)) if type(norm) is nn.Identity else None
    return SymmetricConvolution(
        channels, influence=nn.Sequential(norm, activation) if influence is None else influence()
    )


_INFLUENCES = {nn.ReLU: ReLUInfluence, nn.Tanh: TanhInfluence}
