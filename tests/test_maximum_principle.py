"""Law: at its limit a step keeps what it says. That it breaks beyond is the law of test_tight_limits.py."""

import math

import pytest
import torch
from catalogue import DATA, ENERGY_ALONE, OF_ENERGY, STABILISED, STEPS, TERMS, UNPROVEN, build
from pairing import pairs
from states import BOUNDARIES, DIMS, excess, grid_of, initial_states, number

from pdeconv.operator import ENERGY, OWN_ENERGY, RANGE_WITH_DATA, RANGE_WITH_ZERO

PROVEN = [pair for pair in pairs() if pair[0] not in UNPROVEN and pair[1] not in ("DormandPrince", "ARS222")]


def test_what_is_proven():
    """RK4 and the like promise the energy alone, and so nothing for terms that keep something else; nor do UNPROVEN."""
    unproven = {(term, step) for term, step in PROVEN if not STEPS[step](build(term)).keeps}
    keep_the_energy_too = ("diffusion", "perona_malik", "decay", "friction", "convolution", "energy")
    keep_the_range_alone = {term for term, _ in PROVEN if not term.endswith(keep_the_energy_too)}
    assert unproven == {(t, s) for t, s in PROVEN if t in keep_the_range_alone and s in (*ENERGY_ALONE, *STABILISED)}
    for name in UNPROVEN:
        assert build(name).ceiling == math.inf
        assert not any(STEPS[step](build(name)).keeps for step in ("Euler", "Heun", "Strang"))
    assert not any(STEPS[step](build(term)).keeps for term in TERMS for step in ("DormandPrince", "ARS222"))


def violation(step, invariant, u, after):
    """How far ``after`` is outside of the smallest set of the family ``invariant`` that holds ``u``."""
    if invariant == ENERGY:
        return (
            float((after.norm() / u.norm().clamp(min=1e-300) - 1).clamp(min=0)) if after.isfinite().all() else math.inf
        )
    if invariant == OWN_ENERGY:
        return float((step.term.energy(after) - step.term.energy(u)).clamp(min=0).max())
    if isinstance(invariant, tuple):
        if isinstance(invariant[0], tuple):  # a rectangle, of the two halves of the channels
            return max(excess(half, *side) for half, side in zip(after.chunk(2, 1), invariant, strict=True))
        return excess(after, *invariant)
    low, high = u.amin(), u.amax()
    if invariant in (RANGE_WITH_ZERO, RANGE_WITH_DATA):
        low, high = low.clamp(max=0), high.clamp(min=0)
    if invariant == RANGE_WITH_DATA:
        low, high = low.clamp(max=DATA), high.clamp(min=DATA)
    return excess(after, low, high)


@torch.no_grad()
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(("term_name", "step_name"), PROVEN)
def test_kept_at_the_limit(term_name, step_name, boundary):
    """Whatever the weights; a limit of infinity is tried at steps long and short. Eight steps, each from the last."""
    for dims in DIMS:
        for scale in (0.3, 3.0):
            step = STEPS[step_name](build(term_name, grid_of(boundary, dims), scale))
            if not step.keeps:  # counted in test_what_is_proven; and the reflect boundary
                of_energy = term_name in (*OF_ENERGY, "q1_diffusion") and boundary == "reflect"
                assert of_energy or step_name in (*ENERGY_ALONE, *STABILISED)
                assert step.guaranteed_limit == 0
                continue
            limit = step.guaranteed_limit
            for dt in (limit,) if math.isfinite(limit) else (0.1, 1e3):
                named = initial_states(dims)
                u = torch.cat(list(named.values()))
                for _ in range(8 if dims == 1 else 2):
                    after = step(u, number(dt))
                    for invariant in step.keeps:
                        for name, before, later in zip(named, u.split(1), after.split(1), strict=True):
                            assert violation(step, invariant, before, later) < 1e-9, (dims, dt, name, invariant)
                    u = after


def test_a_measured_limit_is_at_least_the_guaranteed_one():
    for term_name, step_name in PROVEN:
        for dims in DIMS:
            step = STEPS[step_name](build(term_name, grid_of("neumann", dims)))
            u = torch.rand(3, 2, *(5, 6, 7)[:dims], dtype=torch.float64)
            limit = step.limit(u)
            assert limit.shape in ((), (3,))
            assert (limit >= step.guaranteed_limit * (1 - 1e-12)).all(), (term_name, step_name)


@pytest.mark.parametrize(
    "term_name",
    [
        "perona_malik", "tv_diffusion", "p_laplace_diffusion", "tensor_diffusion", "conv_tensor_diffusion",
        "edge_enhancing_diffusion", "coherence_enhancing_diffusion", "conv_advection", "minmod_advection",
        "superbee_advection", "burgers", "conservative_advection", "conservative_van_leer", "dilation",
        "shock_filter", "mean_curvature",
    ],
)  # fmt: skip
def test_kept_at_the_measured_limit(term_name):
    """Euler at the sharper, measured limit: each sample its own."""
    for boundary in BOUNDARIES:
        for dims in DIMS:
            step = STEPS["Euler"](build(term_name, grid_of(boundary, dims), 3.0))
            u = torch.cat(list(initial_states(dims).values()))
            after = step(u, step.limit(u).clamp(max=1e3))
            for before, later in zip(u, after, strict=True):
                assert violation(step, next(i for i in step.keeps if i != ENERGY), before, later) < 1e-9


def circle_contractivity(step):
    """The largest dt·rate at which B/r + BA + AᵀB − bbᵀ is positive semidefinite, for positive weights b."""
    b = torch.tensor(step.b, dtype=torch.float64)
    a = torch.zeros(len(b), len(b), dtype=torch.float64)
    for i, row in enumerate(step.a):
        a[i + 1, : len(row)] = torch.tensor(row)
    form = b[:, None] * a + (b[:, None] * a).T - b[:, None] * b
    return -1 / float(torch.linalg.eigvalsh(form / (b[:, None] * b).sqrt()).min())


def largest_growth(step, courant):
    """The most by which one step multiplies ‖u‖, over coefficients that differ from stage to stage: found by ascent."""
    stages, size, starts = len(step.b), 3, 64
    frames = torch.randn(starts, stages, size, size, dtype=torch.float64).requires_grad_()
    logits = torch.randn(starts, stages, size, dtype=torch.float64).requires_grad_()
    ascent = torch.optim.Adam([frames, logits], 0.05, maximize=True)
    for _ in range(200):
        basis = torch.linalg.qr(frames)[0]
        eigenvalues = -2 * courant * torch.sigmoid(logits)  # of dt·A: ‖I + A/rate‖ ≤ 1
        operators = (basis * eigenvalues[..., None, :]) @ basis.mT
        u, slopes = torch.eye(size, dtype=torch.float64)[0].expand(starts, size), []
        for i in range(stages):
            stage = u + sum(weight * slope for weight, slope in zip(step.a[i - 1], slopes, strict=True)) if i else u
            slopes.append((operators[:, i] @ stage[..., None])[..., 0])
        norm = (u + sum(weight * slope for weight, slope in zip(step.b, slopes, strict=True))).norm(dim=1)
        ascent.zero_grad()
        norm.sum().backward()
        ascent.step()
    return float(norm.detach().max())


@pytest.mark.parametrize("step_name", ["Euler", "Heun", "SSPRK3", "SSPRK34", *ENERGY_ALONE])
def test_the_energy_whatever_the_coefficients_do_from_stage_to_stage(step_name):
    """The limit is the tableau's circle contractivity: no coefficients break it there, some do at 1.25 times it."""
    step = STEPS[step_name](build("constant_diffusion"))
    assert step.strength == pytest.approx(circle_contractivity(step), abs=1e-4)
    assert largest_growth(step, step.strength) <= 1 + 1e-12
    assert largest_growth(step, 1.25 * step.strength) > 1.03
