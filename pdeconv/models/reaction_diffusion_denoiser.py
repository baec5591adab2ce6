"""A denoiser that starts as a good filter: trainable nonlinear reaction–diffusion."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pdeconv.control import Fixed
from pdeconv.errors import PDEConvError, checked_count, checked_number
from pdeconv.evolve import Evolve, Trajectory
from pdeconv.grid import Grid
from pdeconv.influence import RationalInfluence
from pdeconv.models.registry import register_model
from pdeconv.stencil import extend
from pdeconv.steps import Euler
from pdeconv.terms import SymmetricConvolution


@register_model("reaction_diffusion_denoiser")
class ReactionDiffusionDenoiser(nn.Module):
    """Denoises by a few steps of u_t = −Kₜᵀφₜ(Kₜu) + sₜ(f − u), f the noisy image.

    Each step has its own kernels and influence functions. A step is Lie splitting: one Euler step of the diffusion at
    its stability limit, then the exact flow of the reaction towards the data, u ← u + wₜ(f − u), wₜ ∈ (0, 1).
    Both keep the energy ball ‖u‖ ≤ ‖f‖ whatever the weights. The image is mirrored at its border by a margin first
    and cropped at the end, and ‖·‖ is that of the mirrored image: fewer windows see the outermost cells, so noise
    would stay there.

    At initialisation the kernels are the discrete cosine basis without its constant, a tight frame, and the influence
    functions shrink what is small beside the noise: translation-invariant cosine shrinkage. Training starts there.

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
        name = "reaction_diffusion_denoiser"
        checked_count(name, "in_channels", in_channels)
        checked_count(name, "steps", steps)
        checked_number(name, "noise_level", noise_level)
        if checked_count(name, "kernel_size", kernel_size, odd=True) < 3:
            raise PDEConvError(f"{name} needs a kernel_size of at least 3, but got {kernel_size}.")
        self.margin = steps * (kernel_size // 2)
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
        f = u = self._mirrored(noisy)
        for evolve, weight in zip(self.diffusions, torch.sigmoid(self.fidelity), strict=True):
            u = torch.lerp(evolve(u), f, weight.to(u.dtype))
        return _cropped(u, noisy)

    def trajectory(self, noisy: Tensor) -> Trajectory:
        """The image after each step; the unit of time is one step."""
        f = self._mirrored(noisy)
        states = [f]
        for evolve, weight in zip(self.diffusions, torch.sigmoid(self.fidelity), strict=True):
            states.append(torch.lerp(evolve(states[-1]), f, weight.to(f.dtype)))
        times = torch.arange(len(states), dtype=torch.float32, device=noisy.device)
        return Trajectory(times, tuple(_cropped(u, noisy) for u in states))

    def _mirrored(self, image: Tensor) -> Tensor:
        Grid().check(image)
        for axis in (2, 3):
            image = extend(image, axis, "neumann", min(self.margin, image.shape[axis]))
        return image


def _cropped(u: Tensor, image: Tensor) -> Tensor:
    """The middle of ``u``, of the size of ``image``."""
    for axis in (2, 3):
        size = image.shape[axis]
        u = u.narrow(axis, (u.shape[axis] - size) // 2, size)
    return u


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
