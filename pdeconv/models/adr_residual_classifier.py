"""A residual network of advection, diffusion and reaction: few weights, few multiply-adds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from pdeconv.errors import checked_count
from pdeconv.layers_by_dims import CONVOLUTION, checked_norm
from pdeconv.models.classifier import Classifier
from pdeconv.models.layers import convolution, merging
from pdeconv.models.registry import register_model
from pdeconv.unproven_steps import residual_steps


@register_model("adr_residual_classifier")
class ADRResidualClassifier(Classifier):
    """Classifies images by features that are carried, spread and react, u_t = N P σ(N T σ(N L u)).

    L lifts the features at a pixel to several times as many, P projects them back. In between, T is one learned kernel
    a channel: by its moments a velocity, a diffusivity and higher derivatives, which move features in space but mix
    none, as L and P mix features but move none; σ is a reaction at every pixel, N a normalisation. A block is a forward
    Euler step; it costs little, as each part leaves out what the others do. Nothing is proven of a step: for proofs see
    ``adr_classifier``.

    Args:
        in_channels: Channels of the image.
        num_classes: Number of classes.
        stem_width: Channels that the stem gives, before a first stage of half the resolution; by default the first
            stage has the full one, and the stem gives its channels.
        widths: Channels of each stage, each of half the resolution of the one before.
        depths: Blocks of each stage.
        kernel_size: Width of the kernels of T, odd.
        expansion: Channels in which T acts, in multiples of those of the features.
        steps: Euler steps of each block, with shared weights, over one unit of time.
        norm_layer: Of the normalisation; by default batch normalisation.
        act_layer: Of the activation.
        dims: Number of spatial axes: 1 for signals, 2 for images, 3 for volumes.

    References:
        N. Zakariaei et al. Advection augmented convolutional neural networks. NeurIPS 2024.
        L. Ruthotto, E. Haber. Deep neural networks motivated by partial differential equations. JMIV 62, 2020.
        M. Sandler et al. MobileNetV2: inverted residuals and linear bottlenecks. CVPR 2018 (L, T and P).

    Example:
        >>> import torch
        >>> ADRResidualClassifier(in_channels=3, num_classes=10)(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        stem_width: int | None = None,
        widths: Sequence[int] = (14, 32, 64),
        depths: Sequence[int] = (1, 2, 5),
        kernel_size: int = 3,
        expansion: int = 3,
        steps: int = 1,
        norm_layer: Callable[..., nn.Module] | None = None,
        act_layer: Callable[[], nn.Module] = nn.ReLU,
        dims: int = 2,
    ) -> None:
        norm_layer = checked_norm("adr_residual_classifier", norm_layer, dims)
        kernel_size = checked_count("adr_residual_classifier", "kernel_size", kernel_size, odd=True)
        expansion = checked_count("adr_residual_classifier", "expansion", expansion)

        def block(channels: int, _: int) -> nn.Module:
            branch = lifted_transport(channels, kernel_size, expansion, norm_layer, act_layer, dims)
            return residual_steps(branch, steps)

        super().__init__(
            in_channels,
            num_classes,
            widths,
            depths,
            stem_width=stem_width,
            stem=lambda before, after: convolution(before, after, 3, norm_layer, act_layer, dims=dims),
            transition=lambda before, after: nn.Sequential(merging(before, after, dims), norm_layer(after)),
            block=block,
            last=lambda channels: nn.Sequential(norm_layer(channels), act_layer()),
            dims=dims,
        )


def lifted_transport(
    channels: int,
    kernel_size: int,
    expansion: int,
    norm_layer: Callable[..., nn.Module],
    act_layer: Callable[[], nn.Module],
    dims: int,
) -> nn.Sequential:
    """N P σ(N T σ(N L u))."""
    lifted, conv = channels * expansion, CONVOLUTION[dims]
    return nn.Sequential(
        conv(channels, lifted, 1, bias=False),
        norm_layer(lifted),
        act_layer(),
        conv(lifted, lifted, kernel_size, padding=kernel_size // 2, groups=lifted, bias=False),
        norm_layer(lifted),
        act_layer(),
        conv(lifted, channels, 1, bias=False),
        norm_layer(channels),
    )
