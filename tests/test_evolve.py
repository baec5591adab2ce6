"""Marching: controls choose the steps, refuse unstable ones, and trajectories tell what happened."""

import math
import re

import pytest
import torch
from cases import build_case, each_step
from catalogue import STEPS, build
from states import grid_of, number, state

from pdeconv import (
    CFL,
    Adaptive,
    Advection,
    BackwardEuler,
    Clamp,
    Constant,
    ConvVelocity,
    Diffusion,
    Euler,
    Evolve,
    Fixed,
    Grid,
    Heun,
    Lie,
    Logistic,
    Measured,
    PDEConvError,
    PeronaMalik,
    Reaction,
    Residual,
    StabilityError,
    Strang,
)
from pdeconv.steps import EmbeddedPair


def heat(kappa=1.0, **grid):
    return Diffusion(Constant(kappa), Grid(**grid))


def test_limits_are_those_of_the_textbook():
    """dt ≤ dx²/(2dκ) for diffusion, dx/Σ|vᵢ| for upwind, the harmonic sum for both, the least of a splitting."""
    assert Euler(heat(0.5, spacing=0.1, dims=3)).guaranteed_limit == pytest.approx(0.1**2 / (2 * 3 * 0.5))
    carry = Advection(ConvVelocity(1, ceiling=2.0), Grid(spacing=0.5))
    assert Heun(carry).guaranteed_limit == pytest.approx(0.5 / (2 * 2.0))
    both = heat(0.5, spacing=0.5) + carry
    assert Euler(both).guaranteed_limit == pytest.approx(1 / (4 * 0.5 / 0.25 + 2 * 2.0 / 0.5))
    assert Lie(Euler(heat(0.5, spacing=0.5)), Heun(carry)).guaranteed_limit == pytest.approx(0.125)
    assert Strang(Euler(heat(0.5, spacing=0.5)), Heun(carry)).guaranteed_limit == pytest.approx(0.125)
    assert BackwardEuler(heat()).guaranteed_limit == math.inf


def test_an_unstable_choice_is_refused_when_built():
    with pytest.raises(StabilityError) as raised:
        Evolve(Heun(heat()), 1.0, Fixed(2))
    message = str(raised.value)
    for part in ("dt=0.5", "limit 0.25", "Heun(Diffusion)", "Fixed(4)", "CFL()", "BackwardEuler"):
        assert part in message
    remedy = int(re.findall(r"Fixed\((\d+)\)", message)[0])
    assert Evolve(Heun(heat()), 1.0, Fixed(remedy)).steps == remedy
    with pytest.raises(StabilityError):
        Evolve(Heun(heat()), 1.0, Fixed(remedy - 1))
    Evolve(BackwardEuler(heat()), 100.0, Fixed(1))


def test_an_unproven_step_is_taken_only_by_name():
    step = Euler(Residual(torch.nn.Conv2d(2, 2, 3, padding=1)))
    for control in (Fixed(3), CFL(), Clamp(2)):
        with pytest.raises(StabilityError, match="unchecked=True"):
            Evolve(step, 1.0, control)
    assert "courant=unproven" in repr(Evolve(step, 1.0, Fixed(3, unchecked=True)))


def test_cfl_takes_as_few_steps_as_allowed():
    for duration in (0.1, 0.25, 0.5, 0.51, 3.0):
        evolve = Evolve(Euler(heat()), duration, CFL(1.0))
        assert evolve.steps == max(1, math.ceil(duration / 0.25 - 1e-6))
        assert evolve.step.courant(duration / evolve.steps) <= 1 + 1e-6
    assert Evolve(Euler(heat()), 1.0, CFL(0.5)).steps == 8


@pytest.mark.parametrize("name", ["Euler", "Heun", "SSPRK3", "BackwardEuler", "Exact", "Strang"])
def test_the_courant_number_can_be_asked_for(name):
    step = STEPS[name](build("channel_diffusion", grid_of("neumann", 2)))
    assert step.courant(0.1) == pytest.approx(2 * step.courant(0.05))
    assert "courant ≤" in repr(Evolve(step, 0.1, Fixed(3)))


def test_a_trajectory_is_the_forward_pass_spelled_out():
    u = state(2)
    for control in (Fixed(4), CFL(0.9), Clamp(3)):
        evolve = Evolve(Euler(build("perona_malik")), 0.5, control)
        trajectory = evolve.trajectory(u)
        assert torch.equal(trajectory.states[0], u) and torch.equal(trajectory.states[-1], evolve(u))
        assert len(trajectory.states) == len(trajectory.times) == evolve.steps + 1
        assert trajectory.times.dtype == torch.float64


def test_clamp_gives_each_sample_its_own_time():
    """A flat sample diffuses at the full rate, one with an edge hardly; each dt is the sample's own limit."""
    term = Diffusion(PeronaMalik(1, contrast=0.1, ceiling=1.0)).double()
    flat, rough = torch.full((1, 1, 6, 6), 0.5).double(), 5 * torch.rand(1, 1, 6, 6).double()
    evolve = Evolve(Euler(term), 3.0, Clamp(3))
    times = evolve.trajectory(torch.cat([flat, rough])).times
    assert times.shape == (4, 2)
    assert float(times[-1, 0]) == pytest.approx(3 * Euler(term).limit(flat).item())
    assert float(times[-1, 1]) > float(times[-1, 0])


def test_measured_reaches_the_duration_in_fewer_steps():
    term = Diffusion(PeronaMalik(1, contrast=0.02)).double()
    u = torch.rand(2, 1, 8, 8, dtype=torch.float64)
    measured, ceiling = Evolve(Euler(term), 2.0, Measured(0.9)), Evolve(Euler(term), 2.0, CFL(0.9))
    trajectory = measured.trajectory(u)
    assert torch.allclose(trajectory.times[-1], torch.full((2,), 2.0, dtype=torch.float64))
    assert len(trajectory.times) - 1 < ceiling.steps
    assert torch.allclose(measured(u), ceiling(u), atol=0.02)


def test_measured_says_so_at_the_cap_and_at_hopeless_states():
    u = torch.rand(1, 1, 6, 6, dtype=torch.float64)
    with pytest.raises(StabilityError, match="max_steps"):
        Evolve(Euler(heat()), 5.0, Measured(0.9, max_steps=3))(u)
    for bad in (torch.nan, torch.inf):
        broken = u.clone()
        broken[..., 0] = bad
        with pytest.raises(StabilityError, match="finite"):
            Evolve(Euler(Diffusion(PeronaMalik(1))), 5.0, Measured(0.9))(broken)
    with pytest.raises(StabilityError, match="allows no step"):
        Evolve(Euler(Residual(torch.nn.Identity())), 1.0, Measured(0.9))(u)


def test_repr_tells_the_scheme():
    text = repr(Evolve(Heun(heat(0.5, boundary="periodic")), 1.0, CFL(0.9)))
    for part in ("Heun(Diffusion)", "steps=3", "dt=0.3333", "courant ≤ 0.667", "boundary=periodic", "duration=1"):
        assert part in text


def test_states_that_do_not_fit_are_refused():
    evolve = Evolve(Euler(heat()), 0.5, Fixed(2))
    for bad, message in (
        (torch.rand(4, 4), "shape"),
        (torch.rand(1, 1, 4), "dims"),
        (torch.zeros(1, 1, 4, 4, dtype=torch.int64), "floating"),
        (torch.rand(1, 0, 4, 4), "at least one channel"),
        (torch.rand(1, 1, 0, 4), "at least one"),
        ([[1.0]], "tensor"),
    ):
        with pytest.raises(PDEConvError, match=message):
            evolve(bad)


@pytest.mark.parametrize(
    ("build_it", "message"),
    [
        (lambda: Evolve(heat(), 1.0), "Euler"),
        (lambda: Evolve(Euler(heat()), 0.0), "positive"),
        (lambda: Evolve(Euler(heat()), math.nan), "finite"),
        (lambda: Evolve(Euler(heat()), 1.0, "cfl"), "Control"),
        (lambda: Evolve(Euler(heat()), 1.0, Fixed), "Fixed itself"),
        (lambda: Evolve(Euler(heat()), 1.0, memory="disk"), "store"),
        (lambda: Fixed(0), "at least 1"),
        (lambda: Fixed(2.5), "whole number"),
        (lambda: CFL(0.0), "safety"),
        (lambda: CFL(1.5), "safety"),
        (lambda: Clamp(-1), "at least 1"),
        (lambda: Measured(2.0), "safety"),
        (lambda: Euler(torch.nn.Identity()), "Residual"),
        (lambda: Diffusion(1.0), "Constant"),
        (lambda: Diffusion(Constant(-1.0)), "non-negative"),
        (lambda: Diffusion(Constant), "Constant itself"),
        (lambda: Advection(Constant(1.0), grid=4), "Grid"),
        (lambda: Reaction(Constant(1.0)), "Law"),
        (lambda: Reaction(Logistic(0)), "channels"),
        (lambda: Residual(), "at least one"),
        (lambda: Lie(Euler(heat())), "at least two"),
        (lambda: Strang(heat(), heat()), "Strang"),
        (lambda: Grid(spacing=0.0), "positive"),
        (lambda: Grid(spacing=(1.0, -1.0)), "positive"),
        (lambda: Grid(spacing="wide"), "number"),
        (lambda: Grid(boundary="wall"), "neumann, periodic, dirichlet, reflect"),
        (lambda: Grid(dims=4), "1, 2 or 3"),
        (lambda: Grid(spacing=(1.0, 1.0, 1.0), dims=1), "one per axis"),
        (lambda: heat() + 1.0, "Residual"),
    ],
)
def test_slips_are_refused_early(build_it, message):
    with pytest.raises(PDEConvError, match=message):
        build_it()


def test_a_diffusivity_of_another_channel_count():
    with pytest.raises(PDEConvError, match="3 channels"):
        Euler(Diffusion(PeronaMalik(3)))(torch.rand(1, 2, 4, 4), number(0.1))
    with pytest.raises(PDEConvError, match="dims"):
        Euler(Advection(ConvVelocity(1, dims=1), Grid()))(torch.rand(1, 1, 4, 4), number(0.1))


@torch.no_grad()
@pytest.mark.parametrize(("term_name", "step_name"), each_step())
def test_every_control_over_every_step(term_name, step_name):
    """What is proven goes with every control; what is not, by name or where it estimates its error, or is told so."""
    step, channels = build_case(term_name, step_name, "neumann", 2, 0.3)
    u = state(2, channels=channels)
    taken = {Fixed(30, unchecked=True)}
    if step.keeps:
        taken |= {CFL(), Clamp(30), Measured(max_steps=500)}
    if isinstance(step, EmbeddedPair):
        taken |= {Adaptive()}
    for control in (Fixed(30, unchecked=True), CFL(), Clamp(30), Measured(max_steps=500), Adaptive()):
        if control in taken:
            assert Evolve(step, 0.2, control)(u).isfinite().all(), control
        elif step_name != "ARS222" or not isinstance(control, Measured):  # whose modes have a limit, whose sets none
            with pytest.raises(PDEConvError, match=r"use |needs "):
                Evolve(step, 0.2, control)(u)
    assert step.courant(0.2) == pytest.approx(2 * step.courant(0.1))
