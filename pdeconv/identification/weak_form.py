"""Integrals of fields against smooth test functions, which take the derivatives: noise is averaged, not differentiated.

Test functions are products of (1 − s²)^p along each axis and time, s the distance from their centre over their radius.
They and their first p − 1 derivatives vanish at s = 1, so ⟨ψ, ∂^α f⟩ = (−1)^|α| ⟨∂^α ψ, f⟩ without a boundary term, and
sums over a uniform grid are as exact as the fields are smooth.

References:
    D. A. Messenger, D. M. Bortz. Weak SINDy for partial differential equations. J. Comput. Phys. 443, 2021.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.polynomial import Polynomial
from torch import Tensor

from pdeconv.errors import PDEConvError
from pdeconv.grid import Grid

POWER = 8
OVERLAP = 3
"""Test functions to a radius."""


@dataclass(frozen=True)
class WeakForm:
    """Where test functions stand, and how far they reach.

    Attributes:
        times: (T,).
        grid: Of the fields.
        cells: Along each axis.
        duration: Radius in time.
        lengths: Radius along each axis.
    """

    times: Tensor
    grid: Grid
    cells: tuple[int, ...]
    duration: float
    lengths: tuple[float, ...]

    def integrals(self, field: Tensor, orders: Sequence[int], order_in_time: int = 0) -> Tensor:
        """⟨ψ, ∂^α f⟩ of a field (T, *S) for all test functions, (number in time, *number along each axis)."""
        value = torch.tensordot(self._in_time(order_in_time), field, dims=1)
        for axis, order in enumerate(orders):
            along = self._along(axis, order).to(field)
            value = torch.tensordot(along, value.movedim(axis + 1, 0), dims=1).movedim(0, axis + 1)
        return value * (-1) ** (sum(orders) + order_in_time)

    def _in_time(self, order: int) -> Tensor:
        times, radius = self.times, self.duration
        steps = times.diff()
        weights = torch.zeros_like(times)
        weights[:-1] += steps / 2
        weights[1:] += steps / 2
        within = (times - times[0] >= radius * (1 - 1e-9)) & (times[-1] - times >= radius * (1 - 1e-9))
        apart = max(1, int(radius / float(steps.mean()) / OVERLAP))
        return _bump(times[None] - times[within][::apart, None], radius, order) * weights

    def _along(self, axis: int, order: int) -> Tensor:
        spacing, count, radius = self.grid.spacings[axis], self.cells[axis], self.lengths[axis]
        places = torch.arange(count, dtype=torch.float64) * spacing
        apart = max(1, int(radius / spacing / OVERLAP))
        if self.grid.boundary == "periodic":
            distance = places[None] - places[::apart, None]
            length = count * spacing
            distance = (distance + length / 2).remainder(length) - length / 2
        else:  # within the domain alone, whatever the boundary
            within = (places >= radius - spacing / 2) & (places <= places[-1] - radius + spacing / 2)
            distance = places[None] - places[within][::apart, None]
        return _bump(distance, radius, order) * spacing


def weak_form(times: Tensor, grid: Grid, cells: Sequence[int], radius: tuple[float, float] | None) -> WeakForm:
    """With a radius in time and one in length, or as the data suggest.

    Raises ``PDEConvError`` where none fits into the data.
    """
    whole = float(times[-1] - times[0])
    if radius is None:
        duration = max(4 * whole / (len(times) - 1), 0.15 * whole)
        lengths = tuple(min(10.0, count / 4) * dx for count, dx in zip(cells, grid.spacings, strict=True))
    else:
        duration, lengths = radius[0], (radius[1],) * len(cells)
    found = WeakForm(times, grid, tuple(cells), duration, lengths)
    for axis, (count, dx) in enumerate(zip(cells, grid.spacings, strict=True)):
        if not 3 * dx <= lengths[axis] <= count * dx / 2:
            raise PDEConvError(
                f"identify needs test functions of a radius of 3 cells to half of the {count} cells of axis {axis + 1},"
                f" but got {lengths[axis] / dx:.3g} cells; give larger snapshots, or another radius."
            )
    if not 2 * whole / (len(times) - 1) <= duration <= whole / 2:
        raise PDEConvError(
            f"identify needs test functions of a radius of 2 intervals to half of the {len(times)} snapshots in time, "
            f"but got {duration / whole * (len(times) - 1):.3g} intervals; give more snapshots, or another radius."
        )
    return found


def _bump(distance: Tensor, radius: float, order: int) -> Tensor:
    """The derivative of an order of (1 − s²)^p, s = distance / radius."""
    bump = Polynomial([1.0, 0.0, -1.0]) ** POWER
    scaled = (distance / radius).clamp(-1, 1).numpy()
    value = (bump.deriv(order) if order else bump)(scaled)
    return torch.from_numpy(np.where(np.abs(scaled) < 1, value, 0.0)) / radius**order
