"""A network of spiking neurons."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from pdeconv.coefficient import PerChannel
from pdeconv.errors import checked_count, checked_number
from pdeconv.evolve import Trajectory
from pdeconv.layers_by_dims import checked_norm
from pdeconv.models.classifier import Classifier
from pdeconv.models.layers import convolution
from pdeconv.models.registry import register_model
from pdeconv.spiking import LeakyIntegrateAndFire
from pdeconv.tracing import traced_leaf


@register_model("spiking_classifier")
class SpikingClassifier(Classifier):
    """Classifies images by neurons that leak, integrate and fire, u_t = s (I − u), I = N(K spikes).

    The image is shown for some frames. Every layer is a convolution K, a normalisation N and leaky integrate-and-fire
    neurons, whose leak s is learned per channel; between layers go spikes alone, 0 or 1. Features are spike rates, the
    mean over the frames; the logits are read off those of the last layer, normalised once more. The membranes lie below
    the threshold after each frame, whatever the weights.

    Args:
        in_channels: Channels of the image.
        num_classes: Number of classes.
        stem_width: Channels at the full resolution.
        widths: Channels of each stage, each of half the resolution of what is before it.
        depths: Layers of each stage, after the one that halves the resolution.
        steps: Frames, each of one unit of time.
        threshold: Where a neuron fires; currents are normalised to a variance of about 1.
        leak: s at the start, above 0 and below 4; a membrane keeps the share exp(−s) over a frame.
        sharpness: Slope at the threshold of the surrogate that stands for the jump's in training.
        norm_layer: Of the normalisation, by default batch normalisation; it sees each frame of a sample as a
            sample, but before the head the rates.
        dims: Number of spatial axes: 1 for signals, 2 for images, 3 for volumes.

    References:
        E. O. Neftci, H. Mostafa, F. Zenke. Surrogate gradient learning in spiking neural networks. IEEE Signal
        Processing Magazine 36(6), 2019.
        W. Fang et al. Incorporating learnable membrane time constant to enhance learning of spiking neural networks.
        ICCV 2021.

    Example:
        >>> model = SpikingClassifier(in_channels=3, num_classes=10)
        >>> model(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 10])
        >>> rates = model.forward_intermediates(torch.rand(2, 3, 32, 32), indices=1, intermediates_only=True)[0]
        >>> rates.shape, bool((rates * 4 == (rates * 4).round()).all())  # so many of 4 frames
        (torch.Size([2, 64, 8, 8]), True)
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        stem_width: int = 16,
        widths: Sequence[int] = (24, 64),
        depths: Sequence[int] = (1, 1),
        steps: int = 4,
        threshold: float = 0.4,
        leak: float = 0.5,
        sharpness: float = 2.0,
        norm_layer: Callable[..., nn.Module] | None = None,
        dims: int = 2,
    ) -> None:
        norm_layer = checked_norm("spiking_classifier", norm_layer, dims)
        frames = checked_count("spiking_classifier", "steps", steps)
        threshold = checked_number("spiking_classifier", "threshold", threshold)
        leak = checked_number("spiking_classifier", "leak", leak)

        def neurons(channels: int) -> Neurons:
            leaks = PerChannel(channels, ceiling=4.0, initial=leak)
            return Neurons(frames, LeakyIntegrateAndFire(leaks, threshold=threshold, sharpness=sharpness))

        def layer(before: int, after: int, stride: int = 1) -> nn.Sequential:
            current = convolution(before, after, 3, norm_layer, None, stride, dims)
            return nn.Sequential(*current, neurons(after))

        def stem(before: int, after: int) -> nn.Sequential:
            current = convolution(before, after, 3, norm_layer, None, dims=dims)
            return nn.Sequential(*current, Shown(frames), neurons(after))

        super().__init__(
            in_channels,
            num_classes,
            widths,
            depths,
            stem_width=stem_width,
            stem=stem,
            transition=lambda before, after: layer(before, after, stride=2),
            block=lambda channels, _: layer(channels, channels),
            last=norm_layer,  # rates are small, and a head that reads small numbers learns slowly
            dims=dims,
        )
        self.frames = frames

    def as_map(self, u: Tensor) -> Tensor:
        """The spike rates (B, C, *S) of spikes (T·B, C, *S)."""
        return u.unflatten(0, (self.frames, -1)).mean(0)

    def trajectory(self, image: Tensor) -> Trajectory:
        """The spike rates of the last layer over the frames so far, after each frame; ``last`` normalises them."""
        u = self.entered(image)
        for stage in self.stages:
            u = stage(u)
        counts = u.unflatten(0, (self.frames, -1)).cumsum(0)
        times = torch.arange(1.0, self.frames + 1, device=image.device)
        return Trajectory(times, tuple(count / (i + 1) for i, count in enumerate(counts)))


class Shown(nn.Module):
    """(B, C, *S) for ``frames`` frames, a frame of all samples after the other: (T·B, C, *S)."""

    def __init__(self, frames: int) -> None:
        super().__init__()
        self.frames = frames

    def forward(self, u: Tensor) -> Tensor:
        return torch.cat([u] * self.frames)


class Neurons(nn.Module):
    """Spikes (T·B, C, *S) that currents of that shape cause."""

    def __init__(self, frames: int, fire: LeakyIntegrateAndFire) -> None:
        super().__init__()
        self.frames, self.fire = frames, fire

    def forward(self, currents: Tensor) -> Tensor:
        leaf = traced_leaf(self, currents)
        if leaf is not None:
            return leaf
        return torch.cat(self.fire.spikes(currents.chunk(self.frames)))
