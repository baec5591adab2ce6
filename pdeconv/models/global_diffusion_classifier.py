"""Kag and Saligrama's condensed network: one residual block a stage, and a global layer in place of the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn

from pdeconv.blocks import PDEBasicBlock
from pdeconv.coefficient import PerChannel
from pdeconv.control import Fixed
from pdeconv.errors import PDEConvError, checked_count
from pdeconv.evolve import Evolve
from pdeconv.grid import Grid
from pdeconv.law import Law
from pdeconv.layer_diffusivity import ConvDiffusivity
from pdeconv.layers_by_dims import checked_norm
from pdeconv.models.classifier import Classifier, checked_counts
from pdeconv.models.layers import coarsening, convolution
from pdeconv.models.registry import register_model
from pdeconv.operator import RANGE
from pdeconv.steps import DuFortFrankel
from pdeconv.terms import Advection, Diffusion, Reaction
from pdeconv.velocity import ConvVelocity

LEAST_STEPS = 4
"""Levels within whose limit the ceilings of :func:`global_diffusion` lie: their rate is 2 + 1 + 1."""


@register_model("global_diffusion_classifier")
class GlobalDiffusionClassifier(Classifier):
    """Classifies images by features that residual blocks give, u⁰, and that then spread, move and are fed anew:

    u_t = ∇·(κ(u⁰)∇u) − v(u⁰)·∇u + s (u⁰ − u), u(0) = u⁰.

    κ ≤ 1/d and v ≤ 1/d, d the number of axes, are read off the features u⁰ by depthwise convolutions, s ≤ 1 is learned
    per channel. A global layer is one step of Du Fort and Frankel's scheme over a unit of time, of K levels; each
    carries information by one cell, and costs no weights. By the ceilings every level is a convex combination: a global
    layer keeps the range of each channel, whatever the weights. Nothing is proven of the residual blocks.

    The paper adds f(u⁰), which has no bound; here the features are relaxed to, s(u⁰ − u), and are non-negative.

    Args:
        in_channels: Channels of the image.
        num_classes: Number of classes.
        widths: Channels of each stage, the first at the full resolution.
        depths: Pairs of a residual block and a global layer of each stage; the first of a stage, but for the first
            stage, halves the resolution.
        steps: Levels K of each global layer, at least 4; the weights do not depend on it.
        norm_layer: Of the normalisation; by default batch normalisation.
        act_layer: Of the activation.
        dims: Number of spatial axes: 1 for signals, 2 for images, 3 for volumes.

    References:
        A. Kag, V. Saligrama. Condensing CNNs with partial differential equations. CVPR 2022.

    Example:
        >>> import torch
        >>> GlobalDiffusionClassifier(in_channels=3, num_classes=10)(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        widths: Sequence[int] = (12, 32, 88),
        depths: Sequence[int] = (1, 1, 1),
        steps: int = LEAST_STEPS,
        norm_layer: Callable[..., nn.Module] | None = None,
        act_layer: Callable[[], nn.Module] = nn.ReLU,
        dims: int = 2,
    ) -> None:
        norm_layer = checked_norm("global_diffusion_classifier", norm_layer, dims)
        if checked_count("global_diffusion_classifier", "steps", steps) < LEAST_STEPS:
            raise PDEConvError(
                f"global_diffusion_classifier keeps the range with steps of at least {LEAST_STEPS}, but got "
                f"steps={steps}."
            )
        block = partial(PDEBasicBlock, norm_layer=norm_layer, act_layer=act_layer, dims=dims)

        def halving(before: int, after: int) -> nn.Module:
            residual = block(before, after, stride=2, downsample=coarsening(before, after, norm_layer, dims=dims))
            return nn.Sequential(residual, global_diffusion(after, steps, dims))

        super().__init__(
            in_channels,
            num_classes,
            widths,
            [
                depth - (stage > 0)
                for stage, depth in enumerate(checked_counts("global_diffusion_classifier", "depths", depths))
            ],
            stem=lambda before, after: convolution(before, after, 3, norm_layer, act_layer, dims=dims),
            transition=halving,
            block=lambda channels, _: nn.Sequential(block(channels, channels), global_diffusion(channels, steps, dims)),
            dims=dims,
        )


class TowardsStart(Law):
    """a = −s, b = s·u: frozen at a state u⁰ it is the source u_t = s (u⁰ − u)."""

    keeps = frozenset({RANGE})

    def __init__(self, strength: PerChannel) -> None:
        super().__init__()
        self.strength, self.ceiling = strength, strength.ceiling

    def forward(self, u: Tensor) -> Tensor:
        return -self.strength(u, Grid(dims=u.dim() - 2))

    def source(self, u: Tensor) -> Tensor:
        return self.strength(u, Grid(dims=u.dim() - 2)) * u


def global_diffusion(channels: int, steps: int, dims: int) -> Evolve:
    """One unit of time of u_t = ∇·(κ(u⁰)∇u) − v(u⁰)·∇u + s (u⁰ − u) in ``steps`` levels; it keeps the range.

    The ceilings are such that the rates are the same for any number of axes.
    """
    grid = Grid(dims=dims)
    diffusion = Diffusion(ConvDiffusivity(channels, ceiling=1.0 / dims, initial=0.1, dims=dims), grid)
    advection = Advection(ConvVelocity(channels, ceiling=1.0 / dims, dims=dims), grid)
    source = Reaction(TowardsStart(PerChannel(channels, ceiling=1.0)))
    return Evolve(DuFortFrankel(diffusion + advection + source, steps, frozen=True), duration=1.0, control=Fixed(1))
