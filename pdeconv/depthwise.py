"""Equations of each channel by itself with coefficients per channel: what the native kernel can march."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pdeconv.native.library import PROFILES


@dataclass(frozen=True)
class DepthwiseEquation:
    """u_t = ∇·(κ∇u) − v·∇u + (a₀ + a₁u + a₂u²)u, each channel by itself; what is None is absent.

    Attributes:
        kappa: κ (C,), or its value where the state is flat.
        sharpness: 1/λ (C,) of an edge-stopping κ(u) = kappa · g(|∇u|²/λ²).
        profile: g: ``"rational"``, ``"exponential"`` or ``"charbonnier"``; ``"uniform"`` for a κ constant in space.
        velocity: v (C, 2), constant in space, upwind; a state on one axis has it along the second.
        conv, bias: (C, 2, 9) and (C, 2) of a velocity ceiling · tanh(conv ∗ u + bias), upwind.
        ceiling: Of that velocity.
        reaction: a₀, a₁, a₂ (C, 3).
    """

    kappa: Tensor | None = None
    sharpness: Tensor | None = None
    profile: str = "uniform"
    velocity: Tensor | None = None
    conv: Tensor | None = None
    bias: Tensor | None = None
    ceiling: float = 0.0
    reaction: Tensor | None = None

    @property
    def coefficients(self) -> tuple[Tensor | None, ...]:
        """The tensors, in the order of the kernel."""
        return self.kappa, self.sharpness, self.velocity, self.conv, self.bias, self.reaction

    @property
    def profile_number(self) -> int:
        return PROFILES.index(self.profile)

    def plus(self, other: DepthwiseEquation) -> DepthwiseEquation | None:
        """The sum of two right-hand sides, or None where it is not of this kind: upwind slopes do not add up."""
        uniform = self.profile == other.profile == "uniform"
        if (self.advects and other.advects) or (not uniform and self.kappa is not None and other.kappa is not None):
            return None
        edges, carrier = (self if self.profile != "uniform" else other), (self if self.advects else other)
        return DepthwiseEquation(
            kappa=_sum(self.kappa, other.kappa),
            sharpness=edges.sharpness,
            profile=edges.profile,
            velocity=carrier.velocity,
            conv=carrier.conv,
            bias=carrier.bias,
            ceiling=carrier.ceiling,
            reaction=_sum(self.reaction, other.reaction),
        )

    @property
    def advects(self) -> bool:
        return self.velocity is not None or self.conv is not None


def _sum(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    if first is None or second is None:
        return second if first is None else first
    return first + second


def is_declared(cls: type, declaration: str, definitions: tuple[str, ...]) -> bool:
    """Whether no class that ``cls`` derives from redefines what a declaration further up speaks for.

    Example:
        >>> class Doubled(dict):
        ...     def get(self, key): ...
        >>> is_declared(Doubled, "keys", ("get",)), is_declared(dict, "keys", ("get",))
        (False, True)
    """
    for base in cls.__mro__:
        if declaration in vars(base):
            return True
        if any(name in vars(base) for name in definitions):
            return False
    return True


def one_a_channel(values: Tensor, channels: int) -> Tensor | None:
    """A coefficient (), (1, C|1, 1, …) as (C,); None where it differs between samples or cells."""
    if values.dim() == 0:
        return values.expand(channels)
    if values.shape[0] != 1 or any(n != 1 for n in values.shape[2:]) or values.shape[1] not in (1, channels):
        return None
    return torch.broadcast_to(values.reshape(-1), (channels,))
