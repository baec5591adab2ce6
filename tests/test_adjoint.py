"""Law: stencils have exact discrete adjoints, and frozen operators the symmetry that they claim."""

import pytest
import torch
from catalogue import COUSINS, OTHER_DIFFUSIONS, build
from states import BOUNDARIES, DIMS, grid_of, matrix, state

from pdeconv import Grid, PDEConvError
from pdeconv.linear import inner_product_weights
from pdeconv.stencil import divergence, extend, fold, gradient


def dot(a, b):
    return float((a * b).sum())


@pytest.mark.parametrize("width", [0, 1, 2, 3])
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_fold_is_the_adjoint_of_extend(boundary, width):
    for dims in DIMS:
        u = state(dims)
        for axis in range(2, 2 + dims):
            extended = extend(u, axis, boundary, width)
            p = torch.randn_like(extended)
            assert extended.shape[axis] == u.shape[axis] + 2 * width
            assert dot(extended, p) == pytest.approx(dot(u, fold(p, axis, boundary, width)), abs=1e-10)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_smallest_axis_of_extend(boundary):
    """The fewest cells that allow the ghosts work, and one fewer is a clear error or an agreed special case."""
    for width in (1, 2, 3):
        fewest = {"dirichlet": 1, "reflect": width + 1}.get(boundary, width)
        u = torch.randn(1, 1, fewest, dtype=torch.float64)
        p = torch.randn(1, 1, fewest + 2 * width, dtype=torch.float64)
        assert dot(extend(u, 2, boundary, width), p) == pytest.approx(dot(u, fold(p, 2, boundary, width)))
        if fewest > 1 and (boundary, width) != ("reflect", 1):
            with pytest.raises(PDEConvError, match="at least"):
                extend(u[..., 1:], 2, boundary, width)


@pytest.mark.parametrize("dims", DIMS)
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_gradient_and_divergence(boundary, dims):
    """⟨∇u, p⟩ = −⟨u, ∇·p⟩ for a flux p that the boundary admits: what leaves is counted once."""
    grid, u = grid_of(boundary, dims), state(dims)
    for axis in grid.axes:
        slope = gradient(u, axis, grid)
        p = torch.randn_like(slope)
        first, last = p.select(axis, 0), p.select(axis, -1)
        inner = p.narrow(axis, 1, p.shape[axis] - 2)
        weight = torch.ones_like(p)
        if boundary == "neumann":  # no flux through the edge
            first.zero_(), last.zero_()
        elif boundary == "periodic":  # both ends are one face
            last.copy_(first)
            weight.select(axis, -1).zero_()
        elif boundary == "reflect":  # the mirrored flux is opposite, its face lies outside of the half cell
            first.copy_(-inner.select(axis, 0))
            last.copy_(-inner.select(axis, -1))
            weight.select(axis, 0).zero_(), weight.select(axis, -1).zero_()
        cells = torch.ones_like(u)
        if boundary == "reflect":
            cells.select(axis, 0).mul_(0.5), cells.select(axis, -1).mul_(0.5)
        assert dot(slope, p * weight) == pytest.approx(-dot(u * cells, divergence(p, axis, grid)), abs=1e-10)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(
    "name",
    ["constant_diffusion", "perona_malik", "relu_convolution", "rational_convolution", *COUSINS, *OTHER_DIFFUSIONS],
)
def test_frozen_operators_are_symmetric_and_dissipate(name, boundary):
    """Symmetric in the cell weights (1, or ½ at a reflecting edge of diffusion), and negative semidefinite."""
    for dims in (1, 2):
        term = build(name, grid_of(boundary, dims))
        u = state(dims, batch=1) - 0.5
        a = matrix(term(u), u)
        weights = inner_product_weights(u, term.grid) if "convolution" not in name else None
        if weights is not None:
            a = weights.expand_as(u).flatten()[:, None] * a
        assert torch.allclose(a, a.T, atol=1e-12)
        assert torch.linalg.eigvalsh(a).max() < 1e-10
        assert a.norm() > 0.1


def test_a_single_cell_has_no_gradient_but_between_dirichlet_walls():
    u = torch.ones(1, 1, 1)
    for boundary in BOUNDARIES:
        assert bool(gradient(u, 2, Grid(boundary=boundary, dims=1)).any()) == (boundary == "dirichlet")
