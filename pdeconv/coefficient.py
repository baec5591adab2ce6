"""Learned, bounded coefficients: diffusivities and velocities with declared ceilings.

A ceiling is reached by parametrisation, never by clipping: it holds whatever the weights, and so it is known when the
network is built.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from pdeconv.errors import PDEConvError
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


def _checked_ceiling(name: str, ceiling: float) -> float:
    if not (math.isfinite(ceiling) and ceiling > 0):
        raise PDEConvError(f"{name} needs a positive, finite ceiling, but got {ceiling}.")
    return float(ceiling)


def _checked_initial(name: str, initial: float, ceiling: float) -> float:
    if not 0 < initial < ceiling:
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
        if not (math.isfinite(value) and value >= 0):
            raise PDEConvError(f"Constant needs a finite value of at least 0, but got {value}.")
        self.ceiling = float(value)

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
        self.ceiling = _checked_ceiling("PerChannel", ceiling)
        start = _checked_initial("PerChannel", ceiling / 2 if initial is None else initial, ceiling)
        self.weight = nn.Parameter(torch.full((channels,), start, device=device, dtype=dtype))

    def forward(self, u: Tensor, grid: Grid) -> Tensor:
        return (self.ceiling * torch.sigmoid(self.weight)).to(u.dtype).reshape(1, -1, *(1,) * grid.dims)

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
        if not (math.isfinite(contrast) and contrast > 0):
            raise PDEConvError(f"PeronaMalik needs a positive contrast, but got {contrast}.")
        self.ceiling = _checked_ceiling("PeronaMalik", ceiling)
        self.log_contrast = nn.Parameter(torch.full((channels,), math.log(contrast), device=device, dtype=dtype))
        start = _checked_initial("PeronaMalik", 0.9 * ceiling, ceiling)
        self.weight = nn.Parameter(torch.full((channels,), start, device=device, dtype=dtype))

    def forward(self, u: Tensor, grid: Grid) -> Tensor:
        shape = (1, -1, *(1,) * grid.dims)
        slowness = torch.exp(-2 * self.log_contrast).to(u.dtype).reshape(shape)
        highest = (self.ceiling * torch.sigmoid(self.weight)).to(u.dtype).reshape(shape)
        return highest / (1 + squared_gradient(u, grid) * slowness)

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
        self.ceiling = _checked_ceiling("PerChannelVelocity", ceiling)
        self.weight = nn.Parameter(torch.zeros(dims, channels, device=device, dtype=dtype))

    def forward(self, u: Tensor, grid: Grid) -> Tensor:
        return (self.ceiling * torch.tanh(self.weight)).to(u.dtype).reshape(1, *self.weight.shape, *(1,) * grid.dims)

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
        if kernel_size % 2 == 0 or kernel_size < 1:
            raise PDEConvError(f"ConvVelocity needs an odd kernel_size, but got {kernel_size}.")
        self.ceiling = _checked_ceiling("ConvVelocity", ceiling)
        self.dims, self.radius = dims, kernel_size // 2
        convolution = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[dims]
        self.conv = convolution(channels, channels * dims, kernel_size, groups=channels, device=device, dtype=dtype)

    def forward(self, u: Tensor, grid: Grid) -> Tensor:
        extended = u
        for axis in grid.axes:
            extended = extend(extended, axis, grid.boundary, self.radius)
        velocity = self.ceiling * torch.tanh(self.conv(extended))
        return velocity.unflatten(1, (-1, self.dims)).transpose(1, 2)

    def extra_repr(self) -> str:
        return f"ceiling={self.ceiling:g}"
