"""Law: a stiff term sets no limit, and what both terms keep is kept; φ-functions are exact near 0 and far."""

import math

import pytest
import torch
from catalogue import PARTITIONED, build
from states import BOUNDARIES, DIMS, Field, excess, grid_of, initial_states, matrix, number, state

from pdeconv import (
    ARS222,
    CFL,
    ETD1,
    ETDRK2,
    Advection,
    Bistable,
    Constant,
    ConstantVelocity,
    Decay,
    Diffusion,
    Evolve,
    Exact,
    Fixed,
    Grid,
    IMEXEuler,
    Logistic,
    Reaction,
    Residual,
    UnsupportedError,
)
from pdeconv.linear import phi


def stiff(grid):
    return Diffusion(Constant(40.0), grid)


@torch.no_grad()
@pytest.mark.parametrize("term_name", ["conv_advection", "logistic", "bistable", "decay", "constant_diffusion"])
@pytest.mark.parametrize("step_name", ["IMEXEuler", "ETD1", "ETDRK2"])
def test_kept_with_stiff_diffusion(step_name, term_name):
    """At the limit of the explicit term, a hundred times that of the diffusion; for ETD at steps long and short."""
    for boundary in BOUNDARIES:
        for dims in DIMS:
            grid = grid_of(boundary, dims)
            step = PARTITIONED[step_name](stiff(grid), build(term_name, grid, 3.0))
            assert step.keeps and step.guaranteed_limit >= 10 / step.stiff.ceiling
            finite = math.isfinite(step.guaranteed_limit)
            assert finite == (step_name == "IMEXEuler")
            for dt in (step.guaranteed_limit,) if finite else (0.05, 1.0, 100.0):
                for u in initial_states(dims).values():
                    for _ in range(2):
                        u = step(u, number(dt))
                        assert excess(u, 0.0, 1.0) < 1e-9, (boundary, dims, dt)


@torch.no_grad()
def test_imex_euler_is_broken_beyond_the_limit():
    for boundary in ("neumann", "periodic"):
        grid = Grid(boundary=boundary, dims=1)
        velocity = ConstantVelocity((1.0,))
        step = IMEXEuler(Diffusion(Constant(0.01), grid), Advection(velocity, grid))
        worst = max(excess(step(u, number(1.2 * step.guaranteed_limit)), 0.0, 1.0) for u in initial_states(1).values())
        assert worst > 1e-2


@torch.no_grad()
def test_etd_without_its_shift_leaves_the_interval():
    """u⁺ = e^{dt·A}u + dt·φ₁B(u)u itself, diffusion with a logistic reaction: this is why there is a shift."""
    term, grid, dt = Reaction(Logistic(Constant(1.0))), Grid(dims=1), 1.0
    operator = Diffusion(Constant(2.0), grid)
    dent = torch.ones(1, 1, 9, dtype=torch.float64)
    dent[..., 4] = 0.75
    flowed = Exact(operator)(dent, number(dt))
    plain = flowed + dt * operator(dent).spectral(term(dent)(dent), lambda e: phi(1, dt * e))
    assert excess(plain, 0.0, 1.0) > 0.01
    for step in (ETD1(operator, term), ETDRK2(operator, term)):
        assert step.shift == 1.0
        assert excess(step(dent, number(dt)), 0.0, 1.0) < 1e-12


def test_nothing_is_proven_of_what_amplifies_or_is_unproven():
    grid = Grid(dims=1)
    growing, diffusion = Reaction(Logistic(2)), stiff(grid)
    assert not IMEXEuler(growing, diffusion).keeps and not ETD1(growing, diffusion).keeps
    assert not ARS222(diffusion, growing).keeps and ARS222(diffusion, growing).guaranteed_limit == 0
    unknown = Residual(torch.nn.Conv1d(2, 2, 3, padding=1, dtype=torch.float64))
    for step in (ETD1(diffusion, unknown), ETDRK2(diffusion, unknown)):
        assert step.shift == 0 and not step.keeps
        assert Evolve(step, 1.0, Fixed(4, unchecked=True))(state(1)).isfinite().all()
        with pytest.raises(ValueError, match="unchecked"):
            Evolve(step, 1.0, CFL())


def test_ars222_of_parts_that_commute():
    """|R| ≤ 1 at the explicit limit for periodic advection–diffusion, however stiff; not at 1.1 times it."""
    grid, u = Grid(boundary="periodic", dims=1), torch.zeros(1, 1, 16, dtype=torch.float64)
    for share, kappas in ((1.0, (0.0, 0.1, 1.0, 1e3)), (1.1, (0.0,))):
        radii = []
        for kappa in kappas:
            step = ARS222(Diffusion(Constant(kappa), grid), Advection(ConstantVelocity((1.0,)), grid))
            dt = share * step.limit(u)
            radii.append(torch.linalg.matrix_norm(matrix(lambda v, s=step, t=dt: s(v, t), u), 2))
        assert (max(radii) <= 1 + 1e-12) == (share == 1.0)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_etd_is_exact_without_another_term(boundary):
    """With B = 0, and with B a constant shift of A's eigenvalues that the series sums exactly only through φ."""
    for dims in DIMS:
        grid, u = grid_of(boundary, dims), state(dims)
        diffusion, nothing = Diffusion(Constant(0.7), grid), Reaction(Decay(Constant(0.0)))
        for step in (ETD1(diffusion, nothing), ETDRK2(diffusion, nothing)):
            assert torch.allclose(step(u, number(2.0)), Exact(diffusion)(u, number(2.0)), atol=1e-12)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_spectral_is_a_function_of_the_matrix(boundary):
    """f(A)v through an independent path: φ₁(dt·A)v from the exponential of an augmented matrix."""
    for dims, cells in ((1, 5), (2, 3)):
        u = state(dims, batch=1, cells=cells)
        operator, v = Diffusion(Constant(0.7), grid_of(boundary, dims))(u), torch.randn_like(u)
        a, n = matrix(operator, u), u.numel()
        augmented = torch.zeros(n + 2, n + 2, dtype=torch.float64)
        augmented[:n, :n], augmented[:n, n], augmented[n, n + 1] = 1.3 * a, v.flatten(), 1.0
        exponential = torch.linalg.matrix_exp(augmented)
        for k, column in ((1, n), (2, n + 1)):
            found = operator.spectral(v, lambda eigenvalue, k=k: phi(k, 1.3 * eigenvalue))
            assert torch.allclose(found.flatten(), exponential[:n, column], atol=1e-12)
    with pytest.raises(UnsupportedError, match="spectral"):
        ETD1(Diffusion(Field(), Grid()), Reaction(Decay(2)))(state(2), number(0.1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_phi_near_zero_and_far(dtype):
    """Against 40 terms in rational arithmetic; values and slopes to rounding, from z = −50 to 0."""
    from fractions import Fraction

    z = torch.tensor([0.0, -1e-12, -1e-5, -1e-3, -0.1, -0.7, -0.999, -1.0, -1.5, -3.0, -6.0], dtype=dtype)
    for k in (1, 2):
        points = z.clone().requires_grad_()
        values = phi(k, points)
        slopes = torch.autograd.grad(values.sum(), points)[0]
        for point, value, slope in zip(z.tolist(), values.tolist(), slopes.tolist(), strict=True):
            exact = sum(Fraction(point) ** n / math.factorial(n + k) for n in range(60))
            change = sum(n * Fraction(point) ** (n - 1) / math.factorial(n + k) for n in range(1, 60))
            assert value == pytest.approx(float(exact), rel=20 * torch.finfo(dtype).eps)
            assert slope == pytest.approx(float(change), rel=100 * torch.finfo(dtype).eps)
        far = phi(k, torch.tensor([-50.0, -1e6, -1e12], dtype=dtype))
        assert torch.allclose(far * torch.tensor([50.0, 1e6, 1e12], dtype=dtype), torch.ones(3, dtype=dtype), rtol=0.03)


def test_fewer_steps_than_an_explicit_scheme():
    """Fisher's equation with strong diffusion: the controls know that only the reaction limits."""
    grid = Grid(dims=1)
    reaction = Reaction(Bistable(Constant(1.0)))
    assert Evolve(IMEXEuler(stiff(grid), reaction), 2.0, CFL(1.0)).steps == 4
    assert Evolve(ETDRK2(stiff(grid), reaction), 2.0, CFL(1.0)).steps == 1


def test_a_state_at_rest_limits_nothing():
    """And the limit has a finite slope there."""
    velocity = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    advection = Advection(ConstantVelocity((1.0,)), Grid(dims=1))
    advection.velocity.forward = lambda u, grid: velocity.reshape(1, 1, 1, 1)
    limit = IMEXEuler(stiff(Grid(dims=1)), advection).limit(state(1))
    assert limit == math.inf
    limit.clamp(max=1.0).backward()
    assert velocity.grad.isfinite().all()


def test_arguments_and_names():
    step = IMEXEuler(stiff(Grid(dims=1)), Reaction(Decay(2)))
    assert step.name == "IMEXEuler(Diffusion, Reaction)" and step.courant(0.5) == 0.5
    with pytest.raises(ValueError, match="Residual"):
        IMEXEuler(torch.nn.Identity(), Reaction(Decay(2)))
    with pytest.raises(ValueError, match="one grid"):
        ETD1(stiff(Grid(dims=1)), stiff(Grid(0.5, dims=1)))
