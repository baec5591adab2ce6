"""Learned convolutions with any boundary, mostly of a bounded norm, and their exact transposes."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from pdeconv.coefficient import check_channels
from pdeconv.errors import PDEConvError, checked_count, checked_number
from pdeconv.grid import Grid, checked_grid
from pdeconv.spectral import convolution_norm_bound
from pdeconv.stencil import extend, fold

CONVOLVE = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSE = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d}


class Filters(nn.Module):
    """The learned convolution K of a term or an energy, ‖K‖₂² ≤ ``squared_norm`` whatever the weights.

    K = w · norm / max(norm, b(w)), b a guaranteed bound of the norm of the raw kernel w
    (:func:`pdeconv.spectral.convolution_norm_bound`). The raw kernel is the ``weight`` divided by the square root of
    the number of its taps, so that filters of unit norm give a ‖K‖ of about 1. With ``norm=None`` it is K itself.

    Boundaries: neumann takes only the windows that fit into the image (the natural condition of an energy: with K
    the gradient it is zero flux); an axis shorter than the kernel has none, and there is no response. Dirichlet pads
    with zeros, periodic wraps, reflect mirrors. Kᵀ is the exact transpose in each case.

    Args:
        channels: Number of channels C of the state.
        features: Number of features F of Ku; by default ``channels``.
        kernel_size: Width of the kernel, odd.
        norm: Bound of ‖K‖₂, dx-free; mirrored at a reflecting edge, cells count up to twice an axis. None for no bound.
        grid: Boundary and number of axes; the spacing must be 1, as the kernel is learned per cell.
        mean_free: Subtract each kernel's mean, so that a constant state has no response.

    Example:
        >>> filters = Filters(2, 3, 3, norm=1.0, grid=None, mean_free=True)
        >>> convolve(torch.ones(1, 2, 5, 5), filters.kernel, filters.grid).shape
        torch.Size([1, 3, 3, 3])
    """

    per_cell = True
    grid: Grid
    _known: tuple[Tensor, Tensor] | None = None

    def __init__(
        self,
        channels: int,
        features: int | None,
        kernel_size: int,
        norm: float | None,
        grid: Grid | None,
        mean_free: bool,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self.grid = grid = checked_grid(name, grid)
        if any(dx != 1 for dx in grid.spacings):
            raise PDEConvError(
                f"{name} learns its kernel per cell and needs spacing 1, but got {grid.spacing}; scale norm by 1/dx "
                "instead."
            )
        kernel_size = checked_count(name, "kernel_size", kernel_size, odd=True)
        channels = checked_count(name, "channels", channels)
        features = channels if features is None else checked_count(name, "features", features)
        self.norm, self.mean_free = None if norm is None else checked_number(name, "norm", norm), mean_free
        shape = (features, channels) + (kernel_size,) * grid.dims
        self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        nn.init.normal_(self.weight, std=1 / math.sqrt(self.weight[0].numel()))
        # A mirrored cell is seen up to twice along each axis.
        self.boundary_gain = 2.0**grid.dims if grid.boundary == "reflect" else 1.0

    @property
    def widest(self) -> int:
        """Cells to either side that Kᵀφ(Ku) at a cell depends on, for a pointwise φ."""
        return self.weight.shape[-1] - 1

    @property
    def squared_norm(self) -> float:
        """Bound of ‖K‖₂², with the boundary; infinite where K has none."""
        return math.inf if self.norm is None else self.norm**2 * self.boundary_gain

    @property
    def kernel(self) -> Tensor:
        """The kernel K (F, C, *kernel), of norm at most ``norm`` if that is given.

        Its bound costs far more than a small image does. So without gradients on a CPU, where to compare is cheap, the
        kernel is kept, and computed anew only once the weight is another than that of which it is.
        """
        if self.norm is None or not may_keep(self.weight):
            return self._computed_kernel()
        known, weight = self._known, self.weight
        if known is None or known[0].dtype != weight.dtype or not torch.equal(known[0], weight):
            with torch.inference_mode(False), torch.no_grad():  # or it could not be used outside of that mode
                known = self._known = weight.detach().clone(), self._computed_kernel()
        return known[1]

    def _computed_kernel(self) -> Tensor:
        weight = self.weight / math.sqrt(self.weight[0, 0].numel())
        if self.mean_free:
            weight = weight - weight.mean(tuple(range(2, weight.dim())), keepdim=True)
        if self.norm is None:
            return weight
        bound = convolution_norm_bound(weight)
        return weight * (self.norm / bound.clamp(min=self.norm)).to(weight.dtype)

    def __getstate__(self) -> dict[str, object]:
        """Copies and files are without the kernel that is kept."""
        return {name: value for name, value in vars(self).items() if name != "_known"}

    def check_filtered(self, u: Tensor) -> None:
        """Raise ``PDEConvError`` unless ``u`` has the channels that K takes."""
        check_channels(self.weight.shape[1], u, type(self).__name__)

    def extra_repr(self) -> str:
        features, channels, *kernel = self.weight.shape
        bound = "" if self.norm is None else f"norm ≤ {self.norm:g}, "
        return f"{channels}, features={features}, kernel_size={kernel[0]}, {bound}{super().extra_repr()}"


def may_keep(weight: Tensor) -> bool:
    """Whether what follows from a weight may be kept: on a CPU, without gradients, while nobody traces or counts."""
    return (
        type(weight) is nn.Parameter
        and weight.device.type == "cpu"
        and not torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]
        and not _get_current_dispatch_mode_stack()
    )


def convolve(v: Tensor, kernel: Tensor, grid: Grid) -> Tensor | None:
    """K v, for a kernel (F, C, *kernel) of odd width; None where no window fits into the image."""
    radius = kernel.shape[-1] // 2
    apply = CONVOLVE[grid.dims]
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
