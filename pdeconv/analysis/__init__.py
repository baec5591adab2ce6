"""What a trained layer is, and what it does: its derivatives, symbols, stability, energies, dynamics and learning."""

from pdeconv.analysis.certificate import Certificate, attack_within, certified_radii
from pdeconv.analysis.decomposition import Decomposition, KernelParts, LayerParts, decompose, decompose_kernel
from pdeconv.analysis.dynamics import Equilibrium, find_equilibrium, lyapunov_exponents
from pdeconv.analysis.energy import (
    FUNCTIONALS,
    Descent,
    along,
    descends,
    dirichlet_energy,
    entropy,
    highest,
    lowest,
    mean,
    squared_norm,
    total_variation,
)
from pdeconv.analysis.gradient_flow import GradientFlow, sharpness
from pdeconv.analysis.krylov import dominant_eigenvalues, lanczos
from pdeconv.analysis.linearise import Linearised
from pdeconv.analysis.passage import Leg, follow
from pdeconv.analysis.report import Report, report
from pdeconv.analysis.stability import jacobian_norm, log_norm, spectral_radius
from pdeconv.analysis.symbol import amplification, frequencies, kernel_symbol, term_symbol
from pdeconv.analysis.verdict import BlockStability

__all__ = [
    "FUNCTIONALS",
    "BlockStability",
    "Certificate",
    "Decomposition",
    "Descent",
    "Equilibrium",
    "GradientFlow",
    "KernelParts",
    "LayerParts",
    "Leg",
    "Linearised",
    "Report",
    "along",
    "amplification",
    "attack_within",
    "certified_radii",
    "decompose",
    "decompose_kernel",
    "descends",
    "dirichlet_energy",
    "dominant_eigenvalues",
    "entropy",
    "find_equilibrium",
    "follow",
    "frequencies",
    "highest",
    "jacobian_norm",
    "kernel_symbol",
    "lanczos",
    "log_norm",
    "lowest",
    "lyapunov_exponents",
    "mean",
    "report",
    "sharpness",
    "spectral_radius",
    "squared_norm",
    "term_symbol",
    "total_variation",
]
