"""The plain residual network that every other family is compared with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from torch import nn

from pdeconv.blocks import PDEBasicBlock
from pdeconv.layers_by_dims import CONVOLUTION, checked_norm
from pdeconv.models.classifier import Classifier, checked_counts
from pdeconv.models.layers import convolution
from pdeconv.models.registry import register_model


@register_model("resnet_classifier")
class ResNetClassifier(Classifier):
    """He et al.'s residual network for small images: basic blocks of two convolutions, u ← σ(u + f(u)).

    With depths (3, 3, 3) and widths (16, 32, 64) it is their ResNet-20, with projections as shortcuts. A block is one
    forward Euler step of u_t = f(u); nothing is proven of it.

    Args:
        in_channels: Channels of the image.
        num_classes: Number of classes.
        widths: Channels of each stage.
        depths: Blocks of each stage; the first of a stage, but for the first stage, halves the resolution, and is
            there even for 0.
        steps: Euler steps of each block that keeps the resolution, with shared weights, over one unit of time.
        norm_layer: Of the normalisation; by default batch normalisation.
        act_layer: Of the activation.
        dims: Number of spatial axes: 1 for signals, 2 for images, 3 for volumes.

    References:
        K. He et al. Deep residual learning for image recognition. CVPR 2016.

    Example:
        >>> import torch
        >>> ResNetClassifier(in_channels=3, num_classes=10, depths=(1, 1, 1))(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        widths: Sequence[int] = (16, 32, 64),
        depths: Sequence[int] = (3, 3, 3),
        steps: int = 1,
        norm_layer: Callable[..., nn.Module] | None = None,
        act_layer: Callable[[], nn.Module] = partial(nn.ReLU, inplace=True),  # noqa: B008
        dims: int = 2,
    ) -> None:
        norm_layer = checked_norm("resnet_classifier", norm_layer, dims)
        depths = checked_counts("resnet_classifier", "depths", depths, zero_too=True)
        block = partial(PDEBasicBlock, norm_layer=norm_layer, act_layer=act_layer, dims=dims)

        def halving(before: int, after: int) -> nn.Module:
            shortcut = nn.Sequential(CONVOLUTION[dims](before, after, 1, stride=2, bias=False), norm_layer(after))
            return block(before, after, stride=2, downsample=shortcut)

        super().__init__(
            in_channels,
            num_classes,
            widths,
            [max(0, depth - (stage > 0)) for stage, depth in enumerate(depths)],
            stem=lambda before, after: convolution(before, after, 3, norm_layer, act_layer, dims=dims),
            transition=halving,
            block=lambda channels, _: block(channels, channels, steps=steps),
            dims=dims,
        )
