"""Functions of a boundary's Laplacian: transform to its modes, multiply, transform back."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache, reduce
from typing import NamedTuple

import torch
from torch import Tensor

from pdeconv.fourier import FourierLine, build_fourier_line, eigenvalues
from pdeconv.grid import Boundary, Grid
from pdeconv.linear import apply_along, cell_weights
from pdeconv.precision import without_autocast
from pdeconv.transformed import is_exporting

FFT_SIZE = 256
"""An axis of so many cells is transformed by FFT, where the device has one; a shorter one by a matrix product. Twice as
many under the dirichlet and reflect boundaries, which take an FFT of twice the length. See benchmarks/solves.py."""

JOINT_CELLS = 100
"""Up to so many cells of an image all axes are transformed by one matrix product, of their Kronecker product."""


def map_modes(u: Tensor, grid: Grid, function: Callable[[list[Tensor]], Tensor]) -> Tensor:
    """f(δ₁², δ₂², …) u for the second differences along the axes: transform, multiply, transform back.

    Computed in float32 at least: the transforms sum over whole axes. Of short axes they are matrix products: where the
    user allows TF32 for those (``torch.set_float32_matmul_precision``) they have its three digits. An axis of 256
    cells or more (512 under the dirichlet and reflect boundaries) takes an FFT, on the CPU and on CUDA.

    Args:
        u: State (B, C, *S).
        grid: Boundary and number of axes.
        function: f of the eigenvalues of each δ² in [−4, 0], shaped (1, 1, …, M, …) to broadcast to the modes; M is N,
            or up to N + 2 where an FFT has modes that are always 0.

    Example:
        >>> twice = map_modes(torch.tensor([[[0.0, 1.0, 0.0]]]), Grid(dims=1), lambda modes: modes[0])
        >>> torch.allclose(twice, torch.tensor([[[1.0, -2.0, 1.0]]]), atol=1e-6)
        True
    """
    dtype, sizes = torch.promote_types(u.dtype, torch.float32), tuple(u.shape[2:])
    kind = grid.boundary, dtype, u.device
    with without_autocast(u):
        if _joint(sizes):
            forward, inverse, *values = _kept(_build_image_basis, sizes, *kind)
            spectrum = (u.to(dtype).flatten(2) @ forward.T).unflatten(2, sizes)
            spectrum = spectrum * function(_shaped(values))
            return (spectrum.flatten(2) @ inverse.T).unflatten(2, sizes).to(u.dtype)
        spectrum, lines = u.to(dtype), [_line(size, *kind) for size in sizes]
        for axis, line in zip(grid.axes, lines, strict=True):
            spectrum = line.to_modes(spectrum, axis)
        spectrum = spectrum * function(_shaped([line.values for line in lines]))
        for axis, line in reversed(list(zip(grid.axes, lines, strict=True))):
            spectrum = line.from_modes(spectrum, axis)
    return spectrum.to(u.dtype)


def map_each_axis(u: Tensor, grid: Grid, functions: Sequence[Callable[[Tensor], Tensor]]) -> Tensor:
    """Π fᵢ(δᵢ²) u, a function of each axis by itself: one matrix for each, in place of transforms there and back.

    Worth it where many samples share the matrices, of axes shorter than ``FFT_SIZE``: see :func:`each_axis_pays`.

    Args:
        u: State (B, C, *S).
        grid: Boundary and number of axes.
        functions: For each axis, of the eigenvalues (N,) to factors (1, C|1, N).

    Example:
        >>> u = torch.tensor([[[0.0, 1.0, 0.0]]])
        >>> map_each_axis(u, Grid(dims=1), [lambda values: 1 + values[None, None] / 4]).round(decimals=4)
        tensor([[[0.2500, 0.5000, 0.2500]]])
    """
    dtype, (batch, channels, *_) = torch.promote_types(u.dtype, torch.float32), u.shape
    with without_autocast(u):
        result = u.to(dtype)
        for axis, function in reversed(list(zip(grid.axes, functions, strict=True))):
            size = u.shape[axis]
            forward, inverse, values = laplacian_basis(size, grid.boundary, dtype, u.device)
            matrices = (inverse * function(values)[..., None, :]) @ forward
            if matrices.shape[1] == 1:
                result = apply_along(matrices[0, 0], result, axis)
            elif axis == u.dim() - 1:
                result = result.reshape(batch, channels, -1, size) @ matrices.mT
            else:
                before = math.prod(u.shape[2:axis])
                result = matrices[:, :, None] @ result.reshape(batch, channels, before, size, -1)
            result = result.reshape(u.shape)
    return result.to(u.dtype)


def each_axis_pays(u: Tensor, grid: Grid) -> bool:
    """Whether :func:`map_each_axis` is the faster way to a function that is a product over the axes."""
    sizes = tuple(u.shape[2:])
    if not _fixed(u.shape) or u.shape[0] == 1 or _joint(sizes):
        return False
    return not any(_by_fft(size, grid.boundary, u.device) for size in sizes)


def laplacian_basis(
    size: int, boundary: Boundary, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Eigenbasis of the second difference on ``size`` cells of spacing 1.

    Neumann: DCT-II. Periodic: real Fourier. Dirichlet: DST-I. Reflect: DCT-I.

    Returns:
        ``(forward, inverse, eigenvalues)``: û = forward @ u, u = inverse @ û; eigenvalues (size,) are ≤ 0. They are
        shared by all who ask: not to be written to.

    References:
        G. Strang. The discrete cosine transform. SIAM Review 41(1), 1999.

    Example:
        >>> forward, inverse, values = laplacian_basis(4, "neumann", torch.float64, torch.device("cpu"))
        >>> torch.allclose(forward @ inverse, torch.eye(4, dtype=torch.float64))
        True
    """
    forward, inverse, values = _kept(_build_basis, size, boundary, dtype, device)
    return forward, inverse, values


class MatrixLine(NamedTuple):
    """Transforms of one axis by matrix products."""

    forward: Tensor
    inverse: Tensor
    values: Tensor

    def to_modes(self, u: Tensor, axis: int) -> Tensor:
        return apply_along(self.forward, u, axis)

    def from_modes(self, spectrum: Tensor, axis: int) -> Tensor:
        return apply_along(self.inverse, spectrum, axis)


def _line(size: int, boundary: Boundary, dtype: torch.dtype, device: torch.device) -> MatrixLine | FourierLine:
    if _by_fft(size, boundary, device):
        return FourierLine(size, boundary, *_kept(build_fourier_line, size, boundary, dtype, device))
    return MatrixLine(*laplacian_basis(size, boundary, dtype, device))


def _by_fft(size: int, boundary: Boundary, device: torch.device) -> bool:
    least = FFT_SIZE if boundary in ("neumann", "periodic") else 2 * FFT_SIZE
    return _fixed((size,)) and size >= least and device.type in ("cpu", "cuda")


def _joint(sizes: tuple[int, ...]) -> bool:
    return len(sizes) > 1 and _fixed(sizes) and math.prod(sizes) <= JOINT_CELLS


def _fixed(sizes: Sequence[int]) -> bool:
    """Whether sizes may be asked: a free one of an exporter, asked whether it is large, would be free no more."""
    return not is_exporting() and all(isinstance(size, int) for size in sizes)


def _shaped(values: Sequence[Tensor]) -> list[Tensor]:
    """The eigenvalues of each axis, to broadcast to a state."""
    dims = len(values)
    return [value.reshape([1, 1, *(-1 if i == axis else 1 for i in range(dims))]) for axis, value in enumerate(values)]


Build = Callable[..., tuple[Tensor, ...]]


def _kept(
    build: Build, size: int | tuple[int, ...], boundary: Boundary, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, ...]:
    """What ``build`` gives, kept for the next call where it can be."""
    # Fake tensors, made while compiling or in a mode of one's own, must not stay in a cache.
    if torch.compiler.is_compiling() or type(torch.empty(0)) is not Tensor:
        wide = torch.float32 if device.type == "mps" else torch.float64
        return _converted(build(size, boundary, wide, device), dtype, device)
    large = isinstance(size, int) and size > _LARGEST_KEPT
    return (_built if large else _cached)(build, size, boundary, dtype, device)


_LARGEST_KEPT = 1024  # cells: the bases of a longer axis, where there is no FFT, would fill the memory


def _built(
    build: Build, size: int | tuple[int, ...], boundary: Boundary, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, ...]:
    # In float64: rounding of a basis must not limit a float64 solve. Tensors made in inference mode could not train.
    with torch.inference_mode(False), torch.no_grad():
        return _converted(build(size, boundary, torch.float64, torch.device("cpu")), dtype, device)


_cached = lru_cache(maxsize=64)(_built)


def _converted(parts: tuple[Tensor, ...], dtype: torch.dtype, device: torch.device) -> tuple[Tensor, ...]:
    complex_type = torch.complex128 if dtype == torch.float64 else torch.complex64  # a graph knows no to_complex()
    return tuple(part.to(device, complex_type if part.is_complex() else dtype) for part in parts)


def _build_image_basis(sizes: tuple[int, ...], boundary: Boundary, dtype: torch.dtype, device: torch.device):
    """The Kronecker products of the bases of all axes, and the eigenvalues of each."""
    bases = [_build_basis(size, boundary, dtype, device) for size in sizes]
    forward, inverse = (reduce(torch.kron, [basis[i] for basis in bases]) for i in (0, 1))
    return forward, inverse, *[values for _, _, values in bases]


def _build_basis(
    size: int, boundary: Boundary, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    cell = torch.arange(size, dtype=dtype, device=device)
    mode = cell[:, None]
    if boundary == "neumann" or (size == 1 and boundary == "reflect"):
        inverse = torch.cos(math.pi * mode * (cell + 0.5) / size).T
        angle = math.pi * cell / size
    elif boundary == "reflect":
        inverse = torch.cos(math.pi * mode * cell / (size - 1)).T
        angle = math.pi * cell / (size - 1)
    elif boundary == "dirichlet":
        inverse = torch.sin(math.pi * (mode + 1) * (cell + 1) / (size + 1)).T
        angle = math.pi * (cell + 1) / (size + 1)
    else:
        frequency = (cell + 1) // 2
        phase = 2 * math.pi * frequency[:, None] * cell / size
        # The zigzag of an even size has no sine: it would be zero at every cell.
        odd = (mode.long() % 2 == 1) & (2 * frequency[:, None] != size)
        inverse = torch.where(odd, torch.sin(phase), torch.cos(phase)).T
        angle = 2 * math.pi * frequency / size
    weight = cell_weights(size, boundary, dtype, device)
    # The columns are orthogonal in the inner product of the cell weights.
    scale = (weight[:, None] * inverse.square()).sum(0).rsqrt()
    inverse = inverse * scale
    return (inverse * weight[:, None]).T.contiguous(), inverse.contiguous(), eigenvalues(angle)
