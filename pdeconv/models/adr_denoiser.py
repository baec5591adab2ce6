"""An advection–diffusion–reaction denoiser, whose result never leaves the range of the noisy image."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pdeconv.diffusivity import PeronaMalik
from pdeconv.errors import checked_count
from pdeconv.grid import Grid
from pdeconv.layers_by_dims import CONVOLUTION, checked_dims
from pdeconv.models.denoiser import Denoiser
from pdeconv.models.registry import register_model
from pdeconv.operator import RANGE
from pdeconv.precision import without_autocast
from pdeconv.steps import Euler
from pdeconv.terms import Advection, Diffusion
from pdeconv.velocity import ConvVelocity

DIFFUSION, ADVECTION = 0.3, 0.4  # ceilings on one axis, shared out over all: their rates, 2 · 0.3 and 0.4, sum to 1


@register_model("adr_denoiser")
class ADRDenoiser(Denoiser):
    """Denoises by copies of the image that spread, move and react, u_t = ∇·(κ(u)∇u) − v(u)·∇u + s(Pu − u) + r(f − u).

    Each of ``channels`` copies of every image channel has an edge-stopping diffusivity κ and a velocity v of its own,
    which a convolution reads off it. The reaction exchanges between the copies, P being stochastic, and pulls towards
    the noisy image f. Each step has its own coefficients, and is Lie splitting: an Euler step of diffusion and
    advection together, then exact convex combinations. The result is at each cell a convex combination of the copies,
    whose weights a convolution sees.

    All parts keep the range: min f ≤ û ≤ max f for each channel, whatever the weights and the image; with a map σ(x),
    that of (f − μ)/σ.

    Args:
        in_channels: 1 for gray, 3 for colour.
        channels: Copies of each channel of the image.
        steps: Number of steps.
        dims: Number of spatial axes: 1 for signals, 2 for images, 3 for volumes.

    Limit: dt = 1, by the ceilings 0.3/dims of κ and 0.4/dims of each component of v.

    References:
        P. Perona, J. Malik. Scale-space and edge detection using anisotropic diffusion. IEEE TPAMI 12(7), 1990.
        N. Zakariaei et al. Advection augmented convolutional neural networks. NeurIPS 2024.

    Example:
        >>> noisy = torch.randn(1, 1, 24, 24)
        >>> denoised = ADRDenoiser()(noisy, sigma=0.5)
        >>> bool(noisy.min() <= denoised.min() and denoised.max() <= noisy.max())
        True
    """

    _version = 1
    keeps = frozenset({RANGE})

    def __init__(self, in_channels: int = 1, channels: int = 8, steps: int = 8, dims: int = 2) -> None:
        super().__init__()
        name = "adr_denoiser"
        self.dims, grid = checked_dims(name, dims), Grid(dims=dims)
        self.in_channels = checked_count(name, "in_channels", in_channels)
        self.copies = checked_count(name, "channels", channels)
        copies = in_channels * channels
        self.spread_and_move = nn.ModuleList()
        for _ in range(checked_count(name, "steps", steps)):
            kappa = PeronaMalik(copies, contrast=2.0, ceiling=DIFFUSION / dims)  # in units of the noise
            with torch.no_grad():
                kappa.log_contrast.copy_(torch.linspace(math.log(0.5), math.log(8.0), channels).repeat(in_channels))
            velocity = ConvVelocity(copies, ceiling=ADVECTION / dims, dims=dims)
            self.spread_and_move.append(Euler(Diffusion(kappa, grid) + Advection(velocity, grid)))
        self.exchange = nn.Parameter(torch.eye(channels).mul(4.0).repeat(steps, 1, 1))
        self.fidelity = nn.Parameter(torch.full((steps, copies), -3.0))
        self.choice = CONVOLUTION[dims](copies, copies, 5, padding=2)
        with torch.no_grad():
            self.choice.weight.mul_(0.1)
        self.radius = 3 * steps + 2

    @property
    def courant(self) -> float:
        return max(step.courant(1.0) for step in self.spread_and_move)  # pyright: ignore

    def _evolved(self, v: Tensor, level: Tensor, stages: int | None = None) -> Sequence[Tensor]:
        v = v.to(self.fidelity.dtype)
        f = u = v.repeat_interleave(self.copies, 1)
        dt = u.new_ones(())
        states = [v]
        for step, exchange, fidelity in zip(self.spread_and_move, self.exchange, self.fidelity, strict=True):
            u = step(u, dt)
            with without_autocast(u):  # the image itself goes through here
                stochastic = torch.softmax(exchange, 1).to(u.dtype)
                u = torch.einsum("pc,bic...->bip...", stochastic, u.unflatten(1, (-1, self.copies))).flatten(1, 2)
            u = torch.lerp(u, f, torch.sigmoid(fidelity).reshape(-1, *(1,) * self.dims).to(u.dtype))
            states.append(self._chosen(u))
        return states

    def _chosen(self, u: Tensor) -> Tensor:
        """The convex combination of the copies, (B, in_channels, *S)."""
        scores = self.choice(u.to(self.choice.weight.dtype)).unflatten(1, (-1, self.copies))
        return (F.softmax(scores, 2).to(u.dtype) * u.unflatten(1, (-1, self.copies))).sum(2)
