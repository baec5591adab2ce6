"""Law: diffusivities follow their formulas within their ceilings, and their flows the exact solutions."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from states import BOUNDARIES, DIMS, grid_of, state

from pdeconv import (
    AOS,
    SSPRK3,
    BackwardEuler,
    Charbonnier,
    Clamp,
    Constant,
    Diffusion,
    Euler,
    Evolve,
    Exponential,
    Fixed,
    Grid,
    Heun,
    Measured,
    MonotoneDiffusivity,
    PDEConvError,
    PerChannel,
    PeronaMalik,
    PLaplace,
    TotalVariation,
    Weickert,
)
from pdeconv.diffusivity import EdgeStopping
from pdeconv.stencil import gradient, lower_faces, squared_gradient, squared_gradients_at_faces, upper_faces

PROFILES = {
    PeronaMalik: lambda s: 1 / (1 + s**2),
    Exponential: lambda s: math.exp(-(s**2)),
    Charbonnier: lambda s: 1 / math.sqrt(1 + s**2),
    Weickert: lambda s: 1 - math.exp(-3.31488 / s**8) if s > 0 else 1.0,
}
# At which gradient, in units of the contrast, the flux s·g(s) is largest.
STEEPEST = {PeronaMalik: 1.0, Exponential: math.sqrt(0.5), Charbonnier: math.inf, Weickert: 1.0}
COEFFICIENTS = {
    **{kind.__name__: (lambda kind=kind: kind(2, contrast=0.3, ceiling=1.5)) for kind in PROFILES},
    "MonotoneDiffusivity": lambda: MonotoneDiffusivity(2, (0.1, 0.5), ceiling=1.5, power=2),
    "TotalVariation": lambda: TotalVariation(PerChannel(2, ceiling=1.5), epsilon=0.1),
    "PLaplace 1.5": lambda: PLaplace(1.5, PerChannel(2, ceiling=1.5), epsilon=0.1),
    "PLaplace 3": lambda: PLaplace(3.0, PerChannel(2, ceiling=1.5), epsilon=0.1, bound=2.0),
    "PLaplace 8": lambda: PLaplace(8.0, epsilon=1e-6),
}


@pytest.mark.parametrize("kind", PROFILES)
def test_profiles(kind):
    """On a ramp of slope s·λ the diffusivity is κ₀·g(s), and the flux is largest where the paper says."""
    contrast, grid = 0.3, Grid(0.5, dims=1)
    coefficient, flux = kind(1, contrast, ceiling=2.0, dtype=torch.float64), []
    slopes = [0.0, *np.geomspace(0.05, 20, 200)]
    for s in slopes:
        ramp = s * contrast * 0.5 * torch.arange(5, dtype=torch.float64)[None, None]
        kappa = float(coefficient(ramp, grid)[0, 0, 2].detach())
        assert kappa == pytest.approx(1.8 * PROFILES[kind](s), rel=1e-9, abs=1e-12)
        flux.append(kappa * s)
    assert slopes[int(np.argmax(flux))] == pytest.approx(min(STEEPEST[kind], 20.0), rel=0.03)


@pytest.mark.parametrize("name", COEFFICIENTS)
def test_bounded_with_finite_gradients_whatever_the_state(name):
    for dtype in (torch.float64, torch.float32, torch.float16):
        coefficient = COEFFICIENTS[name]().to(dtype)
        for size in (0.0, 1e-4, 1.0, 100.0, *((1e6, 1e15) if dtype != torch.float16 else ())):
            for weight in coefficient.parameters():
                torch.nn.init.normal_(weight)
            u = (size * torch.randn(2, 2, 5, 6)).to(dtype)
            u[:, :, :2] = 0  # a flat part, too
            u.requires_grad_()
            fields = (coefficient(u, Grid()),) + (coefficient.faces(u, Grid()) if name[:2] in ("To", "PL") else ())
            for kappa in fields:
                assert kappa.dtype == dtype and kappa.isfinite().all()
                assert kappa.min() >= 0 and kappa.max() <= coefficient.ceiling * (1 + 2 * torch.finfo(dtype).eps)
            sum(kappa.sum() for kappa in fields).backward()
            for value in (u, *coefficient.parameters()):
                assert value.grad is None or value.grad.isfinite().all(), (dtype, size)
                value.grad = None


@pytest.mark.parametrize("name", [name for name in COEFFICIENTS if name not in ("PLaplace 3", "PLaplace 8")])
def test_less_flows_where_the_gradient_is_larger(name):
    """And a learned one falls whatever its weights."""
    for _ in range(20):
        coefficient = COEFFICIENTS[name]().double()
        for weight in coefficient.parameters():
            torch.nn.init.normal_(weight, std=2.0)
        ramp = torch.cumsum(torch.arange(40, dtype=torch.float64) / 100, 0).expand(1, 2, -1)
        kappa = coefficient(ramp, Grid(dims=1))[..., 1:-1]
        assert (kappa.diff() <= 1e-15).all()
        assert name == "Weickert" or (kappa[..., 0] > kappa[..., -1]).all()


def test_what_is_shared():
    """A monotone diffusivity of one term of power 1 is Perona and Malik's; total variation is the p-Laplacian at 1."""
    u, grid = state(2), grid_of("neumann", 2)
    one = MonotoneDiffusivity(2, (0.3,), ceiling=2.0).double()
    rational = PeronaMalik(2, 0.3, ceiling=2.0).double()
    rational.weight.data.fill_(math.log(8.0))
    assert torch.allclose(one(u, grid), rational(u, grid), atol=1e-6)
    assert isinstance(rational, EdgeStopping) and list(dict(rational.named_parameters())) == ["log_contrast", "weight"]
    assert torch.equal(TotalVariation(epsilon=0.2)(u, grid), PLaplace(1.0, epsilon=0.2)(u, grid))
    assert torch.equal(PLaplace(2.0)(u, grid), torch.ones_like(u))
    heat = Diffusion(PLaplace(2.0, Constant(0.7)), grid)
    assert torch.allclose(heat(u)(u), Diffusion(Constant(0.7), grid)(u)(u))


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_gradients_at_faces(boundary):
    """Inside a plane its slope, from every corner; on average as at the cells of a periodic grid."""
    for dims in DIMS:
        grid = grid_of(boundary, dims)
        x = torch.meshgrid(*[torch.arange(5, dtype=torch.float64) * dx for dx in grid.spacings], indexing="ij")
        plane = sum((i + 1) * xi for i, xi in enumerate(x))[None, None]
        for axis in grid.axes:
            corners = squared_gradients_at_faces(plane, axis, grid)
            assert len(corners) == 2**dims
            for faces in corners:
                inner = faces[(..., *[slice(1, -1)] * dims)]
                assert torch.allclose(inner, torch.full_like(inner, sum((i + 1.0) ** 2 for i in range(dims))))
    if boundary == "periodic":
        u, grid = state(2), grid_of("periodic", 2)
        mean = torch.stack(squared_gradients_at_faces(u, 2, grid))[:, :, :, 1:].mean()
        assert float(mean) == pytest.approx(float(squared_gradient(u, grid).mean()))


@pytest.mark.parametrize("boundary", ["neumann", "periodic"])
@pytest.mark.parametrize("p", [1.0, 1.5, 3.0])
def test_the_p_laplacian_descends_its_energy(p, boundary):
    """A(u)u is minus the gradient of the mean over all corners of (|∇u|² + ε²)^(p/2)/p, by autograd."""
    for dims in DIMS:
        grid, u = grid_of(boundary, dims), state(dims).requires_grad_()
        slopes = [gradient(u, axis, grid).square() for axis in grid.axes]
        squared = [torch.zeros_like(u)]
        for slope, axis in zip(slopes, grid.axes, strict=True):
            squared = [q + side(slope, axis) for q in squared for side in (lower_faces, upper_faces)]
        bound = {} if p <= 2 else {"bound": 1e12}
        energy = torch.stack([(q + 0.01) ** (p / 2) / p for q in squared]).mean(0).sum()
        (descent,) = torch.autograd.grad(-energy, u)
        term = Diffusion(PLaplace(p, epsilon=0.1, **bound), grid)
        assert torch.allclose(term(u)(u), descent, atol=1e-10)


@torch.no_grad()
def test_a_box_under_total_variation_flow():
    """It falls at 2/width as its surroundings rise, and its edges stay: exact, but for ε and the steps."""
    cells, dx, time, epsilon = 60, 0.1, 0.3, 1e-4
    u = torch.zeros(1, 1, cells, dtype=torch.float64)
    u[..., 20:40] = 1.0  # of width 2 in 6
    inside, outside = 1 - 2 * time / 2.0, 2 * time / 4.0
    term, errors = Diffusion(TotalVariation(epsilon=epsilon), Grid(dx, dims=1)), []
    # By conjugate gradients and directly, the same on one axis.
    for step, count in ((BackwardEuler, 60), (AOS, 60), (AOS, 120), (AOS, 240)):
        flow = Evolve(step(term), time, Fixed(count))
        after = flow(u)[0, 0]
        exact = torch.full((cells,), outside, dtype=torch.float64)
        exact[20:40] = inside
        errors.append(float((after - exact).abs().max()))
        assert float(after.mean()) == pytest.approx(1 / 3, rel=1e-9)
    assert errors[0] == pytest.approx(errors[1], rel=1e-4) and errors[1] / errors[2] > 1.8
    assert errors[3] < 1e-3
    # The heights meet at (1/3): then everything rests.
    rest = Evolve(flow.step, 2.0, Fixed(200))(u)
    assert (rest - 1 / 3).abs().max() < 2e-3


@torch.no_grad()
def test_a_disc_under_total_variation_flow():
    """In a large square a disc of radius r sinks at 2/r, within a few percent, and as one."""
    cells, r, dx, time = 48, 4.0, 0.5, 0.4
    x = (torch.arange(cells, dtype=torch.float64) - (cells - 1) / 2) * dx
    distance = torch.hypot(x[:, None], x[None])
    disc = ((r - distance) / dx + 0.5).clamp(0, 1)[None, None]
    after = Evolve(AOS(Diffusion(TotalVariation(epsilon=1e-2), Grid(dx))), time, Fixed(40))(disc)[0, 0]
    sunk = 1 - float(after[distance < r / 2].mean())
    assert sunk == pytest.approx(2 / r * time, rel=0.04)
    assert float(after[distance < r / 2].std()) < 0.01  # it sinks as one


def barenblatt(x, time, p, dims, mass=1.0):
    """The source solution of u_t = ∇·(|∇u|^(p−2) ∇u), of compact support."""
    beta = 1 / (dims * (p - 2) + p)
    reach = x * time**-beta
    factor = (p - 2) / p * beta ** (1 / (p - 1))
    return time ** (-dims * beta) * (mass - factor * reach ** (p / (p - 1))).clamp(min=0) ** ((p - 1) / (p - 2))


@torch.no_grad()
@pytest.mark.parametrize(("p", "dims"), [(3.0, 1), (4.0, 1), (3.0, 2)])
def test_barenblatts_solution(p, dims):
    """From time 1 to 2, by two grids: it converges, and what was empty far away stays empty."""
    errors = []
    for cells in (24, 48) if dims == 2 else (40, 80, 160):
        dx = 12 / cells
        x = (torch.arange(cells, dtype=torch.float64) - (cells - 1) / 2) * dx
        radius = torch.stack(torch.meshgrid(*[x] * dims, indexing="ij")).norm(dim=0)
        u = barenblatt(radius, 1.0, p, dims)[None, None]
        term = Diffusion(PLaplace(p, epsilon=1e-5, bound=1e4), Grid(dx, dims=dims))
        after = Evolve(Heun(term), 1.0, Measured(0.9 / (p - 1), 10_000))(u)[0, 0]
        exact = barenblatt(radius, 2.0, p, dims)
        errors.append(float((after - exact).abs().mean() / exact.mean()))
        front = float(radius[exact > 0].max())
        assert after[radius > front + 4 * dx].abs().max() < 1e-4 < float((exact - u[0, 0]).abs().max())
    print(p, dims, errors)
    assert errors[-1] < 0.003 and math.log2(errors[-2] / errors[-1]) > 1.7


@torch.no_grad()
def test_what_an_infinite_bound_would_give():
    """κ = mM/(m + M) is within m/M of m, and below M."""
    slopes = torch.logspace(-3, 3, 50, dtype=torch.float64)
    squared = slopes.square()
    coefficient = PLaplace(3.0, epsilon=1e-9, bound=50.0)
    kappa = coefficient._power(squared)
    assert torch.allclose(kappa, slopes * 50 / (slopes + 50), rtol=1e-9)
    assert ((slopes - kappa) / slopes < slopes / 50).all() and (kappa < 50).all()


def rhs(t, flat, shape, spacings, conductivity):
    """∇·(κ(|∇u|²)∇u) under neumann, in NumPy: κ at the cells by the mean of the squared differences at their faces."""
    u = flat.reshape(shape)
    slopes = [np.diff(np.pad(u, [(1, 1) if a == b else (0, 0) for b in range(u.ndim)], mode="edge"), axis=a) / dx
              for a, dx in enumerate(spacings)]  # fmt: skip
    squared = np.zeros(shape)
    for a, slope in enumerate(slopes):
        squared += (np.take(slope, range(shape[a]), a) ** 2 + np.take(slope, range(1, shape[a] + 1), a) ** 2) / 2
    kappa, change = conductivity(squared), np.zeros(shape)
    for a, (slope, dx) in enumerate(zip(slopes, spacings, strict=True)):
        padded = np.pad(kappa, [(1, 1) if a == b else (0, 0) for b in range(u.ndim)], mode="edge")
        n = padded.shape[a]
        faces = (np.take(padded, range(n - 1), a) + np.take(padded, range(1, n), a)) / 2
        change += np.diff(faces * slope, axis=a) / dx
    return change.ravel()


@torch.no_grad()
@pytest.mark.parametrize("kind", PROFILES)
@pytest.mark.parametrize("dims", [1, 2])
def test_against_scipy(kind, dims):
    """SciPy's Runge–Kutta of the same equation, of its own code and tolerance 1e-9."""
    u = torch.rand(1, 1, *(12, 7)[:dims], dtype=torch.float64)
    spacings = (0.8, 1.25)[:dims]
    highest = 0.9 * 0.8
    profile = np.vectorize(lambda s2: highest * PROFILES[kind](math.sqrt(s2) / 0.4))
    exact = solve_ivp(
        rhs, (0, 1.0), u.numpy().ravel(), "RK45", rtol=1e-9, atol=1e-11, args=(u.shape[2:], spacings, profile)
    ).y[:, -1]
    term = Diffusion(kind(1, contrast=0.4, ceiling=0.8), Grid(spacings)).double()
    after = Evolve(SSPRK3(term), 1.0, Fixed(200))(u)
    assert np.abs(after.numpy().ravel() - exact).max() < 2e-5
    assert (after - u).abs().max() > 0.05


def test_slips_are_refused():
    for p, arguments in ((0.5, {}), (1.5, {"bound": 2.0}), (2.0, {"bound": 1.0}), (3.0, {"bound": 0.0})):
        with pytest.raises(PDEConvError, match=r"PLaplace needs|PLaplace has"):
            PLaplace(p, **arguments)
    with pytest.raises(PDEConvError, match="epsilon"):
        TotalVariation(epsilon=0.0)
    with pytest.raises(PDEConvError, match="Coefficient"):
        TotalVariation(1.0)
    for kind in PROFILES:
        with pytest.raises(PDEConvError, match=f"{kind.__name__}.*contrast"):
            kind(1, contrast=0.0)


def test_stable_by_construction():
    """The ceiling tells the number of steps when the network is built."""
    assert Evolve(Euler(Diffusion(TotalVariation(epsilon=0.1))), 1.0).steps == 45  # 10·4 / 0.9
    assert Evolve(Euler(Diffusion(PLaplace(3.0, bound=2.0))), 1.0).steps == 9
    steps = Evolve(Euler(Diffusion(TotalVariation(epsilon=0.1))), 1.0, Clamp(5))(torch.rand(1, 1, 6, 6))
    assert steps.isfinite().all()


@torch.no_grad()
@pytest.mark.parametrize(
    "build", [PeronaMalik, Charbonnier, Exponential, Weickert, MonotoneDiffusivity], ids=lambda b: b.__name__
)
@pytest.mark.parametrize("size", [1.0, 300.0])
def test_half_precision_is_single_precision_rounded(build, size):
    """Squares of gradients beside a small contrast leave the range of float16."""
    u = size * torch.rand(1, 1, 9, 9).half()
    kappa = build(1).half()(u, Grid())
    assert kappa.dtype == torch.float16
    torch.testing.assert_close(kappa.float(), build(1)(u.float(), Grid()), rtol=0.0, atol=0.02)
