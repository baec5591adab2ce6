"""pdeconv: convolutional blocks that are steps of learned diffusion, advection and reaction equations."""

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
from pdeconv.steps import (
    RK4,
    SSPRK3,
    BackwardEuler,
    CrankNicolson,
    Euler,
    Exact,
    Heun,
    Lie,
    SemiLagrangian,
    Step,
    Strang,
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
    "Advection",
    "AdvectionScheme",
    "BackwardEuler",
    "Bistable",
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
    "Lie",
    "Limiter",
    "LinearInterpolation",
    "Logistic",
    "Measured",
    "Minmod",
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
    "Trajectory",
    "UnsupportedError",
    "Upwind",
    "VanLeer",
    "Velocity",
    "VelocityField",
    "create_model",
    "list_models",
    "operator",
    "register_model",
]
