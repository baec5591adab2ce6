"""pdeconv: convolutional blocks that are steps of learned diffusion, advection and reaction equations."""

from pdeconv.adaptive import Adaptive
from pdeconv.advection_scheme import TVD, AdvectionScheme, Central, Upwind
from pdeconv.blocks import PDEBasicBlock, PDEBlock
from pdeconv.coefficient import Coefficient, Constant, PerChannel
from pdeconv.control import CFL, Clamp, Control, Fixed, Measured
from pdeconv.diffusivity import PeronaMalik
from pdeconv.errors import PDEConvError, StabilityError, UnsupportedError
from pdeconv.evolve import Evolve, Trajectory
from pdeconv.grid import Grid
from pdeconv.influence import Influence, RationalInfluence, ReLUInfluence, TanhInfluence
from pdeconv.interpolation import ClampedCubicInterpolation, CubicInterpolation, Interpolation, LinearInterpolation
from pdeconv.limiter import Limiter, Minmod, Superbee, VanLeer
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
    SemiLagrangian,
    Step,
    Strang,
    VelocityVerlet,
)
from pdeconv.terms import (
    Advection,
    Bistable,
    ConservativeAdvection,
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
from pdeconv.velocity import ConstantVelocity, ConvVelocity, PerChannelVelocity, SelfVelocity, Velocity
from pdeconv.velocity_field import FixedVelocity, StreamVelocity, VelocityField
from pdeconv.weno import WENO3, WENO5

__version__ = "0.1.0"

__all__ = [
    "CFL",
    "RK4",
    "SSPRK3",
    "TVD",
    "WENO3",
    "WENO5",
    "Adaptive",
    "Advection",
    "AdvectionScheme",
    "BackwardEuler",
    "Bistable",
    "BogackiShampine",
    "Central",
    "Clamp",
    "ClampedCubicInterpolation",
    "Coefficient",
    "ConservativeAdvection",
    "Constant",
    "ConstantVelocity",
    "Control",
    "ConvVelocity",
    "CrankNicolson",
    "CubicInterpolation",
    "Decay",
    "Diffusion",
    "DormandPrince",
    "Euler",
    "Evolve",
    "Exact",
    "Fixed",
    "FixedVelocity",
    "Grid",
    "Heun",
    "Influence",
    "Interpolation",
    "Law",
    "Leapfrog",
    "Lie",
    "Limiter",
    "LinearInterpolation",
    "Logistic",
    "Measured",
    "Minmod",
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
    "SelfVelocity",
    "SemiLagrangian",
    "StabilityError",
    "Step",
    "Strang",
    "StreamVelocity",
    "Superbee",
    "SymmetricConvolution",
    "TanhInfluence",
    "Term",
    "TimeVarying",
    "Trajectory",
    "UnsupportedError",
    "Upwind",
    "VanLeer",
    "Velocity",
    "VelocityField",
    "VelocityVerlet",
    "create_model",
    "list_models",
    "operator",
    "refine_space",
    "refine_time",
    "register_model",
]
