"""A learned coefficient that varies in space."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pdeconv.coefficient import Coefficient, initial_logit
from pdeconv.errors import checked_count, checked_number, checked_type
from pdeconv.grid import Grid
from pdeconv.resample import resampled


class CoefficientField(Coefficient):
    """A learned field, κ = ceiling · sigmoid(w) ∈ (0, ceiling), interpolated linearly to the state's size.

    Args:
        shape: Cells of the field along each axis; the state may have more or fewer.
        channels: Number of channels C, or 1 for one field that serves all channels.
        ceiling: Upper bound.
        initial: Value at initialisation; by default half the ceiling.

    Raises:
        PDEConvError: Unless 0 < initial < ceiling.

    Example:
        >>> CoefficientField((4, 4), ceiling=2.0)(torch.zeros(1, 3, 8, 6), Grid()).shape
        torch.Size([1, 1, 8, 6])
    """

    def __init__(
        self,
        shape: Sequence[int],
        channels: int = 1,
        ceiling: float = 1.0,
        initial: float | None = None,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.ceiling = checked_number("CoefficientField", "ceiling", ceiling)
        checked_type("CoefficientField", shape, Sequence, "give the cells along each axis, for example (8, 8)")
        sizes = [checked_count("CoefficientField", "shape", n) for n in shape]
        channels = checked_count("CoefficientField", "channels", channels)
        start = initial_logit("CoefficientField", ceiling / 2 if initial is None else initial, ceiling)
        Grid(dims=len(sizes))  # 1 to 3 axes
        self.weight = nn.Parameter(torch.full((channels, *sizes), start, device=device, dtype=dtype))

    def forward(self, u: Tensor, grid: Grid) -> Tensor:
        return resampled(self.ceiling * torch.sigmoid(self.weight[None]), u, grid)[0]

    def extra_repr(self) -> str:
        channels, *shape = self.weight.shape
        return f"{tuple(shape)}, channels={channels}, ceiling={self.ceiling:g}"
