"""Velocities of advection, (B|1, D, C|1, *S|1) for D spatial axes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pdeconv.coefficient import Coefficient, check_channels, per_channel
from pdeconv.errors import PDEConvError, checked_count, checked_number
from pdeconv.grid import Grid
from pdeconv.stencil import extend


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
        return per_channel(self.ceiling * torch.tanh(self.weight[None]), u)

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

    depends_on_state = per_cell = True

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
        check_channels(self.conv.in_channels, u)
        if self.dims != grid.dims:
            raise PDEConvError(f"ConvVelocity(dims={self.dims}) is on a grid of {grid.dims} axes; make dims the same.")
        extended = u
        for axis in grid.axes:
            extended = extend(extended, axis, grid.boundary, self.radius)
        velocity = self.ceiling * torch.tanh(self.conv(extended))
        return velocity.unflatten(1, (-1, self.dims)).transpose(1, 2)

    def extra_repr(self) -> str:
        return f"ceiling={self.ceiling:g}"
