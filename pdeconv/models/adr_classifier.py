"""An advection–diffusion–reaction classifier."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise

from torch import Tensor, nn

from pdeconv.coefficient import PerChannel
from pdeconv.control import Fixed
from pdeconv.errors import checked_count
from pdeconv.evolve import Evolve, Trajectory
from pdeconv.grid import Grid
from pdeconv.models.pyramid import default_norm, pyramid_trajectory
from pdeconv.models.registry import register_model
from pdeconv.steps import Heun, Strang
from pdeconv.terms import Advection, Bistable, Diffusion, Reaction
from pdeconv.velocity import ConvVelocity


@register_model("adr_classifier")
class ADRClassifier(nn.Module):
    """Classifies images by features that spread, move and react, u_t = κΔu − v(u)·∇u + s u(1 − u²).

    Each level mixes channels by two convolutions, squashes the features into [−1, 1], and evolves them for one unit
    of time by Strang splitting: diffusion with reaction, and advection, each by Heun's method. Both keep [−1, 1], by
    their ceilings, whatever the weights. From level to level the resolution halves and the channels double.

    Args:
        in_channels: Channels of the image.
        num_classes: Number of classes.
        channels: Channels of the first level.
        depth: Number of levels.
        steps: Time steps a level.
        norm_layer: Normalisation, called with the number of channels; by default group normalisation, which treats
            every sample by itself.

    References:
        N. Zakariaei et al. Advection augmented convolutional neural networks. NeurIPS 2024.

    Example:
        >>> import torch
        >>> ADRClassifier(in_channels=3, num_classes=10)(torch.rand(2, 3, 32, 32)).shape
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
            checked_count("adr_classifier", option, value)
        widths = [in_channels] + [channels * 2**level for level in range(depth)]
        self.levels = nn.ModuleList(
            nn.Sequential(
                mixing(before, after, 1 if level == 0 else 2, norm_layer), advection_diffusion_reaction(after, steps)
            )
            for level, (before, after) in enumerate(pairwise(widths))
        )
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], num_classes))

    def forward(self, image: Tensor) -> Tensor:
        u = image
        for level in self.levels:
            u = level(u)
        return self.head(u)

    def trajectory(self, image: Tensor) -> Trajectory:
        """The features of each level as they evolve; time goes on from level to level."""
        return pyramid_trajectory(self.levels, image)


def mixing(before: int, after: int, stride: int, norm_layer: Callable[[int], nn.Module]) -> nn.Sequential:
    """conv–norm–ReLU–conv–norm–tanh: mixes channels, and ends in [−1, 1]."""
    conv = partial(nn.Conv2d, kernel_size=3, padding=1, bias=False)
    return nn.Sequential(
        conv(before, after, stride=stride),
        norm_layer(after),
        nn.ReLU(),
        conv(after, after),
        norm_layer(after),
        nn.Tanh(),
    )


def advection_diffusion_reaction(channels: int, steps: int, grid: Grid | None = None) -> Evolve:
    """One unit of time of u_t = κΔu − v(u)·∇u + s u(1 − u²), in ``steps`` steps."""
    grid = Grid() if grid is None else grid
    diffusion = Diffusion(PerChannel(channels, ceiling=0.25, initial=0.1), grid)
    reaction = Reaction(Bistable(PerChannel(channels, ceiling=0.5, initial=0.25)))
    advection = Advection(ConvVelocity(channels, ceiling=0.5, dims=grid.dims), grid)
    # The last part acts once a step, the other twice: the dearer comes last.
    return Evolve(Strang(Heun(diffusion + reaction), Heun(advection)), duration=1.0, control=Fixed(steps))
