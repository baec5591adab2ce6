"""A denoiser that descends a learned energy: whatever the image, the energy falls with every step."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pdeconv.energy import FieldsOfExperts
from pdeconv.errors import PDEConvError, checked_count, checked_number
from pdeconv.grid import Grid
from pdeconv.layers_by_dims import checked_dims
from pdeconv.models.denoiser import Denoiser, cosine_filters
from pdeconv.models.registry import register_model
from pdeconv.operator import OWN_ENERGY
from pdeconv.potential import SplinePotential
from pdeconv.steps import Euler
from pdeconv.terms import EnergyFlow


@register_model("energy_flow_denoiser")
class EnergyFlowDenoiser(Denoiser):
    """Denoises by the steepest descent of E(u) = λ Σ ρ(Ku) + ½‖u − f‖², u_t = −∇E(u), from u = f.

    The experts ρ have learned curvature between −``concavity`` and 1, ‖K‖ ≤ 1, and λ is learned, below ``ceiling``; so
    E has curvature at most L = λ + 1, and each Euler step of dt = 1/L lowers E, whatever the weights and the image.
    (f and u are in units of the noise: with a map σ(x), f stands for (f − μ)/σ, and the last term is weighted by 1/σ².)
    For λ·concavity ≤ 1 the energy is convex and the result, with enough steps, its minimum.

    Args:
        in_channels: 1 for gray, 3 for colour.
        steps: Number of steps.
        kernel_size: Odd width of the kernels.
        concavity: Minus the lower bound of ρ″; 0 for a convex regulariser.
        ceiling: Bound of λ.
        dims: Number of spatial axes: 1 for signals, 2 for images, 3 for volumes.

    Limit: dt = 1/L, half the limit 2/L.

    References:
        S. Roth, M. J. Black. Fields of experts. International Journal of Computer Vision 82, 2009.
        A. Goujon, S. Neumayer, M. Unser. Learning weakly convex regularizers for convergent image-reconstruction
        algorithms. SIAM J. Imaging Sciences 17(1), 2024.

    Example:
        >>> denoiser, noisy = EnergyFlowDenoiser(), torch.rand(1, 1, 32, 32)
        >>> energies = denoiser.energies(noisy, sigma=25 / 255)
        >>> bool((energies.diff(dim=0) <= 0).all())
        True
    """

    _version = 1
    keeps = frozenset({OWN_ENERGY})

    def __init__(
        self,
        in_channels: int = 1,
        steps: int = 8,
        kernel_size: int = 5,
        concavity: float = 1.0,
        ceiling: float = 40.0,
        dims: int = 2,
    ) -> None:
        super().__init__()
        name = "energy_flow_denoiser"
        checked_count(name, "in_channels", in_channels)
        if checked_count(name, "kernel_size", kernel_size, odd=True) < 3:
            raise PDEConvError(f"{name} needs a kernel_size of at least 3, but got {kernel_size}.")
        self.in_channels, self.steps = in_channels, checked_count(name, "steps", steps)
        self.ceiling, self.dims = checked_number(name, "ceiling", ceiling), checked_dims(name, dims)
        filters = cosine_filters(kernel_size, in_channels, dims)
        noise = 1 / math.sqrt(kernel_size**dims)  # of a response; the experts bend up to six times that
        potential = SplinePotential(len(filters), knots=31, reach=6 * noise, concavity=concavity)
        self.experts = FieldsOfExperts(
            in_channels,
            len(filters),
            kernel_size,
            potential,
            norm=1.0,
            grid=Grid(dims=dims),
            mean_free=in_channels == 1,
        )
        with torch.no_grad():
            self.experts.weight.copy_(filters)
            middle = torch.linspace(-6.0, 6.0, potential.weight.shape[1])
            potential.weight.copy_(torch.where(middle.abs() < 2.0, 2.0, -0.7))  # steep below twice the noise
        self.step = Euler(EnergyFlow(self.experts))
        self.weight = nn.Parameter(torch.tensor(-2.0))
        self.margin = steps * (kernel_size // 2)
        self.radius = 2 * self.margin

    @property
    def strength(self) -> Tensor:
        """λ, below ``ceiling``."""
        return self.ceiling * torch.sigmoid(self.weight)

    def energies(self, noisy: Tensor, sigma: float | Tensor | None = None) -> Tensor:
        """E after each step, (steps + 1, B), of the image in units of the noise, with its margin."""
        v, level, _ = self._in_units_of_noise(noisy, sigma, None)
        return torch.stack([self._energy(u, v) for u in self._evolved(v, level)])

    def _energy(self, u: Tensor, f: Tensor) -> Tensor:
        return self.strength * self.experts(u) + (u - f).square().flatten(1).sum(1) / 2

    @property
    def courant(self) -> float:
        return 0.5  # dt = 1/L of a limit 2/L

    def _evolved(self, v: Tensor, level: Tensor, stages: int | None = None) -> Sequence[Tensor]:
        v = v.to(self.weight.dtype)
        strength = self.strength.to(v.dtype)
        dt = 1 / (1 + strength * self.experts.curvature)
        states = [v]
        for _ in range(self.steps):
            u = states[-1]
            descended = self.step(u, dt * strength)  # u − dt λ Kᵀρ′(Ku)
            states.append(torch.addcmul(descended, v - u, dt))
        return states
