"""Ruthotto and Haber's parabolic network: learned nonlinear diffusion of features."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from pdeconv.layers_by_dims import checked_norm
from pdeconv.models.classifier import Classifier
from pdeconv.models.layers import coarsening, convolution, normalised_diffusion
from pdeconv.models.registry import register_model
from pdeconv.steps import Euler
from pdeconv.unproven_steps import unproven_steps


@register_model("parabolic_classifier")
class ParabolicClassifier(Classifier):
    """Classifies images by layers u ← u − dt·Kᵀσ(N(Ku)): forward Euler steps of a learned diffusion, u_t = −Kᵀσ(N(Ku)).

    K is a convolution, Kᵀ its exact transpose, N a normalisation and σ an activation. Without N,
    ``norm_layer=nn.Identity``, K has norm at most 1, and with a bounded slope of σ the energy of the features does not
    grow (:class:`pdeconv.SymmetricConvolution` by itself); batch normalisation learns faster, and proves nothing.
    Between stages the resolution halves.

    Args:
        in_channels: Channels of the image.
        num_classes: Number of classes.
        widths: Channels of each stage, the first at the full resolution.
        depths: Blocks of each stage, each with a kernel of its own.
        steps: Steps of each block, over one unit of time.
        norm_layer: Of the normalisation; by default batch normalisation.
        act_layer: Of the activation.
        dims: Number of spatial axes: 1 for signals, 2 for images, 3 for volumes.

    References:
        L. Ruthotto, E. Haber. Deep neural networks motivated by partial differential equations. JMIV 62, 2020.

    Example:
        >>> import torch
        >>> ParabolicClassifier(in_channels=1, num_classes=10)(torch.rand(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        widths: Sequence[int] = (16, 64, 128),
        depths: Sequence[int] = (1, 2, 2),
        steps: int = 1,
        norm_layer: Callable[..., nn.Module] | None = None,
        act_layer: Callable[[], nn.Module] = nn.ReLU,
        dims: int = 2,
    ) -> None:
        norm_layer = checked_norm("parabolic_classifier", norm_layer, dims)

        def block(channels: int, _: int) -> nn.Module:
            return unproven_steps(Euler(normalised_diffusion(channels, norm_layer, act_layer, dims)), steps)

        super().__init__(
            in_channels,
            num_classes,
            widths,
            depths,
            stem=lambda before, after: convolution(before, after, 3, norm_layer, act_layer, dims=dims),
            transition=lambda before, after: coarsening(before, after, norm_layer, act_layer, dims),
            block=block,
            dims=dims,
        )
