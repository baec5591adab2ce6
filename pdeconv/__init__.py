"""pdeconv: convolutional blocks that are steps of learned diffusion, advection and reaction equations."""

from pdeconv.adaptive import Adaptive
from pdeconv.blocks import PDEBasicBlock, PDEBlock
from pdeconv.coefficient import Coefficient, Constant, PerChannel
from pdeconv.control import CFL, Clamp, Control, Fixed, Measured
from pdeconv.diffusivity import PeronaMalik
from pdeconv.errors import PDEConvError, StabilityError, UnsupportedError
from pdeconv.evolve import Evolve, Trajectory
from pdeconv.grid import Grid
from pdeconv.influence import Influence, RationalInfluence, ReLUInfluence, TanhInfluence
from pdeconv.models import create_model, list_models, register_model
from pdeconv.operator import Operator, operator
from pdeconv.refine import refine_space, refine_time
from pdeconv.steps import (
    RK4,
    SSPRK3,
    BackwardEuler,
    BogackiShampine,
    CrankNicolson,
    DormandPrince,
    Euler,
    Exact,
    Heun,
    Leapfrog,
    Lie,
    Momentum,
    Step,
    Strang,
    VelocityVerlet,
)
from pdeconv.terms import (
    Advection,
    Bistable,
    Decay,
    Diffusion,
    Law,
    Logistic,
    Reaction,
    Residual,
    SymmetricConvolution,
    Term,
    TimeVarying,
)
from pdeconv.velocity import ConvVelocity, PerChannelVelocity

__version__ = "0.1.0"

__all__ = [
    "CFL",
    "RK4",
    "SSPRK3",
    "Adaptive",
    "Advection",
    "BackwardEuler",
    "Bistable",
    "BogackiShampine",
    "Clamp",
    "Coefficient",
    "Constant",
    "Control",
    "ConvVelocity",
    "CrankNicolson",
    "Decay",
    "Diffusion",
    "DormandPrince",
    "Euler",
    "Evolve",
    "Exact",
    "Fixed",
    "Grid",
    "Heun",
    "Influence",
    "Law",
    "Leapfrog",
    "Lie",
    "Logistic",
    "Measured",
    "Momentum",
    "Operator",
    "PDEBasicBlock",
    "PDEBlock",
    "PDEConvError",
    "PerChannel",
    "PerChannelVelocity",
    "PeronaMalik",
    "RationalInfluence",
    "ReLUInfluence",
    "Reaction",
    "Residual",
    "StabilityError",
    "Step",
    "Strang",
    "SymmetricConvolution",
    "TanhInfluence",
    "Term",
    "TimeVarying",
    "Trajectory",
    "UnsupportedError",
    "VelocityVerlet",
    "create_model",
    "list_models",
    "operator",
    "refine_space",
    "refine_time",
    "register_model",
]
