"""Velocities of advection, (B|1, D, C|1, *S|1) for D spatial axes."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real

import torch
from torch import Tensor, nn

from pdeconv.coefficient import Coefficient, check_channels, per_channel
from pdeconv.depthwise import DepthwiseEquation
from pdeconv.errors import PDEConvError, checked_count, checked_number
from pdeconv.grid import Grid
from pdeconv.layers_by_dims import CONVOLUTION
from pdeconv.stencil import extend, face_mean, odd_at_walls


class Velocity(Coefficient):
    """A velocity, each component bounded by ``ceiling``: (B|1, D, C|1, *S|1) at the cells, in length/time."""

    def faces(self, u: Tensor, grid: Grid) -> tuple[Tensor, ...]:
        """The component normal to the N + 1 faces along each axis, (B|1, C|1, *S) with N + 1 along that axis.

        The mean of the two cells; nothing passes through a neumann or reflect wall.
        """
        velocity = checked_velocity(self(u, grid), grid)
        beyond = "periodic" if grid.boundary == "periodic" else "neumann"
        faces = []
        for component, axis in zip(velocity.unbind(1), grid.axes, strict=True):
            component = component.expand(-1, -1, *u.shape[2:])
            faces.append(odd_at_walls(face_mean(extend(component, axis, beyond), axis), axis, grid.boundary))
        return tuple(faces)

    def depthwise(self, u: Tensor, grid: Grid) -> DepthwiseEquation | None:
        """Upwind advection with this velocity, for the native kernel; None for one that it does not know."""
        if self.depends_on_state or self.per_cell or self.radius != 0:
            return None
        velocity = checked_velocity(self(u, grid), grid)
        of_each, varies = velocity.shape[2] in (1, u.shape[1]), any(n != 1 for n in velocity.shape[3:])
        if velocity.shape[0] != 1 or varies or not of_each:
            return None
        each = velocity.flatten(1).reshape(grid.dims, -1).expand(grid.dims, u.shape[1]).T
        return DepthwiseEquation(velocity=each if grid.dims == 2 else nn.functional.pad(each, (2 - grid.dims, 0)))


def check_dims(velocity: Velocity, dims: int, grid: Grid) -> None:
    """Raise ``PDEConvError`` unless a velocity built for ``dims`` axes is on a grid of as many."""
    if dims != grid.dims:
        raise PDEConvError(
            f"{type(velocity).__name__}(dims={dims}) is on a grid of {grid.dims} axes; make dims the same."
        )


def checked_velocity(velocity: Tensor, grid: Grid) -> Tensor:
    """``velocity``. Raises ``PDEConvError`` unless it has one component per axis of the grid."""
    if velocity.dim() != 3 + grid.dims or velocity.shape[1] != grid.dims:
        raise PDEConvError(
            f"Advection on {grid.dims} axes needs a velocity of shape (B, {grid.dims}, C, *S), but got "
            f"{tuple(velocity.shape)}; give the velocity coefficient dims={grid.dims}."
        )
    return velocity


def upwind_parts(velocity: Tensor) -> tuple[Tensor, Tensor]:
    """max(v, 0) and min(v, 0), each of slope ½ at 0: a velocity that starts at rest must learn to move."""
    return (velocity + velocity.abs()) / 2, (velocity - velocity.abs()) / 2


class ConstantVelocity(Velocity):
    """A fixed velocity, the same everywhere and for all channels, not learned.

    Args:
        components: One number per axis, length/time, in the order of the axes (the first moves along the rows' index).

    Example:
        >>> ConstantVelocity((0.0, 1.0))(torch.zeros(1, 3, 8, 8), Grid()).flatten()
        tensor([0., 1.])
    """

    radius = 0

    def __init__(self, components: Sequence[float]) -> None:
        super().__init__()
        if not isinstance(components, Sequence) or isinstance(components, str):
            raise PDEConvError(f"ConstantVelocity needs a number for each axis, but got {components!r}.")
        for v in components:
            checked_number("ConstantVelocity", "speed", abs(v) if isinstance(v, Real) else v, zero_too=True)
        self.components = tuple(float(v) for v in components)
        self.ceiling = max((abs(v) for v in self.components), default=0.0)

    def forward(self, u: Tensor, grid: Grid) -> Tensor:
        velocity = torch.stack([u.new_full((), v) for v in self.components])
        return velocity.reshape(1, -1, *(1,) * (u.dim() - 1))

    def extra_repr(self) -> str:
        return ", ".join(f"{v:g}" for v in self.components)


class SelfVelocity(Velocity):
    """The state carries itself, v = u along every axis: Burgers' equation u_t = −u Σᵢ ∂ᵢu, each channel by itself.

    Held within ±ceiling. ``Advection`` keeps the range, so that a state that starts within is never cut. It is not
    conservative: where viscosity does not resolve a shock, the shock travels at a wrong speed.

    Args:
        ceiling: Bound of |u|, length/time.

    References:
        J. M. Burgers. A mathematical model illustrating the theory of turbulence. Adv. Appl. Mech. 1, 1948.

    Example:
        >>> from pdeconv import Advection, Constant, Diffusion
        >>> burgers = Advection(SelfVelocity(ceiling=1.0)) + Diffusion(Constant(0.1))
        >>> SelfVelocity(ceiling=1.0)(torch.rand(2, 3, 8, 8), Grid()).shape
        torch.Size([2, 2, 3, 8, 8])
    """

    depends_on_state, radius = True, 0

    def __init__(self, ceiling: float = 1.0) -> None:
        super().__init__()
        self.ceiling = checked_number("SelfVelocity", "ceiling", ceiling)

    def forward(self, u: Tensor, grid: Grid) -> Tensor:
        speed = u.clamp(-self.ceiling, self.ceiling)
        return speed[:, None].expand(-1, grid.dims, *[-1] * (u.dim() - 1))


class PerChannelVelocity(Velocity):
    """One learned velocity a channel, v = ceiling · tanh(w), of shape (1, D, C, 1, …); zero at initialisation.

    Args:
        channels: Number of channels C.
        ceiling: Upper bound of each component, length/time.
        dims: Number of spatial axes D.

    Example:
        >>> PerChannelVelocity(3)(torch.zeros(1, 3, 8, 8), Grid()).shape
        torch.Size([1, 2, 3, 1, 1])
    """

    radius = 0

    def __init__(
        self,
        channels: int,
        ceiling: float = 1.0,
        dims: int = 2,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.ceiling = checked_number("PerChannelVelocity", "ceiling", ceiling)
        channels, dims = checked_count("PerChannelVelocity", "channels", channels), Grid(dims=dims).dims
        self.weight = nn.Parameter(torch.zeros(dims, channels, device=device, dtype=dtype))

    def forward(self, u: Tensor, grid: Grid) -> Tensor:
        return per_channel(self.ceiling * torch.tanh(self.weight[None]), u)

    def extra_repr(self) -> str:
        return f"{self.weight.shape[1]}, ceiling={self.ceiling:g}, dims={self.weight.shape[0]}"


class ConvVelocity(Velocity):
    """A velocity field read off the state by a depthwise convolution, v = ceiling · tanh(w ∗ u + b).

    Args:
        channels: Number of channels C.
        ceiling: Upper bound of each component, length/time.
        dims: Number of spatial axes D.
        kernel_size: Odd width of the kernel.

    Returns (forward): Velocity (B, D, C, *S).

    Example:
        >>> ConvVelocity(3)(torch.rand(2, 3, 8, 8), Grid()).shape
        torch.Size([2, 2, 3, 8, 8])
    """

    depends_on_state = per_cell = True

    def __init__(
        self,
        channels: int,
        ceiling: float = 1.0,
        dims: int = 2,
        kernel_size: int = 3,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        channels, dims = checked_count("ConvVelocity", "channels", channels), Grid(dims=dims).dims
        kernel_size = checked_count("ConvVelocity", "kernel_size", kernel_size, odd=True)
        self.ceiling = checked_number("ConvVelocity", "ceiling", ceiling)
        self.dims, self.radius = dims, kernel_size // 2
        self.conv = CONVOLUTION[dims](
            channels, channels * dims, kernel_size, groups=channels, device=device, dtype=dtype
        )

    def forward(self, u: Tensor, grid: Grid) -> Tensor:
        check_channels(self.conv.in_channels, u)
        check_dims(self, self.dims, grid)
        extended = u
        for axis in grid.axes:
            extended = extend(extended, axis, grid.boundary, self.conv.kernel_size[0] // 2)
        velocity = self.ceiling * torch.tanh(self.conv(extended.to(self.conv.weight.dtype)).to(u.dtype))
        return velocity.unflatten(1, (-1, self.dims)).transpose(1, 2)

    def depthwise(self, u: Tensor, grid: Grid) -> DepthwiseEquation | None:
        plain = type(self.conv).forward in (nn.Conv1d.forward, nn.Conv2d.forward) and "forward" not in vars(self.conv)
        if self.radius != 1 or not plain or type(self).forward is not ConvVelocity.forward:
            return None
        check_channels(self.conv.in_channels, u)
        check_dims(self, self.dims, grid)
        taps = self.conv.weight.reshape(-1, self.dims, 3**self.dims)
        bias = self.conv.bias
        bias = taps.new_zeros(taps.shape[:2]) if bias is None else bias.reshape(-1, self.dims)
        if self.dims == 1:  # along the columns of a single row
            taps, bias = nn.functional.pad(taps, (3, 3, 1, 0)), nn.functional.pad(bias, (1, 0))
        return DepthwiseEquation(conv=taps, bias=bias, ceiling=self.ceiling)

    def extra_repr(self) -> str:
        return f"ceiling={self.ceiling:g}"
