"""Ruthotto and Haber's Hamiltonian network: features that oscillate, and can be undone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from pdeconv.errors import PDEConvError
from pdeconv.evolve import Memory
from pdeconv.layers_by_dims import checked_norm
from pdeconv.models.classifier import Classifier
from pdeconv.models.layers import coarsening, convolution, normalised_diffusion
from pdeconv.models.registry import register_model
from pdeconv.steps import SymplecticEuler
from pdeconv.terms import TwoFields
from pdeconv.unproven_steps import unproven_steps


@register_model("hamiltonian_classifier")
class HamiltonianClassifier(Classifier):
    """Classifies images by two fields that drive each other, u_t = K₁ᵀσ(N(K₁v)), v_t = −K₂ᵀσ(N(K₂u)).

    The two fields are the halves of the channels. Steps are symplectic Euler's, which are exactly reversible: with
    ``memory="reversible"`` each block keeps its last state alone, whatever its steps. K₁ and K₂ are convolutions, N is
    a normalisation and σ an activation; without N, ``norm_layer=nn.Identity``, K₁ and K₂ have norm at most 1. Between
    stages the resolution halves.

    Args:
        in_channels: Channels of the image.
        num_classes: Number of classes.
        widths: Channels of each stage, both fields together, the first at the full resolution; even.
        depths: Blocks of each stage, each with kernels of its own.
        steps: Steps of each block, over one unit of time.
        memory: As of :class:`pdeconv.Evolve`. With "checkpoint" a step updates the running statistics of batch
            normalisation each time that it is computed: take another ``norm_layer``; with "reversible" once.
        norm_layer: Of the normalisation; by default batch normalisation.
        act_layer: Of the activation.
        dims: Number of spatial axes: 1 for signals, 2 for images, 3 for volumes.

    References:
        L. Ruthotto, E. Haber. Deep neural networks motivated by partial differential equations. JMIV 62, 2020.
        B. Chang et al. Reversible architectures for arbitrarily deep residual neural networks. AAAI 2018.

    Example:
        >>> import torch
        >>> HamiltonianClassifier(in_channels=1, num_classes=10)(torch.rand(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        widths: Sequence[int] = (16, 80, 144),
        depths: Sequence[int] = (1, 2, 2),
        steps: int = 1,
        memory: Memory = "store",
        norm_layer: Callable[..., nn.Module] | None = None,
        act_layer: Callable[[], nn.Module] = nn.ReLU,
        dims: int = 2,
    ) -> None:
        norm_layer = checked_norm("hamiltonian_classifier", norm_layer, dims)

        def block(channels: int, _: int) -> nn.Module:
            half = half_of("hamiltonian_classifier", channels)
            first, second = (normalised_diffusion(half, norm_layer, act_layer, dims) for _ in range(2))
            return unproven_steps(SymplecticEuler(TwoFields(second, first)), steps, memory=memory)

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


def half_of(name: str, channels: int) -> int:
    """Channels of each of two fields. Raises ``PDEConvError`` for an odd number."""
    if channels % 2:
        raise PDEConvError(f"{name} has two fields and needs even widths, but got {channels}.")
    return channels // 2
