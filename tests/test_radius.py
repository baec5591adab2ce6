"""Law: what lies beyond the radius that a term or a step declares changes nothing, and what lies at it does."""

import math

import pytest
import torch
from catalogue import STEPS, TERMS, build
from states import BOUNDARIES, CHANNELS, grid_of, number

from pdeconv import (
    ADI,
    ConservativeAdvection,
    Constant,
    CrankNicolson,
    Diffusion,
    EdgeEnhancing,
    Euler,
    Fidelity,
    FixedCoefficient,
    FixedVelocity,
    Grid,
    Law,
    Leapfrog,
    Momentum,
    Reaction,
    Spectral,
    StreamVelocity,
    SymplecticEuler,
    Term,
    VelocityVerlet,
)
from pdeconv.terms import AnisotropicDiffusion

OF_WHOLE_IMAGES = {"spectral_diffusion", "fractional_diffusion", "nonlocal", "windowed_nonlocal", "residual"}
OF_WHOLE_IMAGES |= {"edge_enhancing_diffusion", "coherence_enhancing_diffusion"}  # on two axes, by their Gaussians
OF_WHOLE_IMAGES |= {"normalised_convolution", "network_energy"}

# Where the rule is not sharp (corners of faces, central slopes), or limiters cut the farthest slopes off.
WIDER_THAN_NEEDED = {"p_laplace_diffusion", "tv_diffusion", "conservative_advection", "conservative_van_leer"}
WIDER_THAN_NEEDED |= {f"{scheme}_advection" for scheme in ("central", "minmod", "van_leer", "superbee")}


def reach(change, grid, channels=CHANNELS, cells=15):
    """How far from a cell ``change`` of a state depends on it, in the middle of each axis and at its ends."""
    sizes = [cells] + [cells - 2 - i for i in range(grid.dims - 1)]
    u = torch.rand(1, channels, *sizes, dtype=torch.float64)
    before, farthest = change(u), 0
    for place in ([n // 2 for n in sizes], [0] * grid.dims, [n - 1 for n in sizes], [1] * grid.dims):
        other = u.clone()
        other[(..., *place)] = torch.rand(channels, dtype=torch.float64)
        for changed in (change(other) != before).any(1).nonzero()[:, 1:]:
            gaps = [abs(int(i) - j) for i, j in zip(changed, place, strict=True)]
            if grid.boundary == "periodic":
                gaps = [min(gap, n - gap) for gap, n in zip(gaps, sizes, strict=True)]
            farthest = max(farthest, *gaps)
    return farthest


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("name", TERMS)
def test_a_term_depends_on_what_is_within_its_radius(name, boundary):
    for dims in (1, 2):
        grid = grid_of(boundary, dims)
        term = build(name, grid, scale=0.5)
        if math.isinf(term.radius):
            assert name in OF_WHOLE_IMAGES
            continue
        assert name not in OF_WHOLE_IMAGES or dims == 1
        found = reach(lambda u: term(u)(u), grid)  # noqa: B023
        if name in WIDER_THAN_NEEDED:
            assert found <= term.radius
        else:
            assert found == term.radius, dims


@pytest.mark.parametrize("name", STEPS)
def test_a_step_depends_on_what_is_within_its_radius(name):
    for term_name in ("conv_advection", "decay"):
        term, grid = build(term_name, grid_of("neumann", 1), scale=0.5), grid_of("neumann", 1)
        if name in ("BackwardEuler", "CrankNicolson", "Exact") and term.radius:
            assert math.isinf(STEPS[name](term).radius)
        elif name not in ("AOS", "ADI", "SemiLagrangian", "DuFortFrankel"):
            step = STEPS[name](term).double()
            assert reach(lambda u: step(u, number(0.05)), grid) == step.radius  # noqa: B023


@pytest.mark.parametrize("name", ["wave", "hamiltonian"])
@pytest.mark.parametrize("kind", [SymplecticEuler, Leapfrog, VelocityVerlet, Momentum])
def test_a_reversible_step_depends_on_what_is_within_its_radius(kind, name):
    grid = Grid(boundary="periodic", dims=1)
    step = kind(build("perona_malik" if kind is Momentum else name, grid, 0.3))
    channels = 2 * CHANNELS if kind is Momentum else CHANNELS
    assert 0 < reach(lambda u: step(u, number(0.1)), grid, channels) <= step.radius < 8


def test_what_is_not_known_is_infinite():
    class Unknown(Term):
        def forward(self, u):
            raise NotImplementedError

    class Reacting(Law):
        def __init__(self):
            super().__init__()
            self.strength = FixedCoefficient(torch.ones(1, 1, 5, 5))

        def forward(self, u):
            return -self.strength(u, Grid())

    field = FixedVelocity(torch.ones(2, 1, 4, 4))
    heat = Diffusion(Constant(1.0))
    of_images = [
        Unknown(),
        Diffusion(Constant(1.0), discretisation=Spectral()),
        Diffusion(FixedCoefficient(torch.ones(1, 1, 5, 5))),
        ConservativeAdvection(field),
        Reaction(Reacting()),
        Fidelity(Constant(1.0)).towards(torch.ones(1, 1, 5, 5)),
        heat + Unknown(),
    ]
    assert all(math.isinf(Euler(term).radius) for term in of_images)
    assert all(math.isinf(step.radius) for step in (CrankNicolson(heat), ADI(heat)))


def test_radii_that_the_catalogue_does_not_meet():
    grid = Grid(boundary="periodic")
    stream = ConservativeAdvection(StreamVelocity(CHANNELS, kernel_size=4).double(), grid)
    # By random directions: a cell must not be a plateau.
    edges = AnisotropicDiffusion(EdgeEnhancing(CHANNELS, noise_scale=0.0).double(), grid)
    for term, expected in ((stream, 3), (edges, 2)):
        assert term.radius == expected and reach(lambda u: term(u)(u), grid) <= expected  # noqa: B023
