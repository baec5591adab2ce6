"""The coefficients of an equation at a state: where it diffuses, along what, which way it carries, and what flows."""

from __future__ import annotations

import math

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from pdeconv.errors import PDEConvError, checked_type
from pdeconv.terms import Advection, AnisotropicDiffusion, Diffusion
from pdeconv.viz.style import ACCENT, SECOND, as_pixels, montage, styled

MAP = "cividis"


@styled
def diffusivity_figure(term: Diffusion, u: Tensor, example: int = 0, channel: int = 0, title: str = "") -> Figure:
    """The state, and the diffusivity κ(u) that it gives itself: where it is low, edges stay.

    Args:
        term: Diffusion on two axes.
        u: (B, C, H, W).
        example: Which sample.
        channel: Which channel.
        title: Over all.
    """
    checked_type("diffusivity_figure", term, Diffusion, "give a Diffusion term")
    plane = _plane("diffusivity_figure", u, example, channel)
    kappa = _diffusivity(term, u)
    figure, (left, right) = _pair(plane, title)
    _picture(left, plane, "u", "gray")
    image = right.imshow(_numbers(kappa[example, channel]), cmap=MAP, vmin=0, interpolation="nearest")
    _bare(right, "diffusivity κ(u)")
    figure.colorbar(image, ax=right, fraction=0.046, pad=0.02)
    return figure


@styled
def tensor_figure(
    term: AnisotropicDiffusion, u: Tensor, example: int = 0, channel: int = 0, across: int = 20, title: str = ""
) -> Figure:
    """The state, and the diffusion tensor D(u) as ellipses: the half-axes are in proportion to the eigenvalues.

    Args:
        term: Anisotropic diffusion.
        u: (B, C, H, W).
        example: Which sample.
        channel: Which channel.
        across: Ellipses along the longer side.
        title: Over all.
    """
    checked_type("tensor_figure", term, AnisotropicDiffusion, "give an AnisotropicDiffusion term")
    plane = _plane("tensor_figure", u, example, channel)
    with torch.no_grad():
        entries = term.tensor(u, term.grid).expand(len(u), 3, *u.shape[1:])[example, :, channel]
    a, b, c = (_numbers(entry) for entry in entries)  # of the first axis, mixed, of the second
    rows, columns, stride = _places(plane, across)
    matrices = np.stack([np.stack([c, b], -1), np.stack([b, a], -1)], -1)[rows, columns]  # in (x, y)
    values, vectors = np.linalg.eigh(matrices)
    scale = 0.9 * stride / max(float(values.max()), 1e-12)
    angles = np.degrees(np.arctan2(vectors[..., 1, 1], vectors[..., 0, 1]))
    figure, (left, right) = _pair(plane, title)
    _picture(left, plane, "u", "gray")
    _picture(right, plane, "diffusion tensor D(u)", "gray", faint=True)
    ellipses = EllipseCollection(
        widths=(scale * values[..., 1]).ravel(),
        heights=(scale * values[..., 0]).ravel(),
        angles=angles.ravel(),
        units="xy",
        offsets=np.column_stack([columns.ravel(), rows.ravel()]),
        offset_transform=right.transData,
        facecolor=ACCENT,
        edgecolor="none",
        alpha=0.85,
    )
    right.add_collection(ellipses)
    return figure


@styled
def velocity_figure(
    term: Advection, u: Tensor, example: int = 0, channel: int = 0, across: int = 20, title: str = ""
) -> Figure:
    """The state, and the velocity v(u) that carries it, as arrows; the longest is about the distance between two.

    Args:
        term: Advection on two axes.
        u: (B, C, H, W).
        example: Which sample.
        channel: Which channel.
        across: Arrows along the longer side.
        title: Over all.
    """
    checked_type("velocity_figure", term, Advection, "give an Advection term")
    plane = _plane("velocity_figure", u, example, channel)
    down, right_ = (_numbers(component) for component in _velocity(term, u)[example, :, channel])
    return _arrows(plane, down, right_, "velocity v(u)", across, title)


@styled
def flux_figure(
    term: Diffusion | Advection, u: Tensor, example: int = 0, channel: int = 0, across: int = 20, title: str = ""
) -> Figure:
    """The state, and what flows through it: −κ∇u of a diffusion, v·u of an advection.

    Args:
        term: Diffusion or advection on two axes.
        u: (B, C, H, W).
        example: Which sample.
        channel: Which channel.
        across: Arrows along the longer side.
        title: Over all.
    """
    plane = _plane("flux_figure", u, example, channel)
    with torch.no_grad():
        if isinstance(term, Diffusion):
            kappa = _diffusivity(term, u)
            slopes = torch.gradient(plane, spacing=term.grid.spacings) if min(plane.shape) > 1 else [0 * plane] * 2
            down, right = (_numbers(-kappa[example, channel].cpu() * slope) for slope in slopes)
        elif isinstance(term, Advection):
            velocity = _velocity(term, u)[example, :, channel]
            down, right = (_numbers(component.cpu() * plane) for component in velocity)
        else:
            raise PDEConvError(f"flux_figure needs a Diffusion or an Advection, but got {type(term).__name__}.")
    return _arrows(plane, down, right, "flux", across, title)


@torch.no_grad()
def _diffusivity(term: Diffusion, u: Tensor) -> Tensor:
    """κ(u) at all cells, (B, C, H, W)."""
    kappa = term.diffusivity(u, term.grid)
    return kappa.expand(u.shape) if kappa.dim() == u.dim() else kappa.reshape(1, 1, 1, 1).expand(u.shape)


@torch.no_grad()
def _velocity(term: Advection, u: Tensor) -> Tensor:
    """v(u) at all cells, (B, 2, C, H, W)."""
    return term.velocity(u, term.grid).expand(len(u), 2, *u.shape[1:])


def _arrows(plane: Tensor, down: NDArray, right: NDArray, name: str, across: int, title: str) -> Figure:
    rows, columns, stride = _places(plane, across)
    down, right = down[rows, columns], right[rows, columns]
    longest = max(float(np.hypot(down, right).max()), 1e-12)
    figure, (left_axes, right_axes) = _pair(plane, title)
    _picture(left_axes, plane, "u", "gray")
    said = f"{name}, up to {longest:.3g}" if longest > 1e-12 else f"{name}: none"
    _picture(right_axes, plane, said, "gray", faint=True)
    right_axes.quiver(
        columns, rows, right, down, angles="xy", scale_units="xy", scale=longest / stride, color=SECOND, width=0.006
    )
    return figure


def _plane(owner: str, u: Tensor, example: int, channel: int) -> Tensor:
    """One channel of one sample, (H, W)."""
    checked_type(owner, u, Tensor, "give a state (B, C, H, W)")
    if u.dim() != 4 or not -len(u) <= example < len(u) or not -u.shape[1] <= channel < u.shape[1]:
        raise PDEConvError(
            f"{owner} needs a state (B, C, H, W) with sample {example} and channel {channel}, but got {tuple(u.shape)}."
        )
    return u[example, channel].detach().float().cpu()


def _pair(plane: Tensor, title: str) -> tuple[Figure, tuple[Axes, Axes]]:
    height, width = plane.shape
    wide = min(4.0, max(0.5, width / height))
    figure = montage(2 * 3.0 * wide + 0.9, 3.3, title)
    left, right = figure.subplots(1, 2)
    return figure, (left, right)


def _picture(axes: Axes, plane: Tensor, title: str, cmap: str, faint: bool = False) -> None:
    low, high = plane.min(), plane.max()
    scaled = as_pixels(((plane - low) / (high - low).clamp(min=1e-12))[None])
    shown = 0.75 + 0.25 * scaled if faint else scaled
    axes.imshow(shown, cmap=cmap, vmin=0, vmax=1, interpolation="nearest")
    _bare(axes, title)


def _bare(axes: Axes, title: str) -> None:
    axes.set_axis_off()
    axes.set_title(title, pad=5)


def _places(plane: Tensor, across: int) -> tuple[NDArray, NDArray, int]:
    """Rows and columns of cells to show, and their distance."""
    height, width = plane.shape
    stride = max(1, math.ceil(max(height, width) / max(1, across)))
    first = (min(stride, height) - 1) // 2, (min(stride, width) - 1) // 2
    rows, columns = np.meshgrid(np.arange(first[0], height, stride), np.arange(first[1], width, stride), indexing="ij")
    return rows, columns, stride


def _numbers(field: Tensor) -> NDArray:
    return field.detach().cpu().double().numpy()
