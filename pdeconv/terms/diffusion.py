"""Diffusion, u_t = ∇·(κ∇u)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pdeconv.coefficient import Coefficient, Constant, FaceCoefficient, FixedCoefficient, PerChannel
from pdeconv.coefficient_field import CoefficientField
from pdeconv.conjugate_gradient import solve_balance
from pdeconv.depthwise import DepthwiseEquation, one_a_channel
from pdeconv.diffusivity import EdgeStopping
from pdeconv.discretisation import Discretisation, SecondOrder
from pdeconv.errors import PDEConvError, UnsupportedError, checked_type
from pdeconv.grid import Grid, checked_grid
from pdeconv.modes import each_axis_pays, map_each_axis, map_modes
from pdeconv.operator import ENERGY, Keeps, Operator, SpectralOperator, largest, per_sample
from pdeconv.stencil import divergence, extend, face_mean, gradient, lower_faces, upper_faces
from pdeconv.terms.term import Term
from pdeconv.tridiagonal import line_solve

_GIVEN = (Constant, FixedCoefficient, PerChannel, CoefficientField)
"""Coefficients that are known not to depend on the state; one of a user's own may, and not say so."""


class Diffusion(Term):
    """Diffusion in divergence form, u_t = ∇·(κ(u)∇u), each channel by itself.

    Second order in space, by default. The flux through a face is shared by its two cells, so that mass is conserved
    under the neumann and periodic boundaries. The conductance of a face is the mean diffusivity of its cells, or what
    the coefficient says there, as those of the p-Laplacian do.

    Args:
        diffusivity: Coefficient κ ≥ 0 at the cells, in length²/time: (B|1, C|1, *S|1).
        grid: Spacing, boundary and number of axes.
        discretisation: Of Δ: by default ``SecondOrder()``, the only one for a κ that varies in space;
            ``FourthOrder()``, ``Q1Elements()`` or ``Spectral()`` for one that does not.

    Rate: Σ_axes (κ_{i−½} + κ_{i+½}) / dx² at its largest cell; at most 2·ceiling·Σ_axes 1/dx². Euler is therefore safe
        for dt ≤ dx²/(2dκ) on d axes of spacing dx. For another discretisation, its rate times κ.
    Solve: Exact by cosine, sine or Fourier transform where κ is constant in space; by conjugate gradients elsewhere.
    Flow: Exact where κ is constant in space; undefined elsewhere.
    Keeps: The range (joined with 0 under the dirichlet boundary), and except under the reflect boundary the energy; for
        another discretisation, what that keeps.

    Raises:
        PDEConvError: At the first state, if κ varies in space and the discretisation is for a constant one.

    References:
        J. Weickert. Anisotropic Diffusion in Image Processing. Teubner, 1998.

    Example:
        >>> from pdeconv import CFL, Euler, Evolve, PeronaMalik
        >>> smooth = Evolve(Euler(Diffusion(PeronaMalik(channels=1))), duration=2.0, control=CFL(0.9))
        >>> smooth(torch.rand(1, 1, 16, 16)).shape
        torch.Size([1, 1, 16, 16])
    """

    equation = "∇·(κ(u)∇u)"
    grid: Grid

    def __init__(
        self, diffusivity: Coefficient, grid: Grid | None = None, discretisation: Discretisation | None = None
    ) -> None:
        super().__init__()
        checked_type("Diffusion", diffusivity, Coefficient, "give for example Constant(1.0) or PeronaMalik(channels)")
        self.diffusivity = diffusivity
        self.discretisation = SecondOrder() if discretisation is None else discretisation
        checked_type("Diffusion", self.discretisation, Discretisation, "give for example FourthOrder()")
        self._place(checked_grid("Diffusion", grid))

    def _place(self, grid: Grid) -> None:
        self.grid, self.keeps = grid, self.discretisation.keeps(grid)
        self.symmetric = grid.boundary != "reflect"  # there it is in the weights of the cells only
        self.nonexpansive = ENERGY in self.keeps and type(self.diffusivity) in _GIVEN
        self.ceiling = self.diffusivity.ceiling * self.discretisation.rate(grid)
        self.radius = self.diffusivity.radius + self.discretisation.radius

    def refine(self, factor: float) -> None:
        self.diffusivity.check_refinable()
        self._place(self.grid.refined(factor))

    def forward(self, u: Tensor) -> Operator:
        second_order = isinstance(self.discretisation, SecondOrder)
        if second_order and isinstance(self.diffusivity, FaceCoefficient):
            return VariableDiffusion(self.diffusivity.faces(u, self.grid), self.grid)
        kappa = self.diffusivity(u, self.grid)
        self._check(kappa, u)
        if all(n == 1 for n in kappa.shape[2:]):
            return ConstantDiffusion(kappa, self.grid, self.discretisation)
        if not second_order:
            raise PDEConvError(
                f"{type(self.discretisation).__name__} needs a diffusivity that is constant in space, but "
                f"{type(self.diffusivity).__name__} gave shape {tuple(kappa.shape)}; use the discretisation "
                "SecondOrder(), or a diffusivity such as PerChannel(channels)."
            )
        return VariableDiffusion(kappa, self.grid)

    def depthwise(self, u: Tensor) -> DepthwiseEquation | None:
        coefficient = self.diffusivity
        if type(self.discretisation) is not SecondOrder or coefficient.per_cell:
            return None
        if isinstance(coefficient, EdgeStopping):
            return coefficient.depthwise(u)
        if coefficient.depends_on_state or coefficient.radius != 0:  # a user's own declares neither
            return None
        kappa = coefficient(u, self.grid)
        self._check(kappa, u)
        kappa = one_a_channel(kappa, u.shape[1])
        return None if kappa is None else DepthwiseEquation(kappa)

    def _check(self, kappa: Tensor, u: Tensor) -> None:
        checked_type("Diffusion", kappa, Tensor, f"let {type(self.diffusivity).__name__} give u.new_full((), value)")
        uniform = kappa.dim() == 0 or all(n == 1 for n in kappa.shape[2:])
        if kappa.dim() not in (0, u.dim()) or not (uniform or kappa.shape[2:] == u.shape[2:]):
            raise PDEConvError(
                f"Diffusion needs a diffusivity (B|1, C|1, *S), (B|1, C|1, 1, …) or (), but "
                f"{type(self.diffusivity).__name__} gave shape {tuple(kappa.shape)} for a state of shape "
                f"{tuple(u.shape)}; expand it to the cells. A velocity belongs to Advection."
            )

    def extra_repr(self) -> str:
        return f"{self.discretisation}, {super().extra_repr()}"


def diffusion_keeps(grid: Grid) -> Keeps:
    """What diffusion of second order keeps, of any κ ≥ 0: its weights are not negative, and it is symmetric."""
    return SecondOrder().keeps(grid)


class ConstantDiffusion(SpectralOperator):
    """κΔ for a diffusivity that is constant in space: () or (B|1, C|1, 1, …)."""

    def __init__(self, diffusivity: Tensor, grid: Grid, discretisation: Discretisation | None = None) -> None:
        self.diffusivity, self.grid = diffusivity, grid
        self.discretisation = SecondOrder() if discretisation is None else discretisation
        self.keeps = self.discretisation.keeps(grid)
        self.rate = largest(diffusivity) * self.discretisation.rate(grid)

    def __call__(self, v: Tensor) -> Tensor:
        return self.diffusivity * self.discretisation.laplacian(v, self.grid)

    def spectral(self, v: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        kappa = self.diffusivity.to(torch.promote_types(v.dtype, torch.float32))
        return map_modes(v, self.grid, lambda modes: function(kappa * self.discretisation.symbol(modes, self.grid)))

    def flow(self, v: Tensor, dt: Tensor) -> Tensor:
        kappa = self.diffusivity.to(torch.promote_types(v.dtype, torch.float32))
        time = per_sample(dt, v) * kappa
        shared = time.dim() == 0 or time.shape[0] == 1
        if not (shared and self.discretisation.separable and each_axis_pays(v, self.grid)):
            return super().flow(v, dt)
        lines = [Grid(dx, self.grid.boundary, dims=1) for dx in self.grid.spacings]
        symbol, time = self.discretisation.symbol, time.reshape(1, -1, 1)
        # exp(κ dt (λ₁ + λ₂)) is a product.
        return map_each_axis(v, self.grid, [lambda z, line=line: torch.exp(time * symbol([z], line)) for line in lines])

    @property
    def axes(self) -> tuple[Operator, ...]:
        if not isinstance(self.discretisation, SecondOrder):
            raise UnsupportedError(
                f"{type(self.discretisation).__name__} does not split into tridiagonal solves, which AOS and ADI need; "
                "use SecondOrder(), or a step that solves at once, such as BackwardEuler or Exact."
            )
        share = 2 * sum(1 / dx**2 for dx in self.grid.spacings)
        kappa = self.diffusivity.reshape(self.diffusivity.shape or (1,) * (2 + self.grid.dims))
        return tuple(
            AxisDiffusion(kappa, axis, self.grid, self.rate * (2 / dx**2 / share))
            for axis, dx in zip(self.grid.axes, self.grid.spacings, strict=True)
        )


class VariableDiffusion(Operator):
    """∇·(κ∇·) for a diffusivity at the cells, (B|1, C|1, *S), or at the N + 1 faces along each axis."""

    def __init__(self, diffusivity: Tensor | tuple[Tensor, ...], grid: Grid) -> None:
        self.grid = grid
        self.keeps = diffusion_keeps(grid)
        if isinstance(diffusivity, Tensor):
            beyond = grid.coefficient_boundary
            diffusivity = tuple(face_mean(extend(diffusivity, axis, beyond), axis) for axis in grid.axes)
        self.conductances = diffusivity

    @property
    def outflows(self) -> list[Tensor]:
        """The weights of a cell's two neighbours along each axis, added."""
        return [
            (lower_faces(conductance, axis) + upper_faces(conductance, axis)) / dx**2
            for conductance, axis, dx in zip(self.conductances, self.grid.axes, self.grid.spacings, strict=True)
        ]

    @property
    def rate(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        first, *others = self.outflows
        return sum(others, start=first).flatten(1).amax(1)

    def __call__(self, v: Tensor) -> Tensor:
        return _flux_balance(v, self.conductances, self.grid)

    def solve(self, b: Tensor, dt: Tensor) -> Tensor:
        return solve_balance(b, dt, _flux_balance, self.conductances, self.grid)

    @property
    def axes(self) -> tuple[Operator, ...]:
        return tuple(
            AxisDiffusion(conductance, axis, self.grid, outflow.flatten(1).amax(1))
            for conductance, outflow, axis in zip(self.conductances, self.outflows, self.grid.axes, strict=True)
        )


class AxisDiffusion(Operator):
    """∂(κ∂·) along one axis, for a conductance (B|1, C|1, *S) at its N + 1 faces, or the same at all of them."""

    def __init__(self, conductance: Tensor, axis: int, grid: Grid, rate: Tensor) -> None:
        self.conductance, self.axis, self.grid, self.rate = conductance, axis, grid, rate
        self.keeps = diffusion_keeps(grid)

    def __call__(self, v: Tensor) -> Tensor:
        return divergence(self.conductance * gradient(v, self.axis, self.grid), self.axis, self.grid)

    def solve(self, b: Tensor, dt: Tensor) -> Tensor:
        wide = b.to(torch.promote_types(b.dtype, torch.float32))
        strength = per_sample(dt, wide) * self.conductance.to(wide.dtype) / self.grid.spacings[self.axis - 2] ** 2
        return line_solve(wide, strength, self.axis, self.grid.boundary).to(b.dtype)


def _flux_balance(v: Tensor, conductances: Sequence[Tensor], grid: Grid) -> Tensor:
    """∇·(κ∇v), κ at the faces along each axis."""
    parts = [
        divergence(conductance * gradient(v, axis, grid), axis, grid)
        for conductance, axis in zip(conductances, grid.axes, strict=True)
    ]
    return sum(parts[1:], start=parts[0])
