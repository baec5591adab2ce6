"""Velocities that vary in space: fields of their own, and fields free of divergence."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor, nn

from pdeconv.coefficient import check_channels
from pdeconv.errors import PDEConvError, checked_count, checked_number, checked_type
from pdeconv.grid import Grid
from pdeconv.layers_by_dims import CONVOLUTION
from pdeconv.resample import resampled
from pdeconv.stencil import divergence, extend_wide, face_mean, odd_at_walls
from pdeconv.velocity import Velocity, check_dims


class VelocityField(Velocity):
    """A learned velocity field, v = ceiling · tanh(w), interpolated linearly to the state's size; zero at first.

    Args:
        shape: Cells of the field along each axis; the state may have more or fewer.
        channels: Number of channels C, or 1 for one field that carries all channels.
        ceiling: Upper bound of each component, length/time.

    Example:
        >>> VelocityField((4, 4))(torch.zeros(1, 3, 8, 6), Grid()).shape
        torch.Size([1, 2, 1, 8, 6])
    """

    def __init__(
        self,
        shape: Sequence[int],
        channels: int = 1,
        ceiling: float = 1.0,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.ceiling = checked_number("VelocityField", "ceiling", ceiling)
        checked_type("VelocityField", shape, Sequence, "give the cells along each axis, for example (32, 32)")
        sizes = [checked_count("VelocityField", "shape", n) for n in shape]
        channels = checked_count("VelocityField", "channels", channels)
        self.weight = nn.Parameter(
            torch.zeros(Grid(dims=len(sizes)).dims, channels, *sizes, device=device, dtype=dtype)
        )

    def forward(self, u: Tensor, grid: Grid) -> Tensor:
        return resampled(self.ceiling * torch.tanh(self.weight), u, grid)

    def extra_repr(self) -> str:
        _, channels, *shape = self.weight.shape
        return f"{tuple(shape)}, channels={channels}, ceiling={self.ceiling:g}"


class FixedVelocity(Velocity):
    """A given velocity field, not learned, interpolated linearly to the state's size.

    Args:
        values: (D, C|1, *shape) in length/time, for D axes.

    Example:
        >>> x, y = torch.meshgrid(torch.linspace(-1, 1, 5), torch.linspace(-1, 1, 5), indexing="ij")
        >>> rotation = FixedVelocity(torch.stack([-y, x])[:, None])
        >>> rotation.ceiling, rotation(torch.zeros(1, 3, 10, 10), Grid()).shape
        (1.0, torch.Size([1, 2, 1, 10, 10]))
    """

    values: Tensor

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        if not isinstance(values, Tensor) or not values.is_floating_point() or values.shape[0] != values.dim() - 2:
            got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise PDEConvError(f"FixedVelocity needs a floating tensor (D, C|1, *shape) of D axes, but got {got}.")
        self.ceiling = checked_number("FixedVelocity", "speed", float(values.abs().max()), zero_too=True)
        # Not part of the state_dict: weights that are loaded must not exceed the ceiling.
        self.register_buffer("values", values.detach().clone(), persistent=False)

    def forward(self, u: Tensor, grid: Grid) -> Tensor:
        return resampled(self.values, u, grid)


class StreamVelocity(Velocity):
    """A velocity field free of divergence, the curl of a stream function read off the state: v₀ = ∂₁ψ, v₁ = −∂₀ψ.

    ψ = a · tanh(w ∗ u + b) at the corners of the cells, by a depthwise convolution with a kernel of even width. At the
    faces, which ``ConservativeAdvection`` uses, the discrete divergence is 0 in every cell but for rounding, and
    nothing passes through a neumann or reflect wall: the flux form then lets constants rest. In 3-D there is a ψ for
    each pair of axes (a vector potential). At the cells it is the mean of the two faces.

    Args:
        channels: Number of channels C.
        ceiling: Upper bound of each component, length/time.
        dims: Number of spatial axes, 2 or 3.
        kernel_size: Even width of the kernel.

    Returns (forward): Velocity (B, D, C, *S).

    Example:
        >>> stream, grid, u = StreamVelocity(1), Grid(boundary="periodic"), torch.rand(1, 1, 8, 8)
        >>> along_rows, along_columns = stream.faces(u, grid)
        >>> bool((divergence(along_rows, 2, grid) + divergence(along_columns, 3, grid)).abs().max() < 1e-6)
        True
    """

    depends_on_state = per_cell = True

    def __init__(
        self,
        channels: int,
        ceiling: float = 1.0,
        dims: int = 2,
        kernel_size: int = 2,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        name = "StreamVelocity"
        self.channels, self.ceiling = (
            checked_count(name, "channels", channels),
            checked_number(name, "ceiling", ceiling),
        )
        kernel_size = checked_count(name, "kernel_size", kernel_size)
        if dims not in (2, 3):
            raise PDEConvError(f"{name} needs dims=2 or 3, but got {dims!r}; in 1-D use PerChannelVelocity.")
        if kernel_size % 2:
            raise PDEConvError(f"{name} needs an even kernel_size, centred at corners, but got {kernel_size}.")
        self.dims, self.pairs, self.radius = dims, tuple(combinations(range(dims), 2)), kernel_size // 2
        self.widths = [[kernel_size if i in pair else kernel_size - 1 for i in range(dims)] for pair in self.pairs]
        self.convs = nn.ModuleList(
            CONVOLUTION[dims](channels, channels, tuple(width), groups=channels, device=device, dtype=dtype)
            for width in self.widths
        )

    def forward(self, u: Tensor, grid: Grid) -> Tensor:
        faces = self.faces(u, grid)
        return torch.stack([face_mean(face, axis) for face, axis in zip(faces, grid.axes, strict=True)], 1)

    def faces(self, u: Tensor, grid: Grid) -> tuple[Tensor, ...]:
        check_channels(self.channels, u)
        check_dims(self, self.dims, grid)
        # |∂ψ| ≤ 2a/dx, summed over the pairs that an axis is in.
        steepest = max(sum(1 / dx for j, dx in enumerate(grid.spacings) if j != i) for i in range(grid.dims))
        amplitude = self.ceiling / (2 * steepest)
        faces: list[Tensor | None] = [None] * grid.dims
        for pair, width, conv in zip(self.pairs, self.widths, self.convs, strict=True):
            extended = u.to(next(conv.parameters()).dtype)
            for axis, n in zip(grid.axes, width, strict=True):
                extended = extend_wide(extended, axis, grid.boundary, n // 2)
            stream = (amplitude * torch.tanh(conv(extended))).to(u.dtype)
            for i in pair:
                stream = odd_at_walls(stream, grid.axes[i], grid.boundary)
            first, second = pair
            along_first = divergence(stream, grid.axes[second], grid)
            along_second = -divergence(stream, grid.axes[first], grid)
            for i, part in ((first, along_first), (second, along_second)):
                so_far = faces[i]
                faces[i] = part if so_far is None else so_far + part
        return tuple(face for face in faces if face is not None)

    def extra_repr(self) -> str:
        return f"{self.channels}, ceiling={self.ceiling:g}, dims={self.dims}"
