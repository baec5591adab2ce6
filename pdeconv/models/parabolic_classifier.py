"""A parabolic classifier: learned nonlinear diffusion of features."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from torch import Tensor, nn

from pdeconv.control import Fixed
from pdeconv.errors import checked_count
from pdeconv.evolve import Evolve, Trajectory
from pdeconv.models.pyramid import default_norm, pyramid_trajectory
from pdeconv.models.registry import register_model
from pdeconv.steps import Euler
from pdeconv.terms import SymmetricConvolution


@register_model("parabolic_classifier")
class ParabolicClassifier(nn.Module):
    """Classifies images by layers u ← u − Kᵀσ(Ku), each a stable Euler step of a learned diffusion.

    Within a level the energy of all feature maps together does not grow, whatever the weights. From level to level
    a strided convolution halves the resolution and doubles the channels.

    Args:
        in_channels: Channels of the image.
        num_classes: Number of classes.
        channels: Channels of the first level.
        depth: Number of levels.
        steps: Steps a level, each with its own kernels.
        norm_layer: Normalisation, called with the number of channels; by default group normalisation.

    References:
        L. Ruthotto, E. Haber. Deep neural networks motivated by partial differential equations. JMIV 62, 2020.

    Example:
        >>> import torch
        >>> ParabolicClassifier(in_channels=1, num_classes=10)(torch.rand(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """

    _version = 1

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        channels: int = 32,
        depth: int = 3,
        steps: int = 2,
        norm_layer: Callable[[int], nn.Module] = default_norm,
    ) -> None:
        super().__init__()
        sizes = dict(in_channels=in_channels, num_classes=num_classes, channels=channels, depth=depth, steps=steps)
        for option, value in sizes.items():
            checked_count("parabolic_classifier", option, value)
        widths = [in_channels] + [channels * 2**level for level in range(depth)]
        self.levels = nn.ModuleList()
        for level, (before, after) in enumerate(pairwise(widths)):
            entry = nn.Conv2d(before, after, 3, 1 if level == 0 else 2, padding=1, bias=False)
            evolutions = [Evolve(Euler(parabolic(after)), 1.0, Fixed(1)) for _ in range(steps)]
            self.levels.append(nn.Sequential(entry, norm_layer(after), nn.ReLU(), *evolutions))
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], num_classes))

    def forward(self, image: Tensor) -> Tensor:
        u = image
        for level in self.levels:
            u = level(u)
        return self.head(u)

    def trajectory(self, image: Tensor) -> Trajectory:
        """The features of each level as they evolve; time goes on from level to level."""
        return pyramid_trajectory(self.levels, image)


def parabolic(channels: int) -> SymmetricConvolution:
    """−Kᵀ relu(Ku) whose Euler step of dt = 1 is at the limit: ‖K‖² ≤ 2."""
    return SymmetricConvolution(channels, kernel_size=3, norm=2**0.5)
