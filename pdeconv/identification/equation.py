"""An equation that was found, as a term."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pdeconv.grid import Grid
from pdeconv.identification.candidates import Candidate
from pdeconv.operator import Operator, operator
from pdeconv.stencil import extend_wide
from pdeconv.terms import Term

DERIVATIVES = {
    1: (1 / 12, -2 / 3, 0.0, 2 / 3, -1 / 12),
    2: (-1 / 12, 4 / 3, -5 / 2, 4 / 3, -1 / 12),
    4: (1.0, -4.0, 6.0, -4.0, 1.0),
}
"""Weights of 5 neighbours, of order 4, 4 and 2."""


class FoundEquation(Term):
    """u_t = Σⱼ cⱼ Fⱼ(u), with learnable coefficients and central differences; nothing is proven of it.

    Step it with ``RK4`` and ``Fixed(n, unchecked=True)``, n large enough for its fastest part.

    Args:
        candidates: The Fⱼ.
        coefficients: (C, J).
        grid: Spacing and boundary.

    Attributes:
        coefficients: (C, J), learnable.

    Example:
        >>> from pdeconv import RK4, Evolve, Fixed
        >>> from pdeconv.identification import candidates_for
        >>> heat = FoundEquation(candidates_for(1)[-3:], torch.tensor([[0.5, 0.0, 0.0]]), Grid())
        >>> heat.equation, Evolve(RK4(heat), 1.0, Fixed(4, unchecked=True))(torch.rand(1, 1, 8, 8)).shape
        ('0.5 Δu', torch.Size([1, 1, 8, 8]))
    """

    grid: Grid

    def __init__(self, candidates: Sequence[Candidate], coefficients: Tensor, grid: Grid) -> None:
        super().__init__()
        self.candidates, self.grid = tuple(candidates), grid
        self.coefficients = nn.Parameter(coefficients.detach().clone())
        self._used = [bool(column.any()) for column in coefficients.T]

    @property
    def equation(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        sides = []
        for row in self.coefficients.tolist():
            summands = [f"{value:.4g} {one.name}" for value, one in zip(row, self.candidates, strict=True) if value]
            sides.append(" + ".join(summands).replace("+ -", "− ") or "0")
        return ", ".join([sides[0], *(f"{name}_t = {side}" for name, side in zip("vw", sides[1:], strict=False))])

    def forward(self, u: Tensor) -> Operator:
        return operator(self.right_hand_side, rate=u.new_full((), math.inf))

    def right_hand_side(self, u: Tensor) -> Tensor:
        """Σⱼ cⱼ Fⱼ(u), (B, C, *S)."""
        total = torch.zeros_like(u)
        for candidate, used, weights in zip(self.candidates, self._used, self.coefficients.T, strict=True):
            if used:
                field = candidate.factor * self._derivative(candidate, u)
                total = total + weights.to(u).reshape(-1, *(1,) * (u.dim() - 2)) * field[:, None]
        return total

    def _derivative(self, candidate: Candidate, u: Tensor) -> Tensor:
        monomial = candidate.monomial(u)
        parts = []
        for orders in candidate.orders:
            value = monomial
            for axis, order in enumerate(orders):
                value = _differentiated(value, axis + 1, order, self.grid) if order else value
            parts.append(value)
        return torch.stack(parts).sum(0)


def _differentiated(field: Tensor, axis: int, order: int, grid: Grid) -> Tensor:
    wide, count = extend_wide(field, axis, grid.boundary, 2), field.shape[axis]
    parts = [weight * wide.narrow(axis, place, count) for place, weight in enumerate(DERIVATIVES[order]) if weight]
    return torch.stack(parts).sum(0) / grid.spacings[axis - 1] ** order
