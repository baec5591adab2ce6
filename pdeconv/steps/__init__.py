"""Steps: propagators of a term over dt, with their order and their stability limit."""

from pdeconv.steps.exact import Exact
from pdeconv.steps.explicit import RK4, SSPRK3, Euler, Heun, RungeKutta
from pdeconv.steps.implicit import BackwardEuler, CrankNicolson
from pdeconv.steps.semi_lagrangian import SemiLagrangian
from pdeconv.steps.splitting import Lie, Strang
from pdeconv.steps.step import SingleTermStep, Step

__all__ = [
    "RK4",
    "SSPRK3",
    "BackwardEuler",
    "CrankNicolson",
    "Euler",
    "Exact",
    "Heun",
    "Lie",
    "RungeKutta",
    "SemiLagrangian",
    "SingleTermStep",
    "Step",
    "Strang",
]
