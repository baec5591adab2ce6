"""Convolutions that are derivatives: learned kernels whose moments are held."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from pdeconv.coefficient import check_channels
from pdeconv.errors import PDEConvError, checked_count
from pdeconv.filter_bank import CONVOLVE
from pdeconv.grid import Grid, checked_grid
from pdeconv.moments import constrained, kernel_from_moments
from pdeconv.operator import Operator, operator
from pdeconv.stencil import extend_wide
from pdeconv.terms.term import Term


class DifferentialConvolution(Term):
    """A linear equation to be found, u_t = Σ_α c_α ∂^α u: coefficients per channel and kernels for ∂^α, both learned.

    Whatever the weights, each kernel is its derivative to the given order of accuracy: its moments of order below
    |α| + accuracy are held, the others are learned, in units of dx^β/dx^α. They start at 0, where the kernel is the
    most accurate one of its width. On a finer grid the same weights are the same equation.

    Args:
        channels: Number of channels C.
        equation: The initial coefficient c_α of each derivative α, a tuple of one order an axis:
            ``{(2, 0): 0.1, (0, 2): 0.1}`` is diffusion in the plane. In dx^|α|/time, any sign.
        accuracy: Order p of each kernel's error, O(dxᵖ).
        kernel_size: Width of the kernels, odd; at least |α| + accuracy, as smaller ones have too few moments.
        grid: Spacing, boundary and number of axes.

    Rate: Infinite: nothing is proven of coefficients of any sign. Heun or RK4 with ``Fixed(n, unchecked=True)`` suit.
    Solve, Flow: Undefined.
    Keeps: Nothing is proven.

    Raises:
        PDEConvError: If a derivative does not fit the grid, or the kernel is too small.

    References:
        Z. Long, Y. Lu, X. Ma, B. Dong. PDE-Net: learning PDEs from data. ICML 2018.
        Z. Long, Y. Lu, B. Dong. PDE-Net 2.0. J. Comput. Phys. 399, 2019.

    Example:
        >>> term = DifferentialConvolution(1, {(1,): -1.0}, accuracy=2, grid=Grid(0.5, dims=1))
        >>> u = (0.5 * torch.arange(8.0)[None, None]) ** 2
        >>> [round(value, 4) for value in term(u)(u)[0, 0, 2:-2].tolist()]  # −2x, at 1 … 2.5
        [-2.0, -3.0, -4.0, -5.0]
    """

    equation = "Σ_α c_α ∂^α u"
    grid: Grid

    def __init__(
        self,
        channels: int,
        equation: Mapping[Sequence[int], float],
        accuracy: int = 2,
        kernel_size: int = 5,
        grid: Grid | None = None,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self.grid = checked_grid(name, grid)
        self.accuracy = checked_count(name, "accuracy", accuracy)
        self.derivatives = _checked_derivatives(equation, self.grid.dims)
        needed = max(map(sum, self.derivatives)) + self.accuracy
        if checked_count(name, "kernel_size", kernel_size, odd=True) < needed:
            raise PDEConvError(
                f"{name} needs a kernel_size of at least {needed} for its highest derivative with accuracy={accuracy}, "
                f"but got kernel_size={kernel_size}."
            )
        start = torch.tensor([float(value) for value in equation.values()], dtype=torch.float32)
        start = start.repeat(checked_count(name, "channels", channels), 1).T.contiguous()
        self.coefficient = nn.Parameter(start.to(device=device, dtype=dtype))
        shape = (len(start),) + (kernel_size,) * self.grid.dims
        self.moments = nn.Parameter(torch.zeros(shape, device=device, dtype=dtype))
        self.radius = kernel_size // 2

    @property
    def kernels(self) -> Tensor:
        """The kernel of each derivative, (derivatives, *kernel), in float32 at least."""
        width, device = self.moments.shape[-1], self.moments.device
        order = torch.arange(width, device=device)
        moments = []
        for alpha, free in zip(self.derivatives, self.moments.unbind(), strict=True):
            own = order == alpha[0]
            for n in alpha[1:]:
                own = own[..., None] & (order == n)
            moments.append(torch.where(constrained(alpha, self.accuracy, width, device), own.to(free.dtype), free))
        stacked = torch.stack(moments)
        stacked = stacked.to(torch.promote_types(stacked.dtype, torch.float32))
        unit = kernel_from_moments(stacked, (1.0,) * self.grid.dims)
        spacings = self.grid.spacings
        sizes = [math.prod([dx**n for dx, n in zip(spacings, alpha, strict=True)]) for alpha in self.derivatives]
        return torch.stack([kernel / size for kernel, size in zip(unit, sizes, strict=True)])

    def refine(self, factor: float) -> None:
        self.grid = self.grid.refined(factor)

    def forward(self, u: Tensor) -> Operator:
        channels = self.coefficient.shape[1]
        check_channels(channels, u, type(self).__name__)
        kernels = self.kernels
        shape = (-1, channels, *(1,) * self.grid.dims)
        kernel = (self.coefficient.to(kernels.dtype).reshape(shape) * kernels[:, None]).sum(0)[:, None].to(u.dtype)

        def apply(v: Tensor) -> Tensor:
            for axis in self.grid.axes:
                v = extend_wide(v, axis, self.grid.boundary, kernel.shape[-1] // 2)
            return CONVOLVE[self.grid.dims](v, kernel, groups=channels)

        return operator(apply, rate=u.new_full((), math.inf))

    def extra_repr(self) -> str:
        derivatives = ", ".join(map(str, self.derivatives))
        return f"{self.coefficient.shape[1]}, [{derivatives}], accuracy={self.accuracy}, {super().extra_repr()}"


def _checked_derivatives(equation: Mapping[Sequence[int], float], dims: int) -> tuple[tuple[int, ...], ...]:
    owner = "DifferentialConvolution"
    if not isinstance(equation, Mapping) or not equation:
        raise PDEConvError(
            f"{owner} needs a coefficient for at least one derivative, such as {{(2, 0): 0.1}}, but got {equation!r}."
        )
    for alpha, value in equation.items():
        if not isinstance(alpha, tuple) or len(alpha) != dims or not all(isinstance(n, int) and n >= 0 for n in alpha):
            raise PDEConvError(
                f"{owner} needs derivatives as tuples of {dims} orders of at least 0, one an axis of the grid, but got "
                f"{alpha!r}."
            )
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise PDEConvError(f"{owner} needs a finite number for the coefficient of {alpha}, but got {value!r}.")
    return tuple(tuple(alpha) for alpha in equation)
