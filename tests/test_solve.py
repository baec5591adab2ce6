"""Law: solve inverts v − dt·A v, flow is the matrix exponential, and both differentiate."""

import pytest
import torch
from catalogue import COUSINS, TERMS, build
from pairing import can
from states import BOUNDARIES, DIMS, grid_of, matrix, number, state
from torch._subclasses import FakeTensorMode

from pdeconv import BackwardEuler, Constant, CrankNicolson, Diffusion, Grid, PeronaMalik, UnsupportedError, operator

SOLVABLE = [name for name in TERMS if can(build(name), "solve")]
FLOWING = [name for name in TERMS if can(build(name), "flow")]


@pytest.mark.parametrize("way", ["solve", "flow"])
def test_a_users_closures_get_a_dt_that_multiplies_a_state(way):
    """As many samples as cells along an axis, where a dt that is not shaped would go along that axis in silence."""
    s = torch.tensor([0.5, 2.0], dtype=torch.float64).reshape(2, 1, 1)
    ways = {"solve": lambda b, dt: b / (1 + dt * s), "flow": lambda v, dt: (-dt * s).exp() * v}
    u, dt = torch.rand(4, 2, 4, 4, dtype=torch.float64), torch.linspace(0.1, 1, 4, dtype=torch.float64)
    damping = operator(lambda v: -s * v, rate=2.0, keeps="energy", **ways)
    each = torch.cat([getattr(damping, way)(u[i : i + 1], dt[i]) for i in range(4)])
    assert torch.equal(getattr(damping, way)(u, dt), each)


def test_what_can_be_solved():
    reactions = ["decay", "logistic", "bistable", "gray_scott", "fitz_hugh_nagumo", "friction", "pointwise_network"]
    uniform = ["constant_diffusion", "channel_diffusion", "fourth_order_diffusion", "q1_diffusion"]
    uniform += ["spectral_diffusion", "biharmonic_diffusion", "fractional_diffusion"]
    varying = ["perona_malik", "tv_diffusion", "tensor_diffusion", *COUSINS]
    assert set(SOLVABLE) == {*uniform, *varying, *reactions, "fidelity"}
    assert set(FLOWING) == {*uniform, *reactions, "fidelity"}
    with pytest.raises(UnsupportedError, match="solve"):
        BackwardEuler(build("advection"))(state(), number(0.1))


@pytest.mark.parametrize("dims", DIMS)
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("name", [name for name in SOLVABLE if name not in COUSINS])
def test_solve_inverts(name, boundary, dims):
    term = build(name, grid_of(boundary, dims))
    for cells in (1, 2, 4, 5):
        u, b = state(dims, cells=cells), torch.randn_like(state(dims, cells=cells))
        operator = term(u)
        for dt in (1e-9, 0.3, 7.0, 1e3):
            v = operator.solve(b, number(dt))
            residual = v - dt * operator(v) - b
            assert residual.norm() <= 1e-12 * b.norm() + 1e-13 * dt * v.norm(), (cells, dt)
        steps = torch.tensor([1e-3, 50.0], dtype=torch.float64)
        each = torch.cat([term(u[i : i + 1]).solve(b[i : i + 1], steps[i]) for i in range(2)])
        assert torch.allclose(operator.solve(b, steps), each, atol=1e-12)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("name", FLOWING)
def test_flow_is_the_matrix_exponential(name, boundary):
    for dims, cells in ((1, 1), (1, 6), (2, 3), (3, 2)):
        term = build(name, grid_of(boundary, dims))
        u = state(dims, batch=1, cells=cells)
        operator, v = term(u), torch.randn_like(u)
        source = operator(torch.zeros_like(u))
        linear = matrix(lambda v, operator=operator, source=source: operator(v) - source, u)
        # u_t = Mu + b is (u, 1)_t = [[M, b], [0, 0]] (u, 1).
        whole = torch.cat((linear, source.reshape(-1, 1)), 1).detach()
        whole = torch.cat((whole, torch.zeros_like(whole[:1])))
        for dt in (1e-6, 0.4, 2.0):
            exact = torch.linalg.matrix_exp(dt * whole) @ torch.cat((v.flatten(), number(1.0)[None]))
            assert torch.allclose(operator.flow(v, number(dt)).flatten(), exact[:-1], atol=1e-11)


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1.0, 1e12, 1e30])
def test_conjugate_gradients_know_no_scale(scale):
    """In float32, squares of such states underflow or overflow."""
    u = torch.rand(2, 1, 8, 8)
    operator = Diffusion(PeronaMalik(1))(u)
    v = operator.solve(scale * u, torch.tensor(5.0))
    assert torch.allclose(v / scale, operator.solve(u, torch.tensor(5.0)), rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_solve_in_half_precision(dtype):
    u = torch.rand(2, 1, 16, 16)
    half = Diffusion(PeronaMalik(1))(u.to(dtype)).solve(u.to(dtype), torch.tensor(10.0))
    assert half.dtype == dtype
    full = Diffusion(PeronaMalik(1))(u).solve(u, torch.tensor(10.0))
    assert (half.float() - full).abs().max() < 0.02


def test_long_steps_on_larger_images_converge():
    u = torch.rand(1, 1, 48, 48, dtype=torch.float64)
    operator = Diffusion(PeronaMalik(1))(u)
    v = operator.solve(u, number(1e3))
    assert (v - 1e3 * operator(v) - u).norm() < 1e-10 * u.norm()


def test_solves_on_the_meta_device():
    """Shapes without memory, where no residual can be asked for."""
    u = torch.rand(2, 1, 6, 7, device="meta")
    for scheme in (BackwardEuler, CrankNicolson):
        assert scheme(Diffusion(PeronaMalik(1, device="meta")))(u, torch.zeros((), device="meta")).shape == u.shape


def test_a_hopeless_sample_leaves_the_others_alone():
    u = torch.rand(3, 1, 6, 6, dtype=torch.float64)
    alone = Diffusion(PeronaMalik(1))(u).solve(u, number(3.0))
    for bad in (torch.nan, torch.inf):
        broken = u.clone()
        broken[1, 0, 2, 2] = bad
        v = Diffusion(PeronaMalik(1))(broken).solve(broken, number(3.0))
        assert torch.equal(v[::2], alone[::2])
        assert not v[1].isfinite().all()


@pytest.mark.parametrize("scheme", [BackwardEuler, CrankNicolson])
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_gradients_through_conjugate_gradients(boundary, scheme):
    """By the state (which is also in the coefficient), the weights, and dt; to second order."""
    term = Diffusion(PeronaMalik(1, contrast=0.5), Grid((0.8, 1.2), boundary)).double()
    names, weights = zip(*term.named_parameters(), strict=True)

    def step(u, dt, *values):
        frozen = scheme(_With(term, dict(zip(names, values, strict=True))))
        return frozen(u, dt)

    u = torch.rand(2, 1, 2, 3, dtype=torch.float64, requires_grad=True)
    dt = torch.tensor([0.7, 3.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(step, (u, dt, *weights))
    assert torch.autograd.gradgradcheck(step, (u, dt, *weights), atol=1e-4)


class _With(Diffusion):
    """A term with other weights."""

    def __init__(self, term, weights):
        super().__init__(term.diffusivity, term.grid)
        self.given, self.plain = weights, [term]

    def forward(self, u):
        term = self.plain[0]
        kappa = torch.func.functional_call(
            term.diffusivity, {k.removeprefix("diffusivity."): v for k, v in self.given.items()}, (u, term.grid)
        )
        return type(term(u))(kappa, term.grid)


def test_a_solve_on_fake_tensors_leaves_later_ones_real():
    """A size that was met under a fake mode first, as by an exporter, must not stay in the cache as a fake."""
    step, dt = BackwardEuler(Diffusion(Constant(1.0))), torch.tensor(0.1)
    with FakeTensorMode(allow_non_fake_inputs=True):
        step(torch.empty(1, 1, 37, 41), dt)
    assert type(step(torch.rand(1, 1, 37, 41), dt)) is torch.Tensor
