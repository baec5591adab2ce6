"""Explicit Runge–Kutta steps: each is a tableau."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from pdeconv.depthwise import is_declared
from pdeconv.grid import Grid
from pdeconv.native.march import can_march, has_hooks, march
from pdeconv.operator import ENERGY, Keeps, per_sample
from pdeconv.steps.step import SingleTermStep


class RungeKutta(SingleTermStep):
    """Explicit Runge–Kutta step, uᵢ = u + dt Σⱼ aᵢⱼ A(uⱼ)uⱼ, u⁺ = u + dt Σⱼ bⱼ A(uⱼ)uⱼ.

    Attributes:
        a: Rows of the tableau below its diagonal, from the second stage on.
        b: Weights of the stages.
        convex: The weights αᵢ of stages that are means with forward Euler steps, where they are of that form:
            vᵢ₊₁ = αᵢu + (1 − αᵢ)(vᵢ + dt·A(vᵢ)vᵢ), which the native kernel takes.
    """

    a: ClassVar[tuple[tuple[float, ...], ...]]
    b: ClassVar[tuple[float, ...]]
    convex: ClassVar[tuple[float, ...] | None] = None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if not is_declared(cls, "convex", ("forward", "slopes", "a", "b")):
            cls.convex = None  # another method than the one that it inherits

    def forward(self, u: Tensor, dt: Tensor) -> Tensor:
        marched = self.march(u, dt, 1)
        if marched is not None:
            return marched
        dt = per_sample(dt, u)
        return advanced(u, dt, self.b, self.slopes(u, dt, self.term(u)(u)))

    @property
    def nonexpansive(self) -> bool:
        return self.term.nonexpansive and self.convex is not None  # means of forward Euler steps are so too

    @property
    def radius(self) -> float:
        return len(self.b) * self.term.radius

    def march(self, u: Tensor, dt: Tensor, count: int) -> Tensor | None:
        grid = self.term.grid or Grid(dims=max(1, min(3, u.dim() - 2)))
        if self.convex is None or not can_march(u, dt) or grid.dims != u.dim() - 2 or has_hooks(self):
            return None
        equation = self.term.depthwise(u)
        return None if equation is None else march(u, dt, equation, grid, self.convex, count)

    def slopes(self, u: Tensor, dt: Tensor, first: Tensor) -> list[Tensor]:
        """The slopes of all stages, ``first`` that at ``u``; ``dt`` is shaped to multiply ``u``."""
        slopes = [first]
        for row in self.a:
            stage = advanced(u, dt, row, slopes)
            slopes.append(self.term(stage)(stage))
        return slopes


def advanced(u: Tensor, dt: Tensor, weights: tuple[float, ...], slopes: list[Tensor]) -> Tensor:
    """u + dt Σ weightᵢ·slopeᵢ, in one pass over memory for each slope; a weight of 0 costs nothing."""
    for weight, slope in zip(weights, slopes, strict=True):
        if weight:
            length = dt if weight == 1 else dt * weight
            if length.dim() == 0:  # as everywhere, one number widens no tensor; under CUDA's autocast it would
                length = length.to(torch.promote_types(u.dtype, slope.dtype))
            u = torch.addcmul(u, slope, length)  # CUDA takes a CPU number as the last alone
    return u


class Euler(RungeKutta):
    """Forward Euler, u⁺ = u + dt·A(u)u: a residual block. Order 1, 1 stage, dt ≤ 1/rate.

    Args:
        term: The right-hand side, u_t = A(u)u.

    Example:
        >>> import torch
        >>> from pdeconv import Constant, Diffusion
        >>> step = Euler(Diffusion(Constant(1.0)))
        >>> step.guaranteed_limit
        0.25
        >>> step(torch.eye(3)[None, None], torch.tensor(0.25))[0, 0, 0]
        tensor([0.5000, 0.5000, 0.0000])
    """

    order, strength, a, b = 1, 1.0, (), (1.0,)
    convex = (0.0,)


class Heun(RungeKutta):
    """Heun's method, also called SSPRK2: strong-stability-preserving. Order 2, 2 stages, dt ≤ 1/rate.

    Args:
        term: The right-hand side, u_t = A(u)u.

    References:
        S. Gottlieb, C.-W. Shu, E. Tadmor. Strong stability-preserving high-order time discretization methods.
        SIAM Review 43(1), 2001.

    Example:
        >>> from pdeconv import Advection, ConvVelocity
        >>> Heun(Advection(ConvVelocity(3, ceiling=1.0))).guaranteed_limit
        0.5
    """

    order, strength, a, b = 2, 1.0, ((1.0,),), (1 / 2, 1 / 2)
    convex = (0.0, 1 / 2)


class SSPRK3(RungeKutta):
    """Shu and Osher's third-order method, strong-stability-preserving. Order 3, 3 stages, dt ≤ 1/rate.

    Args:
        term: The right-hand side, u_t = A(u)u.

    References:
        C.-W. Shu, S. Osher. Efficient implementation of essentially non-oscillatory shock-capturing schemes.
        J. Comput. Phys. 77, 1988.

    Example:
        >>> from pdeconv import Logistic, Reaction
        >>> SSPRK3(Reaction(Logistic(3, ceiling=2.0))).guaranteed_limit
        0.5
    """

    order, strength, a, b = 3, 1.0, ((1.0,), (1 / 4, 1 / 4)), (1 / 6, 1 / 6, 2 / 3)
    convex = (0.0, 3 / 4, 1 / 3)


class SSPRK34(RungeKutta):
    """SSPRK(4,3), strong-stability-preserving. Order 3, 4 stages, dt ≤ 2/rate: as far as two steps of SSPRK3.

    Args:
        term: The right-hand side, u_t = A(u)u.

    References:
        R. J. Spiteri, S. J. Ruuth. A new class of optimal high-order strong-stability-preserving time discretization
        methods. SIAM J. Numer. Anal. 40(2), 2002.

    Example:
        >>> from pdeconv import Constant, Diffusion
        >>> SSPRK34(Diffusion(Constant(1.0))).guaranteed_limit
        0.5
    """

    order, strength = 3, 2.0
    a, b = ((1 / 2,), (1 / 2, 1 / 2), (1 / 6, 1 / 6, 1 / 6)), (1 / 6, 1 / 6, 1 / 6, 1 / 2)


class RK4(RungeKutta):
    """The classical Runge–Kutta method. Order 4, 4 stages; no maximum principle, but linearly stable.

    It keeps the energy alone, for dt ≤ 1/rate, coefficients that depend on the state included: each slope k = A(w)w at
    a stage w has 2⟨w, k⟩ ≤ −‖k‖²/rate, and the weights are positive (circle contractivity). The bound is sharp. Where
    coefficients do not depend on the state 1.3926/rate would do, by von Neumann's inequality for the stability region.

    Args:
        term: The right-hand side, u_t = A(u)u.

    References:
        G. Dahlquist, R. Jeltsch. Generalized disks of contractivity for explicit and implicit Runge–Kutta methods.
        Royal Institute of Technology, Stockholm, TRITA-NA-7906, 1979.

    Example:
        >>> from pdeconv import Constant, Diffusion
        >>> RK4(Diffusion(Constant(1.0))).guaranteed_limit
        0.25
    """

    order, strength = 4, 1.0
    a, b = ((1 / 2,), (0.0, 1 / 2), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6)

    @property
    def keeps(self) -> Keeps:
        return self.term.keeps & {ENERGY}
