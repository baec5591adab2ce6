"""Law: diffusion in divergence form conserves mass where nothing can flow through the edge; constants rest."""

import pytest
import torch
from catalogue import COUSINS, OTHER_DIFFUSIONS, STEPS, build
from pairing import can_step
from states import BOUNDARIES, CHANNELS, DIMS, grid_of, number, state, unit

from pdeconv import RationalInfluence, SymmetricConvolution

FIRST_DIFFUSIONS = ("constant_diffusion", "channel_diffusion", "perona_malik")
DIFFUSIONS = (*FIRST_DIFFUSIONS, *COUSINS, *OTHER_DIFFUSIONS)
SLOPED = [f"{name}_advection" for name in ("minmod", "van_leer", "superbee", "central", "weno3", "weno5")]
STEPPED = ("Euler", "Heun", "SSPRK3", "RK4", "BackwardEuler", "CrankNicolson", "Exact")
STEPPED += ("SSPRK34", "FED", "RKL1", "RKL2", "DuFortFrankel", "AOS", "ADI")


@pytest.mark.parametrize(
    ("term_name", "step_name"),
    [(term, step) for term in DIFFUSIONS for step in (STEPPED if term in FIRST_DIFFUSIONS else ("Euler", "Exact"))],
)
def test_mass_is_conserved(term_name, step_name):
    for boundary in ("neumann", "periodic"):
        for dims in DIMS:
            term = build(term_name, grid_of(boundary, dims))
            if not can_step(step_name, term):
                continue
            u = state(dims)
            after = STEPS[step_name](term)(u, number(0.01 if "biharmonic" in term_name else 0.05))
            assert torch.allclose(after.flatten(2).sum(2), u.flatten(2).sum(2), atol=1e-11)
            assert (after - u).abs().max() > 1e-3


def test_mass_leaves_through_a_dirichlet_edge():
    u = state(2)
    after = STEPS["Euler"](build("constant_diffusion", grid_of("dirichlet", 2)))(u, number(0.05))
    assert (after.flatten(2).sum(2) < u.flatten(2).sum(2)).all()


def test_a_mean_free_convolution_conserves_mass():
    """Kᵀ spreads with kernels whose sum is 0."""
    for dims in DIMS:
        influence = RationalInfluence(5, scales=(0.7,))
        for boundary in ("neumann", "periodic"):
            grid = unit(grid_of(boundary, dims))
            term = SymmetricConvolution(CHANNELS, 5, influence=influence, grid=grid, mean_free=True).double()
            u = state(dims)
            balance = term(u)(u).flatten(2).sum(2)
            assert balance.abs().max() < 1e-12 and term(u)(u).abs().max() > 1e-3


@pytest.mark.parametrize("term_name", [*DIFFUSIONS, "advection", "conv_advection", *SLOPED])
def test_constants_rest(term_name):
    for boundary in BOUNDARIES:
        for dims in DIMS:
            term = build(term_name, grid_of(boundary, dims))
            constant = torch.full_like(state(dims), 0.7)
            moved = term(constant)(constant).abs().max()
            assert (moved > 1e-3) if boundary == "dirichlet" else (moved < 1e-12)
