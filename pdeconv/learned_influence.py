"""Influence functions that are learned as a curve for each feature, at a cost that does not grow with their detail."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pdeconv.errors import PDEConvError, checked_count, checked_number
from pdeconv.influence import Influence
from pdeconv.precision import without_autocast
from pdeconv.spline import check_features, cubic_coefficients, cubic_spline, spline
from pdeconv.stencil import extend

_NODES = 8  # of the table per width of a Gaussian
_TAIL = 6  # widths from its centre, where a Gaussian is below 2·10⁻⁸


class SplineInfluence(Influence):
    """A slope that is a cubic B-spline for each feature, g(z) = Σₖ cₖ β³(z/h − k) with 0 < cₖ < ceiling.

    cₖ = ceiling · sigmoid(wₖ). A value is a mean of its four neighbours, so that 0 ≤ g ≤ ceiling whatever the weights,
    and each costs four look-ups, however many knots. g is twice differentiable, and constant two knots beyond the
    ends. At initialisation it is half the ceiling: linear diffusion.

    Args:
        features: Number of features F.
        knots: Number of knots K, from −reach to reach.
        reach: The largest response with a knot of its own, in units of z.
        ceiling: Upper bound of g.

    References:
        P. Bohra et al. Learning activation functions in deep (spline) neural networks. IEEE Open Journal of Signal
        Processing 1, 2020.

    Example:
        >>> SplineInfluence(1, knots=5, reach=2.0)(torch.linspace(-3, 3, 4).reshape(1, 1, 4))
        tensor([[[0.5000, 0.5000, 0.5000, 0.5000]]], grad_fn=<AddBackward0>)
    """

    radius = 0

    def __init__(
        self,
        features: int,
        knots: int = 31,
        reach: float = 1.0,
        ceiling: float = 1.0,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        features, knots = _checked_table(self, features, "knots", knots)
        self.reach = checked_number("SplineInfluence", "reach", reach)
        self.ceiling = checked_number("SplineInfluence", "ceiling", ceiling)
        self.weight = nn.Parameter(torch.zeros(features, knots, device=device, dtype=dtype))

    def forward(self, z: Tensor) -> Tensor:
        check_features(self.weight.shape[0], z, type(self).__name__)
        dtype = torch.promote_types(z.dtype, torch.float32)
        knots_per_unit = (self.weight.shape[1] - 1) / (2 * self.reach)
        coefficients = self.ceiling * torch.sigmoid(self.weight.to(dtype))
        return spline(coefficients, (z.to(dtype) + self.reach) * knots_per_unit, 3).to(z.dtype)

    def extra_repr(self) -> str:
        features, knots = self.weight.shape
        return f"{features}, knots={knots}, reach={self.reach:g}, ceiling={self.ceiling:g}"


class RBFInfluence(Influence):
    """A slope made of Gaussians for each feature, g(z) = ceiling · sigmoid(b + Σⱼ wⱼ exp(−(z − μⱼ)²/2γ²)).

    The centres μⱼ are equidistant, γ their distance. Chen and Pock's φ is itself a sum of Gaussians; here the slope
    φ(z)/z is, through a sigmoid, as the energy needs 0 ≤ g ≤ ceiling. For a free φ that keeps no energy ball see
    :class:`pdeconv.SplinePotential`.

    The sum is made once a forward pass, on a table of 8 nodes a γ, and read from there by a cubic spline: no tensor
    larger than the state, four look-ups a value. The sum is off by at most 5.7·10⁻⁵·max|wⱼ|, g by a quarter of that
    times the ceiling, whose bound holds exactly. At initialisation g is half the ceiling: linear diffusion.

    Args:
        features: Number of features F.
        centres: Number of Gaussians, from −reach to reach.
        reach: The outermost centre, in units of z.
        ceiling: Upper bound of g.

    References:
        Y. Chen, T. Pock. Trainable nonlinear reaction diffusion. IEEE TPAMI 39(6), 2017.

    Example:
        >>> RBFInfluence(1, centres=31)(torch.zeros(1, 1, 2))
        tensor([[[0.5000, 0.5000]]], grad_fn=<MulBackward0>)
    """

    radius = 0

    def __init__(
        self,
        features: int,
        centres: int = 63,
        reach: float = 1.0,
        ceiling: float = 1.0,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        features, centres = _checked_table(self, features, "centres", centres)
        self.reach = checked_number("RBFInfluence", "reach", reach)
        self.ceiling = checked_number("RBFInfluence", "ceiling", ceiling)
        self.weight = nn.Parameter(torch.zeros(features, centres, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.zeros(features, device=device, dtype=dtype))

    def forward(self, z: Tensor) -> Tensor:
        check_features(self.weight.shape[0], z, type(self).__name__)
        dtype = torch.promote_types(z.dtype, torch.float32)
        widths_per_unit = (self.weight.shape[1] - 1) / (2 * self.reach)
        with without_autocast(z):
            table = cubic_coefficients(self._sum_at_nodes(dtype))
            # Its first node lies a node past one width before the tail.
            position = ((z.to(dtype) + self.reach) * widths_per_unit + _TAIL + 1) * _NODES - 1
            return (self.ceiling * torch.sigmoid(cubic_spline(table, position))).to(z.dtype)

    def _sum_at_nodes(self, dtype: torch.dtype) -> Tensor:
        """b + Σⱼ wⱼ exp(…) from _TAIL + 1 widths before the first centre to as many past the last, (F, nodes).

        Each node sees the centres within _TAIL widths, the same at each centre: a product with one small matrix.
        """
        device = self.weight.device
        near = torch.arange(-_TAIL, _TAIL + 1, dtype=dtype, device=device)
        within = torch.arange(_NODES, dtype=dtype, device=device) / _NODES
        gaussians = torch.exp(-(within - near[:, None]).square() / 2)
        around = extend(self.weight.to(dtype), 1, "dirichlet", 2 * _TAIL + 1).unfold(1, 2 * _TAIL + 1, 1)
        return (around @ gaussians).flatten(1) + self.bias.to(dtype)[:, None]

    def extra_repr(self) -> str:
        features, centres = self.weight.shape
        return f"{features}, centres={centres}, reach={self.reach:g}, ceiling={self.ceiling:g}"


def _checked_table(influence: Influence, features: int, name: str, size: int) -> tuple[int, int]:
    owner = type(influence).__name__
    if checked_count(owner, name, size) < 2:
        raise PDEConvError(f"{owner} needs at least 2 {name}, but got {name}={size}.")
    return checked_count(owner, "features", features), size
