"""Diffusivities that are powers of the gradient: the p-Laplacian, and total variation flow, which is its case p = 1."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pdeconv.coefficient import Coefficient, Constant, FaceCoefficient
from pdeconv.errors import PDEConvError, checked_number, checked_type
from pdeconv.grid import Grid
from pdeconv.stencil import at_faces, squared_gradient, squared_gradients_at_faces


class PLaplace(FaceCoefficient):
    """The diffusivity of the p-Laplacian, κ(u) = s (|∇u|² + ε²)^((p−2)/2): u_t = ∇·(|∇u|^(p−2) ∇u) for small ε.

    It descends the energy ∫ (|∇u|² + ε²)^(p/2)/p. For p > 2 flat regions rest and a spot spreads at finite speed; for
    p < 2 regions become flat in finite time while edges stay. The conductance of a face is the mean of κ over the
    corners of its cells: it sees a jump whole, where the mean of both cells would make it flow √2 times as fast, and
    with s constant and p ≤ 2 the discrete flow, too, descends a convex energy.

    Linearised, the equation is up to p − 1 times as fast as with κ frozen. For p > 2 an explicit step of dt ≤ 1/rate
    keeps the range, but only one of 1/((p − 1)·rate) is accurate: beyond, zigzags live on within it.

    How the ceiling is reached: for p ≤ 2 the power m = (|∇u|² + ε²)^((p−2)/2) falls with the gradient, from ε^(p−2) at
    0, and so ε bounds it. For p > 2 it has no bound; κ = s·mM/(m + M) with M = ``bound`` is smooth, below both m and M,
    differs from m by a share of less than m/M, and tends to heat of diffusivity sM where the gradient is large.

    Args:
        p: Exponent, at least 1.
        strength: Coefficient s ≥ 0; by default 1. ``PerChannel(channels)`` is learned.
        epsilon: ε > 0, in units of u per length. For p < 2 small values are stiff: the rate grows as ε^(p−2).
        bound: M for p > 2, in units of (u/length)^(p−2); by default 1. For p ≤ 2 none is needed, nor taken.

    References:
        E. DiBenedetto. Degenerate Parabolic Equations. Springer, 1993.
        J. L. Vázquez. Smoothing and Decay Estimates for Nonlinear Diffusion Equations. Oxford University Press, 2006.

    Example:
        >>> from pdeconv import PerChannel
        >>> PLaplace(1.5, PerChannel(3, ceiling=2.0), epsilon=0.25).ceiling
        4.0
        >>> PLaplace(3.0, bound=5.0).ceiling
        5.0
    """

    depends_on_state = True

    def __init__(
        self, p: float, strength: Coefficient | None = None, epsilon: float = 1e-2, bound: float | None = None
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self.p, self.epsilon = checked_number(name, "p", p), checked_number(name, "epsilon", epsilon)
        if self.p < 1:
            raise PDEConvError(f"{name} needs p of at least 1, for a convex energy, but got p={p}.")
        if bound is not None and self.p <= 2:
            raise PDEConvError(
                f"{name} has the bound epsilon^(p−2) = {self.epsilon ** (self.p - 2):.4g} for p={p} ≤ 2, but got "
                f"bound={bound}; leave it out, or choose epsilon."
            )
        self.strength = Constant(1.0) if strength is None else strength
        checked_type(name, self.strength, Coefficient, "give for example PerChannel(channels)")
        if self.p > 2:
            self.bound = 1.0 if bound is None else checked_number(name, "bound", bound)
        else:
            self.bound = self.epsilon ** (self.p - 2)
        self.ceiling = self.strength.ceiling * self.bound
        self.radius = max(1, self.strength.radius)

    def check_refinable(self) -> None:
        self.strength.check_refinable()

    def forward(self, u: Tensor, grid: Grid) -> Tensor:
        wide = u.to(torch.promote_types(u.dtype, torch.float32))  # squares leave the range of float16
        return self.strength(u, grid) * self._power(squared_gradient(wide, grid)).to(u.dtype)

    def faces(self, u: Tensor, grid: Grid) -> tuple[Tensor, ...]:
        """The mean over the corners of each face."""
        wide, strength, parts = u.to(torch.promote_types(u.dtype, torch.float32)), self.strength(u, grid), []
        for axis in grid.axes:
            corners = [self._power(squared) for squared in squared_gradients_at_faces(wide, axis, grid)]
            mean = sum(corners[1:], start=corners[0]) / len(corners)
            parts.append(at_faces(strength, axis, grid) * mean.to(u.dtype))
        return tuple(parts)

    def _power(self, squared: Tensor) -> Tensor:
        squared = squared + self.epsilon**2
        if self.p > 2:  # mM/(m + M), by the logarithm of m, which neither overflows nor underflows
            return self.bound * torch.sigmoid((self.p - 2) / 2 * squared.log() - math.log(self.bound))
        return squared ** ((self.p - 2) / 2)

    def extra_repr(self) -> str:
        return f"p={self.p:g}, epsilon={self.epsilon:g}, ceiling={self.ceiling:g}"


class TotalVariation(PLaplace):
    """The diffusivity of total variation flow, κ(u) = s / √(|∇u|² + ε²): u_t = s ∇·(∇u/|∇u|) for small ε.

    It descends the total variation ∫ √(|∇u|² + ε²). Edges stay where they are, while regions lose contrast at the rate
    s·perimeter/area: a disc of radius r sinks at 2s/r, a box of width w on a line at 2s/w. The ceiling is s/ε, which ε
    bounds: κ is largest where u is flat.

    Args:
        strength: Coefficient s ≥ 0; by default 1. ``PerChannel(channels)`` is learned.
        epsilon: ε > 0, in units of u per length; gradients below it diffuse as heat does. Small values are stiff: an
            explicit step is at most ε·dx²/(2ds) on d axes; BackwardEuler and AOS are not limited.

    References:
        L. I. Rudin, S. Osher, E. Fatemi. Nonlinear total variation based noise removal algorithms. Physica D 60, 1992.
        F. Andreu, C. Ballester, V. Caselles, J. M. Mazón. Minimizing total variation flow. Differential and Integral
        Equations 14(3), 2001.

    Example:
        >>> from pdeconv import AOS, CFL, Diffusion, Evolve
        >>> TotalVariation(epsilon=0.01).ceiling
        100.0
        >>> denoise = Evolve(AOS(Diffusion(TotalVariation())), duration=0.2, control=CFL())
        >>> denoise(torch.rand(1, 1, 16, 16)).shape
        torch.Size([1, 1, 16, 16])
    """

    def __init__(self, strength: Coefficient | None = None, epsilon: float = 1e-2) -> None:
        super().__init__(1.0, strength, epsilon)
