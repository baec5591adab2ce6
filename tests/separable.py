"""Terms of two halves and the reversible steps of them, listed once: a new one is tested by being listed here."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from catalogue import CONVOLUTIONS, perona_malik
from states import CHANNELS, unit
from torch import Tensor, nn

from pdeconv import (
    Diffusion,
    Grid,
    Leapfrog,
    Momentum,
    PerChannel,
    Residual,
    Step,
    Strang,
    SymmetricConvolution,
    SymplecticEuler,
    TanhInfluence,
    Term,
    TimeVarying,
    TwoFields,
    VelocityVerlet,
    operator,
)


class Shear(Term):
    """f(v) in the half of u, or g(u) in the half of v, for a function of half of the channels."""

    def __init__(self, function: nn.Module, first: bool) -> None:
        super().__init__()
        self.function, self.first = function, first

    def forward(self, u: Tensor):
        def apply(w: Tensor) -> Tensor:
            u, v = w.chunk(2, 1)
            change = self.function(v if self.first else u)
            rest = torch.zeros_like(change)
            return torch.cat((change, rest) if self.first else (rest, change), 1)

        return operator(apply, rate=math.inf)


class Applied(nn.Module):
    """u ↦ A(u)u."""

    def __init__(self, term: Term) -> None:
        super().__init__()
        self.term = term

    def forward(self, u: Tensor) -> Tensor:
        return self.term(u)(u)


class Separable(Term):
    """u_t = f(v), v_t = g(u)."""

    def __init__(self, first: nn.Module, second: nn.Module, grid: Grid, frequency: float = math.inf) -> None:
        super().__init__()
        self.first, self.second = Shear(first, True), Shear(second, False)
        self.grid, self.frequency, self.oscillates = grid, frequency, math.isfinite(frequency)

    @property
    def halves(self) -> tuple[Term, Term]:
        return self.first, self.second

    def forward(self, u: Tensor):
        return self.first(u) + self.second(u)


def _linear_wave(grid: Grid) -> Term:
    """u_t = v, v_t = c²Δu; the eigenvalues of c²Δ are at most twice the rate of diffusion."""
    diffusion = Diffusion(PerChannel(CHANNELS, ceiling=1.5), grid)
    return Separable(nn.Identity(), Applied(diffusion), grid, math.sqrt(2 * diffusion.ceiling))


def _layer(grid: Grid) -> nn.Module:
    return nn.Sequential(CONVOLUTIONS[grid.dims](CHANNELS, CHANNELS, 3, padding=1), nn.Tanh())


def _two_convolutions(grid: Grid) -> Term:
    """Ruthotto and Haber's Hamiltonian layer, u_t = K₁ᵀσ(K₁v), v_t = −K₂ᵀσ(K₂u)."""
    second, first = (SymmetricConvolution(CHANNELS, 3, influence=TanhInfluence(), grid=unit(grid)) for _ in range(2))
    return TwoFields(second, first)


def _second_order(grid: Grid) -> Term:
    """Their second-order layer, u_tt = −Kᵀσ(Ku)."""
    return TwoFields(SymmetricConvolution(CHANNELS, 3, influence=TanhInfluence(), grid=unit(grid)))


# Terms with halves, on states of 2·CHANNELS channels.
SEPARABLE: dict[str, Callable[[Grid], Term]] = {
    "linear_wave": _linear_wave,
    "network": lambda grid: Separable(_layer(grid), _layer(grid), grid),
    "two_convolutions": _two_convolutions,
    "second_order": _second_order,
}

# Reversible steps, on states of 2·CHANNELS channels.
REVERSIBLE: dict[str, Callable[[Grid], Step]] = {
    "SymplecticEuler of a wave": lambda grid: SymplecticEuler(_linear_wave(grid)),
    "SymplecticEuler of two fields": lambda grid: SymplecticEuler(_two_convolutions(grid)),
    "Leapfrog of a wave": lambda grid: Leapfrog(_linear_wave(grid)),
    "Leapfrog of a network": lambda grid: Leapfrog(SEPARABLE["network"](grid)),
    "VelocityVerlet of a wave": lambda grid: VelocityVerlet(_linear_wave(grid)),
    "VelocityVerlet of a network": lambda grid: VelocityVerlet(SEPARABLE["network"](grid)),
    "Momentum of diffusion": lambda grid: Momentum(perona_malik(grid), retention=0.98),
    "Momentum of a network": lambda grid: Momentum(Residual(_layer(grid)), retention=0.98),
    "Strang": lambda grid: Strang(Leapfrog(_linear_wave(grid)), VelocityVerlet(SEPARABLE["network"](grid))),
    "varying in time": lambda grid: Leapfrog(TimeVarying(SEPARABLE["network"](grid), points=3)),
}
