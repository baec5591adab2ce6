"""Diffusion tensors from the structure of the image: along edges, along stripes."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pdeconv.coefficient import initial_logit, per_channel
from pdeconv.diffusion_tensor import ROUND, DiffusionTensor, checked_condition, tensor_of
from pdeconv.diffusivity import steepness_exponent
from pdeconv.discretisation import SecondOrder
from pdeconv.errors import checked_count, checked_number
from pdeconv.grid import Grid
from pdeconv.modes import map_modes
from pdeconv.stencil import face_mean, gradient


def smoothed(u: Tensor, deviation: float, grid: Grid) -> Tensor:
    """``u`` after a Gaussian of that standard deviation, in units of dx: heat diffused for deviation²/2.

    Example:
        >>> smoothed(torch.tensor([[[0.0, 4.0, 0.0]]]), 1e3, Grid(dims=1)).mean()
        tensor(1.3333)
    """
    if deviation == 0:
        return u
    time = deviation**2 / 2
    return map_modes(u, grid, lambda modes: torch.exp(time * SecondOrder().symbol(modes, grid)))


def structure(u: Tensor, noise_scale: float, integration_scale: float, grid: Grid) -> tuple[Tensor, Tensor]:
    """Twice the deviator of the structure tensor J = G_ρ ∗ (∇u_σ ∇u_σᵀ), u_σ = G_σ ∗ u: (J₁₁ − J₂₂, 2J₁₂).

    It is (μ₁ − μ₂)·(cos 2θ, sin 2θ), μ₁ ≥ μ₂ the eigenvalues of J and θ the direction of steepest change.

    Args:
        u: State (B, C, H, W).
        noise_scale: σ, standard deviation of the Gaussian before the gradient.
        integration_scale: ρ, that of the Gaussian that averages directions.
        grid: Spacing and boundary.

    References:
        W. Förstner, E. Gülch. A fast operator for detection and precise location of distinct points, corners and
        centres of circular features. ISPRS Intercommission Conference, 1987.
    """
    fine = smoothed(u, noise_scale, grid)
    rows, columns = (face_mean(gradient(fine, axis, grid), axis) for axis in grid.axes)
    # Beyond a dirichlet edge the value is 0, but directions go on.
    beyond = Grid(grid.spacings, "neumann") if grid.boundary == "dirichlet" else grid
    difference = smoothed(rows.square() - columns.square(), integration_scale, beyond)
    return difference, smoothed(2 * rows * columns, integration_scale, beyond)


class _StructureTensor(DiffusionTensor):
    """κ₀ (m(q)·I − d(q)·R): R the reflection that keeps the direction of steepest change, κ₀ and a contrast learned."""

    depends_on_state = True

    def __init__(
        self,
        channels: int,
        contrast: float,
        noise_scale: float,
        integration_scale: float,
        ceiling: float,
        condition: float,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        channels = checked_count(name, "channels", channels)
        contrast = checked_number(name, "contrast", contrast)
        self.noise_scale = checked_number(name, "noise_scale", noise_scale, zero_too=True)
        self.integration_scale = checked_number(name, "integration_scale", integration_scale, zero_too=True)
        self.ceiling = checked_number(name, "ceiling", ceiling)
        self.condition = checked_condition(name, condition)
        # The Gaussians are of whole axes.
        self.radius = 1 if self.noise_scale == self.integration_scale == 0 else math.inf
        self.log_contrast = nn.Parameter(torch.full((channels,), math.log(contrast), device=device, dtype=dtype))
        start = initial_logit(name, 0.9 * ceiling, ceiling)
        self.weight = nn.Parameter(torch.full((channels,), start, device=device, dtype=dtype))

    def forward(self, u: Tensor, grid: Grid) -> Tensor:
        wide = u.to(torch.promote_types(u.dtype, torch.float32))  # squares of gradients leave the range of float16
        sharpness = per_channel(torch.exp(-self.log_contrast[None]), wide)
        highest = per_channel(self.ceiling * torch.sigmoid(self.weight[None]), wide)
        cosine, sine = structure(wide * sharpness, self.noise_scale, self.integration_scale, grid)
        squared = cosine.square() + sine.square()
        return self._tensor(highest, cosine, sine, squared).to(u.dtype)

    def _tensor(self, highest: Tensor, cosine: Tensor, sine: Tensor, squared: Tensor) -> Tensor:
        """D from κ₀ and (μ₁ − μ₂)(cos 2θ, sin 2θ)/λ², whose square is ``squared``."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        scales = f"noise_scale={self.noise_scale:g}, integration_scale={self.integration_scale:g}"
        return f"{self.weight.numel()}, {scales}, {super().extra_repr()}"


class EdgeEnhancing(_StructureTensor):
    """Edge-enhancing diffusion: along an edge κ₀, across it κ₀/r + κ₀(1 − 1/r)·g, g = 1 − exp(−3.31488/(|∇u_σ|/λ)⁸).

    Noise on an edge is smoothed along it, where :class:`pdeconv.Weickert` leaves it. Weickert's g is 1 at no gradient,
    so that flat regions diffuse as heat does. His tensor is that of r = ∞; a bounded condition number r keeps the
    eigenvalues across between κ₀/r and κ₀, by an affine map and not by clipping. κ₀ and λ are learned per channel.

    Args:
        channels: Number of channels C, each by itself.
        contrast: λ at initialisation, in units of u per length: gradients well above it are edges.
        noise_scale: σ of the Gaussian before the gradient, in the units of dx.
        ceiling: Upper bound of κ₀, length²/time.
        condition: r; up to 3 + 2√2, by default, the range is kept.

    References:
        J. Weickert. Anisotropic Diffusion in Image Processing. Teubner, 1998.

    Example:
        >>> EdgeEnhancing(3)(torch.rand(2, 3, 8, 8), Grid()).shape
        torch.Size([2, 3, 3, 8, 8])
    """

    def __init__(
        self,
        channels: int,
        contrast: float = 0.1,
        noise_scale: float = 1.0,
        ceiling: float = 1.0,
        condition: float = ROUND,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(channels, contrast, noise_scale, 0.0, ceiling, condition, device, dtype)

    def _tensor(self, highest: Tensor, cosine: Tensor, sine: Tensor, squared: Tensor) -> Tensor:
        # Without integration μ₂ = 0 and μ₁ = |∇u_σ|²/λ². Where that is small, the direction counts e^{−40}; 10⁻⁶ keeps
        # the gradient of the root finite.
        change = (squared + 1e-12).sqrt()
        stopped = (1 - 1 / self.condition) / 2 * highest * torch.exp(-steepness_exponent(change))
        return tensor_of(highest - stopped, -stopped * cosine / change, -stopped * sine / change)


class CoherenceEnhancing(_StructureTensor):
    """Coherence-enhancing diffusion: across a stripe κ₀/r, along it κ₀/r + κ₀(1 − 1/r)·exp(−λ⁴/(μ₁ − μ₂)²).

    μ₁ ≥ μ₂ are the eigenvalues of the structure tensor G_ρ ∗ (∇u_σ ∇u_σᵀ), whose difference measures how much the
    neighbourhood has one direction. Stripes flow along themselves and interrupted lines close, while nothing but a
    little, 1/r, flows across or where there is no direction. Weickert's parameters are α = 1/r, of 0.001, and C = λ⁴.
    κ₀ and λ are learned per channel.

    Args:
        channels: Number of channels C, each by itself.
        contrast: λ at initialisation, in units of u per length: stripes of gradients well above it flow.
        noise_scale: σ of the Gaussian before the gradient, in the units of dx.
        integration_scale: ρ of the Gaussian that averages directions, in the units of dx; several stripes wide.
        ceiling: Upper bound of κ₀, length²/time.
        condition: r; up to 3 + 2√2, by default, the range is kept. Above, the effect is stronger.

    References:
        J. Weickert. Coherence-enhancing diffusion filtering. Int. J. Comput. Vision 31, 1999.

    Example:
        >>> CoherenceEnhancing(3, condition=100.0)(torch.rand(2, 3, 8, 8), Grid()).shape
        torch.Size([2, 3, 3, 8, 8])
    """

    def __init__(
        self,
        channels: int,
        contrast: float = 0.05,
        noise_scale: float = 0.7,
        integration_scale: float = 3.0,
        ceiling: float = 1.0,
        condition: float = ROUND,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(channels, contrast, noise_scale, integration_scale, ceiling, condition, device, dtype)

    def _tensor(self, highest: Tensor, cosine: Tensor, sine: Tensor, squared: Tensor) -> Tensor:
        # Where that square is small e^{−40} is nothing beside 1/r, whatever the direction, and gradients stay finite.
        squared = squared.clamp(min=1 / 40)
        flowing = (1 - 1 / self.condition) / 2 * highest * torch.exp(-1 / squared)
        change = squared.sqrt()
        return tensor_of(highest / self.condition + flowing, -flowing * cosine / change, -flowing * sine / change)
