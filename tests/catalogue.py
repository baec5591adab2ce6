"""Every term, step, boundary and dimension, listed once. A new method is tested by being listed here.

Each test file asserts one law over these lists. Terms are built with 2 channels in float64 and with random weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn

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
    Coefficient,
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
    Leapfrog,
    Lie,
    Logistic,
    MeanCurvatureMotion,
    Minmod,
    Momentum,
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
    TimeVarying,
    TotalVariation,
    UnsupportedError,
    Upwind,
    VanLeer,
    VelocityVerlet,
    Wave,
    Weickert,
    operator,
)

BOUNDARIES = ("neumann", "periodic", "dirichlet", "reflect")
DIMS = (1, 2, 3)
CHANNELS = 2
DATA = 1.3  # of the fidelity term, beyond the values of the states
CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


def _perona_malik(grid: Grid) -> Term:
    return Diffusion(PeronaMalik(CHANNELS, contrast=0.5, ceiling=0.8), grid)


def _planar(tensor: Callable[[], DiffusionTensor]) -> Callable[[Grid], Term]:
    """Anisotropic diffusion, which is of the plane; on other grids its isotropic kin stands in."""
    return lambda grid: AnisotropicDiffusion(tensor(), grid) if grid.dims == 2 else _perona_malik(grid)


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


def unit(grid: Grid) -> Grid:
    """``grid`` with spacing 1."""
    return Grid(boundary=grid.boundary, dims=grid.dims)


TERMS: dict[str, Callable[[Grid], Term]] = {
    "constant_diffusion": lambda grid: Diffusion(Constant(0.7), grid),
    "channel_diffusion": lambda grid: Diffusion(PerChannel(CHANNELS, ceiling=1.5), grid),
    "perona_malik": _perona_malik,
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
    "sum": lambda grid: _perona_malik(grid) + _velocity(grid) + Reaction(Bistable(CHANNELS)),
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


class Shear(Term):
    """f(v) in the half of u, or g(u) in the half of v, for a function of half of the channels."""

    def __init__(self, function: nn.Module, first: bool) -> None:
        super().__init__()
        self.function, self.first = function, first

    def forward(self, u: Tensor):
        def apply(w: Tensor) -> Tensor:
            u, v = w.chunk(2, 1)
            change = self.function(v if self.first else u)
            rest = torch.zeros_like(change)
            return torch.cat((change, rest) if self.first else (rest, change), 1)

        return operator(apply, rate=math.inf)


class Applied(nn.Module):
    """u ↦ A(u)u."""

    def __init__(self, term: Term) -> None:
        super().__init__()
        self.term = term

    def forward(self, u: Tensor) -> Tensor:
        return self.term(u)(u)


class Separable(Term):
    """u_t = f(v), v_t = g(u)."""

    def __init__(self, first: nn.Module, second: nn.Module, grid: Grid, frequency: float = math.inf) -> None:
        super().__init__()
        self.first, self.second = Shear(first, True), Shear(second, False)
        self.grid, self.frequency, self.oscillates = grid, frequency, math.isfinite(frequency)

    @property
    def halves(self) -> tuple[Term, Term]:
        return self.first, self.second

    def forward(self, u: Tensor):
        return self.first(u) + self.second(u)


def _linear_wave(grid: Grid) -> Term:
    """u_t = v, v_t = c²Δu; the eigenvalues of c²Δ are at most twice the rate of diffusion."""
    diffusion = Diffusion(PerChannel(CHANNELS, ceiling=1.5), grid)
    return Separable(nn.Identity(), Applied(diffusion), grid, math.sqrt(2 * diffusion.ceiling))


def _layer(grid: Grid) -> nn.Module:
    return nn.Sequential(CONVOLUTIONS[grid.dims](CHANNELS, CHANNELS, 3, padding=1), nn.Tanh())


# Terms with halves, on states of 2·CHANNELS channels.
SEPARABLE: dict[str, Callable[[Grid], Term]] = {
    "linear_wave": _linear_wave,
    "network": lambda grid: Separable(_layer(grid), _layer(grid), grid),
}
# Reversible steps, on states of 2·CHANNELS channels.
REVERSIBLE: dict[str, Callable[[Grid], Step]] = {
    "Leapfrog of a wave": lambda grid: Leapfrog(_linear_wave(grid)),
    "Leapfrog of a network": lambda grid: Leapfrog(SEPARABLE["network"](grid)),
    "VelocityVerlet of a wave": lambda grid: VelocityVerlet(_linear_wave(grid)),
    "VelocityVerlet of a network": lambda grid: VelocityVerlet(SEPARABLE["network"](grid)),
    "Momentum of diffusion": lambda grid: Momentum(_perona_malik(grid), retention=0.98),
    "Momentum of a network": lambda grid: Momentum(Residual(_layer(grid)), retention=0.98),
    "Strang": lambda grid: Strang(Leapfrog(_linear_wave(grid)), VelocityVerlet(SEPARABLE["network"](grid))),
    "varying in time": lambda grid: Leapfrog(TimeVarying(SEPARABLE["network"](grid), points=3)),
}


def build(name: str, grid: Grid | None = None, scale: float = 1.0) -> Term:
    """The term called ``name`` in float64, its weights perturbed by noise of size ``scale``."""
    term = TERMS[name](Grid() if grid is None else grid).double()
    return randomise(term, scale)


def randomise(module: nn.Module, scale: float = 1.0):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(scale * torch.randn_like(parameter))
    return module


def saturate(term: Term) -> Term:
    """Push every weight to where its bounded coefficient reaches the ceiling."""
    with torch.no_grad():
        for parameter in term.parameters():
            parameter.fill_(40.0)
    return term


class Field(Coefficient):
    """A smooth diffusivity that varies in space and does not depend on the state."""

    ceiling = 0.5

    def forward(self, u: Tensor, grid: Grid) -> Tensor:
        return 0.3 + 0.2 * _wave(u, grid)


class FieldVelocity(Coefficient):
    """A smooth velocity that varies in space and does not depend on the state."""

    ceiling = 0.5

    def forward(self, u: Tensor, grid: Grid) -> Tensor:
        wave = _wave(u, grid)
        return torch.stack([0.5 * wave if i % 2 else 0.3 - 0.2 * wave for i in range(grid.dims)], 1)


def _wave(u: Tensor, grid: Grid) -> Tensor:
    lines = [torch.sin(1.0 + (axis - 1) * torch.arange(u.shape[axis], dtype=u.dtype)) for axis in grid.axes]
    wave = lines[0]
    for line in lines[1:]:
        wave = wave[..., None] * line
    return wave[None, None]


def state(dims: int = 2, batch: int = 2, cells: int = 5, channels: int = CHANNELS) -> Tensor:
    """A random float64 state in [0, 1], of another size along each axis."""
    return torch.rand(batch, channels, *(cells + i for i in range(dims)), dtype=torch.float64)


def number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def grid_of(boundary: str, dims: int) -> Grid:
    """A grid of another spacing along each axis."""
    return Grid((0.8, 1.25, 1.5)[:dims], boundary)  # pyright: ignore[reportArgumentType]


def can(term: Term, ability: str, u: Tensor | None = None) -> bool:
    """Whether the operator of ``term`` has a ``solve``, a ``flow`` or ``axes``."""
    u = state(1 if term.grid is None else term.grid.dims) if u is None else u
    try:
        found = getattr(term(u), ability)
        if ability != "axes":
            found(u, number(0.1))
    except UnsupportedError:
        return False
    return True


def can_step(step: str, term: Term, u: Tensor | None = None) -> bool:
    """Whether the step called ``step`` can step ``term``."""
    if step == "SemiLagrangian":  # of the velocity alone, whatever the scheme
        return isinstance(term, Advection) and term.scheme == Upwind()
    if step == "DuFortFrankel":
        return math.isfinite(term.ceiling)
    needs = {"BackwardEuler": "solve", "CrankNicolson": "solve", "Exact": "flow", "AOS": "axes", "ADI": "axes"}
    return step not in needs or can(term, needs[step], u)


def pairs(terms=tuple(TERMS), steps=tuple(STEPS)) -> Iterator[tuple[str, str]]:
    """The (term, step) that go together."""
    with torch.random.fork_rng():
        for term in terms:
            for step in steps:
                if term in COUSINS and step != "Euler":
                    continue
                if term in OTHER_DIFFUSIONS and step not in ("Euler", "BackwardEuler", "Exact"):
                    continue
                if (step not in SAMPLED or term in SAMPLE) and can_step(step, build(term)):
                    yield term, step


def cover() -> list[tuple[str, str]]:
    """Every term with three steps, and every step with three terms: for laws too dear for all :func:`pairs`."""
    by_term = pairs(steps=("Euler", "BackwardEuler", "Exact"))
    by_step = pairs(terms=("channel_diffusion", "perona_malik", "sum"))
    return list(dict.fromkeys((*by_term, *by_step)))


def matrix(apply: Callable[[Tensor], Tensor], like: Tensor) -> Tensor:
    """The matrix of a linear map of one sample (1, C, *S), column by column."""
    basis = torch.eye(like[0].numel(), dtype=like.dtype).reshape(-1, *like.shape[1:])
    return torch.stack([apply(unit_vector[None]).flatten() for unit_vector in basis], 1).detach()


def initial_states(dims: int, cells: int = 6) -> dict[str, Tensor]:
    """States in [0, 1] that show instability: a spike, a dip, a zigzag, a step, noise, 2 channels each."""
    zeros = torch.zeros(1, CHANNELS, *[cells] * dims, dtype=torch.float64)
    index = sum(torch.meshgrid(*[torch.arange(cells)] * dims, indexing="ij"))
    spike = zeros.clone()
    spike[(..., *[cells // 2] * dims)] = 1
    zigzag = zeros + (index % 2)
    half = zeros + (index >= dims * cells // 2)
    return {"spike": spike, "dip": 1 - spike, "zigzag": zigzag, "step": half, "noise": torch.rand_like(zeros)}


def excess(u: Tensor, low: Tensor | float, high: Tensor | float) -> float:
    """How far ``u`` leaves [low, high]; 0 if it stays, inf if it is not finite."""
    if not u.isfinite().all():
        return math.inf
    return max(0.0, float((low - u).max()), float((u - high).max()))
