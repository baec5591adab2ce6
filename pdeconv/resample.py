"""Fields of their own resolution at the cells of a state."""

from __future__ import annotations

import torch
from torch import Tensor

from pdeconv.coefficient import check_channels
from pdeconv.errors import PDEConvError
from pdeconv.grid import Grid
from pdeconv.precision import without_autocast


def resampled(field: Tensor, u: Tensor, grid: Grid) -> Tensor:
    """A field (D, C|1, *shape) at the cells of ``u``, (1, D, C|1, *S): along each axis a mean of the nearest two."""
    if field.dim() != 2 + grid.dims:
        raise PDEConvError(f"A field of {field.dim() - 2} axes is on a grid of {grid.dims}; give it as many.")
    if field.shape[1] != 1:
        check_channels(field.shape[1], u)
    with without_autocast(u):
        for axis in grid.axes:
            weights = linear_weights(u.shape[axis], field.shape[2], grid.boundary == "periodic", field)
            # The axis goes to the end, and the next is in its place.
            field = field.movedim(2, -1) @ weights.T
    return field.to(u.dtype)[None]


def linear_weights(size: int, knots: int, wraps: bool, like: Tensor) -> Tensor:
    """The matrix (size, knots) that interpolates between the centres of ``knots`` cells; rows have sum 1."""
    dtype = torch.promote_types(like.dtype, torch.float32)
    at = (torch.arange(size, dtype=dtype, device=like.device) + 0.5) * (knots / size) - 0.5
    away = (at if wraps else at.clamp(0, knots - 1))[:, None] - torch.arange(knots, dtype=dtype, device=like.device)
    if wraps:
        away = (away + knots / 2).remainder(knots) - knots / 2
    weights = (1 - away.abs()).clamp(min=0)
    return (weights / weights.sum(1, keepdim=True)).to(like.dtype)
