"""A denoiser that starts as a good filter: trainable nonlinear reaction–diffusion."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pdeconv.control import Fixed
from pdeconv.errors import PDEConvError, checked_count
from pdeconv.evolve import Evolve
from pdeconv.influence import RationalInfluence
from pdeconv.models.denoiser import Denoiser, cosine_filters
from pdeconv.models.registry import register_model
from pdeconv.steps import Euler
from pdeconv.terms import SymmetricConvolution


@register_model("reaction_diffusion_denoiser")
class ReactionDiffusionDenoiser(Denoiser):
    """Denoises by a few steps of u_t = −Kₜᵀφₜ(Kₜu) + sₜ(f − u), f the noisy image.

    Each step has its own kernels and influence functions, and is a stage that can be trained alone. A step is Lie
    splitting: one Euler step of the diffusion at its stability limit, then the exact flow of the reaction towards the
    data, u ← u + wₜ(f − u), wₜ ∈ (0, 1). Both keep the energy ball ‖u‖ ≤ ‖f‖ whatever the weights. The image is
    mirrored at its border by a margin first and cropped at the end, and ‖·‖ is that of the mirrored image: fewer
    windows see the outermost cells, so noise would stay there.

    At initialisation the kernels are the discrete cosine basis without its constant, a tight frame, and the influence
    functions shrink what is small beside the noise: translation-invariant cosine shrinkage. Training starts there.

    Args:
        in_channels: 1 for gray, 3 for colour (whose kernels start on luma and two chroma axes).
        steps: Number of steps.
        kernel_size: Odd width of the kernels.

    References:
        Y. Chen, T. Pock. Trainable nonlinear reaction diffusion. IEEE TPAMI 39(6), 2017.
        R. R. Coifman, D. L. Donoho. Translation-invariant de-noising. Wavelets and Statistics, 1995.

    Example:
        >>> denoiser = ReactionDiffusionDenoiser()
        >>> denoiser(torch.rand(1, 1, 32, 32)).shape
        torch.Size([1, 1, 32, 32])
    """

    _version = 1

    def __init__(self, in_channels: int = 1, steps: int = 4, kernel_size: int = 5) -> None:
        super().__init__()
        name = "reaction_diffusion_denoiser"
        checked_count(name, "in_channels", in_channels)
        checked_count(name, "steps", steps)
        if checked_count(name, "kernel_size", kernel_size, odd=True) < 3:
            raise PDEConvError(f"{name} needs a kernel_size of at least 3, but got {kernel_size}.")
        self.in_channels, self.stages = in_channels, steps
        self.margin = steps * (kernel_size // 2)
        self.radius = 2 * self.margin
        filters = cosine_filters(kernel_size, in_channels)
        # In multiples of the noise in a response: the first step removes most of it, the others refine.
        thresholds = [3.5] + [1.5] * (steps - 1)
        self.diffusions = nn.ModuleList()
        for threshold in thresholds:
            scale = threshold / kernel_size
            influence = RationalInfluence(len(filters), scales=(scale, 0.6 * scale))
            term = SymmetricConvolution(
                in_channels, len(filters), kernel_size, influence, norm=math.sqrt(2), mean_free=in_channels == 1
            )
            with torch.no_grad():
                term.weight.copy_(filters)
            self.diffusions.append(Evolve(Euler(term), duration=1.0, control=Fixed(1)))
        self.fidelity = nn.Parameter(torch.full((steps,), -3.0))

    def _evolved(self, v: Tensor, level: Tensor, stages: int | None = None) -> Sequence[Tensor]:
        states = [v]
        weights = torch.sigmoid(self.fidelity).to(v.dtype)
        for step, evolve in enumerate(list(self.diffusions)[:stages], start=1):
            before = states[-1].detach() if step == stages else states[-1]
            states.append(torch.lerp(evolve(before), v, weights[step - 1]))
        return states
