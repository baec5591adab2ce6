"""Attention as nonlocal diffusion, with transport and reaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from pdeconv.coefficient import PerChannel
from pdeconv.errors import checked_count
from pdeconv.layers_by_dims import CONVOLUTION, checked_norm
from pdeconv.models.classifier import Classifier
from pdeconv.models.layers import convolution
from pdeconv.models.registry import register_model
from pdeconv.steps import Euler, Lie
from pdeconv.terms import NonlocalDiffusion, Residual
from pdeconv.unproven_steps import unproven_steps


@register_model("attention_classifier")
class AttentionClassifier(Classifier):
    """Classifies images by nonlocal diffusion of features with transport and reaction, u_t = s (P(u) − I)u + R(T u).

    P is a softmax of queries and keys that are read off the features: a block goes towards means of pixels that
    resemble each other, which is attention whose values are the features themselves. T is one learned kernel a channel,
    from which comes all sense of place, R a small network at every pixel. A block takes one Lie step a unit of time,
    Euler's of each. By s ≤ 1 the step of the nonlocal diffusion is a convex combination, and keeps the range of each
    channel, whatever the weights; nothing is proven of the step of R(T u), which has normalisation within.

    Args:
        in_channels: Channels of the image.
        num_classes: Number of classes.
        stem_width: Channels at the full resolution.
        widths: Channels of each stage, each of half the resolution of what is before it; multiples of ``heads``.
        depths: Blocks of each stage.
        heads: Attention heads, each of its share of the channels.
        features: Features of a query and a key of each head.
        window: Width of the windows within which pixels see each other; None for the whole image, at a cost that grows
            as the square of its pixels.
        kernel_size: Width of the kernels of T, odd.
        expansion: Width of R within, in multiples of the channels.
        steps: Lie steps of each block, with shared weights, over one unit of time.
        norm_layer: Of the normalisation; by default batch normalisation.
        act_layer: Of the activation.
        dims: Number of spatial axes: 1 for signals, 2 for images, 3 for volumes.

    References:
        X. Wang, R. Girshick, A. Gupta, K. He. Non-local neural networks. CVPR 2018.
        Z. Liu et al. Swin transformer. ICCV 2021 (windows).
        X. Chu et al. Conditional positional encodings for vision transformers. ICLR 2023 (place by depthwise kernels).

    Example:
        >>> import torch
        >>> AttentionClassifier(in_channels=3, num_classes=10)(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        stem_width: int = 16,
        widths: Sequence[int] = (40, 80),
        depths: Sequence[int] = (2, 3),
        heads: int = 4,
        features: int = 8,
        window: int | None = 8,
        kernel_size: int = 5,
        expansion: int = 3,
        steps: int = 1,
        norm_layer: Callable[..., nn.Module] | None = None,
        act_layer: Callable[[], nn.Module] = nn.ReLU,
        dims: int = 2,
    ) -> None:
        norm_layer = checked_norm("attention_classifier", norm_layer, dims)
        kernel_size = checked_count("attention_classifier", "kernel_size", kernel_size, odd=True)
        expansion = checked_count("attention_classifier", "expansion", expansion)

        def block(channels: int, _: int) -> nn.Module:
            nonlocal_diffusion = NonlocalDiffusion(channels, features, heads, window, PerChannel(channels, ceiling=1.0))
            rest = Residual(transport_and_reaction(channels, kernel_size, expansion, norm_layer, act_layer, dims))
            return unproven_steps(Lie(Euler(nonlocal_diffusion), Euler(rest)), steps)

        super().__init__(
            in_channels,
            num_classes,
            widths,
            depths,
            stem_width=stem_width,
            stem=lambda before, after: convolution(before, after, 3, norm_layer, act_layer, dims=dims),
            transition=lambda before, after: convolution(before, after, 3, norm_layer, None, stride=2, dims=dims),
            block=block,
            dims=dims,
            last=lambda channels: nn.Sequential(norm_layer(channels), act_layer()),
        )


def transport_and_reaction(
    channels: int,
    kernel_size: int,
    expansion: int,
    norm_layer: Callable[..., nn.Module],
    act_layer: Callable[[], nn.Module],
    dims: int,
) -> nn.Sequential:
    """R(T u): a kernel a channel, then a network of one hidden layer at every pixel, with normalisation after each."""
    hidden, conv = channels * expansion, CONVOLUTION[dims]
    return nn.Sequential(
        conv(channels, channels, kernel_size, padding=kernel_size // 2, groups=channels, bias=False),
        norm_layer(channels),
        conv(channels, hidden, 1),
        act_layer(),
        conv(hidden, channels, 1, bias=False),
        norm_layer(channels),
    )
