"""Integrals of fields against smooth test functions, which take the derivatives: noise is averaged, not differentiated.

Test functions are products of (1 − s²)^p along each axis and time, s the distance from their centre over their radius.
They and their first p − 1 derivatives vanish at s = 1, so ⟨ψ, ∂^α f⟩ = (−1)^|α| ⟨∂^α ψ, f⟩ without a boundary term, and
sums over evenly spaced cells and times are as exact as the fields are smooth.

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
        value = self._against(field, self._in_time(order_in_time), orders)
        return value * (-1) ** (sum(orders) + order_in_time)

    def size_of_rate(self, field: Tensor) -> float:
        """Norm of the integrals ⟨|∂_t ψ|, |f|⟩ for all test functions, which those ⟨∂_t ψ, f⟩ cannot exceed."""
        return float(self._against(field.abs(), self._in_time(1).abs(), (0,) * len(self.cells)).norm())

    def _against(self, field: Tensor, in_time: Tensor, orders: Sequence[int]) -> Tensor:
        """Sums of a field (T, *S) with weights (number in time, T) and derivatives of ψ along each axis."""
        value = torch.tensordot(in_time, field, dims=1)
        for axis, order in enumerate(orders):
            along = self._along(axis, order).to(field)
            value = torch.tensordot(along, value.movedim(axis + 1, 0), dims=1).movedim(0, axis + 1)
        return value

    @property
    def centres(self) -> tuple[int, ...]:
        """How many test functions stand in time and along each axis."""
        return (len(self._in_time(0)), *(len(self._along(axis, 0)) for axis in range(len(self.cells))))

    def _in_time(self, order: int) -> Tensor:
        times, radius = self.times, self.duration
        interval = float(times[-1] - times[0]) / (len(times) - 1)
        weights = torch.full_like(times, interval)
        weights[[0, -1]] /= 2
        slack = 1e-3 * interval  # where ψ is 0 to the order of its power
        within = (times - times[0] >= radius - slack) & (times[-1] - times >= radius - slack)
        apart = max(1, int(radius / interval / OVERLAP))
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

    Raises ``PDEConvError`` where no test function fits into the data.
    """
    whole = float(times[-1] - times[0])
    interval = whole / (len(times) - 1)
    if radius is None:
        duration = min(max(4 * interval, 0.15 * whole), whole / 2)
        lengths = tuple(min(10.0, count / 4) * dx for count, dx in zip(cells, grid.spacings, strict=True))
    else:
        duration, lengths = radius[0], (radius[1],) * len(cells)
    found = WeakForm(times, grid, tuple(cells), duration, lengths)
    if not 3 * interval <= duration * (1 + 1e-9):
        raise PDEConvError(
            f"identify needs test functions of a radius of 3 intervals of time or more, but got "
            f"{duration / interval:.3g} for {len(times)} snapshots; give more snapshots, or a larger radius."
        )
    for axis, (count, dx) in enumerate(zip(cells, grid.spacings, strict=True)):
        if not 3 * dx <= lengths[axis] <= count * dx / 2:
            raise PDEConvError(
                f"identify needs test functions of a radius of 3 cells to half of the {count} cells of axis {axis + 1},"
                f" but got {lengths[axis] / dx:.3g} cells; give larger snapshots, or another radius."
            )
    if 0 in found.centres:
        raise PDEConvError(
            f"No test function of a radius of {duration:.3g} in time and {min(lengths):.3g} in length fits into the "
            f"snapshots; give more of them, or a smaller radius."
        )
    return found


def _bump(distance: Tensor, radius: float, order: int) -> Tensor:
    """The derivative of an order of (1 − s²)^p, s = distance / radius."""
    bump = Polynomial([1.0, 0.0, -1.0]) ** POWER
    scaled = (distance / radius).clamp(-1, 1).numpy()
    value = (bump.deriv(order) if order else bump)(scaled)
    return torch.from_numpy(np.where(np.abs(scaled) < 1, value, 0.0)) / radius**order
