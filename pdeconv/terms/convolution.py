"""Terms made of convolutions: −Kᵀσ(Ku), stable by a bound of ‖K‖, and a residual branch around any module."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from pdeconv.errors import PDEConvError, checked_count, checked_number, checked_type
from pdeconv.grid import Grid, checked_grid
from pdeconv.influence import Influence, ReLUInfluence
from pdeconv.operator import ENERGY, Operator, operator
from pdeconv.spectral import convolution_norm_bound
from pdeconv.stencil import extend, fold
from pdeconv.terms.term import Term

_CONVOLVE = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSE = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d}


class SymmetricConvolution(Term):
    """Learned nonlinear diffusion, u_t = −Kᵀφ(Ku): a convolution, a pointwise influence φ(z) = g(z)·z, the transpose.

    With K the gradient this is Perona and Malik's equation; with K learned, Ruthotto and Haber's parabolic layer, and
    Chen and Pock's reaction–diffusion. Frozen at a state it is the symmetric operator −Kᵀ diag(g(Ku)) K.

    ‖K‖₂ ≤ norm by parametrisation: K = w · norm / max(norm, b(w)), b a guaranteed bound of the norm of the raw
    kernel w (:func:`pdeconv.spectral.convolution_norm_bound`). The raw kernel is the ``weight`` divided by the square
    root of the number of its taps, so that filters of unit norm give a ‖K‖ of about 1.

    Boundaries: neumann takes only the windows that fit into the image (the natural condition of the energy: with K
    the gradient it is zero flux); an axis shorter than the kernel has none, and nothing happens. Dirichlet pads with
    zeros, periodic wraps, reflect mirrors. Kᵀ is the exact transpose in each case.

    Args:
        channels: Number of channels C of the state.
        features: Number of features F of Ku; by default ``channels``.
        kernel_size: Width of the kernel, odd.
        influence: φ, by its slope 0 ≤ g ≤ ceiling; by default ReLU.
        norm: Bound of ‖K‖₂, dx-free.
        grid: Boundary and number of axes; the spacing must be 1, as the kernel is learned per cell.
        mean_free: Subtract each kernel's mean, so that a constant state rests.

    Rate: ‖K‖²·max g / 2, for Euler steps u ← u − dt·Kᵀφ(Ku) that keep the energy.
    Solve, Flow: Undefined.
    Keeps: The energy: ⟨u, Kᵀφ(Ku)⟩ ≥ ‖Kᵀφ(Ku)‖² / (‖K‖² max g), as φ(z)² ≤ max g · zφ(z).

    References:
        L. Ruthotto, E. Haber. Deep neural networks motivated by partial differential equations. JMIV 62, 2020.
        Y. Chen, T. Pock. Trainable nonlinear reaction diffusion. IEEE TPAMI 39(6), 2017.

    Example:
        >>> from pdeconv import CFL, Euler, Evolve
        >>> layer = Evolve(Euler(SymmetricConvolution(4, features=8)), duration=1.0, control=CFL(0.9))
        >>> u = torch.randn(1, 4, 8, 8)
        >>> bool(layer(u).norm() <= u.norm())
        True
    """

    keeps = frozenset({ENERGY})
    symmetric = True
    grid: Grid

    def __init__(
        self,
        channels: int,
        features: int | None = None,
        kernel_size: int = 3,
        influence: Influence | None = None,
        norm: float = 1.0,
        grid: Grid | None = None,
        mean_free: bool = False,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.grid = checked_grid("SymmetricConvolution", grid)
        if any(dx != 1 for dx in self.grid.spacings):
            raise PDEConvError(
                f"SymmetricConvolution learns its kernel per cell and needs spacing 1, but got {self.grid.spacing}; "
                "scale norm by 1/dx instead."
            )
        name = type(self).__name__
        kernel_size = checked_count(name, "kernel_size", kernel_size, odd=True)
        channels = checked_count(name, "channels", channels)
        features = channels if features is None else checked_count(name, "features", features)
        self.influence = ReLUInfluence() if influence is None else influence
        checked_type(name, self.influence, Influence, "give for example TanhInfluence()")
        self.norm, self.mean_free = checked_number(name, "norm", norm), mean_free
        shape = (features, channels) + (kernel_size,) * self.grid.dims
        self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        nn.init.normal_(self.weight, std=1 / math.sqrt(self.weight[0].numel()))
        # A mirrored cell is seen up to twice along each axis.
        self.boundary_gain = 2.0**self.grid.dims if self.grid.boundary == "reflect" else 1.0
        self.ceiling = self.norm**2 * self.boundary_gain * self.influence.ceiling / 2

    @property
    def kernel(self) -> Tensor:
        """The kernel K (F, C, *kernel), of norm at most ``norm``."""
        weight = self.weight / math.sqrt(self.weight[0, 0].numel())
        if self.mean_free:
            weight = weight - weight.mean(tuple(range(2, weight.dim())), keepdim=True)
        bound = convolution_norm_bound(weight)
        return weight * (self.norm / bound.clamp(min=self.norm)).to(weight.dtype)

    def forward(self, u: Tensor) -> Operator:
        if u.shape[1] != self.weight.shape[1]:
            raise PDEConvError(
                f"SymmetricConvolution was built for {self.weight.shape[1]} channels, but the state has {u.shape[1]}."
            )
        return _SymmetricConvolutionAt(u, self)

    def extra_repr(self) -> str:
        features, channels, *kernel = self.weight.shape
        return f"{channels}, features={features}, kernel_size={kernel[0]}, norm ≤ {self.norm:g}, {super().extra_repr()}"


class _SymmetricConvolutionAt(Operator):
    """v ↦ −Kᵀ(g ⊙ Kv) with g = g(Ku)."""

    keeps = frozenset({ENERGY})

    def __init__(self, u: Tensor, term: SymmetricConvolution) -> None:
        self.grid = term.grid
        self.kernel = term.kernel.to(u.dtype)
        self.state, self.response = u, self._convolve(u)
        if self.response is None:
            self.slope, self.rate = None, u.new_zeros(())
            return
        self.slope = term.influence(self.response)
        self.rate = self.slope.flatten(1).amax(1) * (term.norm**2 * term.boundary_gain / 2)

    def __call__(self, v: Tensor) -> Tensor:
        response = self.response if v is self.state else self._convolve(v)
        if response is None or self.slope is None:
            return torch.zeros_like(v)
        return -self._transpose(self.slope * response)

    def _convolve(self, v: Tensor) -> Tensor | None:
        return convolve(v, self.kernel, self.grid)

    def _transpose(self, z: Tensor) -> Tensor:
        return transpose(z, self.kernel, self.grid)


def convolve(v: Tensor, kernel: Tensor, grid: Grid) -> Tensor | None:
    """K v, for a kernel (F, C, *kernel) of odd width; None where no window fits into the image."""
    radius = kernel.shape[-1] // 2
    apply = _CONVOLVE[grid.dims]
    if grid.boundary == "dirichlet":
        return apply(v, kernel, padding=radius)
    if grid.boundary == "neumann":
        fits = all(n > 2 * radius for n in v.shape[2:])
        return apply(v, kernel) if fits else None
    for axis in grid.axes:
        if grid.boundary == "reflect" and v.shape[axis] <= 2 * radius:
            raise PDEConvError(
                f"A kernel of width {2 * radius + 1} with the reflect boundary needs at least "
                f"{2 * radius + 1} cells along each axis, but the state has shape {tuple(v.shape)}; "
                "use a smaller kernel or the neumann boundary."
            )
        v = extend(v, axis, grid.boundary, radius)
    return apply(v, kernel)


def transpose(z: Tensor, kernel: Tensor, grid: Grid) -> Tensor:
    """Kᵀ z, the adjoint of :func:`convolve`."""
    radius = kernel.shape[-1] // 2
    apply = _TRANSPOSE[grid.dims]
    if grid.boundary == "dirichlet":
        return apply(z, kernel, padding=radius)
    v = apply(z, kernel)
    if grid.boundary == "neumann":
        return v
    for axis in reversed(grid.axes):
        v = fold(v, axis, grid.boundary, radius)
    return v


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
