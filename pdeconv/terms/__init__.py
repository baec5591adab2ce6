"""Terms: the right-hand sides of u_t = A(u) u."""

from pdeconv.terms.advection import Advection
from pdeconv.terms.conservative_advection import ConservativeAdvection
from pdeconv.terms.convolution import Residual, SymmetricConvolution
from pdeconv.terms.diffusion import Diffusion
from pdeconv.terms.reaction import Bistable, Decay, Law, Logistic, Reaction
from pdeconv.terms.term import SumTerm, Term
from pdeconv.terms.varying import TimeVarying

__all__ = [
    "Advection",
    "Bistable",
    "ConservativeAdvection",
    "Decay",
    "Diffusion",
    "Law",
    "Logistic",
    "Reaction",
    "Residual",
    "SumTerm",
    "SymmetricConvolution",
    "Term",
    "TimeVarying",
]
