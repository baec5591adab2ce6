"""Trainable nonlinear reaction–diffusion, stage by stage or as one equation that stops at a learned time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pdeconv.control import Fixed
from pdeconv.errors import PDEConvError, checked_count
from pdeconv.evolve import Evolve
from pdeconv.grid import Grid
from pdeconv.influence import RationalInfluence
from pdeconv.layers_by_dims import checked_dims
from pdeconv.learned_influence import RBFInfluence
from pdeconv.models.denoiser import Denoiser, cosine_filters
from pdeconv.models.registry import register_model
from pdeconv.operator import ENERGY
from pdeconv.steps import Euler
from pdeconv.terms import SymmetricConvolution


@register_model("reaction_diffusion_denoiser")
class ReactionDiffusionDenoiser(Denoiser):
    """Denoises by a few steps of u_t = −Kₜᵀφₜ(Kₜu) + sₜ(f − u), f the noisy image.

    Each step, a stage that can be trained alone, has its own kernels and influence functions. It is Lie splitting: one
    Euler step of the diffusion at its stability limit, then the exact flow of the reaction towards the data,
    u ← u + wₜ(f − u), wₜ ∈ (0, 1). Both keep the energy ball ‖u‖ ≤ ‖f‖ (around the mean) whatever the weights, ‖·‖
    being that of the image mirrored at its border: fewer windows see the outermost cells, so noise would stay there.
    With a map σ(x) of the noise it is the norm weighted by 1/σ that cannot grow.

    At initialisation the kernels are the discrete cosine basis without its constant, a tight frame, and the influence
    functions shrink what is small beside the noise: translation-invariant cosine shrinkage. Training starts there.

    Chen and Pock's own setting is ``steps=5, kernel_size=7, centres=63``. Their influence functions are free sums of
    Gaussians; here the slope φ(z)/z is a bounded function of such a sum, as stability asks.

    Args:
        in_channels: 1 for gray, 3 for colour (whose kernels start on luma and two chroma axes).
        steps: Number of steps.
        kernel_size: Odd width of the kernels.
        centres: Number of Gaussians of each influence function; None for two rational bumps, which cost less time.
        dims: Number of spatial axes: 1 for signals, 2 for images, 3 for volumes.

    Limit: dt = 1 for every step, ‖K‖² ≤ 2.

    References:
        Y. Chen, T. Pock. Trainable nonlinear reaction diffusion. IEEE TPAMI 39(6), 2017.
        R. R. Coifman, D. L. Donoho. Translation-invariant de-noising. Wavelets and Statistics, 1995.

    Example:
        >>> denoiser = ReactionDiffusionDenoiser()
        >>> denoiser(torch.rand(1, 1, 32, 32), sigma=25 / 255).shape
        torch.Size([1, 1, 32, 32])
    """

    _version = 1
    keeps = frozenset({ENERGY})

    def __init__(
        self,
        in_channels: int = 1,
        steps: int = 4,
        kernel_size: int = 5,
        centres: int | None = None,
        dims: int = 2,
    ) -> None:
        super().__init__()
        name = "reaction_diffusion_denoiser"
        _check_sizes(name, in_channels, steps, kernel_size)
        self.in_channels, self.stages, self.dims = in_channels, steps, checked_dims(name, dims)
        self.margin = steps * (kernel_size // 2)
        self.radius = 2 * self.margin
        # In multiples of the noise in a response: the first step removes most of it, the others refine.
        thresholds = [3.5] + [1.5] * (steps - 1)
        terms = (shrinkage(in_channels, kernel_size, threshold, centres, dims) for threshold in thresholds)
        self.diffusions = nn.ModuleList(Evolve(Euler(term), duration=1.0, control=Fixed(1)) for term in terms)
        self.fidelity = nn.Parameter(torch.full((steps,), -3.0))

    @property
    def courant(self) -> float:
        return max(evolve.step.courant(1.0) for evolve in self.diffusions)  # pyright: ignore

    def _evolved(self, v: Tensor, level: Tensor, stages: int | None = None) -> Sequence[Tensor]:
        v = v.to(self.fidelity.dtype)
        states = [v]
        weights = torch.sigmoid(self.fidelity).to(v.dtype)
        for step, evolve in enumerate(list(self.diffusions)[:stages], start=1):
            before = states[-1].detach() if step == stages else states[-1]
            states.append(torch.lerp(evolve(before), v, weights[step - 1]))
        return states


@register_model("gradient_flow_denoiser")
class GradientFlowDenoiser(Denoiser):
    """Denoises by one equation u_t = −Kᵀφ(Ku) + s(f − u), the same at all times, that stops at a learned time T.

    T = steps · sigmoid(w) is at most ``steps`` times the limit of a step, so that any T is stable. A step is Lie
    splitting as in :class:`ReactionDiffusionDenoiser`, and keeps what that keeps. With s = 0 this is a gradient flow
    for each influence function that has a potential: stopped early, or it would end in a constant.

    Args:
        in_channels: 1 for gray, 3 for colour.
        steps: Number of steps.
        kernel_size: Odd width of the kernels.
        centres: Number of Gaussians of each influence function; None for two rational bumps.
        dims: Number of spatial axes: 1 for signals, 2 for images, 3 for volumes.

    Limit: dt = T/steps < 1, ‖K‖² ≤ 2.

    References:
        A. Effland, E. Kobler, K. Kunisch, T. Pock. Variational networks: an optimal control approach to early stopping
        variational methods for image restoration. JMIV 62, 2020.

    Example:
        >>> denoiser = GradientFlowDenoiser()
        >>> trajectory = denoiser.trajectory(torch.rand(1, 1, 32, 32), sigma=25 / 255)
        >>> len(trajectory.states)
        9
    """

    _version = 1
    keeps = frozenset({ENERGY})

    def __init__(
        self,
        in_channels: int = 1,
        steps: int = 8,
        kernel_size: int = 5,
        centres: int | None = None,
        dims: int = 2,
    ) -> None:
        super().__init__()
        _check_sizes("gradient_flow_denoiser", in_channels, steps, kernel_size)
        self.in_channels, self.steps, self.dims = in_channels, steps, checked_dims("gradient_flow_denoiser", dims)
        self.margin = steps * (kernel_size // 2)
        self.radius = 2 * self.margin
        self.step = Euler(shrinkage(in_channels, kernel_size, 2.0, centres, dims))
        self.stopping = nn.Parameter(torch.zeros(()))
        self.fidelity = nn.Parameter(torch.full((), -3.0))

    @property
    def duration(self) -> Tensor:
        """The learned stopping time T, in steps at the limit."""
        return self.steps * torch.sigmoid(self.stopping)

    @property
    def courant(self) -> float:
        return self.step.courant(1.0)

    def _evolved(self, v: Tensor, level: Tensor, stages: int | None = None) -> Sequence[Tensor]:
        v = v.to(self.fidelity.dtype)
        dt = (self.duration / self.steps).to(v.dtype)
        weight = 1 - torch.exp(-dt * nn.functional.softplus(self.fidelity))
        states = [v]
        for _ in range(self.steps):
            states.append(torch.lerp(self.step(states[-1], dt), v, weight.to(v.dtype)))
        return states


def shrinkage(
    in_channels: int, kernel_size: int, threshold: float, centres: int | None, dims: int
) -> SymmetricConvolution:
    """Diffusion that starts as cosine shrinkage, of responses below ``threshold`` times the noise; ‖K‖² ≤ 2."""
    filters = cosine_filters(kernel_size, in_channels, dims)
    scale = threshold / math.sqrt(kernel_size**dims)  # the noise of a response is 1 by that root
    if centres is None:
        influence = RationalInfluence(len(filters), scales=(scale, 0.6 * scale))
    else:
        influence = RBFInfluence(len(filters), centres, reach=6 * scale)
        with torch.no_grad():  # Gaussians a width apart add up to √2π times their weights
            z = torch.linspace(-6.0, 6.0, centres)
            influence.bias.fill_(-4.0)
            influence.weight.copy_(6.0 * torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi))
    term = SymmetricConvolution(
        in_channels,
        len(filters),
        kernel_size,
        influence,
        norm=math.sqrt(2),
        grid=Grid(dims=dims),
        mean_free=in_channels == 1,
    )
    with torch.no_grad():
        term.weight.copy_(filters)
    return term


def _check_sizes(name: str, in_channels: int, steps: int, kernel_size: int) -> None:
    checked_count(name, "in_channels", in_channels)
    checked_count(name, "steps", steps)
    if checked_count(name, "kernel_size", kernel_size, odd=True) < 3:
        raise PDEConvError(f"{name} needs a kernel_size of at least 3, but got {kernel_size}.")
