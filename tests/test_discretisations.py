"""Law: discretisations of the Laplacian have the modes, the order and the range that they state."""

import math

import pytest
import torch
from states import BOUNDARIES, DIMS, Field, grid_of, matrix, number, state
from test_exact_solutions import heat_mode
from test_spatial_order import COARSE, centres

from pdeconv import (
    AOS,
    CFL,
    Biharmonic,
    Constant,
    Diffusion,
    Euler,
    Evolve,
    Exact,
    FourthOrder,
    FractionalDiffusion,
    Grid,
    PDEConvError,
    PeronaMalik,
    Q1Elements,
    SecondOrder,
    Spectral,
    UnsupportedError,
)

DISCRETISATIONS = {d.__name__: d() for d in (SecondOrder, FourthOrder, Q1Elements, Spectral)}
# The eigenvalue along one axis, of a mode that turns by this angle from cell to cell.
SYMBOLS = {
    "SecondOrder": lambda angle: -2 + 2 * math.cos(angle),
    "FourthOrder": lambda angle: (-30 + 32 * math.cos(angle) - 2 * math.cos(2 * angle)) / 12,
    "Spectral": lambda angle: -(angle**2),
}


@pytest.mark.parametrize("dims", DIMS)
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("name", DISCRETISATIONS)
def test_heat_modes(name, boundary, dims):
    """A mode of the grid is multiplied by the symbol, and decays by its exponential."""
    spacings = (0.5, 1.0, 2.0)[:dims]
    u, angles = torch.ones(1, 1, *[1] * dims, dtype=torch.float64), []
    for axis in range(dims):
        wave, eigenvalue = heat_mode(6 + axis, boundary, axis + 1)
        u = u * wave.reshape([-1 if i == axis else 1 for i in range(dims)])
        angles.append(math.acos(1 + eigenvalue / 2))
    if name == "Q1Elements":
        stiffness = [(2 - 2 * math.cos(angle)) / dx**2 for angle, dx in zip(angles, spacings, strict=True)]
        mass = [(2 + math.cos(angle)) / 3 for angle in angles]
        rate = -sum(k * math.prod(mass[:i] + mass[i + 1 :]) for i, k in enumerate(stiffness))
    else:
        rate = sum(SYMBOLS[name](angle) / dx**2 for angle, dx in zip(angles, spacings, strict=True))
    term = Diffusion(Constant(0.3), Grid(spacings, boundary), DISCRETISATIONS[name])
    assert torch.allclose(term(u)(u), 0.3 * rate * u, atol=1e-11)
    assert torch.allclose(term(u).flow(u, number(0.5)), math.exp(0.15 * rate) * u, atol=1e-11)


def test_stencils():
    """The weights of the textbook, seen from a spike."""
    spike = torch.zeros(1, 1, 7, dtype=torch.float64)
    spike[..., 3] = 12.0
    fourth = Diffusion(Constant(1.0), Grid(dims=1), FourthOrder())(spike)(spike)
    assert torch.allclose(fourth.flatten(), torch.tensor([0, -1.0, 16, -30, 16, -1, 0], dtype=torch.float64))
    spike = torch.zeros(1, 1, 3, 3, 3, dtype=torch.float64)
    spike[..., 1, 1, 1] = 12.0
    cube = Diffusion(Constant(1.0), Grid(dims=3), Q1Elements())(spike)(spike)[0, 0]
    expected = {0: -32.0, 1: 0.0, 2: 2.0, 3: 1.0}  # by the number of axes along which a neighbour differs
    for index in torch.cartesian_prod(*[torch.arange(3)] * 3):
        assert float(cube[tuple(index)]) == pytest.approx(expected[int((index != 1).sum())], abs=1e-12)


@pytest.mark.parametrize("dims", DIMS)
def test_fourth_order_is_exact_on_quintics(dims):
    """Two cells from the edge; second order is not, nor is fourth order on a sextic."""
    grid = Grid((0.5, 0.7, 2.0)[:dims])
    x = centres(7, grid)
    middle = (..., *[slice(2, -2)] * dims)
    quintic = sum(xi**5 - 3 * xi**4 + xi**2 for xi in x) + math.prod(x)
    laplacian = sum(20 * xi**3 - 36 * xi**2 + 2 for xi in x)
    fourth = Diffusion(Constant(1.0), grid, FourthOrder())
    assert torch.allclose(fourth(quintic)(quintic)[middle], laplacian[middle], rtol=1e-10)
    second = Diffusion(Constant(1.0), grid)
    assert (second(quintic)(quintic) - laplacian)[middle].abs().max() > 0.1
    sextic, exact = sum(xi**6 for xi in x), sum(30 * xi**4 for xi in x)
    assert (fourth(sextic)(sextic) - exact)[middle].abs().max() > 1e-3


def error(cells, dims, boundary, kind):
    """Mean error of the right-hand side for a product of cosines, in the middle half where walls are not mirrors."""
    lengths = (1.0, 1.7, 0.6)[:dims]
    grid = Grid(tuple(length / cells for length in lengths), boundary)
    waves = [2 * math.pi / length for length in lengths]
    u = math.prod(torch.cos(k * xi) for k, xi in zip(waves, centres(cells, grid), strict=True)) + 0.0
    squared = sum(k**2 for k in waves)
    if kind == "biharmonic":
        term, exact = Biharmonic(grid=grid), -(squared**2) * u
    elif kind == "fractional":
        term, exact = FractionalDiffusion(0.4, grid=grid), -(squared**0.4) * u
    else:
        term, exact = Diffusion(Constant(1.0), grid, DISCRETISATIONS[kind]), -squared * u
    difference = term(u)(u) - exact
    if boundary in ("dirichlet", "reflect"):
        difference = difference[(..., *[slice(cells // 4, -cells // 4)] * dims)]
    return float(difference.square().mean().sqrt() / squared)


ORDERS = {"SecondOrder": 2, "FourthOrder": 4, "Q1Elements": 2, "biharmonic": 2, "fractional": 2}
# fractional is not local: the mirror of another wall is felt in the middle.
MEASURED = [(k, b) for k in ORDERS for b in BOUNDARIES if k != "fractional" or b in ("neumann", "periodic")]


def measured_orders(kind, boundary):
    """In 1, 2 and 3 dimensions."""
    return [
        math.log2(error(coarse, dims, boundary, kind) / error(2 * coarse, dims, boundary, kind))
        for dims, coarse in COARSE.items()
    ]


@pytest.mark.parametrize(("kind", "boundary"), MEASURED)
def test_order_by_refinement(kind, boundary):
    assert measured_orders(kind, boundary) == pytest.approx([ORDERS[kind]] * len(DIMS), abs=0.25)


@pytest.mark.parametrize("boundary", ["neumann", "periodic"])
def test_spectral_is_exact_on_waves(boundary):
    for dims in DIMS:
        assert error(8, dims, boundary, "Spectral") < 1e-13
        assert error(8, dims, boundary, "FourthOrder") > 1e-3


def test_the_exact_flow_of_spectral_is_that_of_the_equation():
    """A Gaussian on a line becomes the wider one, to rounding, at 24 cells; by second order it does not."""
    x = (torch.arange(24, dtype=torch.float64) + 0.5) / 24 - 0.5
    u, wider = torch.exp(-(x**2) / 0.006)[None, None], 0.006 + 4 * 0.002
    exact = math.sqrt(0.006 / wider) * torch.exp(-(x**2) / wider)
    errors = []
    for discretisation in (Spectral(), FourthOrder(), SecondOrder()):
        flow = Evolve(Exact(Diffusion(Constant(0.002), Grid(1 / 24, dims=1), discretisation)), 1.0, CFL())
        errors.append(float((flow(u)[0, 0] - exact).abs().max()))
    assert errors[0] < 1e-5 and errors[0] < errors[1] / 30 < errors[2] / 90


@torch.no_grad()
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_the_range_of_finite_elements(boundary):
    """Kept as long as no spacing is more than √2 times the other, when it is the mean of 8 neighbours at the limit."""
    for spacing, kept in (((1.0, 1.0), True), ((1.0, 1.414), True), ((1.0, 1.42), False), ((2.0, 1.0), False)):
        term = Diffusion(Constant(1.0), Grid(spacing, boundary), Q1Elements())
        assert any(str(family).startswith("range") for family in term.keeps) == kept
        step, like = Euler(term), torch.zeros(1, 1, 5, 6, dtype=torch.float64)
        dt = 1 / term.ceiling
        weights = matrix(lambda v, step=step, dt=dt: step(v, number(dt)), like)
        assert (weights.min() > -1e-12) == kept
        assert matrix(lambda v, step=step, dt=dt: step(v, number(1.05 * dt)), like).min() < -0.01
    for spacing, kept in ((1.0, True), ((1.0, 1.0, 1.05), False)):
        keeps = Diffusion(Constant(1.0), Grid(spacing, boundary, dims=3), Q1Elements()).keeps
        assert any(str(family).startswith("range") for family in keeps) == kept


@pytest.mark.parametrize("name", ["FourthOrder", "Spectral"])
def test_the_range_is_not_promised_because_it_is_not_kept(name):
    spike = torch.zeros(1, 1, 9, dtype=torch.float64)
    spike[..., 4] = 1.0
    step = Euler(Diffusion(Constant(1.0), Grid(dims=1), DISCRETISATIONS[name]))
    assert step.keeps == {"energy"}
    assert step(spike, number(0.1 * step.guaranteed_limit)).min() < -1e-3


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_rates_against_the_spectrum(boundary):
    """The largest eigenvalue is at most twice the rate, and on long periodic axes nearly that."""
    for name, discretisation in DISCRETISATIONS.items():
        for dims in (1, 2):
            term = Diffusion(Constant(1.0), grid_of(boundary, dims), discretisation)
            u = torch.zeros(1, 1, *(8, 6)[:dims], dtype=torch.float64)
            fastest = -float(torch.linalg.eigvals(matrix(term(u), u)).real.min())
            assert fastest <= 2 * term.ceiling * (1 + 1e-12)
            if boundary == "periodic":
                assert fastest > 1.6 * term.ceiling, name


def test_a_diffusivity_that_varies_is_refused():
    for name in ("FourthOrder", "Q1Elements", "Spectral"):
        for coefficient in (Field(), PeronaMalik(2)):
            with pytest.raises(PDEConvError, match="constant in space"):
                Diffusion(coefficient, discretisation=DISCRETISATIONS[name])(state())
        with pytest.raises(UnsupportedError, match="tridiagonal"):
            AOS(Diffusion(Constant(1.0), discretisation=DISCRETISATIONS[name]))(state(), number(0.1))
    for term in (Biharmonic(Field()), FractionalDiffusion(0.5, PeronaMalik(2))):
        with pytest.raises(PDEConvError, match="constant in space"):
            term(state())
    with pytest.raises(PDEConvError, match="Discretisation"):
        Diffusion(Constant(1.0), discretisation="fourth")
    for exponent in (0.0, 1.5, -1, math.nan):
        with pytest.raises(PDEConvError, match="exponent"):
            FractionalDiffusion(exponent)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_powers_of_the_laplacian(boundary):
    """Two halves make a whole, s = 1 is heat, s = 2 is Biharmonic; and for s < 1 no weight is negative."""
    for dims in (1, 2):
        grid, u = grid_of(boundary, dims), state(dims, batch=1)
        heat = matrix(Diffusion(Constant(1.0), grid)(u), u)
        half = matrix(FractionalDiffusion(0.5, grid=grid)(u), u)
        assert torch.allclose(half @ half, -heat, atol=1e-10)
        assert torch.allclose(matrix(FractionalDiffusion(1.0, grid=grid)(u), u), heat, atol=1e-11)
        assert torch.allclose(matrix(Biharmonic(grid=grid)(u), u), -heat @ heat, atol=1e-10)
        for s in (0.2, 0.5, 0.9):
            term = FractionalDiffusion(s, grid=grid)
            weights = matrix(term(u), u)
            assert (weights - weights.diag().diag()).min() > -1e-12
            assert -weights.diag().min() <= term.ceiling * (1 + 1e-12)


def test_half_a_laplacian_on_a_long_line():
    """Its diagonal is the mean of 2|sin(θ/2)|, 4/π, and its flow that of Cauchy: a tail of κt/(πx²)."""
    spike = torch.zeros(1, 1, 2001, dtype=torch.float64)
    spike[..., 1000] = 1.0
    operator = FractionalDiffusion(0.5, grid=Grid(boundary="periodic", dims=1))(spike)
    assert float(operator(spike)[0, 0, 1000]) == pytest.approx(-4 / math.pi, rel=1e-5)
    time = 20.0
    spread, x = operator.flow(spike, number(time))[0, 0], torch.arange(-1000, 1001, dtype=torch.float64)
    cauchy = time / (math.pi * (time**2 + x**2))
    near = x.abs() <= 100
    assert torch.allclose(spread[near], cauchy[near], rtol=0.02)
