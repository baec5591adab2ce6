"""Law: advection against exact solutions: a rotating Gaussian, Zalesak's disc, Burgers' equation."""

import math
import runpy
from pathlib import Path

import pytest
import torch
from catalogue import SCHEMES

from pdeconv import (
    CFL,
    RK4,
    SSPRK3,
    Advection,
    ConservativeAdvection,
    Constant,
    CubicInterpolation,
    Diffusion,
    Evolve,
    Fixed,
    FixedVelocity,
    Grid,
    LinearInterpolation,
    SelfVelocity,
    SemiLagrangian,
)

ZALESAK = Path(__file__).parents[1] / "benchmarks" / "zalesak.py"


def gaussian(x, y, turn):
    """At (0.5, 0.7) of the unit square, after ``turn`` of a turn around its middle."""
    angle = 2 * math.pi * turn
    return torch.exp(-((x - 0.5 + 0.2 * math.sin(angle)) ** 2 + (y - 0.5 - 0.2 * math.cos(angle)) ** 2) / 0.0128)


def rotated(cells, step_of, steps, turn=0.25):
    """Mean error after a quarter turn, relative to the mean, and the drift of mass and of the centre."""
    line = (torch.arange(cells, dtype=torch.float64) + 0.5) / cells
    x, y = torch.meshgrid(line, line, indexing="ij")
    velocity = FixedVelocity(2 * math.pi * torch.stack([0.5 - y, x - 0.5])[:, None])
    step = step_of(velocity, Grid(1 / cells, "dirichlet"))
    after = Evolve(step, turn, Fixed(steps, unchecked=True))(gaussian(x, y, 0.0)[None, None])[0, 0]
    exact = gaussian(x, y, turn)
    centre = (after * x).sum() / after.sum(), (after * y).sum() / after.sum()
    away = math.hypot(float(centre[0]) - 0.5 + 0.2 * math.sin(2 * math.pi * turn), float(centre[1]) - 0.5)
    return float((after - exact).abs().mean() / exact.mean()), float(after.sum() / exact.sum() - 1), away


@pytest.mark.parametrize(
    ("name", "largest", "order"),
    [("upwind", 0.32, 0.7), ("minmod", 0.05, 1.7), ("van_leer", 0.025, 1.8), ("superbee", 0.04, 1.4),
     ("weno3", 0.016, 2.2), ("weno5", 4e-4, 4.2)],
)  # fmt: skip
def test_a_rotating_gaussian(name, largest, order):
    """In either form: it comes to the right place, the closer the finer the grid; with its mass in the flux form."""
    for form in (Advection, ConservativeAdvection):
        results = [rotated(n, lambda v, g, f=form: SSPRK3(f(v, g, SCHEMES[name])), int(3.2 * n)) for n in (32, 64)]
        errors, drifts, aways = zip(*results, strict=True)
        assert errors[1] < largest and math.log2(errors[0] / errors[1]) > order
        assert aways[1] < 0.01
        if form is ConservativeAdvection:
            assert abs(drifts[1]) < 4e-3  # but for what leaves through the edge


@pytest.mark.parametrize(
    ("interpolation", "largest", "order"), [(LinearInterpolation(), 0.08, 0.8), (CubicInterpolation(), 0.006, 1.8)]
)
def test_a_rotating_gaussian_in_few_long_steps(interpolation, largest, order):
    """At 6 times the upwind limit; dt with dx: order 1 by dx²/dt, and 2 by dt² with cubics."""
    results = [rotated(n, lambda v, g: SemiLagrangian(Advection(v, g), interpolation), n // 4) for n in (32, 64)]
    errors, _, aways = zip(*results, strict=True)
    assert errors[1] < largest and math.log2(errors[0] / errors[1]) > order
    assert aways[1] < 0.01


def test_zalesaks_disc():
    """The order in which the schemes keep an edge, and what each promises of range and mass."""
    zalesak = runpy.run_path(str(ZALESAK))
    disc, after = zalesak["slotted_disc"](24), zalesak["turn"](24, courant=0.8)
    error = {name: float((u - disc).abs().sum() / disc.sum()) for name, u in after.items()}
    for better, worse in (
        ("minmod", "upwind"), ("van Leer", "minmod"), ("superbee", "van Leer"),
        ("WENO3", "upwind"), ("WENO5", "WENO3"), ("upwind", "central"),
        ("semi-Lagrangian, linear", "upwind"), ("semi-Lagrangian, cubic", "semi-Lagrangian, linear"),
        ("semi-Lagrangian, cubic clamped", "semi-Lagrangian, linear"),
    ):  # fmt: skip
        assert error[better] < 0.95 * error[worse], (better, worse)
    for name in (
        "upwind",
        "minmod",
        "van Leer",
        "superbee",
        "semi-Lagrangian, linear",
        "semi-Lagrangian, cubic clamped",
    ):
        assert after[name].min() >= -1e-6 and after[name].max() <= 1 + 1e-5, name
    assert after["central"].min() < -0.1 and after["semi-Lagrangian, cubic"].min() < -0.01
    assert after["van Leer, flux form"].min() >= -1e-6


def cole_hopf(x, time, viscosity, wave=2 * math.pi, size=0.9):
    """u = −2ν φ_x/φ with φ = 1 + a·cos(kx)·exp(−νk²t), which solves the heat equation."""
    decay = size * math.exp(-viscosity * wave**2 * time)
    return 2 * viscosity * wave * decay * torch.sin(wave * x) / (1 + decay * torch.cos(wave * x))


def burgers_error(cells, scheme, viscosity=0.05, duration=0.3):
    x = (torch.arange(cells, dtype=torch.float64) + 0.5) / cells
    grid, u = Grid((1 / cells,), "periodic"), cole_hopf(x, 0.0, viscosity)[None, None]
    term = Advection(SelfVelocity(ceiling=1.5), grid, scheme) + Diffusion(Constant(viscosity), grid)
    assert u.abs().max() < 1.5
    if term.keeps:
        evolve = Evolve(SSPRK3(term), duration, CFL(0.9))
    else:
        evolve = Evolve(RK4(term), duration, Fixed(math.ceil(duration * 4 * viscosity * cells**2 / 2), unchecked=True))
    after = evolve(u)
    assert not term.keeps or after.abs().max() <= u.abs().max()
    return float((after[0, 0] - cole_hopf(x, duration, viscosity)).abs().mean())


@pytest.mark.parametrize(
    ("name", "order"),
    [("upwind", 1), ("minmod", 2), ("van_leer", 2), ("superbee", 2), ("central", 2), ("weno3", 2), ("weno5", 2)],
)
def test_burgers_equation(name, order):
    """u_t = −u u_x + ν u_xx by Cole and Hopf's exact solution: order 1 by upwind; else 2, that of the diffusion."""
    errors = [burgers_error(n, SCHEMES[name]) for n in (64, 128)]
    assert errors[1] < (5e-3 if order == 1 else 1e-3)
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.3)
