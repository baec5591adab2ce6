"""Steps: propagators of a term over dt, with their order and their stability limit."""

from pdeconv.steps.embedded import BogackiShampine, DormandPrince, EmbeddedPair
from pdeconv.steps.exact import Exact
from pdeconv.steps.explicit import RK4, SSPRK3, Euler, Heun, RungeKutta
from pdeconv.steps.implicit import BackwardEuler, CrankNicolson
from pdeconv.steps.semi_lagrangian import SemiLagrangian
from pdeconv.steps.splitting import Lie, Strang
from pdeconv.steps.step import SingleTermStep, Step
from pdeconv.steps.symplectic import Leapfrog, Momentum, SymplecticStep, VelocityVerlet

__all__ = [
    "RK4",
    "SSPRK3",
    "BackwardEuler",
    "BogackiShampine",
    "CrankNicolson",
    "DormandPrince",
    "EmbeddedPair",
    "Euler",
    "Exact",
    "Heun",
    "Leapfrog",
    "Lie",
    "Momentum",
    "RungeKutta",
    "SemiLagrangian",
    "SingleTermStep",
    "Step",
    "Strang",
    "SymplecticStep",
    "VelocityVerlet",
]
