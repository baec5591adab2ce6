"""A network that mixes pixels by heat conduction alone, after vHeat."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.nn import functional

from pdeconv.control import Fixed
from pdeconv.errors import checked_count, checked_number
from pdeconv.evolve import Evolve
from pdeconv.grid import Grid
from pdeconv.layer_diffusivity import PooledDiffusivity
from pdeconv.layers_by_dims import CONVOLUTION, checked_norm
from pdeconv.models.classifier import Classifier
from pdeconv.models.layers import convolution
from pdeconv.models.registry import register_model
from pdeconv.steps import Euler, Exact, Lie
from pdeconv.terms import Diffusion, Residual
from pdeconv.unproven_steps import unproven_steps


@register_model("heat_classifier")
class HeatClassifier(Classifier):
    """Classifies images by features that conduct heat and react, u_t = W(N(e^{κΔ}x) ⊙ silu(z)) + R(u), (x, z) = V u.

    V is a depthwise convolution and a pointwise map, W a pointwise map, R a pointwise network with one hidden layer.
    A block takes one Lie step a unit of time: Euler's of the conduction, then Euler's of the reaction, both behind a
    normalisation. e^{κΔ}x is the exact solution of the heat equation with insulated walls after a unit of time, in the
    cosine modes, with a diffusivity κ(x) for each sample and channel that the means of x tell: proven for every weight,
    it keeps the range and the mean of each channel, and reaches the whole image. Nothing is proven of the rest.

    Diffusivities are in cells² a unit of time, where vHeat learns a value for each frequency of an image of one size:
    the same weights work at any.

    Args:
        in_channels: Channels of the image.
        num_classes: Number of classes.
        stem_width: Channels at the full resolution.
        widths: Channels of each stage, each of half the resolution of what is before it.
        depths: Blocks of each stage.
        expansion: Width of R within, in multiples of the channels.
        ceiling: Bound of the diffusivity, cells²/time: heat spreads over √(2·ceiling) cells at most.
        steps: Lie steps of each block, with shared weights, over one unit of time.
        norm_layer: Of the normalisation; by default batch normalisation.
        act_layer: Of the activation in R.
        dims: Number of spatial axes: 1 for signals, 2 for images, 3 for volumes.

    References:
        Z. Wang et al. vHeat: building vision models upon heat conduction. CVPR 2025.

    Example:
        >>> import torch
        >>> HeatClassifier(in_channels=3, num_classes=10)(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        stem_width: int = 16,
        widths: Sequence[int] = (40, 80),
        depths: Sequence[int] = (2, 3),
        expansion: int = 2,
        ceiling: float = 8.0,
        steps: int = 1,
        norm_layer: Callable[..., nn.Module] | None = None,
        act_layer: Callable[[], nn.Module] = nn.GELU,
        dims: int = 2,
    ) -> None:
        norm_layer = checked_norm("heat_classifier", norm_layer, dims)
        expansion = checked_count("heat_classifier", "expansion", expansion)
        ceiling = checked_number("heat_classifier", "ceiling", ceiling)

        conv = CONVOLUTION[dims]

        def block(channels: int, _: int) -> nn.Module:
            hidden = channels * expansion
            conduction = Residual(norm_layer(channels), HeatConduction(channels, ceiling, norm_layer, dims))
            network = conv(channels, hidden, 1), act_layer(), conv(hidden, channels, 1)
            return unproven_steps(Lie(Euler(conduction), Euler(Residual(norm_layer(channels), *network))), steps)

        super().__init__(
            in_channels,
            num_classes,
            widths,
            depths,
            stem_width=stem_width,
            stem=lambda before, after: convolution(before, after, 3, norm_layer, act_layer, dims=dims),
            transition=lambda before, after: convolution(before, after, 3, norm_layer, None, stride=2, dims=dims),
            block=block,
            last=norm_layer,
            dims=dims,
        )


class HeatConduction(nn.Module):
    """W(N(e^{κΔ}x) ⊙ silu(z)), (x, z) = V u: what heat conduction makes of x, let through where z says so.

    Args:
        channels: Channels C of u and of the result.
        ceiling: Bound of κ, cells²/time.
        norm_layer: Of N.
        dims: Number of spatial axes.

    Attributes:
        heat: x ↦ e^{κΔ}x, the flow of ``Diffusion(PooledDiffusivity(C))`` over one unit of time.
    """

    def __init__(self, channels: int, ceiling: float, norm_layer: Callable[..., nn.Module], dims: int = 2) -> None:
        super().__init__()
        conv = CONVOLUTION[dims]
        self.near = conv(channels, channels, 3, padding=1, groups=channels)
        self.parts = conv(channels, 2 * channels, 1, bias=False)
        diffusion = Diffusion(PooledDiffusivity(channels, ceiling, initial=ceiling / 8), Grid(dims=dims))
        self.heat = Evolve(Exact(diffusion), 1.0, Fixed(1))
        self.norm, self.mix = norm_layer(channels), conv(channels, channels, 1)

    def forward(self, u: Tensor) -> Tensor:
        x, z = self.parts(self.near(u)).chunk(2, 1)
        return self.mix(self.norm(self.heat(x)) * functional.silu(z))
