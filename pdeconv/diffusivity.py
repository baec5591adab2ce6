"""Diffusivities that depend on the state: where an edge is, less flows."""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from torch import Tensor, nn

from pdeconv.coefficient import Coefficient, initial_logit, per_channel
from pdeconv.depthwise import DepthwiseEquation, one_a_channel
from pdeconv.errors import checked_count, checked_number
from pdeconv.grid import Grid
from pdeconv.influence import RationalInfluence
from pdeconv.precision import wider_than_half
from pdeconv.stencil import squared_gradient


class EdgeStopping(Coefficient):
    """A diffusivity κ(u) = κ₀ g(|∇u|²/λ²) with learned λ and κ₀ per channel, and a profile g with values in [0, 1].

    κ₀ = ceiling · sigmoid(w), so that 0 ≤ κ ≤ ceiling whatever the state and the weights.

    Args:
        channels: Number of channels C.
        contrast: λ at initialisation, in units of u per length: gradients well above it are kept as edges.
            For images in [0, 1] good values are 0.02 to 0.2.
        ceiling: Upper bound of the diffusivity, length²/time.
    """

    depends_on_state, radius = True, 1

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
        name = type(self).__name__
        channels = checked_count(name, "channels", channels)
        contrast = checked_number(name, "contrast", contrast)
        self.ceiling = checked_number(name, "ceiling", ceiling)
        self.log_contrast = nn.Parameter(torch.full((channels,), math.log(contrast), device=device, dtype=dtype))
        start = initial_logit(name, 0.9 * ceiling, ceiling)
        self.weight = nn.Parameter(torch.full((channels,), start, device=device, dtype=dtype))

    @abstractmethod
    def profile(self, squared: Tensor) -> Tensor:
        """g ∈ [0, 1] of ``squared`` = |∇u|²/λ² ≥ 0, pointwise."""

    def forward(self, u: Tensor, grid: Grid) -> Tensor:
        wide = wider_than_half(u)
        # 1/λ rather than 1/λ², whose range is larger.
        sharpness = per_channel(torch.exp(-self.log_contrast[None].to(wide.dtype)), wide)
        highest = per_channel(self.ceiling * torch.sigmoid(self.weight[None]), wide)
        # Autocast may have made the profile wider.
        return (highest * self.profile(squared_gradient(wide * sharpness, grid))).to(u.dtype)

    def depthwise(self, u: Tensor) -> DepthwiseEquation | None:
        """Diffusion with this diffusivity, for the native kernel; None for a profile that it does not know."""
        name = _NATIVE.get(type(self).profile)
        if name is None or type(self).forward is not EdgeStopping.forward:
            return None
        kappa = one_a_channel(per_channel(self.ceiling * torch.sigmoid(self.weight[None]), u), u.shape[1])
        # Its square must be a number, and not 0.
        sharpness = torch.exp(-wider_than_half(self.log_contrast[None])).clamp(1e-15, 1e15)
        sharpness = one_a_channel(per_channel(sharpness, u), u.shape[1])
        return DepthwiseEquation(kappa, sharpness, name)

    def extra_repr(self) -> str:
        return f"{self.weight.numel()}, ceiling={self.ceiling:g}"


class PeronaMalik(EdgeStopping):
    """Edge-stopping diffusivity κ(u) = κ₀ / (1 + |∇u|²/λ²) with learned λ and κ₀ per channel.

    κ₀ = ceiling · sigmoid(w). The rational form is the second of the paper; :class:`pdeconv.Exponential` is the first.
    The flux κ|∇u| grows up to |∇u| = λ and falls beyond, where edges steepen.

    Args:
        channels: Number of channels C.
        contrast: λ at initialisation, in units of u per length: gradients well above it are kept as edges.
            For images in [0, 1] good values are 0.02 to 0.2.
        ceiling: Upper bound of the diffusivity, length²/time.

    References:
        P. Perona, J. Malik. Scale-space and edge detection using anisotropic diffusion. IEEE TPAMI 12(7), 1990.

    Example:
        >>> PeronaMalik(channels=1)(torch.rand(2, 1, 8, 8), Grid()).shape
        torch.Size([2, 1, 8, 8])
    """

    def profile(self, squared: Tensor) -> Tensor:
        return 1 / (1 + squared)


class Exponential(EdgeStopping):
    """Edge-stopping diffusivity κ(u) = κ₀ exp(−|∇u|²/λ²) with learned λ and κ₀ per channel: Perona and Malik's first.

    It favours edges of high contrast, and stops at them sooner than :class:`pdeconv.PeronaMalik`. The flux κ|∇u| grows
    up to |∇u| = λ/√2.

    Args:
        channels: Number of channels C.
        contrast: λ at initialisation, in units of u per length. For images in [0, 1] good values are 0.03 to 0.3.
        ceiling: Upper bound of the diffusivity, length²/time.

    References:
        P. Perona, J. Malik. Scale-space and edge detection using anisotropic diffusion. IEEE TPAMI 12(7), 1990.

    Example:
        >>> step = torch.tensor([[[0.0, 0.0, 1.0, 1.0]]])
        >>> bool(Exponential(channels=1)(step, Grid(dims=1))[..., 1] < 1e-20)
        True
    """

    def profile(self, squared: Tensor) -> Tensor:
        return torch.exp(-squared)


class Charbonnier(EdgeStopping):
    """Diffusivity κ(u) = κ₀ / √(1 + |∇u|²/λ²) with learned λ and κ₀ per channel.

    The flux κ|∇u| grows for ever, towards κ₀λ: the equation descends a convex energy, is well posed, and edges soften
    slowly but never steepen. Between heat (gradients below λ) and total variation (above).

    Args:
        channels: Number of channels C.
        contrast: λ at initialisation, in units of u per length. For images in [0, 1] good values are 0.01 to 0.1.
        ceiling: Upper bound of the diffusivity, length²/time.

    References:
        P. Charbonnier, L. Blanc-Féraud, G. Aubert, M. Barlaud. Two deterministic half-quadratic regularization
        algorithms for computed imaging. ICIP 1994.

    Example:
        >>> Charbonnier(channels=3)(torch.rand(2, 3, 8, 8), Grid()).shape
        torch.Size([2, 3, 8, 8])
    """

    def profile(self, squared: Tensor) -> Tensor:
        return torch.rsqrt(1 + squared)


_NATIVE = {
    PeronaMalik.profile: "rational",
    Exponential.profile: "exponential",
    Charbonnier.profile: "charbonnier",
}

_WEICKERT = 3.31488  # where the flux s·g(s²) is largest at s = 1


class Weickert(EdgeStopping):
    """Edge-stopping diffusivity κ(u) = κ₀ (1 − exp(−3.31488/(|∇u|/λ)⁸)) with learned λ and κ₀ per channel; κ₀ at 0.

    Nearly κ₀ below λ and nearly 0 above, so that regions become flat and edges stay sharp. The constant makes the flux
    κ|∇u| grow up to |∇u| = λ, and fall beyond.

    Args:
        channels: Number of channels C.
        contrast: λ at initialisation, in units of u per length. For images in [0, 1] good values are 0.02 to 0.2.
        ceiling: Upper bound of the diffusivity, length²/time.

    References:
        J. Weickert. Anisotropic Diffusion in Image Processing. Teubner, 1998.

    Example:
        >>> flat = torch.full((1, 1, 4), 0.5)
        >>> Weickert(channels=1, ceiling=2.0)(flat, Grid(dims=1)).flatten()  # 0.9 · ceiling at initialisation
        tensor([1.8000, 1.8000, 1.8000, 1.8000], grad_fn=<ViewBackward0>)
    """

    def profile(self, squared: Tensor) -> Tensor:
        return -torch.expm1(-steepness_exponent(squared))


def steepness_exponent(squared: Tensor) -> Tensor:
    """3.31488/s⁸ for ``squared`` = s², at most 40: e⁻⁴⁰ is less than the rounding of 1, and gradients stay finite.

    Example:
        >>> steepness_exponent(torch.tensor([0.0, 1.0, 1e30]))
        tensor([40.0000,  3.3149,  0.0000])
    """
    inverse = 1 / squared.clamp(min=(_WEICKERT / 40) ** 0.25)  # its powers underflow where those of s overflow
    return _WEICKERT * inverse.square().square()


class MonotoneDiffusivity(Coefficient):
    """A learned diffusivity that falls with the gradient, κ(u) = ceiling · Σⱼ wⱼ (1 + |∇u|²/(m λⱼ²))⁻ᵐ, per channel.

    wⱼ ≥ 0 with Σⱼ wⱼ < 1 by a softmax with a share left over, so that 0 < κ < ceiling whatever the state and the
    weights; every summand decreases in |∇u|². One term of power 1 is Perona and Malik's; as m grows a term tends to
    exp(−|∇u|²/λⱼ²), their other.

    Args:
        channels: Number of channels C.
        contrasts: λ₁, λ₂, … at initialisation, in units of u per length.
        ceiling: Upper bound of the diffusivity, length²/time.
        power: m, a power of two.

    References:
        Y. Chen, T. Pock. Trainable nonlinear reaction diffusion. IEEE TPAMI 39(6), 2017 (learned influences).

    Example:
        >>> ramp = torch.arange(6.0).square()[None, None] / 100
        >>> kappa = MonotoneDiffusivity(channels=1)(ramp, Grid(dims=1)).flatten()
        >>> bool((kappa.diff()[1:-1] < 0).all())
        True
    """

    depends_on_state, radius = True, 1

    def __init__(
        self,
        channels: int,
        contrasts: tuple[float, ...] = (0.02, 0.1, 0.5),
        ceiling: float = 1.0,
        power: int = 1,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.ceiling = checked_number("MonotoneDiffusivity", "ceiling", ceiling)
        self.mixture = RationalInfluence(channels, contrasts, power, device=device, dtype=dtype)

    def forward(self, u: Tensor, grid: Grid) -> Tensor:
        wide = u.to(torch.promote_types(u.dtype, torch.float32))  # squares and 1/λ² leave the range of float16
        return (self.ceiling * self.mixture.of_square(squared_gradient(wide, grid))).to(u.dtype)
