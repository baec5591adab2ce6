"""Terms made of convolutions: −Kᵀφ(Ku), with a rate by a bound of ‖K‖, and a residual branch around any module."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pdeconv.errors import PDEConvError, checked_type
from pdeconv.filter_bank import Filters, convolve, transpose
from pdeconv.grid import Grid
from pdeconv.influence import Influence, ReLUInfluence, TanhInfluence
from pdeconv.operator import ENERGY, Operator, operator
from pdeconv.terms.term import Term


class SymmetricConvolution(Filters, Term):
    """Learned nonlinear diffusion, u_t = −Kᵀφ(Ku): a convolution, a pointwise influence φ(z) = g(z)·z, the transpose.

    With K the gradient this is Perona and Malik's equation; with K learned, Ruthotto and Haber's parabolic layer, and
    Chen and Pock's reaction–diffusion. Frozen at a state it is the symmetric operator −Kᵀ diag(g(Ku)) K. The norm of K
    and its boundaries are those of :class:`pdeconv.filter_bank.Filters`.

    Normalisation within the layer, −Kᵀσ(N(Ku)), is proven with :class:`pdeconv.NormalisedInfluence`, whose bound is in
    the ceiling. Any other module may take the place of φ too, such as ``nn.Sequential(nn.BatchNorm2d(features),
    nn.ReLU())``, but then nothing is proven: batch normalisation has no bound while it trains, and its shift keeps no
    energy ball afterwards. A bound of K is then of no use, and ``norm=None`` leaves it out.

    Args:
        channels: Number of channels C of the state.
        features: Number of features F of Ku; by default ``channels``.
        kernel_size: Width of the kernel, odd.
        influence: φ, by its slope 0 ≤ g ≤ ceiling; by default ReLU. Or a module that is φ itself, unproven.
        norm: Bound of ‖K‖₂, dx-free. None for no bound, where φ is a module.
        grid: Boundary and number of axes; the spacing must be 1, as the kernel is learned per cell.
        mean_free: Subtract each kernel's mean, so that a constant state rests.

    Raises:
        PDEConvError: For ``norm=None`` with an influence of bounded slope, whose rate would then have no ceiling.

    Rate: ‖K‖²·max g / 2, for Euler steps u ← u − dt·Kᵀφ(Ku) that keep the energy. Infinite for a module.
    Solve, Flow: Undefined.
    Keeps: The energy: ⟨u, Kᵀφ(Ku)⟩ ≥ ‖Kᵀφ(Ku)‖² / (‖K‖² max g), as φ(z)² ≤ max g · zφ(z). Nothing for a module.

    References:
        L. Ruthotto, E. Haber. Deep neural networks motivated by partial differential equations. JMIV 62, 2020.
        Y. Chen, T. Pock. Trainable nonlinear reaction diffusion. IEEE TPAMI 39(6), 2017.

    Example:
        >>> import torch
        >>> from pdeconv import CFL, Euler, Evolve
        >>> layer = Evolve(Euler(SymmetricConvolution(4, features=8)), duration=1.0, control=CFL(0.9))
        >>> u = torch.randn(1, 4, 8, 8)
        >>> bool(layer(u).norm() <= u.norm())
        True
    """

    equation = "−Kᵀφ(Ku)"

    def __init__(
        self,
        channels: int,
        features: int | None = None,
        kernel_size: int = 3,
        influence: Influence | nn.Module | None = None,
        norm: float | None = 1.0,
        grid: Grid | None = None,
        mean_free: bool = False,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(channels, features, kernel_size, norm, grid, mean_free, device=device, dtype=dtype)
        self.influence = ReLUInfluence() if influence is None else influence
        checked_type(type(self).__name__, self.influence, nn.Module, "give for example TanhInfluence()")
        if isinstance(self.influence, Influence):
            if norm is None:
                raise PDEConvError(
                    "SymmetricConvolution with an influence of bounded slope has a rate that is proven by the bound of "
                    "K, but got norm=None; give a number, such as norm=1.0."
                )
            self.ceiling, self.keeps = self.squared_norm * self.influence.ceiling / 2, frozenset({ENERGY})
            self.symmetric = True
            # Kᵀφ(Ku) is then the gradient of a convex function, as φ rises, and its curvature at most 2·ceiling.
            self.nonexpansive = type(self.influence) in (ReLUInfluence, TanhInfluence)
            self.radius = self.influence.radius + self.widest

    def forward(self, u: Tensor) -> Operator:
        self.check_filtered(u)
        if isinstance(self.influence, Influence):
            return _SymmetricConvolutionAt(u, self)
        return operator(self._branch, rate=u.new_full((), math.inf))

    def _branch(self, v: Tensor) -> Tensor:
        """−Kᵀφ(Kv) for a module φ."""
        kernel = self.kernel.to(v.dtype)
        response = convolve(v, kernel, self.grid)
        if response is None:
            return torch.zeros_like(v)
        after = self.influence(response)
        if after.shape != response.shape:
            raise PDEConvError(
                f"The module φ of SymmetricConvolution must keep the shape {tuple(response.shape)}, but gave "
                f"{tuple(after.shape)}."
            )
        return transpose(after, -kernel, self.grid)  # a kernel is smaller than a state


class _SymmetricConvolutionAt(Operator):
    """v ↦ −Kᵀ(g ⊙ Kv) with g = g(Ku)."""

    keeps = frozenset({ENERGY})

    def __init__(self, u: Tensor, term: SymmetricConvolution) -> None:
        self.grid, self.kernel = term.grid, term.kernel.to(u.dtype)
        self.state, self.response = u, convolve(u, self.kernel, self.grid)
        self.slope = None if self.response is None else term.influence(self.response)
        self.squared_norm = term.squared_norm

    @property
    def rate(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        if self.slope is None:
            return self.state.new_zeros(())
        return self.slope.flatten(1).amax(1) * (self.squared_norm / 2)

    def __call__(self, v: Tensor) -> Tensor:
        response = self.response if v is self.state else convolve(v, self.kernel, self.grid)
        if response is None or self.slope is None:
            return torch.zeros_like(v)
        return transpose(self.slope * response, -self.kernel, self.grid)


class Residual(Term):
    """A residual branch as a right-hand side, u_t = f(u), f any module that keeps the shape.

    ``Euler(Residual(f))`` at dt = 1 is the residual block u + f(u). Its rate is unproven, so a control takes it only
    by name: ``Fixed(n, unchecked=True)``.

    Args:
        module: f, mapping (B, C, *S) to the same shape. Several modules are chained.

    Rate: Infinite: unproven.
    Solve, Flow: Undefined.
    Keeps: Nothing is proven.

    References:
        W. E. A proposal on machine learning via dynamical systems. Comm. Math. Stat. 5, 2017.

    Example:
        >>> from pdeconv import Euler, Evolve, Fixed
        >>> conv = nn.Conv2d(3, 3, 3, padding=1)
        >>> block = Evolve(Euler(Residual(conv)), duration=1.0, control=Fixed(1, unchecked=True))
        >>> u = torch.randn(1, 3, 8, 8)
        >>> torch.equal(block(u), u + conv(u))
        True
    """

    equation = "f(u)"

    def __init__(self, *modules: nn.Module) -> None:
        super().__init__()
        if not modules:
            raise PDEConvError("Residual needs at least one module, but got none.")
        for module in modules:
            checked_type("Residual", module, nn.Module, "give for example nn.Conv2d(8, 8, 3, padding=1)")
        self.module = modules[0] if len(modules) == 1 else nn.Sequential(*modules)

    def forward(self, u: Tensor) -> Operator:
        return operator(self._branch, rate=u.new_full((), math.inf))

    def _branch(self, v: Tensor) -> Tensor:
        out = self.module(v)
        if out.shape != v.shape:
            raise PDEConvError(
                f"The module of Residual must keep the shape {tuple(v.shape)}, but gave {tuple(out.shape)}; "
                "change channels or resolution outside of it."
            )
        return out
