"""A denoiser that starts as a good filter: trainable nonlinear reaction–diffusion."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pdeconv.control import Fixed
from pdeconv.errors import PDEConvError
from pdeconv.evolve import Evolve, Trajectory
from pdeconv.influence import RationalInfluence
from pdeconv.models.registry import register_model
from pdeconv.steps import Euler
from pdeconv.terms import SymmetricConvolution


@register_model("reaction_diffusion_denoiser")
class ReactionDiffusionDenoiser(nn.Module):
    """Denoises by a few steps of u_t = −Kₜᵀφₜ(Kₜu) + sₜ(f − u), f the noisy image.

    Each step has its own kernels and influence functions. A step is Lie splitting: one Euler step of the diffusion at
    its stability limit, then the exact flow of the reaction towards the data, u ← u + wₜ(f − u), wₜ ∈ (0, 1).
    Both keep the energy ball ‖u‖ ≤ ‖f‖ whatever the weights.

    At initialisation the kernels are the discrete cosine basis without its constant, a tight frame, and the influence
    functions shrink what is small beside the noise: translation-invariant cosine shrinkage. Training goes on from there.

    Args:
        in_channels: 1 for gray, 3 for colour (whose kernels start on luma and two chroma axes).
        steps: Number of steps.
        kernel_size: Odd width of the kernels.
        noise_level: Standard deviation of the noise that the initial filter is made for, in the image's units.

    References:
        Y. Chen, T. Pock. Trainable nonlinear reaction diffusion. IEEE TPAMI 39(6), 2017.
        R. R. Coifman, D. L. Donoho. Translation-invariant de-noising. Wavelets and Statistics, 1995.

    Example:
        >>> denoiser = ReactionDiffusionDenoiser()
        >>> denoiser(torch.rand(1, 1, 32, 32)).shape
        torch.Size([1, 1, 32, 32])
    """

    _version = 1

    def __init__(
        self, in_channels: int = 1, steps: int = 4, kernel_size: int = 5, noise_level: float = 25 / 255
    ) -> None:
        super().__init__()
        if steps < 1 or in_channels < 1 or kernel_size < 3:
            raise PDEConvError(
                f"reaction_diffusion_denoiser needs in_channels ≥ 1, steps ≥ 1 and an odd kernel_size ≥ 3, but got "
                f"in_channels={in_channels}, steps={steps}, kernel_size={kernel_size}."
            )
        filters = cosine_filters(kernel_size, in_channels)
        # In multiples of the noise in a response: the first step removes most of it, the others refine.
        thresholds = [3.5] + [1.5] * (steps - 1)
        self.diffusions = nn.ModuleList()
        for threshold in thresholds:
            scale = threshold * noise_level / kernel_size
            influence = RationalInfluence(len(filters), scales=(scale, 0.6 * scale))
            term = SymmetricConvolution(
                in_channels, len(filters), kernel_size, influence, norm=math.sqrt(2), mean_free=in_channels == 1
            )
            with torch.no_grad():
                term.weight.copy_(filters)
            self.diffusions.append(Evolve(Euler(term), duration=1.0, control=Fixed(1)))
        self.fidelity = nn.Parameter(torch.full((steps,), -3.0))

    def forward(self, noisy: Tensor) -> Tensor:
        u = noisy
        for evolve, weight in zip(self.diffusions, torch.sigmoid(self.fidelity), strict=True):
            u = torch.lerp(evolve(u), noisy, weight.to(u.dtype))
        return u

    def trajectory(self, noisy: Tensor) -> Trajectory:
        """The image after each step; the unit of time is one step."""
        states = [noisy]
        for evolve, weight in zip(self.diffusions, torch.sigmoid(self.fidelity), strict=True):
            states.append(torch.lerp(evolve(states[-1]), noisy, weight.to(noisy.dtype)))
        return Trajectory(torch.arange(len(states), device=noisy.device), tuple(states))


def cosine_filters(kernel_size: int, channels: int) -> Tensor:
    """The orthonormal discrete cosine basis of a window, over an orthonormal basis of the channels, (F, C, k, k).

    The constant of the first channel axis (the mean over the channels) is left out: a gray level is never diffused.
    """
    window = _cosine_basis(kernel_size)
    colour = _cosine_basis(channels)
    filters = torch.einsum("fc,ay,bx->fabcyx", colour, window, window)
    return filters.reshape(-1, channels, kernel_size, kernel_size)[1:]


def _cosine_basis(size: int) -> Tensor:
    """Rows of the orthonormal DCT-II."""
    cell, mode = torch.arange(size) + 0.5, torch.arange(size)[:, None]
    basis = torch.cos(math.pi / size * mode * cell) * math.sqrt(2 / size)
    basis[0] /= math.sqrt(2)
    return basis
