"""Learned, bounded coefficients: diffusivities and velocities with declared ceilings.

A ceiling is reached by parametrisation, never by clipping: it holds whatever the weights, and so it is known when the
network is built.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from pdeconv.errors import PDEConvError, checked_count, checked_number
from pdeconv.grid import Grid
from pdeconv.stencil import extend, squared_gradient


class Coefficient(nn.Module, ABC):
    """A field that depends on the state and is bounded by ``ceiling`` in absolute value."""

    ceiling: float
    depends_on_state: bool = False

    @abstractmethod
    def forward(self, u: Tensor, grid: Grid) -> Tensor:
        """The field at the state ``u`` (B, C, *S)."""

    def extra_repr(self) -> str:
        return f"ceiling={self.ceiling:g}"


def _per_channel(values: Tensor, u: Tensor) -> Tensor:
    """Values (…, C), shaped (…, C, 1, …) and typed to multiply the state ``u``."""
    if values.shape[-1] != 1:  # one value is shared by all channels
        _check_channels(values.shape[-1], u)
    return values.to(u.dtype).reshape(*values.shape, *(1,) * (u.dim() - 2))


def _check_channels(channels: int, u: Tensor) -> None:
    if u.shape[1] != channels:
        raise PDEConvError(f"The coefficient was built for {channels} channels, but the state has {u.shape[1]}.")


def _checked_initial(name: str, initial: float, ceiling: float) -> float:
    """The logit of initial / ceiling."""
    if not checked_number(name, "initial", initial) < ceiling:
        raise PDEConvError(f"{name} needs 0 < initial < ceiling, but got initial={initial} with ceiling={ceiling}.")
    return math.log(initial / (ceiling - initial))


class Constant(Coefficient):
    """A fixed number, not learned: κ(x) = value.

    Args:
        value: Diffusivity in dx²/time, or strength in 1/time; at least 0.

    Example:
        >>> Constant(0.5)(torch.zeros(1, 3, 8, 8), Grid())
        tensor(0.5000)
    """

    def __init__(self, value: float) -> None:
        super().__init__()
        self.ceiling = checked_number("Constant", "value", value, zero_too=True)

    def forward(self, u: Tensor, grid: Grid) -> Tensor:
        return u.new_full((), self.ceiling)


class PerChannel(Coefficient):
    """One learned number a channel, κ_c = ceiling · sigmoid(w_c) ∈ (0, ceiling).

    Args:
        channels: Number of channels C.
        ceiling: Upper bound.
        initial: Value at initialisation; by default half the ceiling.

    Raises:
        PDEConvError: Unless 0 < initial < ceiling.

    Example:
        >>> PerChannel(3, ceiling=2.0)(torch.zeros(1, 3, 8, 8), Grid()).flatten()
        tensor([1., 1., 1.], grad_fn=<ViewBackward0>)
    """

    def __init__(
        self,
        channels: int,
        ceiling: float = 1.0,
        initial: float | None = None,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.ceiling = checked_number("PerChannel", "ceiling", ceiling)
        start = _checked_initial("PerChannel", ceiling / 2 if initial is None else initial, ceiling)
        channels = checked_count("PerChannel", "channels", channels)
        self.weight = nn.Parameter(torch.full((channels,), start, device=device, dtype=dtype))

    def forward(self, u: Tensor, grid: Grid) -> Tensor:
        return _per_channel(self.ceiling * torch.sigmoid(self.weight[None]), u)

    def extra_repr(self) -> str:
        return f"{self.weight.numel()}, ceiling={self.ceiling:g}"


class PeronaMalik(Coefficient):
    """Edge-stopping diffusivity κ(u) = κ₀ / (1 + |∇u|²/λ²) with learned λ and κ₀ per channel.

    κ₀ = ceiling · sigmoid(w). The rational form is the second of the paper.

    Args:
        channels: Number of channels C.
        contrast: λ at initialisation, in units of u per dx: gradients well above it are kept as edges.
            For images in [0, 1] good values are 0.02 to 0.2.
        ceiling: Upper bound of the diffusivity, dx²/time.

    References:
        P. Perona, J. Malik. Scale-space and edge detection using anisotropic diffusion. IEEE TPAMI 12(7), 1990.

    Example:
        >>> PeronaMalik(channels=1)(torch.rand(2, 1, 8, 8), Grid()).shape
        torch.Size([2, 1, 8, 8])
    """

    depends_on_state = True

    def __init__(
        self,
        channels: int,
        contrast: float = 0.1,
        ceiling: float = 1.0,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        channels = checked_count("PeronaMalik", "channels", channels)
        contrast = checked_number("PeronaMalik", "contrast", contrast)
        self.ceiling = checked_number("PeronaMalik", "ceiling", ceiling)
        self.log_contrast = nn.Parameter(torch.full((channels,), math.log(contrast), device=device, dtype=dtype))
        start = _checked_initial("PeronaMalik", 0.9 * ceiling, ceiling)
        self.weight = nn.Parameter(torch.full((channels,), start, device=device, dtype=dtype))

    def forward(self, u: Tensor, grid: Grid) -> Tensor:
        sharpness = _per_channel(torch.exp(-self.log_contrast[None]), u)
        highest = _per_channel(self.ceiling * torch.sigmoid(self.weight[None]), u)
        return highest / (1 + squared_gradient(u * sharpness, grid))  # 1/λ² itself leaves the range of float16

    def extra_repr(self) -> str:
        return f"{self.weight.numel()}, ceiling={self.ceiling:g}"


class PerChannelVelocity(Coefficient):
    """One learned velocity a channel, v = ceiling · tanh(w), of shape (1, D, C, 1, …); zero at initialisation.

    Args:
        channels: Number of channels C.
        ceiling: Upper bound of each component, dx/time.
        dims: Number of spatial axes D.

    Example:
        >>> PerChannelVelocity(3)(torch.zeros(1, 3, 8, 8), Grid()).shape
        torch.Size([1, 2, 3, 1, 1])
    """

    def __init__(
        self,
        channels: int,
        ceiling: float = 1.0,
        dims: int = 2,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.ceiling = checked_number("PerChannelVelocity", "ceiling", ceiling)
        channels, dims = checked_count("PerChannelVelocity", "channels", channels), Grid(dims=dims).dims
        self.weight = nn.Parameter(torch.zeros(dims, channels, device=device, dtype=dtype))

    def forward(self, u: Tensor, grid: Grid) -> Tensor:
        return _per_channel(self.ceiling * torch.tanh(self.weight[None]), u)

    def extra_repr(self) -> str:
        return f"{self.weight.shape[1]}, ceiling={self.ceiling:g}, dims={self.weight.shape[0]}"


class ConvVelocity(Coefficient):
    """A velocity field read off the state by a depthwise convolution, v = ceiling · tanh(w ∗ u + b).

    Args:
        channels: Number of channels C.
        ceiling: Upper bound of each component, dx/time.
        dims: Number of spatial axes D.
        kernel_size: Odd width of the kernel.

    Returns (forward): Velocity (B, D, C, *S).

    Example:
        >>> ConvVelocity(3)(torch.rand(2, 3, 8, 8), Grid()).shape
        torch.Size([2, 2, 3, 8, 8])
    """

    depends_on_state = True

    def __init__(
        self,
        channels: int,
        ceiling: float = 1.0,
        dims: int = 2,
        kernel_size: int = 3,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        channels, dims = checked_count("ConvVelocity", "channels", channels), Grid(dims=dims).dims
        kernel_size = checked_count("ConvVelocity", "kernel_size", kernel_size, odd=True)
        self.ceiling = checked_number("ConvVelocity", "ceiling", ceiling)
        self.dims, self.radius = dims, kernel_size // 2
        convolution = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[dims]
        self.conv = convolution(channels, channels * dims, kernel_size, groups=channels, device=device, dtype=dtype)

    def forward(self, u: Tensor, grid: Grid) -> Tensor:
        _check_channels(self.conv.in_channels, u)
        if self.dims != grid.dims:
            raise PDEConvError(f"ConvVelocity(dims={self.dims}) is on a grid of {grid.dims} axes; make dims the same.")
        extended = u
        for axis in grid.axes:
            extended = extend(extended, axis, grid.boundary, self.radius)
        velocity = self.ceiling * torch.tanh(self.conv(extended))
        return velocity.unflatten(1, (-1, self.dims)).transpose(1, 2)

    def extra_repr(self) -> str:
        return f"ceiling={self.ceiling:g}"
