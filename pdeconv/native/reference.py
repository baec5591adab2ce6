"""The same steps by operators of PyTorch that can be differentiated any number of times."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pdeconv.grid import Grid
from pdeconv.native.library import BOUNDARIES, PROFILES
from pdeconv.stencil import at_faces, difference, extend, lower_faces, upper_faces


def plain_march(
    u: Tensor,
    dt: Tensor,
    kappa: Tensor | None,
    sharpness: Tensor | None,
    velocity: Tensor | None,
    conv: Tensor | None,
    bias: Tensor | None,
    reaction: Tensor | None,
    profile: int,
    ceiling: float,
    boundary: int,
    spacings: Sequence[float],
    alphas: Sequence[float],
    steps: int,
) -> Tensor:
    """What ``pdeconv::march`` computes."""
    grid = Grid(tuple(spacings), BOUNDARIES[boundary])
    shape = (1, -1, *(1,) * grid.dims)

    def slope(v: Tensor) -> Tensor:
        total = torch.zeros_like(v)
        rises = [difference(extend(v, axis, grid.boundary), axis) for axis in grid.axes]
        if kappa is not None:
            diffusivity = kappa.reshape(shape)
            if sharpness is not None:
                diffusivity = diffusivity * _profile(rises, sharpness.reshape(shape), PROFILES[profile], grid)
            for rise, axis, dx in zip(rises, grid.axes, grid.spacings, strict=True):
                total = total + difference(at_faces(diffusivity, axis, grid) * rise, axis) / dx**2
        for i, (rise, axis, dx) in enumerate(zip(rises, grid.axes, grid.spacings, strict=True)):
            if conv is not None and bias is not None:
                component = ceiling * torch.tanh(_convolved(v, conv[:, i - grid.dims], bias[:, i - grid.dims], grid))
            elif velocity is not None:
                component = velocity[:, i - grid.dims].reshape(shape)
            else:
                continue
            up, down = (component + component.abs()) / 2, (component - component.abs()) / 2
            total = total - (up * lower_faces(rise, axis) + down * upper_faces(rise, axis)) / dx
        if reaction is not None:
            a0, a1, a2 = (a.reshape(shape) for a in reaction.unbind(1))
            total = total + (a0 + (a1 + a2 * v) * v) * v
        return total

    for _ in range(steps):
        v = u
        for alpha in alphas:
            v = alpha * u + (1 - alpha) * (v + dt * slope(v))
        u = v
    return u


def _profile(rises: list[Tensor], sharpness: Tensor, name: str, grid: Grid) -> Tensor:
    squared = torch.zeros_like(lower_faces(rises[0], grid.axes[0]))
    for rise, axis, dx in zip(rises, grid.axes, grid.spacings, strict=True):
        square = (rise * sharpness / dx).square()
        squared = squared + (lower_faces(square, axis) + upper_faces(square, axis)) / 2
    if name == "rational":
        return 1 / (1 + squared)
    return torch.exp(-squared) if name == "exponential" else torch.rsqrt(1 + squared)


def _convolved(v: Tensor, weights: Tensor, bias: Tensor, grid: Grid) -> Tensor:
    for axis in grid.axes:
        v = extend(v, axis, grid.boundary)
    if grid.dims == 1:  # along the columns of a single row
        return torch.conv1d(v, weights[:, None, 3:6], bias, groups=len(weights))
    return torch.conv2d(v, weights.reshape(-1, 1, 3, 3), bias, groups=len(weights))
