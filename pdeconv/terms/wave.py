"""Waves and Hamiltonian systems: two fields that drive each other, the halves of the channels."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from pdeconv.coefficient import Coefficient, check_channels, per_channel
from pdeconv.coupled_law import Friction
from pdeconv.errors import checked_number, checked_type
from pdeconv.filter_bank import convolve, transpose
from pdeconv.grid import Grid
from pdeconv.influence import Influence, TanhInfluence
from pdeconv.operator import Operator, per_sample
from pdeconv.pair import pair
from pdeconv.terms.convolution import SymmetricConvolution
from pdeconv.terms.diffusion import Diffusion
from pdeconv.terms.reaction import Reaction
from pdeconv.terms.term import SumTerm, Term


class SeparableTerm(Term):
    """u_t = f(v), v_t = g(u), on states (B, 2C, *S) whose first half of channels is u and whose second is v.

    Attributes:
        frequency: Upper bound of the frequencies ω at which small deviations oscillate, in radians/time. Explicit
            Euler, Heun and SSPRK3 amplify oscillations at every dt, so the term's rate is infinite; what suits it:
            leapfrog and Verlet for dt < 2/ω, symplectic Euler likewise, RK4 for dt < 2.83/ω with
            ``Fixed(n, unchecked=True)``.
    """

    frequency: float

    @abstractmethod
    def drive_first(self, second: Tensor) -> Tensor:
        """f(v), (B, C, *S)."""

    @abstractmethod
    def drive_second(self, first: Tensor) -> Tensor:
        """g(u), (B, C, *S)."""

    @property
    def halves(self) -> tuple[Term, Term]:
        """u_t = f(v), v_t = 0, and u_t = 0, v_t = g(u): their sum is this term, whose weights they share.

        Each changes its half by what the other half says, which rests meanwhile: its exact flow is one Euler step.
        """
        return HalfTerm(self, first=True), HalfTerm(self, first=False)

    def forward(self, u: Tensor) -> Operator:
        pair(u)  # raises unless there are two fields
        return _Separable(u, self.drive_first, self.drive_second)

    def extra_repr(self) -> str:
        return f"frequency ≤ {self.frequency:.4g}, {super().extra_repr()}"


class HalfTerm(Term):
    """One half of a :class:`SeparableTerm`: changes one half of the channels, by the other; see ``halves``."""

    def __init__(self, whole: SeparableTerm, first: bool) -> None:
        super().__init__()
        self.whole, self.first, self.grid, self.radius = whole, first, whole.grid, whole.radius

    def drive(self, other: Tensor) -> Tensor:
        """The rate of change of the half that moves, (B, C, *S), by the half that rests."""
        return self.whole.drive_first(other) if self.first else self.whole.drive_second(other)

    def forward(self, u: Tensor) -> Operator:
        pair(u)
        return (_First if self.first else _Second)(u, self.drive)


Drive = Callable[[Tensor], Tensor]


class _Separable(Operator):
    """(u, v) ↦ (f(v), g(u))."""

    def __init__(self, u: Tensor, drive_first: Drive, drive_second: Drive) -> None:
        self.drive_first, self.drive_second, self.rate = drive_first, drive_second, u.new_full((), math.inf)

    def __call__(self, v: Tensor) -> Tensor:
        first, second = pair(v)
        return torch.cat((self.drive_first(second), self.drive_second(first)), 1)


class _Half(Operator):
    """Applied twice it is 0, as the driving half rests: I + dt·A is both the exact flow and (I − dt·A)⁻¹."""

    def __init__(self, u: Tensor, drive: Drive) -> None:
        self.drive, self.rate = drive, u.new_full((), math.inf)

    def solve(self, b: Tensor, dt: Tensor) -> Tensor:
        return b + per_sample(dt, b) * self(b)

    def flow(self, v: Tensor, dt: Tensor) -> Tensor:
        return v + per_sample(dt, v) * self(v)


class _First(_Half):
    """(u, v) ↦ (f(v), 0)."""

    def __call__(self, v: Tensor) -> Tensor:
        first, second = pair(v)
        return torch.cat((self.drive(second), torch.zeros_like(first)), 1)


class _Second(_Half):
    """(u, v) ↦ (0, g(u))."""

    def __call__(self, v: Tensor) -> Tensor:
        first, second = pair(v)
        return torch.cat((torch.zeros_like(second), self.drive(first)), 1)


class Wave(SeparableTerm):
    """The wave equation, u_t = v, v_t = ∇·(c²∇u), on states of 2C channels: displacements u, then their velocities v.

    Args:
        stiffness: Coefficient c² ≥ 0, the squared speed of waves, in length²/time²; it may vary in space.
        grid: Spacing, boundary and number of axes.

    Rate: Infinite; see :class:`SeparableTerm`, frequency ω = 2c·√Σ_axes 1/dx².
    Solve, Flow: Undefined; those of each of its ``halves`` are exact.
    Keeps: No set of values, and no ball ‖u‖ ≤ r. The exact flow keeps the energy ½‖v‖² + ½⟨u, −∇·(c²∇u)⟩ where c² does
        not depend on the state (but for the reflect boundary); see :meth:`energy`. Symplectic steps of the halves keep
        it to within O(dt²) for all times.

    References:
        R. Courant, K. Friedrichs, H. Lewy. Über die partiellen Differenzengleichungen der mathematischen Physik.
        Math. Annalen 100, 1928.
        L. Ruthotto, E. Haber. Deep neural networks motivated by partial differential equations. JMIV 62, 2020.

    Example:
        >>> from pdeconv import Constant, Evolve, Fixed, RK4
        >>> ring = Evolve(RK4(Wave(Constant(1.0))), duration=2.0, control=Fixed(4, unchecked=True))
        >>> ring(torch.rand(1, 6, 8, 8)).shape
        torch.Size([1, 6, 8, 8])
    """

    equation = "v, v_t = ∇·(c²∇u)"
    grid: Grid

    def __init__(self, stiffness: Coefficient, grid: Grid | None = None) -> None:
        super().__init__()
        checked_type("Wave", stiffness, Coefficient, "give for example Constant(1.0) or PerChannel(channels)")
        self.elasticity = Diffusion(stiffness, grid)
        self.oscillates = not stiffness.depends_on_state
        self._declare()

    def _declare(self) -> None:
        self.grid, self.radius = self.elasticity.grid, self.elasticity.radius
        self.frequency = math.sqrt(2 * self.elasticity.ceiling)

    def refine(self, factor: float) -> None:
        self.elasticity.refine(factor)
        self._declare()

    def drive_first(self, second: Tensor) -> Tensor:
        return second

    def drive_second(self, first: Tensor) -> Tensor:
        return self.elasticity(first)(first)

    def energy(self, u: Tensor) -> Tensor:
        """½‖v‖² + ½⟨u, −∇·(c²∇u)⟩ of each sample, (B,)."""
        displacement, velocity = pair(u)
        density = velocity.square() - displacement * self.drive_second(displacement)
        return density.flatten(1).sum(1) / 2


class Telegraph(SumTerm):
    """The telegraph equation, u_t = v, v_t = ∇·(c²∇u) − γv: a damped wave, ``Wave + Reaction(Friction)``.

    Its friction is not of a half that rests: step it beside the wave, as in Strang(Exact(friction), …), the two being
    ``wave`` and ``friction``.

    Args:
        stiffness: Coefficient c² ≥ 0, in length²/time².
        damping: Coefficient γ ≥ 0, 1/time.
        grid: Spacing, boundary and number of axes.

    Rate: Infinite, as of the wave.
    Solve, Flow: Undefined.
    Keeps: Nothing by name; the energy of :meth:`Wave.energy` never grows, dE/dt = −γ‖v‖² where γ is shared.

    References:
        O. Heaviside. Electromagnetic induction and its propagation. The Electrician, 1887.

    Example:
        >>> from pdeconv import Constant, Evolve, Fixed, RK4
        >>> term = Telegraph(Constant(1.0), Constant(0.5))
        >>> u = torch.rand(1, 2, 8, 8)
        >>> fading = Evolve(RK4(term), duration=4.0, control=Fixed(8, unchecked=True))
        >>> bool(term.wave.energy(fading(u)) < term.wave.energy(u))
        True
    """

    def __init__(self, stiffness: Coefficient, damping: Coefficient, grid: Grid | None = None) -> None:
        super().__init__((Wave(stiffness, grid), Reaction(Friction(damping))))

    @property
    def wave(self) -> Wave:
        """The part without friction."""
        return self.terms[0]  # pyright: ignore[reportReturnType]

    @property
    def friction(self) -> Reaction:
        """The part that damps."""
        return self.terms[1]  # pyright: ignore[reportReturnType]


class HamiltonianSystem(SeparableTerm):
    """Ruthotto and Haber's Hamiltonian layer, u_t = Kᵀσ(Kv + b), v_t = −Kᵀσ(Ku + b), on states of 2C channels.

    A deep network of it neither damps nor amplifies its signals, forward or backward. K is a learned convolution with
    ‖K‖ ≤ norm by parametrisation, Kᵀ its exact transpose; see :class:`SymmetricConvolution`, also for the boundaries.

    Args:
        channels: Number of channels C of each field.
        features: Number of features F of Ku; by default ``channels``.
        kernel_size: Width of the kernel, odd.
        influence: σ, by its slope g in σ(z) = g(z)·z; by default tanh.
        norm: Bound of ‖K‖₂.
        grid: Boundary and number of axes; the spacing must be 1.

    Rate: Infinite; see :class:`SeparableTerm`, frequency ω = ‖K‖²·max |σ′|, infinite for influences whose steepness
        (``lipschitz``) is unproven, such as learned curves.
    Solve, Flow: Undefined; those of each of its ``halves`` are exact.
    Keeps: No set of values, and no ball. The exact flow keeps the energy Σ S(Kv + b) + Σ S(Ku + b), S′ = σ; symplectic
        steps of the halves keep it nearly, and are reversible.

    References:
        L. Ruthotto, E. Haber. Deep neural networks motivated by partial differential equations. JMIV 62, 2020.
        B. Chang et al. Reversible architectures for arbitrarily deep residual neural networks. AAAI 2018.

    Example:
        >>> from pdeconv import Evolve, Fixed, RK4
        >>> layer = Evolve(RK4(HamiltonianSystem(4)), duration=2.0, control=Fixed(4, unchecked=True))
        >>> layer(torch.rand(1, 8, 8, 8)).shape
        torch.Size([1, 8, 8, 8])
    """

    equation = "Kᵀσ(Kv + b), v_t = −Kᵀσ(Ku + b)"
    grid: Grid

    def __init__(
        self,
        channels: int,
        features: int | None = None,
        kernel_size: int = 3,
        influence: Influence | None = None,
        norm: float = 1.0,
        grid: Grid | None = None,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        influence = TanhInfluence() if influence is None else influence
        checked_type("HamiltonianSystem", influence, Influence, "give for example TanhInfluence()")
        norm = checked_number("HamiltonianSystem", "norm", norm)
        self.convolution = SymmetricConvolution(
            channels, features, kernel_size, influence, norm, grid, device=device, dtype=dtype
        )
        self.grid, self.radius = self.convolution.grid, self.convolution.radius
        self.bias = nn.Parameter(torch.zeros(self.convolution.weight.shape[0], device=device, dtype=dtype))
        self.frequency = self.convolution.squared_norm * influence.lipschitz

    def drive_first(self, second: Tensor) -> Tensor:
        return self._drive(second)

    def drive_second(self, first: Tensor) -> Tensor:
        return -self._drive(first)

    def _drive(self, w: Tensor) -> Tensor:
        """Kᵀσ(Kw + b)."""
        check_channels(self.convolution.weight.shape[1], w)
        kernel = self.convolution.kernel.to(w.dtype)
        response = convolve(w, kernel, self.grid)
        if response is None:
            return torch.zeros_like(w)
        response = response + per_channel(self.bias[None], response)
        return transpose(self.convolution.influence(response) * response, kernel, self.grid)
