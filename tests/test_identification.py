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
    TimeVarying,
    candidates_for,
    fit_snapshots,
    identify,
    pde_residual,
)
from pdeconv.identification import FoundEquation
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
    assert str(found).startswith("u_t = 0.") and "− 0." in str(found) and found.unexplained.max() < 0.1


def test_transport_is_found_on_one_axis_and_on_three():
    for dims, cells in ((1, (64,)), (3, (18, 16, 16))):
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
    """u and v turn into each other: u_t = −v, v_t = u."""
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
    assert torch.allclose(
        tests.integrals(wave, (order,)), tests.integrals(derivative, (0,)), atol=2e-3 if order == 4 else 1e-6
    )
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
    assert fit.residual < 1e-3 and fit.states.shape == u.shape and (fit.jumps == 0) == (segments == 1)
    assert fit.jumps < 1e-3 and fit.evaluations > 5 and kappa.weight.grad is None


@pytest.mark.parametrize("scale", [1e-4, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_fit_does_not_depend_on_units(scale, dtype):
    torch.manual_seed(0)
    times, true = torch.tensor([0.0, 0.5, 0.7, 1.5, 2.0]), Diffusion(PerChannel(1, initial=0.2).double())
    u = torch.rand(1, 1, 12, 12, dtype=torch.float64)
    with torch.no_grad():
        snapshots = torch.cat([Evolve(Heun(true), float(t), Fixed(20))(u) if t else u for t in times])
    term = Diffusion(PerChannel(1, initial=0.6).to(dtype))
    fit_snapshots(Heun(term), (scale * snapshots).to(dtype), times, dt=0.1)
    assert term.diffusivity(u, Grid()).item() == pytest.approx(0.2, rel=5e-3)  # pyright: ignore


def test_a_penalty_and_noise():
    """The residual tells the noise, for its degrees of freedom; a strong penalty on roughness makes the field flat."""
    torch.manual_seed(0)
    times, grid = torch.linspace(0, 2, 9, dtype=torch.float64), Grid(boundary="periodic")
    u = evolved(Diffusion(Constant(0.2), grid), torch.rand(1, 1, 16, 16, dtype=torch.float64), times)
    noisy = u + 0.02 * torch.randn_like(u)
    kappa = CoefficientField((3, 3), ceiling=0.6).double()
    fit = fit_snapshots(Heun(Diffusion(kappa, grid)), noisy, times, dt=0.25, penalty=lambda: 10 * kappa.weight.var())
    assert fit.residual == pytest.approx(0.02, rel=0.1) and kappa.weight.std() < 1e-2
    assert kappa(u[:1], grid).mean().item() == pytest.approx(0.2, rel=0.1)


def test_a_fit_that_fails_leaves_the_parameters_as_they_were():
    term = identify(*(snapshots_of_growth := (growth(), torch.linspace(0, 1, 21))), Grid(dims=1), LINEAR).term()
    before = term.coefficients.detach().clone()
    with pytest.raises(PDEConvError, match="finite"):
        fit_snapshots(RK4(FoundEquation([STEEP], torch.tensor([[1e30]]), Grid(dims=1))), *snapshots_of_growth, dt=0.05)
    fit = fit_snapshots(RK4(term).float(), *snapshots_of_growth, dt=0.05)
    assert fit.residual < 1e-3 and torch.equal(term.chosen, before != 0)


def growth() -> torch.Tensor:
    """(21, 1, 32) of u_t = u."""
    times = torch.linspace(0, 1, 21)
    return times.exp()[:, None, None] * (2 + torch.sin(torch.arange(32) / 3))


LINEAR, STEEP = candidates_for(1, 1, degree=1)[:2], Candidate("u³", (3,), ((0,),))


def test_refining_keeps_what_was_not_chosen_at_0():
    """Of two fields: a candidate of u alone has no coefficient in the equation of v."""
    coefficients = torch.tensor([[0.5, 0.0], [0.0, 0.25]])
    term = FoundEquation(candidates_for(2, 1, degree=1)[1:3], coefficients, Grid(dims=1))
    term(torch.rand(1, 2, 8))(torch.rand(1, 2, 8)).square().sum().backward()
    assert term.coefficients.grad is not None
    assert torch.equal(term.coefficients.grad != 0, coefficients != 0)
    other = FoundEquation(term.candidates, torch.ones(2, 2), Grid(dims=1))
    other.load_state_dict(term.state_dict())
    assert other.equation == term.equation == "0.5 u, v_t = 0.25 v"


@pytest.mark.parametrize("candidate", [*candidates_for(1, 2), Candidate("∂₁³u", (1,), ((3, 0),))], ids=lambda c: c.name)
def test_differences_of_what_was_found_converge_to_the_derivatives(candidate):
    """By autograd of u = sin(x + 2y) + 2, at two spacings; of order 4, of the third and fourth derivatives 2."""
    order = 2 if max(map(max, candidate.orders)) > 2 or (2, 2) in candidate.orders else 4
    errors = []
    for cells in (16, 32):
        dx = 2 * math.pi / cells
        x, y = (line * dx for line in torch.meshgrid(*[torch.arange(cells).double()] * 2, indexing="ij"))
        term = FoundEquation([candidate], torch.ones(1, 1, dtype=torch.float64), Grid(dx, "periodic"))
        found = term.right_hand_side((torch.sin(x + 2 * y) + 2)[None, None])[0, 0]
        a = x + 2 * y
        powers = {0: [torch.ones_like(a)] * 5}
        powers[1] = [torch.sin(a) + 2, torch.cos(a), -torch.sin(a), -torch.cos(a), torch.sin(a)]
        # u² = sin² + 4 sin + 4 = ½ − ½ cos 2a + 4 sin a + 4
        powers[2] = [
            (torch.sin(a) + 2) ** 2,
            torch.sin(2 * a) + 4 * torch.cos(a),
            2 * torch.cos(2 * a) - 4 * torch.sin(a),
            -4 * torch.sin(2 * a) - 4 * torch.cos(a),
            -8 * torch.cos(2 * a) + 4 * torch.sin(a),
        ]
        powers[3] = [(torch.sin(a) + 2) ** 3]
        values = powers[candidate.powers[0]]
        exact = candidate.factor * sum(values[sum(order)] * 2 ** order[1] for order in candidate.orders)
        errors.append(float((found.detach() - exact).abs().max()))
    assert errors[1] < 1e-12 or math.log2(errors[0] / errors[1]) > order - 0.5


def test_a_single_wave_cannot_tell_u_from_its_laplacian():
    times, x = torch.linspace(0, 2, 41), torch.arange(64) * 2 * math.pi / 64
    fading = torch.exp(-0.3 * times)[:, None] * torch.sin(x)
    found = identify(fading[:, None], times, Grid(2 * math.pi / 64, "periodic", dims=1))
    names = {*found.as_dicts()[0], *(name for names in found.alternatives[0] for name in names)}
    assert {"u", "Δu", "Δ²u"} <= names and "cannot tell it from" in str(found)


EVEN = torch.linspace(0, 1, 21)
NEXT = torch.tensor([0.0, 1.0]).repeat(11)[:21]
TIMES = [
    EVEN,
    EVEN.double(),
    EVEN.nextafter(NEXT),
    EVEN + 1000,
    EVEN.double() + 1.7e9,
    EVEN + 2e-4 * NEXT,
    torch.arange(21),
]


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize(
    "u", [torch.zeros(21, 1, 32), torch.ones(21, 1, 32), torch.linspace(1, 1e6, 32).expand(21, 1, 32)]
)
def test_what_does_not_change_has_no_terms(u, times):  # however the times are rounded
    found = identify(u, times, Grid(dims=1))
    assert str(found) == "u_t = 0" and found.term().equation == "0"


@pytest.mark.parametrize("seed", range(3))
def test_noise_has_no_equation(seed):
    noise = torch.randn(41, 1, 64, generator=torch.Generator().manual_seed(seed))
    assert len(identify(noise, torch.linspace(0, 1, 41), Grid(1 / 64, "periodic", dims=1)).as_dicts()[0]) <= 1


def test_standard_errors_are_those_that_repetition_shows():
    x, times = torch.arange(96).double() * 0.1, torch.linspace(0, 3, 61, dtype=torch.float64)
    k = 2 * math.pi / 9.6
    wave = torch.stack([torch.sin(k * (x - 2 * t)) + torch.cos(2 * k * (x - 2 * t) + 1) for t in times])[:, None]
    values, errors = [], []
    for seed in range(12):
        noise = torch.randn(wave.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        found = identify(wave + 0.05 * noise, times, Grid(0.1, "periodic", dims=1))
        ((value, error),) = found.as_dicts()[0].values()
        values.append(value)
        errors.append(error)
    assert 0.3 < torch.tensor(values).std() / torch.tensor(errors).mean() < 1.5  # rather too large than too small


def test_too_many_choices_are_left_out_one_by_one(monkeypatch):
    monkeypatch.setattr("pdeconv.identification.selection.MOST_CHOICES", 5)
    times = torch.linspace(0, 3, 31, dtype=torch.float64)
    term = Diffusion(Constant(0.2), GRID) + Reaction(Bistable(Constant(0.7)))
    found = identify(evolved(term, 0.8 * waves(32, 32), times), times, GRID)
    assert set(coefficients(found)) == {"u", "u³", "Δu"}


def test_walls_and_unequal_spacings():
    """Only test functions within the walls are used, whatever happens there."""
    grid, times = Grid((0.25, 0.2)), torch.linspace(0, 1, 21, dtype=torch.float64)
    u = evolved(Diffusion(Constant(0.2), grid), waves(40, 40), times)
    assert coefficients(identify(u, times, grid, radius=(0.2, 1.5), noise=0.0)) == pytest.approx({"Δu": 0.2}, rel=0.03)


def test_the_residual_of_a_solution_falls_with_the_square_of_the_spacing():
    """Of heat, whose solution is known."""
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
        (lambda: identify(U[:4], T[:4]), "7 snapshots"),
        (lambda: identify(U, T**2), "evenly spaced"),
        (lambda: identify(U, T, radius=(0.2, 3.0)), "3 intervals"),
        (lambda: identify(U[:, :, 0], T), "test functions for 9 candidates"),
        (lambda: identify(U[:, 0, :, None].repeat(1, 1, 8, 1), T), "too many"),
        (lambda: identify(U.long(), T), "floating"),
        (lambda: identify(U, T, noise=-1.0), "noise"),
        (lambda: identify(U, T, candidates=[Candidate("∂₁⁸u", (1,), ((8, 0),))]), "order below 8"),
        (lambda: Candidate("u", (1,), ((0, 0), (1,))), "multi-indices"),
        (lambda: Candidate("u", (-1,), ((0, 0),)), "at least 0"),
        (lambda: FoundEquation([Candidate("", (1,), ((5, 0),))], torch.ones(1, 1), Grid()), "order 4"),
        (lambda: FoundEquation(candidates_for(1), torch.ones(1, 11), Grid())(torch.rand(1, 2, 8, 8)), "1 channels"),
        (lambda: fit_snapshots(Heun(TimeVarying(Diffusion(PerChannel(1)), points=2)), U, T, dt=0.1), "TimeVarying"),
        (lambda: fit_snapshots(Heun(Diffusion(PerChannel(1))), U * math.nan, T, dt=0.1), "finite"),
        (lambda: fit_snapshots(Heun(Diffusion(PerChannel(1))), U[..., 0], T, dt=0.1), "axes"),
        (lambda: fit_snapshots(Heun(Diffusion(PerChannel(1))), U, T, dt=0.1, segments=9), "at most 8"),
        (lambda: identify(U[..., :2], T), "radius"),
        (lambda: identify(U, T, radius=(0.8, 3.0)), "fits into"),
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
    out = capsys.readouterr().out
    assert out.startswith("1 field of 64 cells at 30 times\nu_t = − ") and "∂₁u" in out
    assert pdeconv.__main__.main([*arguments, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["equations"]
    assert row["∂₁u"][0] == pytest.approx(-1, rel=1e-3)


def test_a_file_of_two_fields(tmp_path, capsys):
    times, x = np.linspace(0, 6, 61), 2 * np.pi * np.arange(48) / 48
    u = np.stack([np.stack((np.cos(x + t), np.sin(x + t))) for t in times])
    np.savez(tmp_path / "two.npz", u=u, times=times)
    arguments = ["identify", str(tmp_path / "two.npz"), "--fields", "2", "--boundary", "periodic", "--degree", "1"]
    assert pdeconv.__main__.main(arguments) == 0
    assert "v_t = " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda path: None, "no file"),
        (lambda path: path.write_text("nothing"), "is no .npz"),
        (lambda path: np.savez(path, x=np.zeros(3)), "arrays u and times, got x"),
        (lambda path: path.write_bytes(b""), "is no .npz"),
        (lambda path: path.write_bytes(b"\x93NUMPY"), "is no .npz"),
        (lambda path: np.savez(path, u=np.zeros(3), times=np.zeros(3)), "expected u of shape"),
        (lambda path: np.savez(path, u=np.zeros((9, 4, 4, 4, 4)), times=np.zeros(9)), "expected u of shape"),
        (lambda path: np.savez(path, u=np.zeros((9, 8)) * 1j, times=np.zeros(9)), "real numbers"),
        (lambda path: np.savez(path, u=np.array(["a"]), times=np.zeros(1)), "real numbers"),
    ],
)
def test_a_file_that_does_not_fit_is_one_line(tmp_path, capsys, make, told):
    make(tmp_path / "a.npz")
    with pytest.raises(SystemExit) as left:
        run_program("identify", lambda: pdeconv.__main__.main(["identify", str(tmp_path / "a.npz")]))
    errors = capsys.readouterr().err
    assert left.value.code == 2 and told in errors and len(errors.strip().splitlines()) == 1
