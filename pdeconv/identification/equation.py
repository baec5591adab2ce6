"""An equation that was found, as a term."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pdeconv.coefficient import check_channels
from pdeconv.errors import PDEConvError
from pdeconv.grid import Grid
from pdeconv.identification.candidates import Candidate, field_names, summed
from pdeconv.operator import Operator, operator
from pdeconv.stencil import extend_wide
from pdeconv.terms import Term

DERIVATIVES = {
    1: (1 / 12, -2 / 3, 0.0, 2 / 3, -1 / 12),
    2: (-1 / 12, 4 / 3, -5 / 2, 4 / 3, -1 / 12),
    3: (-1 / 2, 1.0, 0.0, -1.0, 1 / 2),
    4: (1.0, -4.0, 6.0, -4.0, 1.0),
}
"""Weights of 5 neighbours, of order 4, 4, 2 and 2."""


class FoundEquation(Term):
    """u_t = Σⱼ cⱼ Fⱼ(u), with learnable coefficients and central differences; nothing is proven of it.

    Coefficients that are 0 at first stay 0: those of candidates that were not chosen.

    Step it with ``RK4`` and ``Fixed(n, unchecked=True)``, n large enough for its fastest part.

    Args:
        candidates: The Fⱼ.
        coefficients: (C, J).
        grid: Spacing and boundary.

    Attributes:
        coefficients: (C, J), learnable where ``chosen``.
        chosen: (C, J), which candidates make the equation of which field.

    Raises:
        PDEConvError: If a derivative is of an order above 4.

    Example:
        >>> from pdeconv import RK4, Evolve, Fixed
        >>> from pdeconv.identification import candidates_for
        >>> heat = FoundEquation(candidates_for(1)[-3:], torch.tensor([[0.5, 0.0, 0.0]]), Grid())
        >>> heat.equation, Evolve(RK4(heat), 1.0, Fixed(4, unchecked=True))(torch.rand(1, 1, 8, 8)).shape
        ('0.5 Δu', torch.Size([1, 1, 8, 8]))
    """

    grid: Grid
    chosen: Tensor

    def __init__(self, candidates: Sequence[Candidate], coefficients: Tensor, grid: Grid) -> None:
        super().__init__()
        steep = [one.name for one in candidates if max(map(max, one.orders)) > max(DERIVATIVES)]
        if steep:
            raise PDEConvError(f"FoundEquation differentiates up to order 4, but got {', '.join(steep)}.")
        self.candidates, self.grid = tuple(candidates), grid
        self.coefficients = nn.Parameter(coefficients.detach().clone())
        self.register_buffer("chosen", coefficients.detach() != 0)

    @property
    def equation(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        names, sides = field_names(len(self.coefficients)), []
        for row in (self.coefficients * self.chosen).tolist():
            pairs = zip(row, self.candidates, strict=True)
            sides.append(summed((value, f"{abs(value):.4g}", one.name) for value, one in pairs if value))
        return ", ".join([sides[0], *(f"{name}_t = {side}" for name, side in zip(names[1:], sides[1:], strict=True))])

    def forward(self, u: Tensor) -> Operator:
        self.grid.check(u)
        check_channels(len(self.coefficients), u, "FoundEquation")
        return operator(self.right_hand_side, rate=u.new_full((), math.inf))

    def right_hand_side(self, u: Tensor) -> Tensor:
        """Σⱼ cⱼ Fⱼ(u), (B, C, *S)."""
        total = torch.zeros_like(u)
        kept = self.coefficients * self.chosen
        for candidate, weights, chosen in zip(self.candidates, kept.T, self.chosen.T.tolist(), strict=True):
            if any(chosen):
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
