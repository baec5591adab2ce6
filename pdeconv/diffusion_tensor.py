"""Diffusion tensors in the plane: symmetric, positive, of bounded size and bounded condition number."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pdeconv.coefficient import Coefficient, check_channels, per_channel
from pdeconv.errors import PDEConvError, checked_count, checked_number
from pdeconv.grid import Grid
from pdeconv.stencil import extend

ROUND = 3 + 2 * math.sqrt(2)
"""The largest condition number at which, whatever the direction, a tensor has min(a, c) ≥ |b|."""


class DiffusionTensor(Coefficient):
    """A field of tensors D = [[a, b], [b, c]], (B|1, 3, C|1, *S|1) of a, b, c at the cells, in length²/time.

    Attributes:
        ceiling: Upper bound of the largest eigenvalue, whatever the state and the weights.
        condition: Upper bound of the ratio of the eigenvalues; inf if there is none.
    """

    condition: float

    @abstractmethod
    def forward(self, u: Tensor, grid: Grid) -> Tensor:
        """The field at the state ``u`` (B, C, H, W)."""

    def extra_repr(self) -> str:
        return f"ceiling={self.ceiling:g}, condition={self.condition:g}"


def checked_condition(owner: str, condition: float) -> float:
    """``condition`` as a float. Raises ``PDEConvError`` unless it is at least 1."""
    if not checked_number(owner, "condition", condition) >= 1:
        raise PDEConvError(f"{owner} needs a condition number of at least 1, but got condition={condition}.")
    return float(condition)


def tensor_of(mean: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """D = mean·I + [[cosine, sine], [sine, −cosine]], of eigenvalues mean ± √(cosine² + sine²), as (B, 3, C, *S)."""
    return torch.stack(torch.broadcast_tensors(mean + cosine, sine, mean - cosine), 1)


def tensor_from_disc(size: Tensor, cosine: Tensor, sine: Tensor, condition: float) -> Tensor:
    """A tensor of largest eigenvalue ≤ ``size`` and condition number ≤ ``condition`` from any three numbers.

    The direction and the anisotropy are a point of the open unit disc, (cosine, sine)/√(1 + cosine² + sine²) = e: with
    h = (1 − 1/condition)/2, the eigenvalues are size·(1 − h ± h|e|), between size/condition and size.
    """
    half = (1 - 1 / condition) / 2
    reach = half * size * torch.rsqrt(1 + cosine.square() + sine.square())
    return tensor_of((1 - half) * size, reach * cosine, reach * sine)


class ConstantTensor(DiffusionTensor):
    """A fixed tensor, the same everywhere and for all channels, not learned.

    Args:
        matrix: ((a, b), (b, c)), positive semidefinite, in length²/time, in the order of the axes (a is along the rows'
            index).

    Raises:
        PDEConvError: Unless the matrix is symmetric and positive semidefinite.

    Example:
        >>> tensor = ConstantTensor(((2.0, 0.5), (0.5, 1.0)))
        >>> round(tensor.ceiling, 3), round(tensor.condition, 3)
        (2.207, 2.784)
    """

    radius = 0

    def __init__(self, matrix: Sequence[Sequence[float]]) -> None:
        super().__init__()
        try:
            (a, b), (other, c) = matrix
            a, b, other, c = float(a), float(b), float(other), float(c)
        except (TypeError, ValueError):
            raise PDEConvError(f"ConstantTensor needs ((a, b), (b, c)), but got {matrix!r}.") from None
        spread = math.hypot((a - c) / 2, b)
        low, high = (a + c) / 2 - spread, (a + c) / 2 + spread
        if b != other or not (math.isfinite(high) and low >= -1e-12 * abs(high)):
            raise PDEConvError(
                f"ConstantTensor needs a symmetric, positive semidefinite ((a, b), (b, c)), but got {matrix!r}."
            )
        self.entries, self.ceiling = (a, b, c), high
        self.condition = high / low if low > 0 else math.inf

    def forward(self, u: Tensor, grid: Grid) -> Tensor:
        return torch.stack([u.new_full((), entry) for entry in self.entries]).reshape(1, 3, 1, 1, 1)


class PerChannelTensor(DiffusionTensor):
    """One learned tensor a channel, of any direction; isotropic at initialisation, of half the ceiling.

    Args:
        channels: Number of channels C.
        ceiling: Upper bound of the eigenvalues, length²/time.
        condition: Upper bound of their ratio; up to 3 + 2√2, by default, the range is kept.

    Example:
        >>> PerChannelTensor(3)(torch.zeros(1, 3, 8, 8), Grid()).shape
        torch.Size([1, 3, 3, 1, 1])
    """

    radius = 0

    def __init__(
        self,
        channels: int,
        ceiling: float = 1.0,
        condition: float = ROUND,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        channels = checked_count("PerChannelTensor", "channels", channels)
        self.ceiling = checked_number("PerChannelTensor", "ceiling", ceiling)
        self.condition = checked_condition("PerChannelTensor", condition)
        self.weight = nn.Parameter(torch.zeros(3, channels, device=device, dtype=dtype))

    def forward(self, u: Tensor, grid: Grid) -> Tensor:
        size, cosine, sine = per_channel(self.weight[:, None], u)
        return tensor_from_disc(self.ceiling * torch.sigmoid(size), cosine, sine, self.condition)


class ConvTensor(DiffusionTensor):
    """A field of tensors read off the state by a depthwise convolution of three outputs a channel: size and direction.

    Args:
        channels: Number of channels C.
        ceiling: Upper bound of the eigenvalues, length²/time.
        condition: Upper bound of their ratio; up to 3 + 2√2, by default, the range is kept.
        kernel_size: Odd width of the kernel.

    Returns (forward): Tensors (B, 3, C, H, W).

    Example:
        >>> ConvTensor(3)(torch.rand(2, 3, 8, 8), Grid()).shape
        torch.Size([2, 3, 3, 8, 8])
    """

    depends_on_state = per_cell = True

    def __init__(
        self,
        channels: int,
        ceiling: float = 1.0,
        condition: float = ROUND,
        kernel_size: int = 3,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        channels = checked_count("ConvTensor", "channels", channels)
        kernel_size = checked_count("ConvTensor", "kernel_size", kernel_size, odd=True)
        self.ceiling = checked_number("ConvTensor", "ceiling", ceiling)
        self.condition, self.radius = checked_condition("ConvTensor", condition), kernel_size // 2
        self.conv = nn.Conv2d(channels, channels * 3, kernel_size, groups=channels, device=device, dtype=dtype)

    def forward(self, u: Tensor, grid: Grid) -> Tensor:
        check_channels(self.conv.in_channels, u)
        extended = u
        for axis in grid.axes:
            extended = extend(extended, axis, grid.boundary, self.conv.kernel_size[0] // 2)
        size, cosine, sine = self.conv(extended.to(self.conv.weight.dtype)).to(u.dtype).unflatten(1, (-1, 3)).unbind(2)
        return tensor_from_disc(self.ceiling * torch.sigmoid(size), cosine, sine, self.condition)
