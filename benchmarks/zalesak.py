"""Zalesak's slotted disc: once around, by every scheme of advection; its error, range and mass after the turn.

The disc has radius 0.15 around (½, ¾) in the unit square, and a slot of width 0.05 (two cells at least) and depth 0.25.

python benchmarks/zalesak.py [--cells 64] [--courant 0.5]

References:
    S. T. Zalesak. Fully multidimensional flux-corrected transport algorithms for fluids. J. Comput. Phys. 31, 1979.
"""

import argparse
import math

import torch
from torch import Tensor

from pdeconv import (
    SSPRK3,
    TVD,
    WENO3,
    WENO5,
    Advection,
    Central,
    ClampedCubicInterpolation,
    ConservativeAdvection,
    CubicInterpolation,
    Evolve,
    Fixed,
    FixedVelocity,
    Grid,
    LinearInterpolation,
    Minmod,
    SemiLagrangian,
    Superbee,
    Upwind,
    VanLeer,
)

SCHEMES = {
    "upwind": Upwind(),
    "minmod": TVD(Minmod()),
    "van Leer": TVD(VanLeer()),
    "superbee": TVD(Superbee()),
    "central": Central(),
    "WENO3": WENO3(),
    "WENO5": WENO5(),
}
INTERPOLATIONS = {
    "semi-Lagrangian, linear": LinearInterpolation(),
    "semi-Lagrangian, cubic": CubicInterpolation(),
    "semi-Lagrangian, cubic clamped": ClampedCubicInterpolation(),
}


def slotted_disc(cells: int) -> Tensor:
    """1 in the disc and 0 elsewhere, (1, 1, cells, cells)."""
    x, y = centres(cells)
    slot = ((x - 0.5).abs() < max(0.025, 1 / cells)) & (y < 0.85)
    return ((torch.hypot(x - 0.5, y - 0.75) < 0.15) & ~slot).float()[None, None]


def centres(cells: int) -> tuple[Tensor, Tensor]:
    line = (torch.arange(cells) + 0.5) / cells
    x, y = torch.meshgrid(line, line, indexing="ij")
    return x, y


def rotation(cells: int) -> FixedVelocity:
    """Around the middle of the unit square, once in time 1."""
    x, y = centres(cells)
    return FixedVelocity(2 * math.pi * torch.stack([0.5 - y, x - 0.5])[:, None])


def turn(cells: int, courant: float = 0.5) -> dict[str, Tensor]:
    """The disc after one turn, by scheme. ``courant``: dt·Σᵢ|vᵢ|/dx; 5 for the semi-Lagrangian steps."""
    velocity, grid = rotation(cells), Grid(1 / cells, "dirichlet")
    speed = 2 * velocity.ceiling * cells
    steps = Fixed(math.ceil(speed / courant), unchecked=True)
    evolutions = {name: SSPRK3(Advection(velocity, grid, scheme)) for name, scheme in SCHEMES.items()}
    for name in ("upwind", "van Leer", "WENO5"):
        evolutions[f"{name}, flux form"] = SSPRK3(ConservativeAdvection(velocity, grid, SCHEMES[name]))
    after = {name: Evolve(step, 1.0, steps) for name, step in evolutions.items()}
    few = Fixed(math.ceil(speed / 5), unchecked=True)
    for name, interpolation in INTERPOLATIONS.items():
        after[name] = Evolve(SemiLagrangian(Advection(velocity, grid), interpolation), 1.0, few)
    disc = slotted_disc(cells)
    with torch.no_grad():
        return {name: evolve(disc) for name, evolve in after.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=64, help="cells along each axis")
    parser.add_argument("--courant", type=float, default=0.5, help="dt·Σ|v|/dx of the Runge–Kutta steps")
    arguments = parser.parse_args()
    disc = slotted_disc(arguments.cells)
    print(f"{arguments.cells}², one turn; L1: ∫|u − u₀| / ∫u₀")
    print(f"{'':32}{'L1':>7}{'min':>9}{'max':>8}{'mass':>9}")
    for name, after in turn(arguments.cells, arguments.courant).items():
        error, mass = float((after - disc).abs().sum() / disc.sum()), float(after.sum() / disc.sum())
        print(f"{name:32}{error:7.3f}{float(after.min()):9.4f}{float(after.max()):8.4f}{mass:9.5f}")


if __name__ == "__main__":
    main()
