"""Diffusivities that depend on the state: where an edge is, less flows."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pdeconv.coefficient import Coefficient, initial_logit, per_channel
from pdeconv.errors import checked_count, checked_number
from pdeconv.grid import Grid
from pdeconv.stencil import squared_gradient


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
        start = initial_logit("PeronaMalik", 0.9 * ceiling, ceiling)
        self.weight = nn.Parameter(torch.full((channels,), start, device=device, dtype=dtype))

    def forward(self, u: Tensor, grid: Grid) -> Tensor:
        sharpness = per_channel(torch.exp(-self.log_contrast[None]), u)
        highest = per_channel(self.ceiling * torch.sigmoid(self.weight[None]), u)
        return highest / (1 + squared_gradient(u * sharpness, grid))  # 1/λ² itself leaves the range of float16

    def extra_repr(self) -> str:
        return f"{self.weight.numel()}, ceiling={self.ceiling:g}"
