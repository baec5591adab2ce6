"""Every term, step, boundary and dimension, listed once. A new method is tested by being listed here.

Each test file asserts one law over these lists. Terms are built with 2 channels in float64 and with random weights.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from states import CHANNELS, randomise, unit
from torch import nn

from pdeconv import (
    ADI,
    AOS,
    ARS222,
    ETD1,
    ETDRK2,
    FED,
    RK4,
    RKL1,
    RKL2,
    SSPRK3,
    SSPRK34,
    TVD,
    WENO3,
    WENO5,
    Advection,
    AdvectionScheme,
    AnisotropicDiffusion,
    BackwardEuler,
    Biharmonic,
    Bistable,
    BogackiShampine,
    Central,
    CoherenceEnhancing,
    ConservativeAdvection,
    Constant,
    ConvTensor,
    ConvVelocity,
    CrankNicolson,
    Decay,
    DifferentialConvolution,
    Diffusion,
    DiffusionTensor,
    Dilation,
    DormandPrince,
    DuFortFrankel,
    EdgeEnhancing,
    EnergyFlow,
    Erosion,
    Euler,
    Exact,
    Exponential,
    Fidelity,
    FieldsOfExperts,
    FitzHughNagumo,
    FourthOrder,
    FractionalDiffusion,
    Friction,
    GrayScott,
    Grid,
    HamiltonianSystem,
    Heun,
    IMEXEuler,
    Lie,
    Logistic,
    MeanCurvatureMotion,
    Minmod,
    MonotoneDiffusivity,
    NetworkEnergy,
    NonlocalDiffusion,
    NormalisedInfluence,
    PerChannel,
    PerChannelTensor,
    PerChannelVelocity,
    PeronaMalik,
    PLaplace,
    PointwiseNetwork,
    Q1Elements,
    RationalInfluence,
    RBFInfluence,
    Reaction,
    Residual,
    SelfVelocity,
    SemiLagrangian,
    ShockFilter,
    Spectral,
    SplineInfluence,
    SplinePotential,
    Step,
    Strang,
    Superbee,
    SymmetricConvolution,
    TanhInfluence,
    Telegraph,
    Term,
    TotalVariation,
    Upwind,
    VanLeer,
    Wave,
    Weickert,
)

DATA = 1.3  # of the fidelity term, beyond the values of the states

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


def perona_malik(grid: Grid) -> Term:
    return Diffusion(PeronaMalik(CHANNELS, contrast=0.5, ceiling=0.8), grid)


def _planar(tensor: Callable[[], DiffusionTensor]) -> Callable[[Grid], Term]:
    """Anisotropic diffusion, which is of the plane; on other grids its isotropic kin stands in."""
    return lambda grid: AnisotropicDiffusion(tensor(), grid) if grid.dims == 2 else perona_malik(grid)


# Condition numbers of 3 keep the range on the grids of the laws, whose spacings differ.
TENSORS: dict[str, Callable[[], DiffusionTensor]] = {
    "tensor_diffusion": lambda: PerChannelTensor(CHANNELS, ceiling=0.9, condition=3.0),
    "conv_tensor_diffusion": lambda: ConvTensor(CHANNELS, ceiling=0.9, condition=3.0),
    "strong_tensor_diffusion": lambda: PerChannelTensor(CHANNELS, ceiling=0.9, condition=50.0),
    "edge_enhancing_diffusion": lambda: EdgeEnhancing(CHANNELS, 0.3, ceiling=0.9, condition=3.0),
    "coherence_enhancing_diffusion": lambda: CoherenceEnhancing(CHANNELS, 0.3, 0.3, 1.0, 0.9, 3.0),
}

SCHEMES: dict[str, AdvectionScheme] = {
    "upwind": Upwind(),
    "minmod": TVD(Minmod()),
    "van_leer": TVD(VanLeer()),
    "superbee": TVD(Superbee()),
    "central": Central(),
    "weno3": WENO3(),
    "weno5": WENO5(),
}


def _velocity(grid: Grid, scheme: str = "upwind") -> Term:
    return Advection(PerChannelVelocity(CHANNELS, ceiling=0.9, dims=grid.dims), grid, SCHEMES[scheme])


def _conv_velocity(grid: Grid) -> Term:
    return Advection(ConvVelocity(CHANNELS, ceiling=0.9, dims=grid.dims), grid)


def _outflow(grid: Grid, scheme: str = "upwind") -> Term:
    return ConservativeAdvection(ConvVelocity(CHANNELS, ceiling=0.9, dims=grid.dims), grid, SCHEMES[scheme])


def _convolution(influence: Callable[[], nn.Module | None]) -> Callable[[Grid], Term]:
    def build(grid: Grid) -> Term:
        return SymmetricConvolution(CHANNELS, 3, influence=influence(), norm=1.3, grid=unit(grid))  # pyright: ignore

    return build


def _convex_energy(grid: Grid) -> Term:
    potential = SplinePotential(3, knots=9, reach=0.7, curvature=1.2)
    return EnergyFlow(FieldsOfExperts(CHANNELS, 3, potential=potential, norm=1.3, grid=unit(grid)))


def _differential(grid: Grid) -> Term:
    """Along the first axis an advection, along each a diffusion."""
    second = [tuple(2 * int(i == axis) for i in range(grid.dims)) for axis in range(grid.dims)]
    first = (1,) + (0,) * (grid.dims - 1)
    return DifferentialConvolution(CHANNELS, {first: -0.3, **dict.fromkeys(second, 0.1)}, accuracy=1, grid=grid)


TERMS: dict[str, Callable[[Grid], Term]] = {
    "constant_diffusion": lambda grid: Diffusion(Constant(0.7), grid),
    "channel_diffusion": lambda grid: Diffusion(PerChannel(CHANNELS, ceiling=1.5), grid),
    "perona_malik": perona_malik,
    "exponential_diffusion": lambda grid: Diffusion(Exponential(CHANNELS, contrast=0.5, ceiling=0.8), grid),
    "weickert_diffusion": lambda grid: Diffusion(Weickert(CHANNELS, contrast=0.5, ceiling=0.8), grid),
    "monotone_diffusion": lambda grid: Diffusion(MonotoneDiffusivity(CHANNELS, (0.2, 0.9), power=2), grid),
    "tv_diffusion": lambda grid: Diffusion(TotalVariation(PerChannel(CHANNELS), epsilon=0.3), grid),
    "p_laplace_diffusion": lambda grid: Diffusion(PLaplace(3.0, PerChannel(CHANNELS), 0.1, bound=2.0), grid),
    "fourth_order_diffusion": lambda grid: Diffusion(PerChannel(CHANNELS, 1.5), grid, FourthOrder()),
    "q1_diffusion": lambda grid: Diffusion(PerChannel(CHANNELS, 1.5), grid, Q1Elements()),
    "spectral_diffusion": lambda grid: Diffusion(PerChannel(CHANNELS, 1.5), grid, Spectral()),
    "biharmonic_diffusion": lambda grid: Biharmonic(PerChannel(CHANNELS, 0.5), grid),
    "fractional_diffusion": lambda grid: FractionalDiffusion(0.6, PerChannel(CHANNELS, 1.5), grid),
    **{name: _planar(tensor) for name, tensor in TENSORS.items()},
    "advection": _velocity,
    "conv_advection": _conv_velocity,
    "burgers": lambda grid: Advection(SelfVelocity(ceiling=1.1), grid),
    **{f"{name}_advection": partial(_velocity, scheme=name) for name in SCHEMES if name != "upwind"},
    "conservative_advection": _outflow,
    "conservative_van_leer": partial(_outflow, scheme="van_leer"),
    "decay": lambda grid: Reaction(Decay(CHANNELS, ceiling=1.2)),
    "logistic": lambda grid: Reaction(Logistic(CHANNELS, ceiling=1.2)),
    "bistable": lambda grid: Reaction(Bistable(CHANNELS, ceiling=1.2)),
    "gray_scott": lambda grid: Reaction(GrayScott(PerChannel(1, ceiling=0.1), PerChannel(1, ceiling=0.2))),
    "fitz_hugh_nagumo": lambda grid: Reaction(FitzHughNagumo(PerChannel(1, ceiling=0.3))),
    "friction": lambda grid: Reaction(Friction(PerChannel(1, ceiling=1.2))),
    "pointwise_network": lambda grid: Reaction(PointwiseNetwork(CHANNELS, 3, ceiling=1.2, lipschitz=2.0)),
    "fidelity": lambda grid: Fidelity(PerChannel(CHANNELS, ceiling=1.2)).towards(torch.tensor(DATA)),
    "relu_convolution": _convolution(lambda: None),
    "tanh_convolution": _convolution(TanhInfluence),
    "rational_convolution": _convolution(lambda: RationalInfluence(3, scales=(0.7, 0.3))),
    "rbf_convolution": _convolution(lambda: RBFInfluence(3, centres=5, reach=0.7)),
    "normalised_convolution": _convolution(lambda: NormalisedInfluence(3, SplineInfluence(3, knots=9))),
    "convex_energy": _convex_energy,
    "network_energy": lambda grid: EnergyFlow(NetworkEnergy(CONVOLUTIONS[grid.dims](CHANNELS, 3, 1), nn.Softplus())),
    "differential": _differential,
    "dilation": lambda grid: Dilation(PerChannel(CHANNELS, ceiling=0.9), grid),
    "erosion": lambda grid: Erosion(PerChannel(CHANNELS, ceiling=0.9), grid),
    "shock_filter": lambda grid: ShockFilter(PerChannel(CHANNELS, ceiling=0.9), contrast=0.3, grid=grid),
    "mean_curvature": lambda grid: MeanCurvatureMotion(PerChannel(CHANNELS, ceiling=0.9), epsilon=0.1, grid=grid),
    "nonlocal": lambda grid: NonlocalDiffusion(CHANNELS, 3, heads=2, strength=PerChannel(CHANNELS, ceiling=1.2)),
    "windowed_nonlocal": lambda grid: NonlocalDiffusion(CHANNELS, 3, window=4),
    "wave": lambda grid: Wave(PerChannel(1, ceiling=1.2), grid),
    "telegraph": lambda grid: Telegraph(PerChannel(1, ceiling=1.2), PerChannel(1, ceiling=0.8), grid),
    "hamiltonian": lambda grid: HamiltonianSystem(1, 3, norm=1.3, grid=unit(grid)),
    "sum": lambda grid: perona_malik(grid) + _velocity(grid) + Reaction(Bistable(CHANNELS)),
    "residual": lambda grid: Residual(CONVOLUTIONS[grid.dims](CHANNELS, CHANNELS, 3, padding=1), nn.Tanh()),
}

UNPROVEN = ("residual", "central_advection", "weno3_advection", "weno5_advection", "wave", "telegraph", "hamiltonian")
UNPROVEN += ("network_energy", "differential")

# Diffusions that keep the energy alone, and so nothing under the reflect boundary.
OF_ENERGY = ("fourth_order_diffusion", "spectral_diffusion", "biharmonic_diffusion", "strong_tensor_diffusion")

# They differ from perona_malik or tensor_diffusion in the coefficient: of the steps, Euler stands for the others.
COUSINS = ("exponential_diffusion", "weickert_diffusion", "monotone_diffusion", "p_laplace_diffusion")
COUSINS += ("conv_tensor_diffusion", "strong_tensor_diffusion", "edge_enhancing_diffusion")
COUSINS += ("coherence_enhancing_diffusion",)

# Diffusions of another operator, which meet one step of each kind.
OTHER_DIFFUSIONS = (
    "tv_diffusion",
    "fourth_order_diffusion",
    "q1_diffusion",
    "spectral_diffusion",
    "biharmonic_diffusion",
)
OTHER_DIFFUSIONS += ("fractional_diffusion", "tensor_diffusion")
STATE_INDEPENDENT = ("constant_diffusion", "channel_diffusion", "advection", "decay", "fidelity")

STEPS: dict[str, Callable[[Term], Step]] = {
    "Euler": Euler,
    "Heun": Heun,
    "SSPRK3": SSPRK3,
    "SSPRK34": SSPRK34,
    "RK4": RK4,
    "BogackiShampine": BogackiShampine,
    "DormandPrince": DormandPrince,
    "FED": lambda term: FED(term, stages=4),
    "RKL1": lambda term: RKL1(term, stages=3),
    "RKL2": lambda term: RKL2(term, stages=3),
    "DuFortFrankel": lambda term: DuFortFrankel(term, stages=3),
    "BackwardEuler": BackwardEuler,
    "CrankNicolson": CrankNicolson,
    "AOS": AOS,
    "ADI": ADI,
    "IMEXEuler": lambda term: IMEXEuler(Reaction(Decay(CHANNELS)), term),
    "ARS222": lambda term: ARS222(Reaction(Decay(CHANNELS)), term),
    "ETD1": lambda term: ETD1(Reaction(Decay(CHANNELS)), term),
    "ETDRK2": lambda term: ETDRK2(Reaction(Decay(CHANNELS)), term),
    "Exact": Exact,
    "SemiLagrangian": SemiLagrangian,
    "Lie": lambda term: Lie(Euler(Reaction(Decay(CHANNELS))), Euler(term)),
    "Strang": lambda term: Strang(Heun(Reaction(Decay(CHANNELS))), Heun(term)),
}

# They keep the energy alone: nothing, where the term keeps the range.
ENERGY_ALONE = ("RK4", "BogackiShampine")

# So do these, and of symmetric terms only.
STABILISED = ("FED", "RKL1", "RKL2")

# Of a stiff term and an explicit one.
PARTITIONED = {"IMEXEuler": IMEXEuler, "ARS222": ARS222, "ETD1": ETD1, "ETDRK2": ETDRK2}

# Steps that meet one term of each kind, which stand for the others.
SAMPLED = ("SSPRK34", *STABILISED, "DuFortFrankel", "AOS", "ADI", *PARTITIONED)
SAMPLE = ("constant_diffusion", "perona_malik", "conv_advection", "bistable", "relu_convolution")


def build(name: str, grid: Grid | None = None, scale: float = 1.0) -> Term:
    """The term called ``name`` in float64, its weights perturbed by noise of size ``scale``."""
    term = TERMS[name](Grid() if grid is None else grid).double()
    return randomise(term, scale)
