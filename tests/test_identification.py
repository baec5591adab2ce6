"""Law: the equation that made the snapshots is found, and a fit through the time steps finds its fields."""

import itertools
import json
import math

import numpy as np
import pytest
import torch

import pdeconv.__main__
from pdeconv import (
    RK4,
    Bistable,
    Candidate,
    CoefficientField,
    Constant,
    Diffusion,
    Evolve,
    Fixed,
    Grid,
    Heun,
    PDEConvError,
    PerChannel,
    Reaction,
    candidates_for,
    fit_snapshots,
    identify,
    pde_residual,
)
from pdeconv.identification.identify import noise_levels
from pdeconv.identification.weak_form import weak_form
from pdeconv.training.command_line import run_program

GRID = Grid(0.25, "periodic")


def waves(*cells: int, seed: int = 0) -> torch.Tensor:
    """(1, 1, *cells), a few long waves in all directions, within [−1, 1], of a square of side cells / 4."""
    generator = torch.Generator().manual_seed(seed)
    axes = torch.meshgrid(*[torch.arange(n).double() / n * 2 * math.pi for n in cells], indexing="ij")
    value = torch.zeros(cells, dtype=torch.float64)
    for numbers in itertools.product(range(-2, 3), repeat=len(cells)):
        phase, strength = torch.rand(2, generator=generator, dtype=torch.float64)
        value += strength * torch.cos(sum(n * axis for n, axis in zip(numbers, axes, strict=True)) + 6.28 * phase)
    return (value / value.abs().max())[None, None]


def evolved(term, start, times) -> torch.Tensor:
    evolve = Evolve(RK4(term).double(), float(times[-1]), Fixed(8 * (len(times) - 1), unchecked=True))
    with torch.no_grad():
        return torch.cat(evolve.trajectory(start).states)[::8]


def coefficients(found, field=0) -> dict[str, float]:
    names = [candidate.name for candidate in found.candidates]
    return {name: value for name, value in zip(names, found.coefficients[field].tolist(), strict=True) if value}


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_allen_cahn_is_found(noise):
    torch.manual_seed(0)
    times = torch.linspace(0, 3, 31, dtype=torch.float64)
    term = Diffusion(Constant(0.2), GRID) + Reaction(Bistable(Constant(0.7)))
    u = evolved(term, 0.8 * waves(32, 32), times)
    found = identify(u + noise * torch.randn_like(u), times, GRID)
    assert coefficients(found) == pytest.approx({"u": 0.7, "u³": -0.7, "Δu": 0.2}, rel=0.04)
    assert str(found).startswith("u_t = 0.") and "− 0." in str(found) and found.residuals.max() < 0.1


def test_transport_is_found_on_one_axis_and_on_three():
    for dims, cells in ((1, (64,)), (3, (16, 16, 16))):
        grid = Grid((0.25,) * dims, "periodic")
        times = torch.linspace(0, 1, 21, dtype=torch.float64)
        lengths = [0.25 * n for n in cells]
        velocity = (0.5, -0.3, 0.2)[:dims]
        places = torch.meshgrid(*[torch.arange(n).double() * 0.25 for n in cells], indexing="ij")
        frames = [
            sum(
                torch.sin(2 * math.pi * (x - v * t) / length + axis)
                for axis, (x, v, length) in enumerate(zip(places, velocity, lengths, strict=True))
            )
            * torch.cos(2 * math.pi * (places[0] - velocity[0] * t) / lengths[0])
            for t in times
        ]
        found = identify(torch.stack(frames)[:, None], times, grid)
        expected = {f"∂{'₁₂₃'[axis]}u": -v for axis, v in enumerate(velocity)}
        assert coefficients(found) == pytest.approx(expected, rel=1e-3)


def test_two_fields_have_an_equation_each():
    """u and v turn into each other: u_t = −v, v_t = u, from three places with different phases."""
    times = torch.linspace(0, 6, 61, dtype=torch.float64)
    start = 2 * math.pi * torch.arange(32).double() / 32
    u = torch.stack([torch.stack((torch.cos(start + t), torch.sin(start + t) + 0 * start)) for t in times])
    found = identify(u, times, Grid(1.0, "periodic", dims=1), candidates_for(2, 1, degree=1)[:3])
    assert coefficients(found, 0) == pytest.approx({"v": -1.0}, rel=1e-4)
    assert coefficients(found, 1) == pytest.approx({"u": 1.0}, rel=1e-4)
    assert str(found).splitlines()[1].startswith("v_t = 1.00")


def test_what_was_found_can_be_marched():
    """Its differences are of order 4, those of the equation that made the data of order 2."""
    times = torch.linspace(0, 3, 31, dtype=torch.float64)
    start = 0.8 * waves(32, 32)
    u = evolved(Diffusion(Constant(0.2), GRID) + Reaction(Bistable(Constant(0.7))), start, times)
    term = identify(u, times, GRID).term()
    again = evolved(term, start, times)
    assert (again[-1] - u[-1]).abs().max() < 0.05 * u[-1].abs().max()
    assert "Δu" in term.equation and term.coefficients.requires_grad


def test_the_mean_of_powers_of_noise_is_right():
    torch.manual_seed(0)
    value, sigma = 0.7, 0.5
    noisy = value + sigma * torch.randn(1, 1, 1000, 1000, dtype=torch.float64)
    for power in range(5):
        mean = Candidate("", (power,), ((0, 0),)).monomial(noisy, [sigma]).mean()
        assert float(mean) == pytest.approx(value**power, abs=0.005)


def test_the_noise_is_told_from_waves():
    torch.manual_seed(0)
    times = torch.linspace(0, 1, 21, dtype=torch.float64)
    u = evolved(Diffusion(Constant(0.2), GRID), waves(32, 32), times)
    assert noise_levels(u)[0] < 1e-4
    assert noise_levels(u + 0.05 * torch.randn_like(u))[0] == pytest.approx(0.05, rel=0.05)


@pytest.mark.parametrize("boundary", ["periodic", "neumann"])
@pytest.mark.parametrize("order", [0, 1, 2, 4])
def test_integrals_by_parts(order, boundary):
    """⟨ψ, ∂^α f⟩ of the derivative itself, and by the derivative of ψ."""
    n = 64
    x, times = torch.arange(n).double() * 2 * math.pi / n, torch.linspace(0, 1, 40, dtype=torch.float64)
    tests = weak_form(times, Grid(2 * math.pi / n, boundary, dims=1), (n,), None)
    wave = torch.cos(2 * x - times[:, None])
    derivative = 2**order * torch.cos(2 * x - times[:, None] + order * math.pi / 2)
    assert torch.allclose(tests.integrals(wave, (order,)), tests.integrals(derivative, (0,)), atol=2e-3 if order == 4 else 1e-6)
    in_time = torch.sin(2 * x - times[:, None])
    assert torch.allclose(tests.integrals(wave, (0,), 1), tests.integrals(in_time, (0,)), atol=1e-5)


@pytest.mark.parametrize("segments", [1, 3])
def test_a_field_is_fitted_through_the_time_steps(segments):
    torch.manual_seed(0)
    grid, times = Grid(boundary="periodic"), torch.linspace(0, 4, 9, dtype=torch.float64)
    true = CoefficientField((2, 2), ceiling=0.5).double()
    with torch.no_grad():
        true.weight.copy_(torch.tensor([[[-1.0, 0.5], [1.0, -0.5]]]))
    u = evolved(Diffusion(true, grid), torch.rand(1, 1, 12, 12, dtype=torch.float64), times)
    kappa = CoefficientField((2, 2), ceiling=0.5).double()
    fit = fit_snapshots(Heun(Diffusion(kappa, grid)), u, times, dt=0.1, segments=segments, iterations=80)
    assert torch.allclose(kappa.weight.sigmoid(), true.weight.sigmoid(), atol=0.02)
    assert fit.residual < 1e-3 and fit.jumps < 1e-3 and fit.states.shape == u.shape


def test_the_residual_of_a_solution_falls_with_the_square_of_the_spacing():
    """Of advection with diffusion, whose exact solution is known."""
    left = []
    for cells in (32, 64):
        dx = 2 * math.pi / cells
        x = torch.arange(cells).double() * dx
        grid = Grid(dx, "periodic", dims=1)
        u, u_t = torch.sin(x)[None, None], -0.3 * torch.sin(x)[None, None]
        left.append(float(pde_residual(u_t, u, Diffusion(Constant(0.3), grid)).abs().max()))
    assert left[0] / left[1] == pytest.approx(4, abs=0.1)


def test_the_residual_finds_a_coefficient_and_pulls_a_field():
    grid = Grid(0.25, "periodic")
    u = waves(24, 24)
    with torch.no_grad():
        u_t = Diffusion(Constant(0.3), grid)(u)(u)
    term = Diffusion(PerChannel(1, initial=0.7).double(), grid)
    optimizer = torch.optim.LBFGS(term.parameters(), line_search_fn="strong_wolfe")

    def inverse():
        optimizer.zero_grad()
        loss = pde_residual(u_t, u, term).square().mean()
        loss.backward()
        return loss

    optimizer.step(inverse)  # pyright: ignore
    assert term.diffusivity(u, grid).item() == pytest.approx(0.3, rel=1e-3)  # pyright: ignore
    field = (u + 0.1 * torch.randn_like(u)).requires_grad_()
    before = pde_residual(torch.zeros_like(u), field, Diffusion(Constant(0.3), grid)).square().mean()
    before.backward()
    assert field.grad is not None
    pulled = (field - 1e-2 * field.grad).detach()
    assert pde_residual(torch.zeros_like(u), pulled, Diffusion(Constant(0.3), grid)).square().mean() < before


U, T = torch.rand(9, 1, 12, 12), torch.linspace(0, 1, 9)


@pytest.mark.parametrize(
    ("slip", "match"),
    [
        (lambda: identify(U, T[:-1]), "T times"),
        (lambda: identify(U, T, Grid(dims=1)), "of 1 axes"),
        (lambda: identify(U * math.nan, T), "finite"),
        (lambda: identify(U, T.flip(0)), "rising"),
        (lambda: identify(U[:4], T[:4]), "5 snapshots"),
        (lambda: identify(U[..., :2], T), "radius"),
        (lambda: identify(U, T, radius=(0.8, 3.0)), "radius"),
        (lambda: identify(U, T, candidates=candidates_for(2)), "1 fields"),
        (lambda: identify(U, T, noise=[0.1, 0.2]), "noise of each"),
        (lambda: candidates_for(1, dims=4), "axes"),
        (lambda: fit_snapshots(Heun(Diffusion(Constant(0.1))), U, T, dt=0.1), "parameters"),
        (lambda: fit_snapshots(Heun(Diffusion(PerChannel(1))), U, T, dt=1.0), "limit"),
        (lambda: fit_snapshots(Heun(Diffusion(PerChannel(1))), U, T[:-1], dt=0.1), "rising times"),
        (lambda: pde_residual(U[:, :, :3], U, Diffusion(Constant(0.1))), "shape of u"),
        (lambda: CoefficientField((4, 4), initial=2.0), "initial"),
    ],
)
def test_slips_are_told(slip, match):
    with pytest.raises(PDEConvError, match=match):
        slip()


def test_a_field_of_another_resolution_serves_a_state():
    kappa = CoefficientField((4, 3), channels=2, ceiling=0.5, initial=0.1)
    assert kappa(torch.zeros(3, 2, 8, 9), Grid()).shape == (1, 2, 8, 9)
    assert kappa(torch.zeros(1, 2, 5, 5), Grid()).detach().mean() == pytest.approx(0.1)
    evolve = Evolve(Heun(Diffusion(kappa)), 1.0)
    evolve(torch.rand(1, 2, 8, 8)).square().sum().backward()
    assert kappa.weight.grad is not None and kappa.weight.grad.abs().sum() > 0


def test_the_command(tmp_path, capsys):
    times = np.linspace(0, 1, 30)
    wave = np.stack([np.sin(2 * np.pi * (np.arange(64) / 64 - t)) for t in times])
    np.savez(tmp_path / "wave.npz", u=wave, times=times)
    arguments = ["identify", str(tmp_path / "wave.npz"), "--spacing", str(1 / 64), "--boundary", "periodic"]
    assert pdeconv.__main__.main(arguments) == 0
    assert capsys.readouterr().out.startswith("u_t = − 0.99")
    assert pdeconv.__main__.main([*arguments, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["equations"]
    assert row["∂₁u"][0] == pytest.approx(-1, rel=1e-3)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda path: None, "no file"),
        (lambda path: path.write_text("nothing"), "is no .npz"),
        (lambda path: np.savez(path, x=np.zeros(3)), "arrays u and times, got x"),
        (lambda path: np.savez(path, u=np.zeros(3), times=np.zeros(3)), "axes S"),
    ],
)
def test_a_file_that_does_not_fit_is_one_line(tmp_path, capsys, make, told):
    make(tmp_path / "a.npz")
    with pytest.raises(SystemExit) as left:
        run_program("identify", lambda: pdeconv.__main__.main(["identify", str(tmp_path / "a.npz")]))
    errors = capsys.readouterr().err
    assert left.value.code == 2 and told in errors and len(errors.strip().splitlines()) == 1
