"""Anisotropic diffusion in the plane, u_t = ∇·(D∇u)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from pdeconv.conjugate_gradient import solve_balance
from pdeconv.diffusion_tensor import DiffusionTensor
from pdeconv.discretisation import energy_kept
from pdeconv.errors import PDEConvError, checked_type
from pdeconv.grid import Grid, checked_grid
from pdeconv.operator import NOTHING, Operator, largest, range_kept
from pdeconv.stencil import difference, extend, face_mean, lower_faces, odd_at_walls, upper_faces
from pdeconv.terms.term import Term


class AnisotropicDiffusion(Term):
    """Anisotropic diffusion, u_t = ∇·(D(u)∇u) for a tensor D = [[a, b], [b, c]] on two axes, each channel by itself.

    A cell exchanges with its 8 neighbours. At each corner, where four cells meet, D is the mean of theirs; in the units
    of the spacing, (a/dx₁², b/dx₁dx₂, c/dx₂²), each side of the corner's square has the weight (a − |b|)/2 or
    (c − |b|)/2, one diagonal (|b| + b)/2, and the other (|b| − b)/2: consistent of second order. Each exchange is
    shared by its two cells, so that mass is conserved under the neumann and periodic boundaries. At a neumann or
    reflect wall the image is mirrored, and its tensors with it: b changes sign, and is 0 at the wall.

    Args:
        tensor: Coefficient D at the cells, (B|1, 3, C|1, H|1, W|1): :class:`pdeconv.EdgeEnhancing`,
            :class:`pdeconv.CoherenceEnhancing`, or learned, :class:`pdeconv.ConvTensor`.
        grid: Spacing and boundary, of two axes.

    Rate: Σ |weights| of a cell's neighbours, beyond walls too, at the largest cell. Ceiling: with μ that of the tensor,
        per corner it is at most (a + c)/2 where a, c ≥ |b|, and else, as b² ≤ ac, at most max(a, c); so 2μ·Σ 1/dx² or
        4μ·max 1/dx², the same at equal spacing, and that of isotropic diffusion.
    Solve: By conjugate gradients.
    Flow: Undefined.
    Keeps: Except under the reflect boundary the energy, whatever the tensor: with g the mean gradient and t the twist
        at a corner, the energy there is gᵀDg/2 + (a + c − 2|b|)t²/8 ≥ 0. The spectrum is real and, by Gershgorin's
        theorem, within [−2·rate, 0]. The range too (joined with 0 under the dirichlet boundary) where all weights are
        ≥ 0, which is a ≥ |b| dx₁/dx₂ and c ≥ |b| dx₂/dx₁: of a tensor of any direction, if its condition number is at
        most (√(1 + q²) + 1)/(√(1 + q²) − 1), q the ratio ≥ 1 of the spacings; 3 + 2√2 at equal spacing. The means of
        such tensors are such.

    References:
        J. Weickert. Anisotropic Diffusion in Image Processing. Teubner, 1998 (section 3.4.2, the non-negative stencil).
        J. Weickert, M. Welk, M. Wickert. L²-stable nonstandard finite differences for anisotropic diffusion. SSVM 2013.

    Raises:
        PDEConvError: On a grid of one or three axes; on one it is Diffusion.

    Example:
        >>> import torch
        >>> from pdeconv import CFL, CoherenceEnhancing, Euler, Evolve
        >>> flow = Evolve(Euler(AnisotropicDiffusion(CoherenceEnhancing(channels=1))), duration=2.0, control=CFL(0.9))
        >>> flow.steps, flow(torch.rand(1, 1, 16, 16)).shape
        (9, torch.Size([1, 1, 16, 16]))
    """

    equation = "∇·(D(u)∇u)"
    grid: Grid

    def __init__(self, tensor: DiffusionTensor, grid: Grid | None = None) -> None:
        super().__init__()
        checked_type("AnisotropicDiffusion", tensor, DiffusionTensor, "give for example EdgeEnhancing(channels)")
        self.tensor, self.radius = tensor, tensor.radius + 1
        self._place(checked_grid("AnisotropicDiffusion", grid))

    def _place(self, grid: Grid) -> None:
        if grid.dims != 2:
            raise PDEConvError(
                f"AnisotropicDiffusion needs a grid of 2 axes, but got one of {grid.dims}; use Diffusion there."
            )
        averages = self.tensor.condition <= largest_condition(grid) * (1 + 1e-12)
        self.grid, self.symmetric = grid, grid.boundary != "reflect"
        self.keeps = energy_kept(grid) | (range_kept(grid) if averages else NOTHING)
        inverse = [1 / dx**2 for dx in grid.spacings]
        self.ceiling = self.tensor.ceiling * (2 * sum(inverse) if averages else 4 * max(inverse))

    def refine(self, factor: float) -> None:
        self.tensor.check_refinable()
        self._place(self.grid.refined(factor))

    def forward(self, u: Tensor) -> Operator:
        tensor = self.tensor(u, self.grid)
        if tensor.dim() != 5 or tensor.shape[1] != 3:
            raise PDEConvError(
                f"AnisotropicDiffusion needs a tensor (B|1, 3, C|1, H|1, W|1) of a, b, c, but "
                f"{type(self.tensor).__name__} gave shape {tuple(tensor.shape)}."
            )
        return TensorDiffusion(tensor, u, self)


def largest_condition(grid: Grid) -> float:
    """The largest condition number at which a tensor of any direction has weights ≥ 0 on ``grid``.

    With eigenvalues m ± d the worst direction has a − q|b| = m − d√(1 + q²).

    Example:
        >>> round(largest_condition(Grid()), 4)  # 3 + 2√2
        5.8284
    """
    first, second = grid.spacings
    root = math.hypot(1, max(first / second, second / first))
    return (root + 1) / (root - 1)


class TensorDiffusion(Operator):
    """∇·(D∇·) for a tensor field (B|1, 3, C|1, H|1, W|1), by exchanges with 8 neighbours."""

    def __init__(self, tensor: Tensor, u: Tensor, term: AnisotropicDiffusion) -> None:
        self.grid, self.keeps = term.grid, term.keeps
        rows, columns = self.grid.axes
        dx, dy = self.grid.spacings
        beyond = self.grid.coefficient_boundary
        corners = []
        for entry, scale in zip(tensor.unbind(1), (dx**2, dx * dy, dy**2), strict=True):
            corner = entry.expand(-1, -1, *u.shape[2:]) / scale
            for axis in self.grid.axes:
                corner = face_mean(extend(corner, axis, beyond), axis)
            corners.append(corner)
        a, b, c = corners
        for axis in self.grid.axes:
            b = odd_at_walls(b, axis, self.grid.boundary)
        crossing = b.abs()
        # Through the faces along both axes, and at the corners from the cell below both to that above both, and across.
        self.exchanges = (
            face_mean(a - crossing, columns),
            face_mean(c - crossing, rows),
            (crossing + b) / 2,
            (crossing - b) / 2,
        )

    @property
    def rate(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        return largest(outflow([exchange.abs() for exchange in self.exchanges], self.grid))

    def __call__(self, v: Tensor) -> Tensor:
        return exchange_balance(v, self.exchanges, self.grid)

    def solve(self, b: Tensor, dt: Tensor) -> Tensor:
        return solve_balance(b, dt, exchange_balance, self.exchanges, self.grid)


def exchange_balance(v: Tensor, exchanges: Sequence[Tensor], grid: Grid) -> Tensor:
    """Σ weight·(v_j − v_i) over the 8 neighbours j of each cell i.

    Args:
        v: (B, C, H, W).
        exchanges: Weights (B|1, C|1, …) of the neighbours along rows at the (H + 1, W) faces, along columns at the
            (H, W + 1) faces, and along the rising and the falling diagonal at the (H + 1, W + 1) corners.
        grid: Whose boundary says what lies beyond the edge.
    """
    rows, columns = grid.axes
    through_rows, through_columns, ascending, descending = exchanges
    by_rows = extend(v, rows, grid.boundary)
    by_both = extend(by_rows, columns, grid.boundary)
    balance = difference(through_rows * difference(by_rows, rows), rows)
    balance = balance + difference(through_columns * difference(extend(v, columns, grid.boundary), columns), columns)
    lower, upper = lower_faces(by_both, rows), upper_faces(by_both, rows)
    rising = ascending * (upper_faces(upper, columns) - lower_faces(lower, columns))
    falling = descending * (lower_faces(upper, columns) - upper_faces(lower, columns))
    balance = balance + _upper_right(rising, grid) - _lower_left(rising, grid)
    return balance + _upper_left(falling, grid) - _lower_right(falling, grid)


def outflow(exchanges: Sequence[Tensor], grid: Grid) -> Tensor:
    """The sum of the weights of each cell's neighbours."""
    rows, columns = grid.axes
    through_rows, through_columns, rising, falling = exchanges
    total = lower_faces(through_rows, rows) + upper_faces(through_rows, rows)
    total = total + lower_faces(through_columns, columns) + upper_faces(through_columns, columns)
    total = total + _upper_right(rising, grid) + _lower_left(rising, grid)
    return total + _upper_left(falling, grid) + _lower_right(falling, grid)


def _upper_right(corners: Tensor, grid: Grid) -> Tensor:
    """The corner of each cell that lies above along the rows' axis and above along the columns'."""
    return upper_faces(upper_faces(corners, grid.axes[0]), grid.axes[1])


def _lower_left(corners: Tensor, grid: Grid) -> Tensor:
    return lower_faces(lower_faces(corners, grid.axes[0]), grid.axes[1])


def _upper_left(corners: Tensor, grid: Grid) -> Tensor:
    return lower_faces(upper_faces(corners, grid.axes[0]), grid.axes[1])


def _lower_right(corners: Tensor, grid: Grid) -> Tensor:
    return upper_faces(lower_faces(corners, grid.axes[0]), grid.axes[1])
