"""Neural ordinary differential equations of features: ODE-Net."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from pdeconv.adaptive import Adaptive
from pdeconv.errors import PDEConvError, checked_count, checked_number
from pdeconv.evolve import Evolve, Memory
from pdeconv.layers_by_dims import checked_norm
from pdeconv.models.classifier import Classifier
from pdeconv.models.layers import convolution, default_norm
from pdeconv.models.registry import register_model
from pdeconv.steps import BogackiShampine, Heun
from pdeconv.terms import Residual, TimeVarying
from pdeconv.unproven_steps import unproven_steps


@register_model("ode_classifier")
class ODEClassifier(Classifier):
    """Classifies images by features that solve u_t = f(u, t), f of two convolutions: Chen et al.'s ODE-Net.

    f(u, t) = N₃K₂σN₂K₁σN₁u with the weights of K and N given at points in time, linear in between. A block solves it
    over one unit of time, by Heun's method in ``steps`` steps, or, with a ``tolerance``, by Bogacki and Shampine's pair
    with as many steps as the error of each sample needs. Nothing is proven of a step: f has no ceiling.

    Args:
        in_channels: Channels of the image.
        num_classes: Number of classes.
        stem_width: Channels at the full resolution.
        widths: Channels of each stage, each of half the resolution of what is before it.
        depths: Equations of each stage, one after the other.
        steps: Steps of Heun's method for each equation; by default 2. Not with a ``tolerance``.
        tolerance: Error of a step, relative to features of size 1 or more and else absolute. Needs ``points=1``; waits
            for the device at every step, and is not for ``torch.compile``.
        points: Points in time at which f has weights of its own, at most steps + 1; 1 for weights that do not vary.
        memory: As of :class:`pdeconv.Evolve`: "store" or "checkpoint". With "checkpoint" a step updates the
            running statistics of batch normalisation each time that it is computed: take another ``norm_layer``.
        norm_layer: Of the normalisation. By default batch normalisation, which learns faster and has statistics
            of each step; with a ``tolerance`` group normalisation, as the steps of a sample must not depend
            on its batch-mates.
        act_layer: Of the activation.
        dims: Number of spatial axes: 1 for signals, 2 for images, 3 for volumes.

    References:
        R. T. Q. Chen, Y. Rubanova, J. Bettencourt, D. Duvenaud. Neural ordinary differential equations. NeurIPS 2018.

    Example:
        >>> import torch
        >>> ODEClassifier(in_channels=3, num_classes=10)(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 10])
        >>> solved = ODEClassifier(in_channels=1, widths=(8,), depths=(1,), tolerance=1e-2, points=1)
        >>> solved(torch.rand(2, 1, 8, 8)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        stem_width: int = 12,
        widths: Sequence[int] = (24, 48),
        depths: Sequence[int] = (1, 1),
        steps: int | None = None,
        tolerance: float | None = None,
        points: int = 2,
        memory: Memory = "store",
        norm_layer: Callable[..., nn.Module] | None = None,
        act_layer: Callable[[], nn.Module] = nn.ReLU,
        dims: int = 2,
    ) -> None:
        name = "ode_classifier"
        norm_layer = default_norm if norm_layer is None and tolerance is not None else norm_layer
        norm_layer = checked_norm(name, norm_layer, dims)
        points = checked_count(name, "points", points)
        count = checked_count(name, "steps", 2 if steps is None else steps)
        if tolerance is not None:
            tolerance = checked_number(name, "tolerance", tolerance)
            if steps is not None or points != 1:
                raise PDEConvError(
                    f"{name} with a tolerance chooses its steps, and needs weights that do not vary in time: leave out "
                    f"steps and give points=1, but got steps={steps}, points={points}."
                )
        elif points > count + 1:
            raise PDEConvError(
                f"{name} reaches at most steps + 1 points in time with its steps, but got points={points} for "
                f"steps={count}; give more steps."
            )

        def block(channels: int, _: int) -> nn.Module:
            field = Residual(two_convolutions(channels, norm_layer, act_layer, dims))
            if tolerance is not None:
                return Evolve(BogackiShampine(field), 1.0, Adaptive(tolerance, tolerance), memory)
            return unproven_steps(Heun(TimeVarying(field, points) if points > 1 else field), count, memory=memory)

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


def two_convolutions(
    channels: int, norm_layer: Callable[..., nn.Module], act_layer: Callable[[], nn.Module], dims: int
) -> nn.Sequential:
    """N₃K₂σN₂K₁σN₁u, as ODE-Net's."""
    return nn.Sequential(
        norm_layer(channels),
        act_layer(),
        *convolution(channels, channels, 3, norm_layer, act_layer, dims=dims),
        *convolution(channels, channels, 3, norm_layer, None, dims=dims),
    )
