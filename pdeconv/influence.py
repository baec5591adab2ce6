"""Influence functions: bounded pointwise nonlinearities φ(z) = g(z)·z, given by their slope g."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from pdeconv.coefficient import initial_logit
from pdeconv.errors import PDEConvError, checked_count, checked_number, checked_type
from pdeconv.precision import wider_than_half


class Influence(nn.Module, ABC):
    """A nonlinearity φ(z) = g(z)·z given by its slope 0 ≤ g(z) ≤ ceiling, for each sample by itself.

    Most are pointwise; g may depend on the rest of the sample too, as a normalisation does.

    Attributes:
        ceiling: Upper bound of g, whatever the weights.
        lipschitz: Upper bound of |φ′|, where φ is pointwise; inf if unproven. Where g rises φ′ may exceed the ceiling.
        radius: Cells to either side that g at a cell depends on: 0 where φ is pointwise; inf, the default, if unknown.
    """

    ceiling: float
    radius: float = math.inf
    lipschitz: float = math.inf

    @abstractmethod
    def forward(self, z: Tensor) -> Tensor:
        """The slope g(z) = φ(z)/z, of the shape of ``z`` (B, F, *S)."""

    def extra_repr(self) -> str:
        return f"ceiling={self.ceiling:g}"


class ReLUInfluence(Influence):
    """φ(z) = max(z, 0): g = 1 where z > 0, else 0.

    Example:
        >>> ReLUInfluence()(torch.tensor([-1.0, 2.0]))
        tensor([0., 1.])
    """

    ceiling = lipschitz = 1.0
    radius = 0

    def forward(self, z: Tensor) -> Tensor:
        return (z > 0).to(z.dtype)


class TanhInfluence(Influence):
    """φ(z) = tanh z: g = tanh(z)/z, and 1 at z = 0.

    Example:
        >>> TanhInfluence()(torch.tensor([0.0, 100.0]))
        tensor([1.0000, 0.0100])
    """

    ceiling = lipschitz = 1.0
    radius = 0

    def forward(self, z: Tensor) -> Tensor:
        small = z.abs() < 1e-3
        safe = torch.where(small, 1.0, z)
        return torch.where(small, 1 - z.square() / 3, torch.tanh(safe) / safe)


class RationalInfluence(Influence):
    """A mixture of rational bumps per feature: g(z) = Σⱼ wⱼ (1 + z²/(m sⱼ²))⁻ᵐ, wⱼ ≥ 0, Σⱼ wⱼ < 1.

    As m grows each bump tends to the Gaussian exp(−z²/s²) of a radial basis; a power of two needs no exponential.
    The responses that are small beside sⱼ diffuse, the large ones stay: shrinkage, as Perona and Malik's.

    Args:
        features: Number of features F.
        scales: Initial s₁, s₂, …, in units of z.
        power: m, a power of two.

    References:
        Y. Chen, T. Pock. Trainable nonlinear reaction diffusion. IEEE TPAMI 39(6), 2017.

    Example:
        >>> g = RationalInfluence(8, scales=(0.1,))(torch.tensor([0.0, 1.0]).reshape(1, 1, 2).expand(1, 8, 2))
        >>> bool((g[..., 0] > 0.8).all() and (g[..., 1] < 1e-3).all())
        True
    """

    ceiling = lipschitz = 1.0
    radius = 0

    def __init__(
        self,
        features: int,
        scales: tuple[float, ...] = (0.1, 0.06),
        power: int = 4,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        features, power = checked_count(name, "features", features), checked_count(name, "power", power)
        if power & (power - 1):
            raise PDEConvError(f"{name} needs a power of two, but got power={power}.")
        if not isinstance(scales, Sequence) or isinstance(scales, str) or not scales:
            raise PDEConvError(f"{name} needs a tuple of at least one scale, but got scales={scales!r}.")
        scales = tuple(checked_number(name, "scale", scale) for scale in scales)
        self.power = power
        logs = torch.tensor([math.log(s) for s in scales], dtype=torch.float32)
        self.log_scale = nn.Parameter(logs.repeat(features, 1).to(device=device, dtype=dtype))
        # Softmax with a share left over: together the weights start at 8/9 of the ceiling.
        self.weight = nn.Parameter(torch.full_like(self.log_scale, math.log(8 / len(scales))))

    def forward(self, z: Tensor) -> Tensor:
        wide = wider_than_half(z)
        return self.of_square(wide * wide).to(z.dtype)

    def of_square(self, squared: Tensor) -> Tensor:
        """The slope g as a function of z² (B, F, *S), in which it decreases."""
        shape = (-1, *(1,) * (squared.dim() - 2))
        shares = torch.softmax(functional.pad(self.weight, (0, 1)), 1).to(squared.dtype)
        slowness = torch.exp(-2 * self.log_scale.to(squared.dtype)) / self.power
        slope = torch.zeros((), dtype=squared.dtype, device=squared.device)
        for share, slow in zip(shares.unbind(1)[:-1], slowness.unbind(1), strict=True):
            bump = 1 / (1 + squared * slow.reshape(shape))
            for _ in range(self.power.bit_length() - 1):
                bump = bump * bump
            slope = slope + share.reshape(shape) * bump
        return slope

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, bumps={self.weight.shape[1]}, power={self.power}, ceiling=1"


class NormalisedInfluence(Influence):
    """A normalisation with a bound, and an influence after it, φ(N(z)): N(z) = s·z, g(z) = s·g₁(s·z).

    s = scale / √(1 + ⟨z²⟩/floor²), the mean ⟨·⟩ over the cells of a feature of a sample, the scale in (0, ceiling)
    learned per feature: responses well above the floor come out with a root mean square of scale·floor, those below
    it are only scaled. No mean is subtracted and no shift added, so that φ(N(z)) keeps the form slope times z.

    Args:
        features: Number of features F.
        influence: What follows, with its slope g₁; by default ReLU.
        ceiling: Upper bound of s.
        floor: Root mean square of a response, from where on it is normalised, in units of z.

    References:
        L. Ruthotto, E. Haber. Deep neural networks motivated by partial differential equations. JMIV 62, 2020.
        B. Zhang, R. Sennrich. Root mean square layer normalization. NeurIPS 2019.

    Example:
        >>> z = torch.tensor([3.0, 4.0]).reshape(1, 1, 2)
        >>> g = NormalisedInfluence(1, ceiling=10.0)
        >>> (g(z) * z).square().mean().sqrt().item() / (10.0 * 0.9 * 0.1) > 0.99
        True
    """

    def __init__(
        self,
        features: int,
        influence: Influence | None = None,
        ceiling: float = 1.0,
        floor: float = 0.1,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        features, ceiling = checked_count(name, "features", features), checked_number(name, "ceiling", ceiling)
        self.floor = checked_number(name, "floor", floor)
        self.influence = ReLUInfluence() if influence is None else influence
        checked_type(name, self.influence, Influence, "give for example TanhInfluence()")
        self.scale_ceiling, self.ceiling = ceiling, ceiling * self.influence.ceiling
        start = initial_logit(name, 0.9 * ceiling, ceiling)
        self.weight = nn.Parameter(torch.full((features,), start, device=device, dtype=dtype))

    def forward(self, z: Tensor) -> Tensor:
        # Squares leave the range of float16.
        relative = z.to(torch.promote_types(z.dtype, torch.float32)) / self.floor
        mean_square = relative.flatten(2).square().mean(2)
        scale = self.scale_ceiling * torch.sigmoid(self.weight) * torch.rsqrt(1 + mean_square)
        scale = scale.to(z.dtype).reshape(*scale.shape, *(1,) * (z.dim() - 2))
        return scale * self.influence(scale * z)

    def extra_repr(self) -> str:
        return f"{self.weight.numel()}, floor={self.floor:g}, ceiling={self.ceiling:g}"
