"""Energies: learned functionals E(u) of a state, which an equation can descend."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from pdeconv.errors import PDEConvError, checked_number, checked_type
from pdeconv.filter_bank import Filters, convolve, transpose
from pdeconv.grid import Grid
from pdeconv.potential import Potential, SplinePotential


class Energy(nn.Module, ABC):
    """A functional E(u), one number for each sample. A user's own needs ``forward`` only.

    Attributes:
        grid: Where the state lives; None if it may be any.
        curvature: Upper bound of the eigenvalues of ∇²E, whatever the state and the weights; inf if unproven.
        concavity: Minus their lower bound, at least 0; 0 for a convex energy, inf if unproven.
        minimal_at_zero: Whether no state has less energy than u = 0.
        radius: Cells to either side, along each axis, that ∇E at a cell depends on; inf, the default, if not known.

    Example:
        >>> class Mass(Energy):  # ½‖u‖²
        ...     def forward(self, u):
        ...         return u.square().flatten(1).sum(1) / 2
        >>> Mass().gradient(torch.tensor([[[1.0, 2.0]]]))
        tensor([[[1., 2.]]])
    """

    grid: Grid | None = None
    curvature: float = math.inf
    concavity: float = math.inf
    minimal_at_zero: bool = False
    radius: float = math.inf
    per_cell: bool = False

    @abstractmethod
    def forward(self, u: Tensor) -> Tensor:
        """E(u), (B, C, *S) → (B,)."""

    def gradient(self, u: Tensor) -> Tensor:
        """∇E(u), of the shape of ``u``: by automatic differentiation, unless there is a closed form.

        Differentiable in turn where gradients are on and something needs them; else it leaves no graph.
        """
        if torch.compiler.is_dynamo_compiling():  # which traces this form; the other one lives with checkpointing
            return torch.func.grad(lambda v: self(v).sum())(u)
        needed = u.requires_grad or any(weight.requires_grad for weight in self.parameters())
        keep = needed and torch.is_grad_enabled()
        with torch.inference_mode(False), torch.enable_grad():
            v = u if u.requires_grad else u.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(self(v).sum(), v, create_graph=keep)
        return gradient


class NetworkEnergy(Energy):
    """E(u) = Σ f(u), f any module: its output is added up for each sample. Nothing is proven of it.

    Args:
        module: f, mapping (B, C, *S) to (B, …). Several modules are chained. A module that mixes samples, as batch
            normalisation does while it trains, has no energy of its own for each.

    Example:
        >>> NetworkEnergy(nn.Conv2d(3, 8, 3), nn.Softplus())(torch.randn(2, 3, 8, 8)).shape
        torch.Size([2])
    """

    per_cell = True

    def __init__(self, *modules: nn.Module) -> None:
        super().__init__()
        if not modules:
            raise PDEConvError("NetworkEnergy needs at least one module, but got none.")
        for module in modules:
            checked_type("NetworkEnergy", module, nn.Module, "give for example nn.Conv2d(8, 8, 3)")
        self.module = modules[0] if len(modules) == 1 else nn.Sequential(*modules)

    def forward(self, u: Tensor) -> Tensor:
        return _sum(self.module(u))


class FieldsOfExperts(Filters, Energy):
    """E(u) = Σ ρ_f((Ku)_f): a learned convolution, and a learned potential of each feature, added up over the cells.

    ∇E = Kᵀρ′(Ku) in closed form, −concavity·‖K‖² ≤ ∇²E ≤ curvature·‖K‖² by those of the potential. The norm of K and
    its boundaries are those of :class:`pdeconv.filter_bank.Filters`.

    Args:
        channels: Number of channels C of the state.
        features: Number of features F of Ku; by default ``channels``.
        kernel_size: Width of the kernel, odd.
        potential: ρ, of F features; by default a convex :class:`SplinePotential`.
        norm: Bound of ‖K‖₂, dx-free.
        grid: Boundary and number of axes; the spacing must be 1, as the kernel is learned per cell.
        mean_free: Subtract each kernel's mean, so that a constant state has energy 0.

    References:
        S. Roth, M. J. Black. Fields of experts. International Journal of Computer Vision 82, 2009.

    Example:
        >>> energy = FieldsOfExperts(3, features=8)
        >>> energy(torch.randn(2, 3, 8, 8)).shape, energy.curvature
        (torch.Size([2]), 1.0)
    """

    def __init__(
        self,
        channels: int,
        features: int | None = None,
        kernel_size: int = 3,
        potential: Potential | None = None,
        norm: float = 1.0,
        grid: Grid | None = None,
        mean_free: bool = False,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        norm = checked_number("FieldsOfExperts", "norm", norm)
        super().__init__(channels, features, kernel_size, norm, grid, mean_free, device=device, dtype=dtype)
        features = self.weight.shape[0]
        self.potential = SplinePotential(features, device=device, dtype=dtype) if potential is None else potential
        checked_type("FieldsOfExperts", self.potential, Potential, "give for example SplinePotential(features)")
        self.curvature = self.squared_norm * self.potential.curvature
        self.concavity = self.squared_norm * self.potential.concavity
        self.minimal_at_zero = self.potential.concavity == 0
        self.radius = self.widest  # the potential is pointwise

    def forward(self, u: Tensor) -> Tensor:
        self.check_filtered(u)
        response = convolve(u, self.kernel.to(u.dtype), self.grid)
        return _sum(u[:, :0] if response is None else self.potential(response))

    def gradient(self, u: Tensor) -> Tensor:
        self.check_filtered(u)
        kernel = self.kernel.to(u.dtype)
        response = convolve(u, kernel, self.grid)
        if response is None:
            return torch.zeros_like(u)
        return transpose(self.potential.slope(response), kernel, self.grid)


def _sum(values: Tensor) -> Tensor:
    """The sum over each sample, in float32 at least: half precision cannot add up a thousand cells."""
    return values.to(torch.promote_types(values.dtype, torch.float32)).flatten(1).sum(1)
