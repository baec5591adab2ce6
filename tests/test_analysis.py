"""Measured stretching, energies, dynamics and learning, against what is known exactly."""

import math

import pytest
import torch
from catalogue import build
from states import state
from torch import nn

from pdeconv import (
    RK4,
    Adaptive,
    Bistable,
    Constant,
    Diffusion,
    DormandPrince,
    Euler,
    Evolve,
    Fixed,
    PDEConvError,
    Reaction,
    Term,
    lipschitz_bound,
    operator,
)
from pdeconv.analysis import (
    GradientFlow,
    Linearised,
    descends,
    dirichlet_energy,
    dominant_eigenvalues,
    entropy,
    find_equilibrium,
    jacobian_norm,
    lanczos,
    log_norm,
    lyapunov_exponents,
    sharpness,
    spectral_radius,
    squared_norm,
    total_variation,
)


def test_products_are_those_with_the_jacobian():
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Conv2d(3, 1, 3)).double()
    u = state(cells=6, batch=1)
    linear, jacobian = Linearised(net, u), torch.autograd.functional.jacobian(net, u)
    v, w = torch.randn_like(u), torch.randn_like(linear.value)
    assert torch.allclose(linear(v), torch.tensordot(jacobian, v, u.dim()))
    assert torch.allclose(linear.transposed(w), torch.tensordot(w, jacobian, u.dim()))


def test_a_layer_without_a_second_derivative_is_linearised_too():
    u, v = torch.randn(5).double(), torch.randn(5).double()
    slope = (torch.nn.functional.hardsigmoid(u + 1e-6 * v) - torch.nn.functional.hardsigmoid(u - 1e-6 * v)) / 2e-6
    assert torch.allclose(Linearised(nn.Hardsigmoid(), u)(v), slope, atol=1e-6)


@pytest.mark.parametrize("function", [lambda u: u, lambda u: 2 * u, torch.relu, torch.zeros_like])
def test_products_with_maps_that_are_linear_or_constant(function):
    u = torch.tensor([-1.0, 2.0])
    linear = Linearised(function, u)
    slope = function(u + 1e-3) - function(u)
    assert torch.allclose(linear(torch.ones(2)), slope / 1e-3, atol=1e-3)
    assert torch.allclose(linear.transposed(torch.ones(2)), slope / 1e-3, atol=1e-3)


def test_extreme_eigenvalues():
    torch.manual_seed(0)
    matrix = torch.randn(60, 60, dtype=torch.float64)
    symmetric, start = matrix + matrix.T, torch.randn(60, dtype=torch.float64)
    exact = torch.linalg.eigvalsh(symmetric)
    assert torch.allclose(lanczos(lambda v: symmetric @ v, start, 45)[[0, -1]], exact[[0, -1]], rtol=1e-6)
    assert torch.allclose(lanczos(lambda v: symmetric @ v, start, 500), exact)
    found = dominant_eigenvalues(lambda v: matrix @ v, start, 4, iterations=5000, tolerance=1e-10)
    assert float(found[0].abs()) == pytest.approx(float(torch.linalg.eigvals(matrix).abs().max()), rel=1e-4)


def test_a_space_that_is_used_up_ends_the_iteration():
    assert lanczos(lambda v: 3 * v, torch.ones(5), 5).tolist() == pytest.approx([3.0])
    assert dominant_eigenvalues(torch.zeros_like, torch.ones(3)).abs().max() == 0
    with pytest.raises(PDEConvError, match="not zero"):
        lanczos(lambda v: v, torch.zeros(3), 2)


@pytest.mark.parametrize("name", ["channel_diffusion", "perona_malik", "relu_convolution", "advection", "residual"])
def test_measures_agree_with_the_whole_matrix(name):
    torch.manual_seed(1)
    term, u = build(name), state(batch=1, cells=4)
    step, dt = Euler(term), torch.tensor(0.1, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda v: step(v, dt), u).reshape(u.numel(), u.numel())
    right = torch.autograd.functional.jacobian(lambda v: term(v)(v), u).reshape(u.numel(), u.numel())
    assert jacobian_norm(lambda v: step(v, dt), u, 40) == pytest.approx(float(torch.linalg.matrix_norm(jacobian, 2)))
    radius = float(torch.linalg.eigvals(jacobian).abs().max())
    assert spectral_radius(lambda v: step(v, dt), u, 2000, 1e-7) == pytest.approx(radius, rel=1e-3)
    assert log_norm(lambda v: term(v)(v), u, 40) == pytest.approx(float(torch.linalg.eigvalsh(right + right.T)[-1] / 2))


def test_the_measured_norm_is_below_the_bound():
    net = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 2, 3, padding=1)).double()
    bound = lipschitz_bound(net)
    assert bound is not None
    assert 0 < jacobian_norm(net, state(batch=1)) <= bound


def test_functionals_fall_or_rise_as_they_should():
    u = state(cells=8)
    blur = Evolve(Euler(Diffusion(Constant(1.0))).double(), 1.0).trajectory(u)
    for functional in (squared_norm, dirichlet_energy, total_variation, lambda v: -entropy(v)):
        assert descends(blur, functional)
    grown = Evolve(Euler(Reaction(Bistable(2))).double(), 1.0, Fixed(4)).trajectory(0.1 * u)
    found = descends(grown, squared_norm)
    assert not found and found.rises == (1, 2, 3, 4) and found.largest_rise > 0.01
    assert found.values.shape == (5, 2)


def test_a_small_rise_is_seen_in_single_precision():
    from pdeconv import Trajectory

    states = tuple(torch.full((1, 1, 16, 16), value) for value in (1.0, 0.5, 0.5002))
    found = descends(Trajectory(torch.arange(3.0), states), squared_norm)
    assert found.rises == (2,) and found.largest_rise == pytest.approx(8e-4, rel=0.01)
    assert descends(Trajectory(torch.arange(3.0), states), squared_norm, tolerance=1e-2)


def test_entropy_of_a_flat_image_is_the_logarithm_of_its_size():
    assert torch.allclose(entropy(torch.ones(1, 1, 4, 4)), torch.tensor([math.log(16)]))
    assert entropy(torch.zeros(1, 1, 2, 2)).tolist() == [0.0]


class Lorenz(Term):
    """x' = σ(y − x), y' = x(ρ − z) − y, z' = xy − βz; with σ = 10, ρ = 28, β = 8/3."""

    def forward(self, u):
        def right(v):
            x, y, z = v.split(1, 1)
            return torch.cat((10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z), 1)

        return operator(right, rate=u.new_full((), torch.inf))


def test_the_exponents_of_the_lorenz_system():
    """λ₁ = 0.9056, λ₃ = −14.5723 (J. C. Sprott, Chaos and time-series analysis, Oxford 2003)."""
    torch.manual_seed(0)
    step, dt = RK4(Lorenz()), torch.tensor(0.02, dtype=torch.float64)
    start = torch.tensor([0.0, 0.0, 25.0]).double()[:, None] + 8 * torch.randn(1024, 3, 1, dtype=torch.float64)
    for _ in range(3000):  # those that begin near one of the unstable equilibria take long to leave it
        start = step(start, dt).detach()
    found = lyapunov_exponents(lambda u: step(u, dt), start, 0.02, steps=250, count=3, settle=250).mean(0)
    assert float(found[0]) == pytest.approx(0.9056, rel=0.02)
    assert float(found.sum()) == pytest.approx(-41 / 3, rel=1e-3)  # the divergence of the field
    assert abs(float(found[1])) < 0.05


def test_the_exponents_of_a_linear_system_are_its_eigenvalues():
    torch.manual_seed(0)
    matrix = torch.tensor([[-0.3, 0.2, 0.0], [0.0, -1.0, 0.5], [0.0, 0.0, 0.4]], dtype=torch.float64)
    flow = torch.linalg.matrix_exp(0.1 * matrix)
    found = lyapunov_exponents(lambda u: u @ flow.T, torch.rand(2, 3).double(), 0.1, 300, count=3, settle=300)
    assert torch.allclose(found, torch.tensor([0.4, -0.3, -1.0]).double().expand(2, 3), rtol=0.01)


def test_equilibria_of_the_lorenz_system():
    origin = find_equilibrium(Lorenz(), torch.full((1, 3, 1), 0.1))
    assert origin.state.abs().max() < 1e-6 and not origin.stable
    assert origin.growth == pytest.approx((-11 + math.sqrt(11**2 + 40 * 27)) / 2)
    one = find_equilibrium(Lorenz(), torch.tensor([8.0, 8.0, 26.0])[None, :, None])
    assert one.state.flatten().tolist() == pytest.approx([math.sqrt(72), math.sqrt(72), 27], rel=1e-5)


def test_from_afar_the_flow_is_followed():
    torch.manual_seed(0)
    found = find_equilibrium(Diffusion(Constant(0.1)) + Reaction(Bistable(1)), torch.rand(1, 1, 4, 5))
    assert found.stable and torch.allclose(found.state, torch.ones(1, 1, 4, 5))
    dt = torch.tensor(found.largest_step())
    assert float(dt) == pytest.approx(2 / float(found.eigenvalues.abs().max()), rel=1e-4)


def test_a_large_state_has_its_outermost_eigenvalues():
    found = find_equilibrium(Diffusion(Constant(1.0)), torch.rand(1, 1, 24, 24))
    assert found.stable and abs(found.growth) < 1e-8
    assert found.largest_step() == pytest.approx(0.25, rel=0.02)


def test_an_equation_without_equilibrium_says_so():
    grow = Reaction(Bistable(1))

    class Source(Term):
        def forward(self, u):
            return operator(lambda v: torch.ones_like(v) + 0 * grow(v)(v), rate=u.new_full((), torch.inf))

    with pytest.raises(PDEConvError, match="closer"):
        find_equilibrium(Source(), torch.zeros(1, 1, 2, 2), iterations=5)


def test_the_sharpness_is_the_largest_eigenvalue_of_the_hessian():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
    x, y = torch.randn(20, 4), torch.randint(0, 3, (20,))
    names = [name for name, _ in net.named_parameters()]
    shapes = [weight.shape for weight in net.parameters()]

    def loss(flat):
        parts = flat.split([shape.numel() for shape in shapes])
        weights = {n: part.reshape(shape) for n, part, shape in zip(names, parts, shapes, strict=True)}
        return nn.functional.cross_entropy(torch.func.functional_call(net, weights, (x,)), y)

    flat = torch.cat([weight.detach().flatten() for weight in net.parameters()])
    exact = float(torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, flat))[-1])
    assert sharpness(nn.functional.cross_entropy(net(x), y), net.parameters()) == pytest.approx(exact, rel=0.01)


def test_what_has_no_sharpness_is_refused():
    w = torch.ones(2, requires_grad=True)
    assert sharpness(w.sum(), [w]) == 0
    for loss in (w * 2, (w.sum() * math.nan), torch.ones(())):
        with pytest.raises(PDEConvError, match="sharpness"):
            sharpness(loss, [w])


def test_gradient_flow_of_least_squares_is_exact():
    """L = ½‖Aw − b‖²: w(t) = w* + e^{−AᵀA t}(w(0) − w*)."""
    torch.manual_seed(0)
    a, b, w0 = torch.randn(6, 3).double(), torch.randn(6).double(), torch.randn(3).double()
    flow = GradientFlow(lambda w: (a @ w - b).square().sum() / 2)
    found = Evolve(DormandPrince(flow), 0.7, Adaptive(rtol=1e-9, atol=1e-11))(w0.reshape(1, 3, 1)).flatten()
    best = torch.linalg.lstsq(a, b).solution
    exact = best + torch.linalg.matrix_exp(-0.7 * a.T @ a) @ (w0 - best)
    assert torch.allclose(found, exact, atol=1e-7)


def test_gradient_descent_is_its_forward_euler():
    w = torch.tensor([1.0, -2.0], requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=0.1)
    (w**4).sum().backward()
    stepped = Euler(GradientFlow(lambda v: (v**4).sum()))(w.detach().reshape(1, 2, 1), torch.tensor(0.1))
    optimizer.step()
    assert torch.allclose(stepped.flatten(), w.detach())
    with pytest.raises(PDEConvError, match=r"\(B, P, 1\)"):
        Evolve(Euler(GradientFlow(lambda v: v.sum())), 1.0, Fixed(1, unchecked=True))(torch.ones(1, 2, 2))
