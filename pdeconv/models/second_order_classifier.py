"""Ruthotto and Haber's second-order network: waves of features."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from pdeconv.evolve import Memory
from pdeconv.layers_by_dims import checked_norm
from pdeconv.models.classifier import Classifier
from pdeconv.models.hamiltonian_classifier import half_of
from pdeconv.models.layers import coarsening, convolution, normalised_diffusion
from pdeconv.models.registry import register_model
from pdeconv.steps import SymplecticEuler
from pdeconv.terms import TwoFields
from pdeconv.unproven_steps import unproven_steps


@register_model("second_order_classifier")
class SecondOrderClassifier(Classifier):
    """Classifies images by waves, u_tt = −Kᵀσ(N(Ku)): a wave equation with a learned convolution K for the gradient.

    The state is (u, v), u and its velocity v, the halves of the channels; both go from block to block, and the stem and
    the transitions give both. Steps are symplectic Euler's, which are exactly reversible; on u alone they are the
    leapfrog u⁺ = 2u − u⁻ − dt²·Kᵀσ(N(Ku)). N is a normalisation and σ an activation; without N,
    ``norm_layer=nn.Identity``, K has norm at most 1. Between stages the resolution halves.

    Args:
        in_channels: Channels of the image.
        num_classes: Number of classes.
        widths: Channels of each stage, u and v together, the first at the full resolution; even.
        depths: Blocks of each stage, each with a kernel of its own.
        steps: Steps of each block, over one unit of time.
        memory: As of :class:`pdeconv.Evolve`. With "checkpoint" a step updates the running statistics of batch
            normalisation each time that it is computed: take another ``norm_layer``; with "reversible" once.
        norm_layer: Of the normalisation; by default batch normalisation.
        act_layer: Of the activation.
        dims: Number of spatial axes: 1 for signals, 2 for images, 3 for volumes.

    References:
        L. Ruthotto, E. Haber. Deep neural networks motivated by partial differential equations. JMIV 62, 2020.

    Example:
        >>> import torch
        >>> SecondOrderClassifier(in_channels=1, num_classes=10)(torch.rand(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        widths: Sequence[int] = (16, 64, 192),
        depths: Sequence[int] = (1, 3, 5),
        steps: int = 1,
        memory: Memory = "store",
        norm_layer: Callable[..., nn.Module] | None = None,
        act_layer: Callable[[], nn.Module] = nn.ReLU,
        dims: int = 2,
    ) -> None:
        norm_layer = checked_norm("second_order_classifier", norm_layer, dims)

        def block(channels: int, _: int) -> nn.Module:
            half = half_of("second_order_classifier", channels)
            wave = TwoFields(normalised_diffusion(half, norm_layer, act_layer, dims))
            return unproven_steps(SymplecticEuler(wave), steps, memory=memory)

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
