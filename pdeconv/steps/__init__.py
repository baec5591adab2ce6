"""Steps: propagators of a term over dt, with their order and their stability limit."""

from pdeconv.steps.directional import ADI, AOS
from pdeconv.steps.embedded import BogackiShampine, DormandPrince, EmbeddedPair
from pdeconv.steps.exact import Exact
from pdeconv.steps.explicit import RK4, SSPRK3, SSPRK34, Euler, Heun, RungeKutta
from pdeconv.steps.exponential import ETD1, ETDRK2
from pdeconv.steps.imex import ARS222, IMEXEuler
from pdeconv.steps.implicit import BackwardEuler, CrankNicolson
from pdeconv.steps.multistep import DuFortFrankel
from pdeconv.steps.partitioned import PartitionedStep
from pdeconv.steps.semi_lagrangian import SemiLagrangian
from pdeconv.steps.splitting import Lie, Strang
from pdeconv.steps.stabilised import FED, RKL1, RKL2
from pdeconv.steps.step import SingleTermStep, Step
from pdeconv.steps.symplectic import Leapfrog, Momentum, SymplecticEuler, SymplecticStep, VelocityVerlet

__all__ = [
    "ADI",
    "AOS",
    "ARS222",
    "ETD1",
    "ETDRK2",
    "FED",
    "RK4",
    "RKL1",
    "RKL2",
    "SSPRK3",
    "SSPRK34",
    "BackwardEuler",
    "BogackiShampine",
    "CrankNicolson",
    "DormandPrince",
    "DuFortFrankel",
    "EmbeddedPair",
    "Euler",
    "Exact",
    "Heun",
    "IMEXEuler",
    "Leapfrog",
    "Lie",
    "Momentum",
    "PartitionedStep",
    "RungeKutta",
    "SemiLagrangian",
    "SingleTermStep",
    "Step",
    "Strang",
    "SymplecticEuler",
    "SymplecticStep",
    "VelocityVerlet",
]
