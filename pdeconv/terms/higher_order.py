"""Linear diffusion of other orders than the second: biharmonic, and fractional."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pdeconv.coefficient import Coefficient, Constant
from pdeconv.discretisation import SecondOrder, energy_kept
from pdeconv.errors import PDEConvError, checked_number, checked_type
from pdeconv.grid import Grid, checked_grid
from pdeconv.modes import map_modes
from pdeconv.operator import NOTHING, Operator, SpectralOperator, largest, range_kept
from pdeconv.terms.term import Term


class _PowerTerm(Term):
    """A term −κ(−Δ)^p of a κ that is constant in space, each channel by itself."""

    grid: Grid

    def __init__(self, power: float, diffusivity: Coefficient | None, grid: Grid | None) -> None:
        super().__init__()
        name = type(self).__name__
        self.power, self.diffusivity = power, Constant(1.0) if diffusivity is None else diffusivity
        checked_type(name, self.diffusivity, Coefficient, "give for example PerChannel(channels)")
        self._place(checked_grid(name, grid))

    def _place(self, grid: Grid) -> None:
        averages = self.power <= 1
        rate = SecondOrder().rate(grid)
        self.fastest = rate**self.power if averages else (2 * rate) ** self.power / 2
        self.keeps = energy_kept(grid) | (range_kept(grid) if averages else NOTHING)
        self.grid, self.symmetric = grid, grid.boundary != "reflect"
        self.ceiling = self.diffusivity.ceiling * self.fastest
        self.radius = 2 + self.diffusivity.radius if self.power == 2 else math.inf

    def refine(self, factor: float) -> None:
        self.diffusivity.check_refinable()
        self._place(self.grid.refined(factor))

    def forward(self, u: Tensor) -> Operator:
        kappa = self.diffusivity(u, self.grid)
        if kappa.dim() not in (0, u.dim()) or any(n != 1 for n in kappa.shape[2:]):
            raise PDEConvError(
                f"{type(self).__name__} needs a diffusivity that is constant in space, () or (B|1, C|1, 1, …), but "
                f"{type(self.diffusivity).__name__} gave shape {tuple(kappa.shape)}; use for example "
                "PerChannel(channels)."
            )
        return LaplacianPower(kappa, self)


class Biharmonic(_PowerTerm):
    """Biharmonic diffusion, u_t = −κΔ²u, each channel by itself: fine detail fades sixteenfold at half the wavelength.

    The Laplacian of second order, twice: of second order in space, and what the boundary does to u it does to Δu. Under
    neumann ∂ₙu = ∂ₙΔu = 0, and nothing flows; under dirichlet u = Δu = 0, a hinged plate. Mass is conserved under
    the neumann and periodic boundaries.

    Args:
        diffusivity: Coefficient κ ≥ 0, constant in space, in length⁴/time: () or (B|1, C|1, 1, …); by default 1.
        grid: Spacing, boundary and number of axes.

    Rate: 8κ(Σ_axes 1/dx²)², for Euler steps that keep the energy. Proof: the eigenvalues of Δ lie in [−4·Σ 1/dx², 0],
        those of −κΔ² in [−16κ(Σ 1/dx²)², 0], and |1 + h·z| ≤ 1 there is h ≤ 1/(8κ(Σ 1/dx²)²).
    Solve, Flow: Exact, by cosine, sine or Fourier transform.
    Keeps: The energy, except under the reflect boundary. Not the range, nor does the equation: a spike rings.

    References:
        M. Lysaker, A. Lundervold, X.-C. Tai. Noise removal using fourth-order partial differential equation. IEEE TIP
        12(12), 2003.

    Example:
        >>> from pdeconv import CFL, Evolve, Exact, PerChannel
        >>> smooth = Evolve(Exact(Biharmonic(PerChannel(3, ceiling=2.0))), duration=1.0, control=CFL())
        >>> smooth.steps, smooth(torch.rand(1, 3, 8, 8)).shape
        (1, torch.Size([1, 3, 8, 8]))
        >>> Biharmonic().ceiling
        32.0
    """

    equation = "−κΔ²u"

    def __init__(self, diffusivity: Coefficient | None = None, grid: Grid | None = None) -> None:
        super().__init__(2.0, diffusivity, grid)


class FractionalDiffusion(_PowerTerm):
    """Fractional diffusion, u_t = −κ(−Δ)^s u, 0 < s ≤ 1, each channel by itself: jumps of all lengths.

    s = 1 is heat; s = ½ spreads as Cauchy's distribution, with heavy tails; as s falls, detail of every wavelength
    fades more alike. The power is of the eigenvalues of the second-order Laplacian, so that it has their boundary.

    Args:
        exponent: s, in (0, 1].
        diffusivity: Coefficient κ ≥ 0, constant in space, in dx²ˢ/time: () or (B|1, C|1, 1, …); by default 1.
        grid: Spacing, boundary and number of axes.

    Rate: κ(2·Σ_axes 1/dx²)^s. Proof: e^{tΔ} has no negative entry, and (Bochner)
        −(−Δ)^s = s/Γ(1−s)·∫₀^∞ (e^{tΔ} − 1) t^{−1−s} dt, so that all weights of neighbours are ≥ 0. A diagonal entry
        of (−Δ)^s is a mean of λ^s over the spectrum, by Jensen's inequality at most the same mean of λ to the power s,
        which is at most (2·Σ 1/dx²)^s. Half of the largest eigenvalue, 2^(s−1)·(2·Σ 1/dx²)^s, is no more.
    Solve, Flow: Exact, by cosine, sine or Fourier transform.
    Keeps: The range (joined with 0 under the dirichlet boundary), and except under the reflect boundary the energy.

    References:
        N. S. Landkof. Foundations of Modern Potential Theory. Springer, 1972.
        Ó. Ciaurri, L. Roncal, P. R. Stinga, J. L. Torrea, J. L. Varona. Nonlocal discrete diffusion equations and the
        fractional discrete Laplacian, regularity and applications. Adv. Math. 330, 2018.

    Example:
        >>> from pdeconv import CFL, Evolve, Exact, PerChannel
        >>> spread = Evolve(Exact(FractionalDiffusion(0.5, PerChannel(3))), duration=1.0, control=CFL())
        >>> spread(torch.rand(1, 3, 8, 8)).shape
        torch.Size([1, 3, 8, 8])
        >>> FractionalDiffusion(0.5).ceiling
        2.0
    """

    equation = "−κ(−Δ)^s u"

    def __init__(self, exponent: float, diffusivity: Coefficient | None = None, grid: Grid | None = None) -> None:
        power = checked_number("FractionalDiffusion", "exponent", exponent)
        if power > 1:
            raise PDEConvError(
                f"FractionalDiffusion needs an exponent in (0, 1], but got {exponent}; beyond 1 the range is not kept, "
                "and Biharmonic is the exponent 2."
            )
        super().__init__(power, diffusivity, grid)

    def extra_repr(self) -> str:
        return f"exponent={self.power:g}, {super().extra_repr()}"


class LaplacianPower(SpectralOperator):
    """−κ(−Δ)^p of the second-order Laplacian, for a diffusivity that is constant in space: () or (B|1, C|1, 1, …)."""

    def __init__(self, diffusivity: Tensor, term: _PowerTerm) -> None:
        self.diffusivity, self.grid, self.power, self.keeps = diffusivity, term.grid, term.power, term.keeps
        self.rate = largest(diffusivity) * term.fastest

    def __call__(self, v: Tensor) -> Tensor:
        if self.power == 2:
            laplacian = SecondOrder().laplacian
            return -self.diffusivity * laplacian(laplacian(v, self.grid), self.grid)
        return self.spectral(v, lambda eigenvalue: eigenvalue)

    def spectral(self, v: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        kappa = self.diffusivity.to(torch.promote_types(v.dtype, torch.float32))

        def of_modes(modes: list[Tensor]) -> Tensor:
            decay = (-SecondOrder().symbol(modes, self.grid)).clamp(min=0)
            return function(-kappa * decay**self.power)

        return map_modes(v, self.grid, of_modes)
