"""Law: stabilised steps are their polynomials, reach s² far for symmetric terms, and do not suffer from rounding."""

import itertools
import math

import numpy as np
import pytest
import torch
from catalogue import TERMS, build
from states import BOUNDARIES, excess, grid_of, initial_states, matrix, number, state

from pdeconv import (
    FED,
    RKL1,
    RKL2,
    Constant,
    Diffusion,
    Euler,
    Evolve,
    Fixed,
    Grid,
    PeronaMalik,
    StabilityError,
    Term,
    operator,
)
from pdeconv.linear import inner_product_weights

STABILISED = {"FED": FED, "RKL1": RKL1, "RKL2": RKL2}


def polynomial(name, stages, x):
    """P at x = 1 + z / (half the length of the real interval), independently of the steps."""
    legendre = np.polynomial.legendre.Legendre.basis(stages)(x)
    if name == "RKL1":
        return legendre
    if name == "RKL2":
        b = (stages**2 + stages - 2) / (2 * stages * (stages + 1))
        return 1 - b + b * legendre
    cosines = sum(np.polynomial.chebyshev.Chebyshev.basis(k)(x) for k in range(1, stages + 1))
    return (1 + 2 * cosines) / (2 * stages + 1)


@pytest.mark.parametrize("stages", [2, 3, 6, 11])
@pytest.mark.parametrize("name", STABILISED)
def test_is_its_polynomial(name, stages):
    """On numbers z = dt·λ all over the interval, and near 0 to its order."""
    x = torch.linspace(-1, 1, 41, dtype=torch.float64)
    rates = 1 - x  # of a decay u_t = −λu with λ ∈ [0, 2·rate], rate = 1

    class Decays(Term):
        ceiling, keeps, symmetric = 1.0, frozenset({"energy"}), True

        def forward(self, u):
            return operator(lambda v: -rates * v, rate=1.0, keeps="energy")

    step = STABILISED[name](Decays(), stages)
    after = step(torch.ones(1, 1, 41, dtype=torch.float64), number(step.guaranteed_limit))
    assert torch.allclose(after.flatten(), torch.from_numpy(polynomial(name, stages, x.numpy())), atol=1e-12)
    assert after.abs().max() <= 1 + 1e-12
    errors = [
        abs(float(step(torch.ones(1, 1, 41).double(), number(h))[..., 0]) - math.exp(-2 * h)) for h in (0.02, 0.01)
    ]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(step.order + 1, abs=0.15)


@pytest.mark.parametrize("name", STABILISED)
def test_limits_grow_with_the_square(name):
    """Against the same number of Euler steps: (s + 1)/3, (s + 1)/2 and (s² + s − 2)/4s times as far."""
    term = Diffusion(Constant(1.0))
    limits = [STABILISED[name](term, s).guaranteed_limit / Euler(term).guaranteed_limit for s in (10, 20)]
    assert limits == pytest.approx({"FED": (110 / 3, 140), "RKL1": (55, 210), "RKL2": (27, 104.5)}[name])


@pytest.mark.parametrize("name", STABILISED)
def test_many_stages_do_not_round_off(name):
    """64 stages in float32, at the limit. The inner steps of FED, sorted by length, would lose everything."""
    term, u = Diffusion(Constant(1.0), Grid(boundary="periodic")), torch.rand(1, 1, 64, 64)
    step = STABILISED[name](term, 64)
    dt = torch.tensor(step.guaranteed_limit)
    assert (step(u, dt).double() - step(u.double(), dt.double())).abs().max() < 1e-4
    if name == "FED":
        step.shares = tuple(sorted(step.shares))
        assert not (step(u, dt).double() - step(u.double(), dt.double())).abs().max() < 1.0


def test_fed_takes_a_mean_over_2s_plus_1_cells():
    for stages in (1, 3, 6):
        u = torch.rand(1, 1, 19, dtype=torch.float64)
        step = FED(Diffusion(Constant(0.7), Grid(1.3, "periodic", dims=1)), stages)
        mean = sum(u.roll(shift, -1) for shift in range(-stages, stages + 1)) / (2 * stages + 1)
        assert torch.allclose(step(u, number(step.guaranteed_limit)), mean, atol=1e-12)
        assert sum(step.shares) == pytest.approx(1.0)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("name", ["RKL1", "RKL2"])
def test_legendre_keeps_the_range_on_one_axis(name, boundary):
    """At and below the limit, whatever the number of stages: the matrix of a step has no negative entry.

    But for dirichlet walls, whose images are negative.
    """
    lowest = 0.0
    for stages, share in itertools.product((2, 3, 4, 7), (0.1, 0.37, 0.73, 1.0)):
        step = STABILISED[name](Diffusion(Constant(0.7), Grid(1.3, boundary, dims=1)), stages)
        dt = share * step.strength / step.term.ceiling
        entries = matrix(lambda v, step=step, dt=dt: step(v, number(dt)), torch.zeros(1, 1, 9, dtype=torch.float64))
        assert entries.sum(1).max() < (1.1 if boundary == "dirichlet" else 1 + 1e-12)
        lowest = min(lowest, float(entries.min()))
    assert lowest < -0.02 if boundary == "dirichlet" else lowest > -1e-13


@pytest.mark.parametrize("name", STABILISED)
def test_the_range_is_not_promised_because_it_is_not_kept(name):
    step = STABILISED[name](Diffusion(Constant(0.7)), 4)
    assert step.keeps == {"energy"}
    lengths = [number(share * step.guaranteed_limit) for share in (0.5, 1.0)]
    assert max(excess(step(u, dt), 0.0, 1.0) for u in initial_states(2).values() for dt in lengths) > 1e-2


@pytest.mark.parametrize("name", TERMS)
def test_symmetric_terms_are(name):
    """What a term claims of its frozen operator holds; at reflecting ones diffusion claims nothing."""
    for boundary in BOUNDARIES:
        term = build(name, grid_of(boundary, 1))
        u = state(1, batch=1, cells=6) - 0.4
        a = matrix(term(u), u)
        if term.symmetric:
            assert torch.allclose(a, a.T, atol=1e-12)
        elif "diffusion" in name or name == "perona_malik":
            assert boundary == "reflect" and inner_product_weights(u, term.grid) is not None
        else:
            assert name not in ("decay", "logistic", "bistable", "friction") and "convolution" not in name


def test_a_sum_is_symmetric_if_every_part_is():
    mixed = build("perona_malik") + build("decay")
    assert mixed.symmetric and not (mixed + build("advection")).symmetric


class Swirl(Term):
    """u_t = −u + 2(v, −u) on two channels: ‖I + A/rate‖ ≤ 1 for the rate 5/2, and not symmetric."""

    ceiling, keeps = 2.5, frozenset({"energy"})

    def forward(self, u):
        return operator(lambda v: -v + 2 * torch.cat((v[:, 1:], -v[:, :1]), 1), rate=2.5, keeps="energy")


@pytest.mark.parametrize("name", STABILISED)
def test_nothing_is_kept_of_a_term_that_is_not_symmetric(name):
    """Far along the real axis the polynomials are thin: here the energy grows."""
    step, u = STABILISED[name](Swirl(), 5), torch.rand(1, 2, 3, dtype=torch.float64)
    assert Euler(Swirl())(u, number(0.4)).norm() <= u.norm()
    assert not step.keeps and step.guaranteed_limit == 0
    assert step(u, number(step.strength / 2.5)).norm() > 1.5 * u.norm()
    with pytest.raises(StabilityError, match="keeps nothing"):
        Evolve(step, 1.0, Fixed(4))


def test_a_cycle_freezes_the_coefficients():
    """So the energy is kept however the diffusivity depends on the state; each cycle sees them anew."""
    calls = []
    term = Diffusion(PeronaMalik(1, contrast=0.05)).double()
    term.diffusivity.register_forward_hook(lambda *_: calls.append(1))
    for step in (FED(term, 6), RKL1(term, 6), RKL2(term, 6)):
        calls.clear()
        u = torch.rand(2, 1, 9, 9, dtype=torch.float64)
        after = Evolve(step, 3 * step.guaranteed_limit, Fixed(3))(u)
        assert len(calls) == 3
        assert (after.flatten(1).norm(dim=1) <= u.flatten(1).norm(dim=1)).all()


def test_arguments():
    term = Diffusion(Constant(1.0))
    for bad in (0, 1.5, -1):
        with pytest.raises(ValueError, match="stages"):
            FED(term, bad)
    with pytest.raises(ValueError, match="at least 2"):
        RKL2(term, 1)
    assert "stages=5" in repr(RKL1(term, 5))
