"""Mathematical morphology as equations: dilation, erosion, motion by curvature, shock filters."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pdeconv.coefficient import Coefficient, Constant
from pdeconv.errors import checked_number, checked_type
from pdeconv.grid import Grid, checked_grid
from pdeconv.operator import Operator, largest, per_sample, range_kept
from pdeconv.precision import wider_than_half
from pdeconv.stencil import (
    divergence,
    extend,
    face_mean,
    gradient,
    lower_faces,
    squared_gradient,
    upper_faces,
)
from pdeconv.terms.diffusion import ConstantDiffusion
from pdeconv.terms.term import Term
from pdeconv.tridiagonal import line_solve


class _Morphology(Term):
    """A term of a speed s ≥ 0 and a grid, of rate at most s·√Σ 1/dx², which keeps the range."""

    grid: Grid

    def __init__(self, speed: Coefficient | None = None, grid: Grid | None = None) -> None:
        super().__init__()
        name = type(self).__name__
        self.speed = Constant(1.0) if speed is None else speed
        checked_type(name, self.speed, Coefficient, "give for example PerChannel(channels)")
        self._place(checked_grid(name, grid))

    def _place(self, grid: Grid) -> None:
        self.grid, self.keeps = grid, range_kept(grid)
        self.ceiling = self.speed.ceiling * math.sqrt(sum(1 / dx**2 for dx in grid.spacings))
        self.radius = max(1, self.speed.radius)

    def refine(self, factor: float) -> None:
        self.speed.check_refinable()
        self._place(self.grid.refined(factor))


class Dilation(_Morphology):
    """Dilation by a growing ball, u_t = s|∇u|: bright regions grow at the speed s, each channel by itself.

    |∇u|² takes along each axis the steeper slope upwards, max(u_{i−1} − u_i, u_{i+1} − u_i, 0)/dx: monotone, and
    continuous max-pooling of radius s·t. At speeds learned per channel it is a trainable pooling of any radius.

    Args:
        speed: Coefficient s ≥ 0, in length/time; by default 1.
        grid: Spacing, boundary and number of axes.

    Rate: s·√Σ_axes 1/dx²: with M the largest neighbour, s|∇u| ≤ s·(M − u)·√Σ 1/dx², so an Euler step stays below M,
        and it never falls.
    Solve, Flow: Undefined.
    Keeps: The range (joined with 0 under the dirichlet boundary).

    References:
        S. Osher, J. A. Sethian. Fronts propagating with curvature-dependent speed. J. Comput. Phys. 79, 1988.
        E. Rouy, A. Tourin. A viscosity solutions approach to shape-from-shading. SIAM J. Numer. Anal. 29(3), 1992.

    Example:
        >>> from pdeconv import CFL, Euler, Evolve
        >>> u = torch.zeros(1, 1, 9, 9)
        >>> u[..., 4, 4] = 1.0
        >>> grown = Evolve(Euler(Dilation()), duration=2.0, control=CFL(0.9))(u)
        >>> bool((grown >= u).all() and grown.max() <= 1)
        True
    """

    equation = "s|∇u|"

    def forward(self, u: Tensor) -> Operator:
        return Eikonal(self.speed(u, self.grid), self.grid, rising=True)


class Erosion(_Morphology):
    """Erosion by a growing ball, u_t = −s|∇u|: dark regions grow at the speed s; −dilation(−u).

    Args:
        speed: Coefficient s ≥ 0, in length/time; by default 1.
        grid: Spacing, boundary and number of axes.

    Rate, Keeps: As :class:`Dilation`.
    Solve, Flow: Undefined.

    References:
        S. Osher, J. A. Sethian. Fronts propagating with curvature-dependent speed. J. Comput. Phys. 79, 1988.
        E. Rouy, A. Tourin. A viscosity solutions approach to shape-from-shading. SIAM J. Numer. Anal. 29(3), 1992.

    Example:
        >>> from pdeconv import CFL, Euler, Evolve, PerChannel
        >>> shrink = Evolve(Euler(Erosion(PerChannel(3, ceiling=2.0))), duration=1.0, control=CFL(0.9))
        >>> u = torch.rand(1, 3, 8, 8)
        >>> bool((shrink(u) <= u).all())
        True
    """

    equation = "−s|∇u|"

    def forward(self, u: Tensor) -> Operator:
        return Eikonal(self.speed(u, self.grid), self.grid, rising=False)


class Eikonal(Operator):
    """v ↦ s|∇v| by the slopes upwards (rising), or −s|∇v| by the slopes downwards, for a speed (B|1, C|1, *S|1)."""

    def __init__(self, speed: Tensor, grid: Grid, rising: bool) -> None:
        self.speed, self.grid, self.rising, self.keeps = speed, grid, rising, range_kept(grid)
        self.rate = largest(speed) * math.sqrt(sum(1 / dx**2 for dx in grid.spacings))

    def __call__(self, v: Tensor) -> Tensor:
        slope = steepness(wider_than_half(v), self.grid, self.rising).to(v.dtype)
        return self.speed * slope if self.rising else -self.speed * slope


def steepness(u: Tensor, grid: Grid, rising: bool) -> Tensor:
    """|∇u| of the steeper slope upwards (``rising``) or downwards along each axis; 0 at a maximum, or a minimum.

    Example:
        >>> steepness(torch.tensor([[[0.0, 1.0, 3.0]]]), Grid(dims=1), rising=True)
        tensor([[[1., 2., 0.]]])
    """
    squared = torch.zeros((), dtype=u.dtype, device=u.device)
    for axis in grid.axes:
        slope = gradient(u, axis, grid)
        above, below = upper_faces(slope, axis), lower_faces(slope, axis)
        steepest = torch.maximum(above, -below) if rising else torch.maximum(-above, below)
        squared = squared + steepest.clamp(min=0).square()
    return _root(squared)


def _root(squared: Tensor) -> Tensor:
    """√, whose slope at 0 is taken as 0: flat regions must train."""
    flat = squared == 0
    return torch.where(flat, 0.0, torch.where(flat, 1.0, squared).sqrt())


class ShockFilter(_Morphology):
    """Osher and Rudin's shock filter, u_t = −s·F(Δu)|∇u|: erodes where u is convex and dilates where it is concave.

    Blurred edges sharpen into jumps, the inverse of diffusion without its instability. F(z) = z/√(z² + contrast²) is a
    smooth sign; |∇u|² takes along each axis the flatter of both slopes, and 0 where they differ in sign.

    Args:
        speed: Coefficient s ≥ 0, in length/time; by default 1.
        contrast: Of F, in value/length²: Laplacians well above it count fully, those below as noise.
        grid: Spacing, boundary and number of axes.

    Rate: s·√Σ_axes 1/dx²: with M the largest and m the least neighbour, |∇u| ≤ min(M − u, u − m)·√Σ 1/dx². For half of
        that step, on one axis, neighbours never overtake each other: no new extrema.
    Solve, Flow: Undefined.
    Keeps: The range (joined with 0 under the dirichlet boundary).

    References:
        S. Osher, L. I. Rudin. Feature-oriented image enhancement using shock filters. SIAM J. Numer. Anal. 27(4),
        1990.

    Example:
        >>> from pdeconv import CFL, Euler, Evolve
        >>> ramp = torch.linspace(0, 1, 9).square()[None, None]
        >>> sharpen = Evolve(Euler(ShockFilter(contrast=1e-3, grid=Grid(dims=1))), duration=2.0, control=CFL(0.9))
        >>> bool(sharpen(ramp).diff().max() > ramp.diff().max())
        True
    """

    equation = "−s·F(Δu)|∇u|"

    def __init__(self, speed: Coefficient | None = None, contrast: float = 0.1, grid: Grid | None = None) -> None:
        super().__init__(speed, grid)
        self.contrast = checked_number("ShockFilter", "contrast", contrast)

    def forward(self, u: Tensor) -> Operator:
        laplacian = ConstantDiffusion(u.new_ones(()), self.grid)(u)
        bound = math.sqrt(torch.finfo(u.dtype).max) / 2  # beyond which F is ±1, and whose square is a number
        excess = (laplacian / self.contrast).clamp(-bound, bound)
        sign = excess / (1 + excess.square()).sqrt()
        return Shock(self.speed(u, self.grid), sign, self.grid)

    def extra_repr(self) -> str:
        return f"contrast={self.contrast:g}, {super().extra_repr()}"


class Shock(Operator):
    """v ↦ −s·sign·|∇v|, for a sign in [−1, 1] at each cell."""

    def __init__(self, speed: Tensor, sign: Tensor, grid: Grid) -> None:
        self.factor, self.grid, self.keeps = -speed * sign, grid, range_kept(grid)
        self.rate = largest(speed) * math.sqrt(sum(1 / dx**2 for dx in grid.spacings))

    def __call__(self, v: Tensor) -> Tensor:
        wide = wider_than_half(v)
        squared = torch.zeros((), dtype=wide.dtype, device=v.device)
        for axis in self.grid.axes:
            slope = gradient(wide, axis, self.grid)
            above, below = upper_faces(slope, axis), lower_faces(slope, axis)
            flatter = torch.minimum(above, below).clamp(min=0) - torch.maximum(above, below).clamp(max=0)
            squared = squared + flatter.square()
        return self.factor * _root(squared).to(v.dtype)


class MeanCurvatureMotion(_Morphology):
    """Motion by mean curvature, u_t = s|∇u| ∇·(∇u/|∇u|): level lines shrink at their curvature, a circle as r² − 2st.

    |∇u| is √(|∇u|² + ε²). Frozen it is a linear diffusion, not in divergence form: a cell takes Σ (v_j − v_i)/dx² of
    its neighbours, weighted by 2|∇u|_i / (|∇u|_i + |∇u|_j) ≤ 2. Edges are smoothed along, not across, them.

    Args:
        speed: Coefficient s ≥ 0, in length²/time; by default 1.
        epsilon: ε, in value/length; gradients below it diffuse as heat does.
        grid: Spacing, boundary and number of axes.

    Rate: Σ over a cell's faces of its weights at the fastest cell; at most 4s·Σ_axes 1/dx², twice that of diffusion.
    Solve, Flow: Undefined; along each axis by itself it is solved, for AOS and ADI.
    Keeps: The range (joined with 0 under the dirichlet boundary): the weights are not negative.

    References:
        L. C. Evans, J. Spruck. Motion of level sets by mean curvature I. J. Diff. Geom. 33, 1991.
        L. Alvarez, P.-L. Lions, J.-M. Morel. Image selective smoothing and edge detection by nonlinear diffusion II.
        SIAM J. Numer. Anal. 29(3), 1992.

    Example:
        >>> from pdeconv import CFL, Euler, Evolve
        >>> smooth = Evolve(Euler(MeanCurvatureMotion()), duration=1.0, control=CFL(0.9))
        >>> smooth.steps
        9
    """

    equation = "s|∇u| ∇·(∇u/|∇u|)"

    def __init__(self, speed: Coefficient | None = None, epsilon: float = 1e-3, grid: Grid | None = None) -> None:
        super().__init__(speed, grid)
        self.epsilon = checked_number("MeanCurvatureMotion", "epsilon", epsilon)

    def _place(self, grid: Grid) -> None:
        super()._place(grid)
        self.ceiling = 4 * self.speed.ceiling * sum(1 / dx**2 for dx in grid.spacings)
        self.radius = max(2, self.speed.radius)

    def forward(self, u: Tensor) -> Operator:
        wide = wider_than_half(u)
        slope = (squared_gradient(wide, self.grid) + self.epsilon**2).sqrt()
        return CurvatureMotion(self.speed(u, self.grid), slope, self.grid)

    def extra_repr(self) -> str:
        return f"epsilon={self.epsilon:g}, {super().extra_repr()}"


class CurvatureMotion(Operator):
    """v ↦ s·m·∇·(∇v/m), for m = |∇u| > 0 at the cells and its mean at the faces."""

    def __init__(self, speed: Tensor, slope: Tensor, grid: Grid) -> None:
        self.grid, self.keeps, self.reach = grid, range_kept(grid), speed * slope
        beyond = grid.coefficient_boundary
        self.conductances = [1 / face_mean(extend(slope, axis, beyond), axis) for axis in grid.axes]

    @property
    def axes(self) -> tuple[AxisCurvatureMotion, ...]:
        return tuple(
            AxisCurvatureMotion(self.reach, conductance, axis, self.grid)
            for conductance, axis in zip(self.conductances, self.grid.axes, strict=True)
        )

    @property
    def rate(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        outflow = torch.zeros((), dtype=self.reach.dtype, device=self.reach.device)
        for axis in self.axes:
            outflow = outflow + axis.outflow
        return (self.reach * outflow).flatten(1).amax(1)

    def __call__(self, v: Tensor) -> Tensor:
        parts = [
            divergence(conductance * gradient(v, axis, self.grid), axis, self.grid)
            for conductance, axis in zip(self.conductances, self.grid.axes, strict=True)
        ]
        return (self.reach * sum(parts[1:], start=parts[0])).to(v.dtype)


class AxisCurvatureMotion(Operator):
    """v ↦ s·m·∂(∂v/m) along one axis, for a reach s·m at the cells and a conductance 1/m at the N + 1 faces."""

    def __init__(self, reach: Tensor, conductance: Tensor, axis: int, grid: Grid) -> None:
        self.reach, self.conductance, self.axis, self.grid = reach, conductance, axis, grid
        self.keeps = range_kept(grid)

    @property
    def outflow(self) -> Tensor:
        """What is multiplied by the reach to be the weights of a cell's two neighbours, added."""
        both = lower_faces(self.conductance, self.axis) + upper_faces(self.conductance, self.axis)
        return both / self.grid.spacings[self.axis - 2] ** 2

    @property
    def rate(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        return (self.reach * self.outflow).flatten(1).amax(1)

    def __call__(self, v: Tensor) -> Tensor:
        flux = self.conductance * gradient(v, self.axis, self.grid)
        return (self.reach * divergence(flux, self.axis, self.grid)).to(v.dtype)

    def solve(self, b: Tensor, dt: Tensor) -> Tensor:
        wide = b.to(torch.promote_types(b.dtype, torch.float32))
        strength = per_sample(dt, wide) * self.conductance.to(wide.dtype) / self.grid.spacings[self.axis - 2] ** 2
        return line_solve(wide, strength, self.axis, self.grid.boundary, self.reach.to(wide.dtype)).to(b.dtype)
