"""Law: advection schemes have their order in space; WENO and central differences are what their definitions say."""

import math

import pytest
import torch
from catalogue import SCHEMES
from states import excess, number
from test_spatial_order import COARSE

from pdeconv import (
    RK4,
    SSPRK3,
    TVD,
    WENO3,
    WENO5,
    Advection,
    Central,
    ConservativeAdvection,
    ConstantVelocity,
    Euler,
    Grid,
    Heun,
    Superbee,
)

FORMS = {"advective": Advection, "flux": ConservativeAdvection}
ORDERS = {"upwind": 1, "minmod": 2, "van_leer": 2, "superbee": 2, "central": 2, "weno3": 3, "weno5": 5}


def error(scheme, form, cells, dims, sign):
    """Mean error of the right-hand side for a smooth state that rises along every axis, away from the edge."""
    grid = Grid(tuple(length / cells for length in (1.0, 1.2, 0.8)[:dims]))
    lines = [(torch.arange(cells, dtype=torch.float64) + 0.5) * dx for dx in grid.spacings]
    x = torch.meshgrid(*lines, indexing="ij")
    speeds = [sign * v for v in (0.7, -0.4, 0.5)[:dims]]
    u = torch.exp(sum((a + 1.0) * xi for a, xi in enumerate(x)))
    exact = -sum((a + 1.0) * v for a, v in enumerate(speeds)) * u
    term = FORMS[form](ConstantVelocity(speeds), grid, SCHEMES[scheme])
    away = (term(u[None, None])(u[None, None])[0, 0] - exact)[(slice(cells // 4, -cells // 4),) * dims]
    return float(away.abs().mean())


def measured_orders(scheme, form):
    """In 1, 2 and 3 dimensions, with the wind from either side."""
    return [
        math.log2(error(scheme, form, cells, dims, sign) / error(scheme, form, 2 * cells, dims, sign))
        for dims, cells in COARSE.items()
        for sign in (1, -1)
    ]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("scheme", ORDERS)
def test_order_where_smooth_and_monotone(scheme, form):
    assert measured_orders(scheme, form) == pytest.approx([ORDERS[scheme]] * 6, abs=0.3)


def test_order_of_weno5_at_extrema():
    """A periodic wave, in the largest error: limiters fall to order 1 there, WENO5 does not."""
    x = [(torch.arange(n, dtype=torch.float64) + 0.5) / n * 2 * math.pi for n in (32, 64)]
    for form in FORMS.values():
        measured = {}
        for name, scheme in (("weno5", WENO5()), ("superbee", TVD(Superbee()))):
            errors = []
            for line in x:
                term = form(ConstantVelocity((1.0,)), Grid((2 * math.pi / len(line),), "periodic"), scheme)
                u = torch.exp(torch.sin(line))[None, None]
                errors.append(float((term(u)(u) + u * torch.cos(line)).abs().max()))
            measured[name] = math.log2(errors[0] / errors[1])
        assert measured["weno5"] > 4.5 and measured["superbee"] == pytest.approx(1.0, abs=0.25)


def stencil_polynomials(w, degree):
    """For each stencil of degree + 1 cells that holds the middle one: its value at ½ and its roughness, by integrals.

    The polynomial has the cells' means; its roughness is the sum of the integrals of its squared derivatives.
    """
    values, roughness = [], []
    for start in range(-degree, 1):
        powers = torch.arange(degree + 1.0).double()
        low = (torch.arange(degree + 1.0).double() + start - 0.5)[:, None]
        means = ((low + 1) ** (powers + 1) - low ** (powers + 1)) / (powers + 1)
        c = torch.linalg.solve(means, w[start + degree : start + 2 * degree + 1])
        values.append(float((c * 0.5**powers).sum()))
        roughness.append(float(c[1] ** 2 if degree == 1 else c[1] ** 2 + c[2] ** 2 / 3 + 4 * c[2] ** 2))
    return values, roughness


@pytest.mark.parametrize(("scheme", "degree", "ideal"), [(WENO3(), 1, (1 / 3, 2 / 3)), (WENO5(), 2, (0.1, 0.6, 0.3))])
def test_weno_by_its_definition(scheme, degree, ideal):
    for trial in range(5):
        w = torch.randn(2 * degree + 1, dtype=torch.float64) * 10.0 ** (trial - 2)
        for cells, side in ((w, 1), (w.flip(0), 0)):
            values, roughness = stencil_polynomials(cells, degree)
            bend = abs(roughness[0] - roughness[-1]) if degree == 2 else float((w[0] - 2 * w[1] + w[2]) ** 2)
            raw = [d * (1 + bend / (beta + 1e-6 * sum(roughness))) for d, beta in zip(ideal, roughness, strict=True)]
            expected = sum(share * value for share, value in zip(raw, values, strict=True)) / sum(raw)
            got = scheme.edges(w[None, None], 2)(w[None, None])[side]
            assert float(got) == pytest.approx(expected, rel=1e-9)


@torch.no_grad()
@pytest.mark.parametrize(("step_of", "limit"), [(SSPRK3, 3**0.5), (RK4, 8**0.5), (Euler, 0.0), (Heun, 0.0)])
def test_central_differences_are_stable_in_the_energy_alone(step_of, limit):
    """As documented: linearly, for constant velocity on a periodic grid, with SSPRK3 and RK4; else never."""
    grid = Grid((0.8, 1.25), "periodic")
    step, u = step_of(Advection(ConstantVelocity((0.4, -0.6)), grid, Central())), torch.randn(1, 1, 8, 12).double()
    speed = 0.4 / 0.8 + 0.6 / 1.25
    for courant, grows in ((0.99 * limit, False), (1.02 * limit + 0.2, True)):
        after = u
        for _ in range(400):
            after = step(after, number(courant / speed))
        assert bool(after.norm() > 1.01 * u.norm()) == grows


@torch.no_grad()
@pytest.mark.parametrize("scheme", ["weno3", "weno5"])
def test_weno_is_stable_in_practice(scheme):
    """As documented, and not proven: noise does not grow with SSPRK3 at dt·Σ|v|/dx = 1, in either form."""
    for form in FORMS.values():
        step = SSPRK3(form(ConstantVelocity((0.4, -0.6)), Grid((0.8, 1.25), "periodic"), SCHEMES[scheme]))
        u = torch.rand(4, 1, 12, 13, dtype=torch.float64)
        after = u
        for _ in range(200):
            after = step(after, number(1 / (0.4 / 0.8 + 0.6 / 1.25)))
        assert excess(after, -0.05, 1.05) == 0
