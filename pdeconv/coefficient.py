"""Learned, bounded coefficients with declared ceilings: their base, and those that suit any term.

A ceiling is reached by parametrisation, never by clipping: it holds whatever the weights, and so it is known when the
network is built.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from pdeconv.errors import PDEConvError, UnsupportedError, checked_count, checked_number
from pdeconv.grid import Grid


class Coefficient(nn.Module, ABC):
    """A field that depends on the state and is bounded by ``ceiling`` in absolute value.

    Attributes:
        ceiling: Upper bound, whatever the state and the weights; inf, the default, if none is proven.
        depends_on_state: Whether the field does.
        per_cell: Whether the weights belong to cells, as those of a convolution do, so that at another spacing they
            mean another equation.
        radius: Cells to either side, along each axis, that the field at a cell depends on; inf, the default, if it is
            not known, or where in the image the cell lies matters too.
    """

    ceiling: float = math.inf
    radius: float = math.inf
    depends_on_state: bool = False
    per_cell: bool = False

    @abstractmethod
    def forward(self, u: Tensor, grid: Grid) -> Tensor:
        """The field at the state ``u`` (B, C, *S)."""

    def check_refinable(self) -> None:
        """Raise ``UnsupportedError`` where the weights belong to cells."""
        if self.per_cell:
            raise UnsupportedError(
                f"{type(self).__name__} learns a weight per cell, which at another spacing is another equation; use a "
                "coefficient in physical units, such as PerChannel, PeronaMalik or PerChannelVelocity."
            )

    def extra_repr(self) -> str:
        return f"ceiling={self.ceiling:g}"


class FaceCoefficient(Coefficient):
    """A coefficient that knows its values at the faces better than the mean of the cells tells."""

    @abstractmethod
    def faces(self, u: Tensor, grid: Grid) -> tuple[Tensor, ...]:
        """The field at the N + 1 faces along each axis, (B|1, C|1, *S) with N + 1 along that axis."""


def per_channel(values: Tensor, u: Tensor) -> Tensor:
    """Values (…, C), shaped (…, C, 1, …) and typed to multiply the state ``u``."""
    if values.shape[-1] != 1:  # one value is shared by all channels
        check_channels(values.shape[-1], u)
    return values.to(u.dtype).reshape(*values.shape, *(1,) * (u.dim() - 2))


def check_channels(channels: int, u: Tensor, owner: str = "The coefficient") -> None:
    """Raise ``PDEConvError`` unless the state ``u`` has the channels that ``owner`` was built for."""
    if u.shape[1] != channels:
        raise PDEConvError(f"{owner} was built for {channels} channels, but the state has {u.shape[1]}.")


def initial_logit(name: str, initial: float, ceiling: float) -> float:
    """The logit of initial / ceiling."""
    if not checked_number(name, "initial", initial) < ceiling:
        raise PDEConvError(f"{name} needs 0 < initial < ceiling, but got initial={initial} with ceiling={ceiling}.")
    return math.log(initial / (ceiling - initial))


class Constant(Coefficient):
    """A fixed number, not learned: κ(x) = value.

    Args:
        value: Diffusivity in length²/time, or strength in 1/time; at least 0.

    Example:
        >>> Constant(0.5)(torch.zeros(1, 3, 8, 8), Grid())
        tensor(0.5000)
    """

    radius = 0

    def __init__(self, value: float) -> None:
        super().__init__()
        self.ceiling = checked_number("Constant", "value", value, zero_too=True)

    def forward(self, u: Tensor, grid: Grid) -> Tensor:
        return u.new_full((), self.ceiling)


class FixedCoefficient(Coefficient):
    """Given numbers, not learned: one a channel, or a field at the cells.

    Args:
        values: (C,), or (B|1, C|1, *S|1); each finite and at least 0, in the unit of what it stands for.

    Example:
        >>> from pdeconv import Diffusion, GrayScott, Reaction
        >>> spread = Diffusion(FixedCoefficient(torch.tensor([0.16, 0.08])))
        >>> spread.ceiling == 4 * spread.diffusivity.ceiling
        True
        >>> FixedCoefficient(torch.rand(1, 1, 8, 8))(torch.zeros(2, 3, 8, 8), Grid()).shape
        torch.Size([1, 1, 8, 8])
    """

    values: Tensor

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        known = isinstance(values, Tensor) and values.is_floating_point() and values.dim() in (1, 3, 4, 5)
        if not (known and values.numel() and bool((values >= 0).all() and values.isfinite().all())):
            got = f"{tuple(values.shape)} of {values.dtype}" if isinstance(values, Tensor) else type(values).__name__
            raise PDEConvError(
                "FixedCoefficient needs finite numbers of at least 0 in a floating tensor (C,) or (B|1, C|1, *S|1), "
                f"but got {got}."
            )
        self.ceiling = float(values.max())
        self.per_cell = any(n > 1 for n in values.shape[2:])
        self.radius = math.inf if self.per_cell else 0
        # Not part of the state_dict: weights that are loaded must not exceed the ceiling.
        self.register_buffer("values", values.detach().clone(), persistent=False)

    def forward(self, u: Tensor, grid: Grid) -> Tensor:
        if self.values.dim() == 1:
            return per_channel(self.values[None], u)
        if self.values.dim() != u.dim() or any(
            n not in (1, m) for n, m in zip(self.values.shape, u.shape, strict=True)
        ):
            raise PDEConvError(
                f"FixedCoefficient has values of shape {tuple(self.values.shape)}, which do not broadcast to the "
                f"state's {tuple(u.shape)}; give one a channel, or one a cell."
            )
        return self.values.to(u.dtype)

    def extra_repr(self) -> str:
        return f"{tuple(self.values.shape)}, ceiling={self.ceiling:g}"


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

    radius = 0

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
        start = initial_logit("PerChannel", ceiling / 2 if initial is None else initial, ceiling)
        channels = checked_count("PerChannel", "channels", channels)
        self.weight = nn.Parameter(torch.full((channels,), start, device=device, dtype=dtype))

    def forward(self, u: Tensor, grid: Grid) -> Tensor:
        return per_channel(self.ceiling * torch.sigmoid(self.weight[None]), u)

    def extra_repr(self) -> str:
        return f"{self.weight.numel()}, ceiling={self.ceiling:g}"
