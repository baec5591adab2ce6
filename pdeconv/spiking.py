"""Spiking neurons: a reaction that is reset at a threshold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pdeconv.coefficient import Coefficient
from pdeconv.errors import PDEConvError, checked_number, checked_type
from pdeconv.grid import Grid, check_state


class LeakyIntegrateAndFire(nn.Module):
    """Leaky integrate-and-fire neurons at each pixel, u_t = s (rest − u + I): where u ≥ threshold, a spike and a reset.

    s = 1/τ is the leak. Between spikes the membrane flows exactly, for a current I that is constant over dt. A spike
    is 1 or 0; backward takes the slope of the surrogate ½ + arctan(π·sharpness·(u − threshold))/π for the jump's,
    sharpness / (1 + (π·sharpness·(u − threshold))²), and takes the reset as it was.

    Args:
        leak: Coefficient s = 1/τ, 1/time; a constant current fires at 1/(τ ln((I + rest − reset)/(I + rest −
            threshold))) spikes a time, rounded up to whole dt a period.
        dt: Length of a frame.
        threshold: Where a neuron fires.
        rest: Where the membrane goes without a current.
        reset: Where it starts and restarts, below the threshold.
        sharpness: Slope of the surrogate at the threshold.

    Keeps: The membrane lies below the threshold after each frame, and above min(reset, rest + the least current); a
        convex combination of both ends at every dt.

    Raises:
        PDEConvError: Unless reset < threshold, or if the currents are not (B, T, C, *S).

    References:
        L. Lapicque. Recherches quantitatives sur l'excitation électrique des nerfs. J. Physiol. Pathol. Gén. 9, 1907.
        E. O. Neftci, H. Mostafa, F. Zenke. Surrogate gradient learning in spiking neural networks. IEEE Signal
        Processing Magazine 36(6), 2019.
        W. Fang et al. Incorporating learnable membrane time constant to enhance learning of spiking neural networks.
        ICCV 2021 (the arctangent).

    Example:
        >>> from pdeconv import PerChannel
        >>> neurons = LeakyIntegrateAndFire(PerChannel(3, ceiling=1.0))
        >>> spikes = neurons(2 * torch.rand(2, 5, 3, 8, 8))
        >>> spikes.shape, sorted(set(spikes.flatten().tolist()))
        (torch.Size([2, 5, 3, 8, 8]), [0.0, 1.0])
    """

    def __init__(
        self,
        leak: Coefficient,
        dt: float = 1.0,
        threshold: float = 1.0,
        rest: float = 0.0,
        reset: float = 0.0,
        sharpness: float = 1.0,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        checked_type(name, leak, Coefficient, "give for example PerChannel(channels)")
        self.leak, self.dt = leak, checked_number(name, "dt", dt)
        if not all(math.isfinite(value) for value in (threshold, rest, reset)) or not reset < threshold:
            raise PDEConvError(
                f"{name} needs finite reset < threshold and rest, but got threshold={threshold}, rest={rest}, "
                f"reset={reset}."
            )
        self.threshold, self.rest, self.reset = threshold, rest, reset
        self.sharpness = checked_number(name, "sharpness", sharpness)

    def forward(self, currents: Tensor) -> Tensor:
        """The spikes (B, T, C, *S) that currents (B, T, C, *S) cause, from the reset potential."""
        if currents.dim() < 4:
            raise PDEConvError(
                f"LeakyIntegrateAndFire needs currents (B, T, C, *S), but got shape {tuple(currents.shape)}; "
                "frames lie along axis 1."
            )
        check_state(currents[:, 0])
        return torch.stack(self.spikes(currents.unbind(1)), 1)

    def spikes(self, currents: Sequence[Tensor]) -> list[Tensor]:
        """The spikes of each frame, from the currents (B, C, *S) of each, from the reset potential."""
        membrane, spikes = torch.full_like(currents[0], self.reset), []
        for current in currents:
            spike, membrane = self.advance(membrane, current)
            spikes.append(spike)
        return spikes

    def advance(self, membrane: Tensor, current: Tensor) -> tuple[Tensor, Tensor]:
        """One frame: the spikes and the next membrane potential, from a membrane and a current (B, C, *S)."""
        leak = self.leak(membrane, Grid(dims=membrane.dim() - 2))
        share = -torch.expm1(-leak * self.dt).to(membrane.dtype)  # CUDA's autocast widens the exponential
        membrane = torch.lerp(membrane, self.rest + current, share)
        spike = _Jump.apply(membrane, self.threshold, self.sharpness)
        fired = spike.detach()
        kept = membrane * (1 - fired)
        return spike, kept + self.reset * fired if self.reset else kept

    def extra_repr(self) -> str:
        return f"dt={self.dt:g}, threshold={self.threshold:g}, rest={self.rest:g}, reset={self.reset:g}"


class _Jump(torch.autograd.Function):
    """1 where u ≥ threshold, else 0, with the slope of the surrogate: its arctangent itself is never computed."""

    generate_vmap_rule = True

    @staticmethod
    def forward(u: Tensor, threshold: float, sharpness: float) -> Tensor:
        return (u >= threshold).to(u.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float, float], output: Tensor) -> None:
        u, ctx.threshold, ctx.sharpness = inputs
        ctx.save_for_backward(u)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (u,) = ctx.saved_tensors
        away = (u - ctx.threshold) * (math.pi * ctx.sharpness)
        return slope * ctx.sharpness / away.square().add(1), None, None
