"""Terms: the right-hand sides of u_t = A(u) u."""

from pdeconv.coupled_law import FitzHughNagumo, Friction, GrayScott
from pdeconv.law import Bistable, Decay, Law, Logistic
from pdeconv.pointwise_network import PointwiseNetwork
from pdeconv.terms.advection import Advection
from pdeconv.terms.anisotropic import AnisotropicDiffusion
from pdeconv.terms.conservative_advection import ConservativeAdvection
from pdeconv.terms.convolution import Residual, SymmetricConvolution
from pdeconv.terms.differential_convolution import DifferentialConvolution
from pdeconv.terms.diffusion import Diffusion
from pdeconv.terms.energy import EnergyFlow
from pdeconv.terms.fidelity import Fidelity
from pdeconv.terms.higher_order import Biharmonic, FractionalDiffusion
from pdeconv.terms.morphology import Dilation, Erosion, MeanCurvatureMotion, ShockFilter
from pdeconv.terms.nonlocal_diffusion import NonlocalDiffusion
from pdeconv.terms.reaction import Reaction
from pdeconv.terms.term import SumTerm, Term
from pdeconv.terms.two_fields import TwoFields
from pdeconv.terms.varying import TimeVarying
from pdeconv.terms.wave import HamiltonianSystem, SeparableTerm, Telegraph, Wave

__all__ = [
    "Advection",
    "AnisotropicDiffusion",
    "Biharmonic",
    "Bistable",
    "ConservativeAdvection",
    "Decay",
    "DifferentialConvolution",
    "Diffusion",
    "Dilation",
    "EnergyFlow",
    "Erosion",
    "Fidelity",
    "FitzHughNagumo",
    "FractionalDiffusion",
    "Friction",
    "GrayScott",
    "HamiltonianSystem",
    "Law",
    "Logistic",
    "MeanCurvatureMotion",
    "NonlocalDiffusion",
    "PointwiseNetwork",
    "Reaction",
    "Residual",
    "SeparableTerm",
    "ShockFilter",
    "SumTerm",
    "SymmetricConvolution",
    "Telegraph",
    "Term",
    "TimeVarying",
    "TwoFields",
    "Wave",
]
