"""An inpainter that diffuses into holes from coarse to fine, along what a small network sees."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pdeconv.errors import PDEConvError, checked_count
from pdeconv.evolve import Trajectory
from pdeconv.grid import Grid
from pdeconv.models.registry import register_model
from pdeconv.operator import RANGE, Operator, operator
from pdeconv.stencil import extend, face_mean, gradient
from pdeconv.steps import Euler
from pdeconv.terms.anisotropic import exchange_balance, outflow
from pdeconv.terms.term import Term

LARGEST = 5.0  # of the logarithm of a weight, either way


@register_model("diffusion_inpainter")
class DiffusionInpainter(nn.Module):
    """Fills holes by u_t = ∇·(D∇u) where nothing is known, u = f where f is: on grids of spacing …, 4, 2, 1.

    On the coarsest grid, of one cell, u is the mean of what is known. Each finer grid starts from the coarser one,
    interpolated, and takes ``steps`` Euler steps at their stability limit, after each of which the known cells are set
    to f (on a coarse grid, to the mean of the known pixels within). A small network, the same on every grid, sees D in
    u and in where it is known: a tensor that lets flow along edges more than across, one for each step, for all
    channels. What it sees on a grid it hands to the next finer one.

    Interpolation, the steps (D has a condition number of at most 3 + 2√2, so that all weights of the stencil are ≥ 0)
    and the means are averages. So, whatever the weights, the known pixels stay exactly as they are, all others are
    within the smallest and the largest known value of their channel, and a shift of all values shifts the result.

    At initialisation D is nearly the same everywhere: homogeneous diffusion, from which training starts.

    Args:
        in_channels: 1 for gray, 3 for colour.
        channels: Features of the network.
        steps: Euler steps on each grid.

    Limit: dt = 1/4 for D ≤ 1 on grids of spacing 1; each step takes it.

    References:
        I. Galić et al. Image compression with anisotropic diffusion. J. Math. Imaging Vis. 31, 2008 (inpainting by
        edge-enhancing diffusion).
        F. A. Bornemann, P. Deuflhard. The cascadic multigrid method for elliptic problems. Numer. Math. 75, 1996.

    Example:
        >>> inpainter, image = DiffusionInpainter(), torch.rand(1, 1, 20, 30)
        >>> known = torch.rand(1, 1, 20, 30) < 0.3
        >>> filled = inpainter(image, known)
        >>> bool((filled == image)[known].all()), bool(filled.max() <= image[known].max())
        (True, True)
    """

    _version = 1

    def __init__(self, in_channels: int = 1, channels: int = 24, steps: int = 4) -> None:
        super().__init__()
        for option, value in dict(in_channels=in_channels, channels=channels, steps=steps).items():
            checked_count("diffusion_inpainter", option, value)
        self.in_channels, self.steps = in_channels, steps
        self.weights = SeenWeights(in_channels, channels)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """The image with its holes filled.

        Args:
            image: (B, C, H, W); what it holds where it is not known does not matter.
            mask: (B, 1, H, W), 1 or True where the image is known; elsewhere 0, False or NaN. A pixel of the image that
                is not finite counts as not known.

        Raises:
            PDEConvError: If the shapes do not fit; or, in evaluation, if no pixel of an image is known (in training the
                device is not waited for, and such an image is filled with 0).
        """
        return self._levels(image, mask)[-1]

    def trajectory(self, image: Tensor, mask: Tensor) -> Trajectory:
        """The image on each grid, each of its own size, the coarsest first; the unit of time is one grid."""
        states = self._levels(image, mask)
        return Trajectory(torch.arange(len(states), dtype=torch.float32, device=image.device), tuple(states))

    def _levels(self, image: Tensor, mask: Tensor) -> list[Tensor]:
        known = self._checked(image, mask)
        grids = [(torch.where(known, image, 0.0), known)]
        while max(grids[-1][0].shape[2:]) > 1:
            grids.append(coarser(*grids[-1]))
        f, known = grids.pop()
        states, features = [f], None
        while grids:
            f, known = grids.pop()
            u = torch.where(known, f, finer(states[-1], f.shape[2:]))
            features, exchanges = self.weights(u, known, features)
            step = Euler(LocalTimeDiffusion(*exchanges))
            dt = u.new_full((), step.guaranteed_limit)
            for _ in range(self.steps):
                u = torch.where(known, f, step(u, dt))
            states.append(u)
        return states

    def _checked(self, image: Tensor, mask: Tensor) -> Tensor:
        """Where the image is known, (B, 1, H, W)."""
        Grid().check(image)
        if image.shape[1] != self.in_channels:
            raise PDEConvError(
                f"diffusion_inpainter is for images of {self.in_channels} channels, but got the shape "
                f"{tuple(image.shape)}; build it with in_channels={image.shape[1]}."
            )
        shape = (image.shape[0], 1, *image.shape[2:])
        if not isinstance(mask, Tensor) or mask.shape != shape:
            got = tuple(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
            raise PDEConvError(
                f"diffusion_inpainter needs a mask {shape} for an image of the shape {tuple(image.shape)}, 1 where it "
                f"is known, but got {got}."
            )
        known = (mask > 0.5) & image.isfinite().all(1, keepdim=True)
        if not self.training and not torch.compiler.is_compiling() and not bool(known.flatten(1).any(1).all()):
            raise PDEConvError(
                "diffusion_inpainter needs at least one known pixel in each image, but got one without; a mask is 1 "
                "where the image is known, and 0 in the holes."
            )
        return known


class LocalTimeDiffusion(Term):
    """u_t = ∇·(D∇u) / (ρ + rate of D there): D = Σ wₖ eₖeₖᵀ of the four directions between a cell and its 8 neighbours.

    Each cell has a time of its own, in which its stability limit is 1: where little flows, what flows has the effect
    that it would have after a longer time. That changes the way to the steady state, not the state.

    Args:
        exchanges: wₖ ≥ 0 of the neighbours, see :func:`pdeconv.terms.anisotropic.exchange_balance`.
        inertia: ρ > 0 at the cells, (B, 1, H, W).

    Rate: At most 1, so Euler is safe for dt ≤ 1. Keeps: The range, as all weights are ≥ 0.
    """

    grid: Grid = Grid()
    ceiling, keeps, radius = 1.0, frozenset({RANGE}), 1

    def __init__(self, exchanges: Sequence[Tensor], inertia: Tensor) -> None:
        super().__init__()
        self.exchanges = exchanges
        self.slowness = 1 / (inertia + outflow(exchanges, self.grid))

    def forward(self, u: Tensor) -> Operator:
        return operator(lambda v: self.slowness * exchange_balance(v, self.exchanges, self.grid), rate=1.0, keeps=RANGE)


class SeenWeights(nn.Module):
    """The network that sees D on one grid."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.lift = nn.Conv2d(3 * in_channels + 1, channels, 3, padding=1)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.head = nn.Conv2d(channels, 5, 1)
        with torch.no_grad():
            self.head.weight.mul_(0.1)
            self.head.bias.copy_(torch.tensor([0.0, 0.0, -2.0, -2.0, -3.0]))  # pyright: ignore

    def forward(
        self, u: Tensor, known: Tensor, coarse: Tensor | None
    ) -> tuple[Tensor, tuple[tuple[Tensor, ...], Tensor]]:
        """(features, (exchanges, inertia)); ``coarse`` are the features of the next coarser grid."""
        h = self.lift(torch.cat((10 * derivatives(u), known.to(u.dtype)), 1))
        h = h if coarse is None else h + finer(coarse, u.shape[2:])
        h = h + self.second(F.silu(self.first(F.silu(h))))
        logits = LARGEST * torch.tanh(self.head(F.silu(h)).to(u.dtype) / LARGEST)
        rows, columns, rising, falling, inertia = logits.split(1, 1)
        across = at_faces(rising, 2), at_faces(falling, 2)
        exchanges = (at_faces(rows, 2), at_faces(columns, 3), *(at_faces(corner, 3) for corner in across))
        return h, (tuple(exchange.exp() for exchange in exchanges), inertia.exp())


def at_faces(field: Tensor, axis: int) -> Tensor:
    """A field at the cells, at the N + 1 faces along ``axis``."""
    return face_mean(extend(field, axis, "neumann"), axis)


def derivatives(u: Tensor) -> Tensor:
    """u_x, u_y and Δu at the cells, by central differences with mirrored edges, (B, 3C, H, W)."""
    grid = Grid()
    first, second = [], torch.zeros_like(u)
    for axis in grid.axes:
        faces = gradient(u, axis, grid)
        first.append(face_mean(faces, axis))
        second = second + faces.diff(dim=axis)
    return torch.cat((*first, second), 1)


def coarser(f: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """The next coarser grid: the mean of the known among 2 × 2 cells, and whether there are any."""
    for axis in (2, 3):  # an odd side gets a cell of which nothing is known
        if f.shape[axis] % 2:
            missing = torch.zeros_like(f.narrow(axis, 0, 1))
            f = torch.cat((f, missing), axis)
            known = torch.cat((known, torch.zeros_like(known.narrow(axis, 0, 1))), axis)
    share = F.avg_pool2d(known.to(f.dtype), 2)
    any_known = share > 0
    return F.avg_pool2d(f, 2) / torch.where(any_known, share, 1.0), any_known


def finer(u: Tensor, size: torch.Size) -> Tensor:
    """Between the cells of a grid of twice the spacing, linearly: 3/4 of the nearer and 1/4 of the farther one."""
    for axis, cells in zip((2, 3), size, strict=True):
        if cells == 1:
            continue
        wide = extend(u, axis, "neumann")
        count = u.shape[axis]
        middle, low, high = u, wide.narrow(axis, 0, count), wide.narrow(axis, 2, count)
        pairs = torch.stack((torch.lerp(middle, low, 0.25), torch.lerp(middle, high, 0.25)), axis + 1)
        u = pairs.flatten(axis, axis + 1).narrow(axis, 0, cells)
    return u
