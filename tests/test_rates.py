"""Law: rates add, and no measured rate exceeds the declared ceiling, whatever the weights and the state."""

import math

import pytest
import torch
from catalogue import TERMS, build
from hypothesis import given
from hypothesis import strategies as st
from states import BOUNDARIES, DIMS, grid_of, state

from pdeconv import Constant, Diffusion, Euler, Evolve, Fixed, Grid, Term, operator
from pdeconv.operator import common

elsewhere = ("residual", "hamiltonian", "convex_energy", "network_energy")  # on a grid of their own
names = st.sampled_from([name for name in TERMS if "convolution" not in name and name not in elsewhere])
scales = st.sampled_from([0.1, 1.0, 10.0])


@given(names, names, st.sampled_from(BOUNDARIES), st.sampled_from(DIMS), scales)
def test_rates_add(first, second, boundary, dims, scale):
    grid = grid_of(boundary, dims)
    a, b, u = build(first, grid, scale), build(second, grid, scale), state(dims)
    total = (a + b)(u)
    assert torch.allclose(total.rate.expand(2), (a(u).rate + b(u).rate).expand(2))
    assert torch.allclose(total(u), a(u)(u) + b(u)(u))
    assert (a + b).ceiling == pytest.approx(a.ceiling + b.ceiling)
    assert (a + b).keeps == common(a.keeps, b.keeps) == total.keeps
    assert (a + b).growth == pytest.approx(total.growth)


@given(st.sampled_from(list(TERMS)), st.sampled_from(BOUNDARIES), st.sampled_from(DIMS), scales, scales)
def test_rate_is_at_most_the_ceiling(name, boundary, dims, scale, size):
    term = build(name, grid_of(boundary, dims), scale)
    u = size * torch.randn_like(state(dims))
    operator = term(u)
    assert operator.rate.shape in ((), (2,))
    assert (operator.rate >= 0).all()
    assert (operator.rate <= term.ceiling * (1 + 1e-12)).all()
    assert operator.keeps == term.keeps


def test_sums_flatten_and_stay_on_one_grid():
    a, b, c = (build(name) for name in ("constant_diffusion", "advection", "logistic"))
    assert ((a + b) + c).parts == (a + (b + c)).parts == (a, b, c)
    with pytest.raises(ValueError, match="one grid"):
        a + Diffusion(Constant(1.0), Grid(spacing=2.0))
    with pytest.raises(ValueError, match="Residual"):
        a + torch.nn.Identity()


class Damping(Term):
    """A user's own term, as in DESIGN.md: u_t = −s u."""

    def __init__(self, declared: bool) -> None:
        super().__init__()
        if declared:
            self.ceiling, self.keeps = 2.0, frozenset({"energy"})

    def forward(self, u):
        return operator(lambda v: -2.0 * v, rate=2.0, solve=lambda b, dt: b / (1 + 2 * dt), keeps="energy")


def test_a_term_of_ones_own():
    u = torch.ones(1, 1, 3)
    assert torch.allclose(Evolve(Euler(Damping(True)), 1.0, Fixed(4))(u), u * 0.5**4)
    with pytest.raises(ValueError, match="unchecked"):
        Evolve(Euler(Damping(False)), 1.0, Fixed(4))
    assert Damping(False).ceiling == math.inf
    mixed = Damping(True) + Diffusion(Constant(0.5), Grid(dims=1))
    assert (mixed.ceiling, mixed.keeps) == (3.0, frozenset({"energy"}))
    assert torch.allclose(Evolve(Euler(mixed), 1.0)(u), u * (1 - 2 / 4) ** 4)
