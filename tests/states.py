"""States, grids and small tools that the laws share; states are of 2 channels, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from pdeconv import Coefficient, Grid, Term

BOUNDARIES = ("neumann", "periodic", "dirichlet", "reflect")
DIMS = (1, 2, 3)
CHANNELS = 2


def unit(grid: Grid) -> Grid:
    """``grid`` with spacing 1."""
    return Grid(boundary=grid.boundary, dims=grid.dims)


def randomise(module: nn.Module, scale: float = 1.0):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(scale * torch.randn_like(parameter))
    return module


def saturate(term: Term) -> Term:
    """Push every weight to where its bounded coefficient reaches the ceiling."""
    with torch.no_grad():
        for parameter in term.parameters():
            parameter.fill_(40.0)
    return term


class Field(Coefficient):
    """A smooth diffusivity that varies in space and does not depend on the state."""

    ceiling = 0.5

    def forward(self, u: Tensor, grid: Grid) -> Tensor:
        return 0.3 + 0.2 * _wave(u, grid)


class FieldVelocity(Coefficient):
    """A smooth velocity that varies in space and does not depend on the state."""

    ceiling = 0.5

    def forward(self, u: Tensor, grid: Grid) -> Tensor:
        wave = _wave(u, grid)
        return torch.stack([0.5 * wave if i % 2 else 0.3 - 0.2 * wave for i in range(grid.dims)], 1)


def _wave(u: Tensor, grid: Grid) -> Tensor:
    lines = [torch.sin(1.0 + (axis - 1) * torch.arange(u.shape[axis], dtype=u.dtype)) for axis in grid.axes]
    wave = lines[0]
    for line in lines[1:]:
        wave = wave[..., None] * line
    return wave[None, None]


def state(dims: int = 2, batch: int = 2, cells: int = 5, channels: int = CHANNELS) -> Tensor:
    """A random float64 state in [0, 1], of another size along each axis."""
    return torch.rand(batch, channels, *(cells + i for i in range(dims)), dtype=torch.float64)


def number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def grid_of(boundary: str, dims: int) -> Grid:
    """A grid of another spacing along each axis."""
    return Grid((0.8, 1.25, 1.5)[:dims], boundary)  # pyright: ignore[reportArgumentType]


def matrix(apply: Callable[[Tensor], Tensor], like: Tensor) -> Tensor:
    """The matrix of a linear map of one sample (1, C, *S), column by column."""
    basis = torch.eye(like[0].numel(), dtype=like.dtype).reshape(-1, *like.shape[1:])
    return torch.stack([apply(unit_vector[None]).flatten() for unit_vector in basis], 1).detach()


def initial_states(dims: int, cells: int = 6) -> dict[str, Tensor]:
    """States in [0, 1] that show instability: a spike, a dip, a zigzag, a step, noise, 2 channels each."""
    zeros = torch.zeros(1, CHANNELS, *[cells] * dims, dtype=torch.float64)
    index = sum(torch.meshgrid(*[torch.arange(cells)] * dims, indexing="ij"))
    spike = zeros.clone()
    spike[(..., *[cells // 2] * dims)] = 1
    zigzag = zeros + (index % 2)
    half = zeros + (index >= dims * cells // 2)
    return {"spike": spike, "dip": 1 - spike, "zigzag": zigzag, "step": half, "noise": torch.rand_like(zeros)}


def excess(u: Tensor, low: Tensor | float, high: Tensor | float) -> float:
    """How far ``u`` leaves [low, high]; 0 if it stays, inf if it is not finite."""
    if not u.isfinite().all():
        return math.inf
    return max(0.0, float((low - u).max()), float((u - high).max()))
