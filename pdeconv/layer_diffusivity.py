"""Diffusivities that a small layer reads off the state: one a cell by a convolution, or one a sample from its means."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from pdeconv.coefficient import Coefficient, check_channels, initial_logit
from pdeconv.errors import PDEConvError, checked_count, checked_number
from pdeconv.grid import Grid
from pdeconv.layers_by_dims import CONVOLUTION
from pdeconv.stencil import extend


class ConvDiffusivity(Coefficient):
    """A diffusivity read off the state by a depthwise convolution, κ(u) = ceiling · sigmoid(w ∗ u + b) at each cell.

    Args:
        channels: Number of channels C.
        ceiling: Upper bound, length²/time.
        initial: κ of a zero state at initialisation; by default half the ceiling.
        dims: Number of spatial axes D.
        kernel_size: Odd width of the kernel.

    Returns (forward): Diffusivity (B, C, *S).

    Raises:
        PDEConvError: Unless 0 < initial < ceiling.

    References:
        A. Kag, V. Saligrama. Condensing CNNs with partial differential equations. CVPR 2022.

    Example:
        >>> ConvDiffusivity(3)(torch.rand(2, 3, 8, 8), Grid()).shape
        torch.Size([2, 3, 8, 8])
    """

    depends_on_state = per_cell = True

    def __init__(
        self,
        channels: int,
        ceiling: float = 1.0,
        initial: float | None = None,
        dims: int = 2,
        kernel_size: int = 3,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        name = "ConvDiffusivity"
        channels, self.dims = checked_count(name, "channels", channels), Grid(dims=dims).dims
        kernel_size = checked_count(name, "kernel_size", kernel_size, odd=True)
        self.ceiling, self.radius = checked_number(name, "ceiling", ceiling), kernel_size // 2
        start = initial_logit(name, ceiling / 2 if initial is None else initial, ceiling)
        self.conv = CONVOLUTION[dims](channels, channels, kernel_size, groups=channels, device=device, dtype=dtype)
        nn.init.constant_(self.conv.bias, start)  # pyright: ignore[reportArgumentType]

    def forward(self, u: Tensor, grid: Grid) -> Tensor:
        check_channels(self.conv.in_channels, u)
        if self.dims != grid.dims:
            raise PDEConvError(
                f"ConvDiffusivity(dims={self.dims}) is on a grid of {grid.dims} axes; make dims the same."
            )
        extended = u
        for axis in grid.axes:
            extended = extend(extended, axis, grid.boundary, int(self.radius))
        return self.ceiling * torch.sigmoid(self.conv(extended.to(self.conv.weight.dtype)).to(u.dtype))


class PooledDiffusivity(Coefficient):
    """A diffusivity a sample and channel, read off the means of the channels: κ(u) = ceiling · sigmoid(W⟨u⟩ + b).

    It is constant in space, so that ``Diffusion`` has an exact flow, and it works at any resolution. Under the neumann
    and periodic boundaries diffusion keeps the means, and so κ: the flow that ``Exact`` takes, frozen at the old state,
    is then the solution of the state-dependent equation itself, for any dt.

    Args:
        channels: Number of channels C.
        ceiling: Upper bound, length²/time.
        initial: κ at initialisation, where W is 0; by default half the ceiling.

    Returns (forward): Diffusivity (B, C, 1, …).

    Raises:
        PDEConvError: Unless 0 < initial < ceiling.

    References:
        Z. Wang et al. vHeat: building vision models upon heat conduction. CVPR 2025.

    Example:
        >>> from pdeconv import Diffusion, Exact
        >>> step, u = Exact(Diffusion(PooledDiffusivity(3))), torch.rand(2, 3, 8, 8)
        >>> once, twice = step(u, torch.tensor(1.0)), step(step(u, torch.tensor(0.5)), torch.tensor(0.5))
        >>> torch.allclose(once, twice, atol=1e-6)
        True
    """

    depends_on_state = True

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
        channels = checked_count("PooledDiffusivity", "channels", channels)
        self.ceiling = checked_number("PooledDiffusivity", "ceiling", ceiling)
        start = initial_logit("PooledDiffusivity", ceiling / 2 if initial is None else initial, ceiling)
        self.weight = nn.Parameter(torch.zeros(channels, channels, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.full((channels,), start, device=device, dtype=dtype))

    def forward(self, u: Tensor, grid: Grid) -> Tensor:
        check_channels(self.bias.numel(), u)
        logit = functional.linear(u.flatten(2).mean(2), self.weight.to(u.dtype), self.bias.to(u.dtype))
        return (self.ceiling * torch.sigmoid(logit.to(u.dtype))).reshape(*u.shape[:2], *[1] * (u.dim() - 2))

    def extra_repr(self) -> str:
        return f"{self.bias.numel()}, ceiling={self.ceiling:g}"
