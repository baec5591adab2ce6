"""Potentials: pointwise penalties ρ(z) of bounded curvature, of which learned energies are made."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from pdeconv.errors import PDEConvError, checked_count, checked_number
from pdeconv.spline import check_features, spline


class Potential(nn.Module, ABC):
    """A penalty ρ(z), pointwise and per feature, with −concavity ≤ ρ″ ≤ curvature, ρ(0) = 0 and ρ′(0) = 0.

    Attributes:
        curvature: Upper bound of ρ″, whatever the weights.
        concavity: How far ρ″ may be below 0; 0 for a convex potential, whose minimum is then ρ(0).
    """

    curvature: float
    concavity: float = 0.0

    @abstractmethod
    def forward(self, z: Tensor) -> Tensor:
        """ρ(z), of the shape of ``z`` (B, F, *S)."""

    @abstractmethod
    def slope(self, z: Tensor) -> Tensor:
        """ρ′(z), of the shape and type of ``z``."""

    def extra_repr(self) -> str:
        return f"{-self.concavity:g} ≤ ρ″ ≤ {self.curvature:g}"


class SplinePotential(Potential):
    """A potential learned as a curve for each feature: ρ′ a cubic B-spline with ρ″ between −concavity and curvature.

    ρ″(z) = Σₖ eₖ β²(z/h − k), eₖ = (curvature + concavity)·sigmoid(wₖ) − concavity: a mean of its three neighbours.
    ρ′ and ρ have the running sums of eₖ as coefficients, shifted to be 0 at 0; beyond ±reach ρ goes on as a straight
    line, as Huber's. Each value costs four look-ups (five for ρ), however many knots.

    With concavity 0 ρ is convex, as are the ridges of a convex regulariser. With concavity = curvature ρ′ is any
    function of bounded slope that is 0 at 0: Chen and Pock's influence functions.

    Args:
        features: Number of features F.
        knots: Number of knots from −reach to reach, odd.
        reach: The largest response with a knot of its own, in units of z.
        curvature: Upper bound of ρ″.
        concavity: Minus the lower bound of ρ″.

    References:
        A. Goujon, S. Neumayer, P. Bohra, S. Ducotterd, M. Unser. A neural-network-based convex regularizer for inverse
        problems. IEEE Trans. Computational Imaging 9, 2023.
        A. Goujon, S. Neumayer, M. Unser. Learning weakly convex regularizers for convergent image-reconstruction
        algorithms. SIAM J. Imaging Sciences 17(1), 2024.

    Example:
        >>> rho, z = SplinePotential(1, knots=5, curvature=2.0), torch.tensor([-2.0, 0.5]).reshape(1, 1, 2)
        >>> [round(value, 4) for value in rho(z).flatten().tolist()]  # z²/2 up to |z| = 1
        [1.5, 0.125]
    """

    def __init__(
        self,
        features: int,
        knots: int = 31,
        reach: float = 1.0,
        curvature: float = 1.0,
        concavity: float = 0.0,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        knots = checked_count(name, "knots", knots, odd=True)
        if knots < 3:
            raise PDEConvError(f"{name} needs at least 3 knots, but got knots={knots}.")
        self.reach, self.curvature = checked_number(name, "reach", reach), checked_number(name, "curvature", curvature)
        self.concavity = checked_number(name, "concavity", concavity, zero_too=True)
        # ρ″ at the middle of each interval, and half an interval beyond the ends.
        shape = checked_count(name, "features", features), knots + 1
        self.weight = nn.Parameter(torch.zeros(shape, device=device, dtype=dtype))

    def forward(self, z: Tensor) -> Tensor:
        inside, slope, position = self._inside(z)
        # Its coefficients lie half a knot before those of its derivative, and so do positions of it.
        coefficients = _running_sum(slope, self._spacing)
        coefficients = coefficients - self._at_zero(coefficients, 0.5, 4)
        beyond = z - inside.to(z.dtype)
        return spline(coefficients, position + 0.5, 4).to(z.dtype) + spline(slope, position, 3).to(z.dtype) * beyond

    def slope(self, z: Tensor) -> Tensor:
        _, slope, position = self._inside(z)
        return spline(slope, position, 3).to(z.dtype)

    @property
    def _spacing(self) -> float:
        return 2 * self.reach / (self.weight.shape[1] - 2)

    def _inside(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``z`` within ±reach, the coefficients (F, knots + 2) of ρ′, and where ``z`` is among them."""
        check_features(self.weight.shape[0], z, type(self).__name__)
        dtype = torch.promote_types(z.dtype, torch.float32)
        shares = torch.sigmoid(self.weight.to(dtype))
        slope = _running_sum((self.curvature + self.concavity) * shares - self.concavity, self._spacing)
        slope = slope - self._at_zero(slope, 0.0, 3)
        inside = z.to(dtype).clamp(-self.reach, self.reach)
        return inside, slope, (inside + self.reach) / self._spacing + 1

    def _at_zero(self, coefficients: Tensor, shift: float, degree: int) -> Tensor:
        """The value at z = 0, (F, 1)."""
        middle = coefficients.new_full((1, coefficients.shape[0], 1), self.weight.shape[1] / 2 + shift)
        return spline(coefficients, middle, degree)[0]

    def extra_repr(self) -> str:
        features, values = self.weight.shape
        return f"{features}, knots={values - 1}, reach={self.reach:g}, {super().extra_repr()}"


def _running_sum(coefficients: Tensor, spacing: float) -> Tensor:
    """The coefficients of a primitive, one more: 0, hc₀, h(c₀ + c₁), …"""
    return torch.cat((torch.zeros_like(coefficients[:, :1]), spacing * coefficients.cumsum(1)), 1)
