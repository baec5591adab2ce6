"""Law: stencils are exact on polynomials, diffusion is of order 2 in space, upwind advection of order 1."""

import math

import pytest
import torch
from states import BOUNDARIES, DIMS

from pdeconv import Advection, Coefficient, Constant, Diffusion, Grid, PerChannelVelocity
from pdeconv.stencil import gradient, squared_gradient

COARSE = {1: 32, 2: 24, 3: 12}  # cells an axis
ORDERS = {"constant": 2, "variable": 2, "upwind": 1}


def centres(cells, grid):
    """Coordinates of the cell centres, one (1, 1, *S) tensor per axis."""
    lines = [(torch.arange(cells, dtype=torch.float64) + 0.5) * dx for dx in grid.spacings]
    return [x[None, None] for x in torch.meshgrid(*lines, indexing="ij")]


def inner(u):
    return u[(slice(None), slice(None), *[slice(1, -1)] * (u.dim() - 2))]


@pytest.mark.parametrize("dims", DIMS)
def test_exact_on_polynomials(dims):
    """Away from the edge: gradients of quadratics at the faces, Laplacians of cubics, upwind slopes of planes."""
    grid = Grid((0.5, 0.7, 2.0)[:dims])
    x = centres(6, grid)
    cubic = sum((a + 1) * xi**3 - xi**2 for a, xi in enumerate(x)) + math.prod(x)
    laplacian = sum(6 * (a + 1) * xi - 2 for a, xi in enumerate(x))
    assert torch.allclose(inner(Diffusion(Constant(0.3), grid)(cubic)(cubic)), inner(0.3 * laplacian), atol=1e-10)
    plane = sum((a + 2) * xi for a, xi in enumerate(x))
    squared = inner(squared_gradient(plane, grid))
    assert torch.allclose(squared, torch.full_like(squared, sum((a + 2.0) ** 2 for a in range(dims))))
    for sign in (1, -1):
        velocity = PerChannelVelocity(1, dims=dims, dtype=torch.float64)
        with torch.no_grad():
            velocity.weight.copy_(sign * torch.atanh(torch.tensor([[0.1], [0.2], [0.3]][:dims])))
        slope = -sign * sum(0.1 * (a + 1) * (a + 2) for a in range(dims))
        rates = inner(Advection(velocity, grid)(plane)(plane))
        assert torch.allclose(rates, torch.full_like(rates, slope), atol=1e-6)
    for axis, xi in zip(grid.axes, x, strict=True):
        faces = torch.movedim(gradient(xi**2, axis, grid), axis, -1)[..., 1:-1]
        below = torch.movedim(xi, axis, -1)[..., :-1]
        assert torch.allclose(faces, 2 * (below + grid.spacings[axis - 2] / 2))


class Wavy(Coefficient):
    """κ = 1 + x̂²/2 …, periodic and smooth: a variable diffusivity."""

    ceiling = 2.0

    def forward(self, u, grid):
        kappa = torch.ones_like(u)
        for axis, n in zip(grid.axes, u.shape[2:], strict=True):
            x = (torch.arange(n, dtype=u.dtype) + 0.5) / n * 2 * math.pi
            kappa = kappa + 0.2 * torch.cos(x).reshape([-1 if i == axis else 1 for i in range(u.dim())])
        return kappa


def error(cells, dims, boundary, kind):
    """Mean error of the right-hand side for a product of waves on a box of another length along each axis."""
    lengths = (1.0, 1.7, 0.6)[:dims]
    grid = Grid(tuple(length / cells for length in lengths), boundary)
    x = [xi.clone().requires_grad_() for xi in centres(cells, grid)]
    # Cosines fit neumann (cell-centred mirror) and periodic; sines vanish one cell beyond a dirichlet edge only in
    # the limit, so dirichlet and reflect, whose walls lie at other places, are measured in the middle half.
    u = math.prod(torch.cos(2 * math.pi * xi / length) for xi, length in zip(x, lengths, strict=True)) + 0.0
    slopes = torch.autograd.grad(u.sum(), x, create_graph=True)
    if kind == "upwind":
        velocity = PerChannelVelocity(1, dims=dims, dtype=torch.float64)
        torch.nn.init.constant_(velocity.weight, 0.5)
        exact, term = -math.tanh(0.5) * sum(slopes), Advection(velocity, grid)
    else:
        coefficient = Constant(1.0) if kind == "constant" else Wavy()
        waves = sum(torch.cos(2 * math.pi * xi / length) for xi, length in zip(x, lengths, strict=True))
        kappa = 1 + 0.2 * waves if kind == "variable" else 1
        fluxes = [kappa * slope for slope in slopes]
        exact = sum(torch.autograd.grad(f.sum(), xi, retain_graph=True)[0] for f, xi in zip(fluxes, x, strict=True))
        term = Diffusion(coefficient, grid)
    difference = term(u)(u) - exact
    if boundary in ("dirichlet", "reflect"):
        difference = difference[(..., *[slice(cells // 4, -cells // 4)] * dims)]
    return float(difference.detach().square().mean().sqrt())


def measured_orders(kind, boundary):
    """In 1, 2 and 3 dimensions."""
    return [
        math.log2(error(coarse, dims, boundary, kind) / error(2 * coarse, dims, boundary, kind))
        for dims, coarse in COARSE.items()
    ]


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(("kind", "order"), ORDERS.items())
def test_order_by_refinement(kind, order, boundary):
    assert measured_orders(kind, boundary) == pytest.approx([order] * len(DIMS), abs=0.25)
