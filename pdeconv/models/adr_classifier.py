"""An advection–diffusion–reaction classifier."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from torch import nn

from pdeconv.coefficient import PerChannel
from pdeconv.control import Fixed
from pdeconv.evolve import Evolve
from pdeconv.grid import Grid
from pdeconv.layers_by_dims import CONVOLUTION, checked_norm
from pdeconv.models.classifier import Classifier
from pdeconv.models.layers import default_norm
from pdeconv.models.registry import register_model
from pdeconv.steps import Heun, Strang
from pdeconv.terms import Advection, Bistable, Diffusion, Reaction
from pdeconv.velocity import ConvVelocity


@register_model("adr_classifier")
class ADRClassifier(Classifier):
    """Classifies images by features that spread, move and react, u_t = κΔu − v(u)·∇u + s u(1 − u²).

    The stem and each transition mix channels by two convolutions and squash the features into [−1, 1]. A block evolves
    them for one unit of time by Strang splitting: diffusion with reaction, and advection, each by Heun's method. Both
    keep [−1, 1], by their ceilings, whatever the weights.

    Args:
        in_channels: Channels of the image.
        num_classes: Number of classes.
        widths: Channels of each stage, the first at the full resolution, each of the others at half of that before it.
        depths: Blocks of each stage, each with coefficients of its own.
        steps: Time steps of each block.
        norm_layer: Of the normalisation; by default group normalisation, which treats every sample by itself.
        act_layer: Of the activation between two convolutions.
        dims: Number of spatial axes: 1 for signals, 2 for images, 3 for volumes.

    References:
        N. Zakariaei et al. Advection augmented convolutional neural networks. NeurIPS 2024.

    Example:
        >>> import torch
        >>> ADRClassifier(in_channels=3, num_classes=10)(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        widths: Sequence[int] = (32, 64, 128),
        depths: Sequence[int] = (1, 1, 1),
        steps: int = 2,
        norm_layer: Callable[..., nn.Module] = default_norm,
        act_layer: Callable[[], nn.Module] = nn.ReLU,
        dims: int = 2,
    ) -> None:
        norm_layer = checked_norm("adr_classifier", norm_layer, dims)
        super().__init__(
            in_channels,
            num_classes,
            widths,
            depths,
            stem=lambda before, after: mixing(before, after, 1, norm_layer, act_layer, dims),
            transition=lambda before, after: mixing(before, after, 2, norm_layer, act_layer, dims),
            block=lambda channels, _: advection_diffusion_reaction(channels, steps, dims),
            dims=dims,
        )


def mixing(
    before: int,
    after: int,
    stride: int,
    norm_layer: Callable[..., nn.Module],
    act_layer: Callable[[], nn.Module],
    dims: int,
) -> nn.Sequential:
    """conv–norm–σ–conv–norm–tanh: mixes channels, and ends in [−1, 1]."""
    conv = partial(CONVOLUTION[dims], kernel_size=3, padding=1, bias=False)
    return nn.Sequential(
        conv(before, after, stride=stride),
        norm_layer(after),
        act_layer(),
        conv(after, after),
        norm_layer(after),
        nn.Tanh(),
    )


def advection_diffusion_reaction(channels: int, steps: int, dims: int) -> Evolve:
    """One unit of time of u_t = κΔu − v(u)·∇u + s u(1 − u²), in ``steps`` steps.

    The ceilings are such that the rates are the same for any number of axes.
    """
    grid = Grid(dims=dims)
    diffusion = Diffusion(PerChannel(channels, ceiling=0.5 / dims, initial=0.1), grid)
    reaction = Reaction(Bistable(PerChannel(channels, ceiling=0.5, initial=0.25)))
    advection = Advection(ConvVelocity(channels, ceiling=1.0 / dims, dims=dims), grid)
    # The last part acts once a step, the other twice: the dearer comes last.
    return Evolve(Strang(Heun(diffusion + reaction), Heun(advection)), duration=1.0, control=Fixed(steps))
