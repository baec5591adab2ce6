"""Finite-difference stencils on cell-centred grids, written once over axes.

Boundaries are built from slices, not from pad operators: those have nondeterministic or missing gradients on some
devices, while slices fuse under ``torch.compile`` and differentiate twice.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pdeconv.errors import PDEConvError
from pdeconv.grid import Boundary, Grid


def extend(u: Tensor, axis: int, boundary: Boundary, width: int = 1) -> Tensor:
    """Add ``width`` ghost cells at both ends of ``axis``.

    Args:
        u: State of any shape, N cells along ``axis``.
        axis: Tensor dimension to extend.
        boundary: See :class:`pdeconv.grid.Grid`.
        width: Number of ghost cells at each end.

    Returns:
        State with N + 2·width cells along ``axis``.

    Raises:
        PDEConvError: If the axis has too few cells for that many ghosts.

    Example:
        >>> extend(torch.tensor([1.0, 2.0, 3.0]), 0, "reflect")
        tensor([2., 1., 2., 3., 2.])
    """
    if width == 0:
        return u
    size = u.shape[axis]
    if boundary == "dirichlet":
        low = high = torch.zeros_like(u.narrow(axis, 0, 1)).expand(
            [width if i == axis % u.dim() else n for i, n in enumerate(u.shape)]
        )
        return torch.cat((low, u, high), axis)
    if boundary == "reflect" and size == 1 and width == 1:
        boundary = "neumann"  # a single cell has no neighbour to mirror: nothing flows, as between two mirrors
    needed = width + 1 if boundary == "reflect" else width
    if size < needed:
        raise PDEConvError(
            f"{width} ghost cells with a {boundary} boundary need an axis of at least {needed} cells, but it has "
            f"{size}; use a larger state, a smaller kernel, or the dirichlet boundary."
        )
    if boundary == "periodic":
        return torch.cat((u.narrow(axis, size - width, width), u, u.narrow(axis, 0, width)), axis)
    shift = 1 if boundary == "reflect" else 0
    low = u.narrow(axis, shift, width)
    high = u.narrow(axis, size - width - shift, width)
    if width > 1:
        low, high = low.flip(axis), high.flip(axis)
    return torch.cat((low, u, high), axis)


def extend_wide(u: Tensor, axis: int, boundary: Boundary, width: int) -> Tensor:
    """:func:`extend` by any width: a short axis is mirrored, or wrapped, as often as it takes.

    Example:
        >>> extend_wide(torch.tensor([1.0, 2.0]), 0, "neumann", 3)
        tensor([2., 2., 1., 1., 2., 2., 1., 1.])
    """
    size = u.shape[axis]
    if boundary == "reflect" and size == 1:
        boundary = "neumann"
    whole = size - 1 if boundary == "reflect" else size
    if boundary == "dirichlet" or width <= whole:
        return extend(u, axis, boundary, width)
    # Extended by its whole length, an image ends at a mirror, or a seam, again.
    return extend_wide(extend(u, axis, boundary, whole), axis, boundary, width - whole)


def source_cell(index: Tensor, size: int, boundary: Boundary) -> Tensor:
    """The cell of 0 … size − 1 whose value a ghost cell has; under dirichlet, whose value is 0, the nearest one.

    Example:
        >>> source_cell(torch.tensor([-2, -1, 0, 3, 4]), 3, "reflect")
        tensor([2, 1, 0, 1, 0])
    """
    if boundary == "dirichlet":
        return index.clamp(0, size - 1)
    if boundary == "periodic":
        return index.remainder(size)
    if boundary == "neumann":
        index = index.remainder(2 * size)
        return torch.minimum(index, 2 * size - 1 - index)
    period = max(2 * size - 2, 1)
    index = index.remainder(period)
    return torch.minimum(index, period - index)


def fold(p: Tensor, axis: int, boundary: Boundary, width: int = 1) -> Tensor:
    """Add the ghost cells back to the cells that they mirror: the adjoint of :func:`extend`.

    ⟨extend(u), p⟩ = ⟨u, fold(p)⟩.

    Example:
        >>> fold(torch.tensor([1.0, 10.0, 20.0, 30.0, 2.0]), 0, "periodic")
        tensor([12., 20., 31.])
    """
    if width == 0:
        return p
    size = p.shape[axis] - 2 * width
    inner = p.narrow(axis, width, size)
    if boundary == "dirichlet":
        return inner
    if boundary == "reflect" and size == 1 and width == 1:
        boundary = "neumann"
    low, high = p.narrow(axis, 0, width), p.narrow(axis, size + width, width)
    if boundary == "periodic":
        low_at, high_at = size - width, 0
    else:
        shift = 1 if boundary == "reflect" else 0
        low, high = low.flip(axis), high.flip(axis)
        low_at, high_at = shift, size - width - shift
    return inner + _placed(low, axis, low_at, size) + _placed(high, axis, high_at, size)


def _placed(part: Tensor, axis: int, start: int, size: int) -> Tensor:
    """``part`` within zeros, from ``start``, so that the axis has ``size`` cells."""
    before = [start if i == axis % part.dim() else n for i, n in enumerate(part.shape)]
    after = [size - start - n if i == axis % part.dim() else n for i, n in enumerate(part.shape)]
    return torch.cat((part.new_zeros(before), part, part.new_zeros(after)), axis)


def gradient(u: Tensor, axis: int, grid: Grid) -> Tensor:
    """Difference at the N + 1 faces along ``axis``: (∂u)_{i−½} = (u_i − u_{i−1}) / dx, of second order at the faces."""
    extended = extend(u, axis, grid.boundary)
    return over(difference(extended, axis), grid.spacings[axis - 2])


def divergence(p: Tensor, axis: int, grid: Grid) -> Tensor:
    """Difference of a flux at N + 1 faces, at the N cells: (∂p)_i = (p_{i+½} − p_{i−½}) / dx."""
    return over(difference(p, axis), grid.spacings[axis - 2])


def difference(u: Tensor, axis: int) -> Tensor:
    """u_{i+1} − u_i along ``axis``, one value fewer than ``u`` has."""
    size = u.shape[axis] - 1
    return u.narrow(axis, 1, size) - u.narrow(axis, 0, size)


def over(u: Tensor, length: float) -> Tensor:
    """u / length; by the usual length, 1, without a pass over memory."""
    return u if length == 1 else u / length


def face_mean(u: Tensor, axis: int) -> Tensor:
    """(u_i + u_{i+1}) / 2 along ``axis``, one value fewer than ``u`` has."""
    size = u.shape[axis] - 1
    return (u.narrow(axis, 0, size) + u.narrow(axis, 1, size)) / 2


def lower_faces(p: Tensor, axis: int) -> Tensor:
    """The face below each cell, of a field at N + 1 faces."""
    return p.narrow(axis, 0, p.shape[axis] - 1)


def upper_faces(p: Tensor, axis: int) -> Tensor:
    """The face above each cell, of a field at N + 1 faces."""
    return p.narrow(axis, 1, p.shape[axis] - 1)


def at_faces(field: Tensor, axis: int, grid: Grid) -> Tensor:
    """A field at the cells, (B|1, C|1, *S|1) or (), at the N + 1 faces along ``axis``: the mean of both cells.

    One that does not vary along the axis stays as it is. Beyond a dirichlet edge the material goes on.

    Example:
        >>> at_faces(torch.tensor([[[1.0, 3.0]]]), 2, Grid(dims=1))
        tensor([[[1., 2., 3.]]])
    """
    if field.dim() == 0 or field.shape[axis] == 1:
        return field
    return face_mean(extend(field, axis, grid.coefficient_boundary), axis)


def odd_at_walls(p: Tensor, axis: int, boundary: Boundary) -> Tensor:
    """A field at N + 1 faces, made odd about the walls, so that nothing passes through them.

    The wall of a neumann edge is its face, which gets 0; that of a reflect edge lies in the middle of the edge cell,
    whose outer face gets the opposite of its inner face. Other boundaries have no wall.

    Example:
        >>> odd_at_walls(torch.tensor([1.0, 2.0, 3.0, 4.0]), 0, "reflect")
        tensor([-2.,  2.,  3., -3.])
    """
    if boundary in ("periodic", "dirichlet"):
        return p
    inner = p.narrow(axis, 1, p.shape[axis] - 2)
    if boundary == "reflect" and inner.shape[axis] > 0:
        low, high = -inner.narrow(axis, 0, 1), -inner.narrow(axis, inner.shape[axis] - 1, 1)
    else:
        low = high = torch.zeros_like(p.narrow(axis, 0, 1))
    return torch.cat((low, inner, high), axis)


def squared_gradient(u: Tensor, grid: Grid) -> Tensor:
    """|∇u|² at the cells: along each axis the mean of the squared differences at a cell's two faces.

    One-sided differences see the finest checkerboard, which central ones miss.
    """
    total = torch.zeros((), dtype=u.dtype, device=u.device)
    for axis in grid.axes:
        squared = gradient(u, axis, grid).square()
        total = total + face_mean(squared, axis)
    return total


def squared_gradients_at_faces(u: Tensor, axis: int, grid: Grid) -> list[Tensor]:
    """|∇u|² at the N + 1 faces along ``axis``, from every corner that a face has: 2ᴰ of them on D axes.

    A corner of a cell has one face along each axis, and their differences make one gradient. Means over the corners of
    φ′(|∇u|²) are the conductances of the flow that descends the mean over the corners of φ(|∇u|²)/2.

    Example:
        >>> squared_gradients_at_faces(torch.tensor([[[1.0, 3.0]]]), 2, Grid(dims=1))
        [tensor([[[0., 4., 0.]]]), tensor([[[0., 4., 0.]]])]
    """
    through = gradient(u, axis, grid).square()
    beside = [torch.zeros_like(u)]
    for other in grid.axes:
        if other != axis:
            squared = gradient(u, other, grid).square()
            sides = (lower_faces(squared, other), upper_faces(squared, other))
            beside = [before + side for before in beside for side in sides]
    extended = [extend(squared, axis, grid.coefficient_boundary) for squared in beside]
    return [through + side(squared, axis) for squared in extended for side in (lower_faces, upper_faces)]
