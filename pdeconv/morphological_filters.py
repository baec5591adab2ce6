"""The filters of :mod:`pdeconv.filters` that move level lines: smoothed by their curvature, or gathered at edges."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from pdeconv.errors import checked_number
from pdeconv.grid import Boundary, Grid
from pdeconv.image_array import Image
from pdeconv.image_flow import ImageFlow, Units, slope
from pdeconv.lengthening import Lengthening
from pdeconv.steps import AOS, Euler, Step
from pdeconv.terms import MeanCurvatureMotion, ShockFilter


def curvature_motion(
    image: Image,
    duration: float = 2.0,
    *,
    epsilon: float | None = None,
    spacing: float | Sequence[float] = 1.0,
    boundary: Boundary = "neumann",
    channel_axis: int | None = None,
    dims: int | None = None,
) -> Image:
    """Motion by mean curvature, u_t = |∇u| ∇·(∇u/|∇u|): level lines become smooth, whatever their contrast.

    An outline moves inwards at its curvature, and a circle of radius r is gone at r²/2. On two axes lines are moved, on
    three surfaces.

    Args:
        image: (H, W), or on 2 or 3 axes, with or without channels, each of which is filtered by itself.
        duration: Time, in length².
        epsilon: In value/length: gradients below it diffuse as heat does. By default a thousandth of the difference
            between a channel's largest and least value, over one pixel.
        spacing: Distance of neighbouring pixels, or one for each axis.
        boundary: What lies beyond the edge, as of :class:`pdeconv.Grid`.
        channel_axis: The axis of colours; None for a gray image.
        dims: Number of spatial axes, by default all but ``channel_axis``; if fewer, the last ones, of a batch.

    Keeps: The range (joined with 0 under the dirichlet boundary). Total variation falls.

    Raises:
        PDEConvError: If an argument is out of its range, or the image is empty, of 1 spatial axis, or not finite.
            If it looks like one of colours, such as (H, W, 3), and neither ``channel_axis`` says so, nor ``dims=3``
            that it is a volume.

    References:
        L. Alvarez, P.-L. Lions, J.-M. Morel. Image selective smoothing and edge detection by nonlinear diffusion II.
        SIAM J. Numer. Anal. 29(3), 1992.

    Example:
        >>> import torch
        >>> x = torch.arange(-10.0, 11.0)
        >>> cone = torch.hypot(x[:, None], x[None])
        >>> smooth = curvature_motion(cone, duration=18.0)  # the circle of radius 6 has become a point
        >>> round(float(smooth.min()))
        6
    """
    epsilon = None if epsilon is None else checked_number("curvature_motion", "epsilon", epsilon)

    def curvature(u: Tensor, grid: Grid, units: Units) -> Step:
        return AOS(MeanCurvatureMotion(epsilon=units.own(epsilon, 1, -1) or slope(u, grid, 1e-3), grid=grid))

    flow = ImageFlow("curvature_motion", spacing, boundary, channel_axis, dims, fewest=2)
    return flow(image, duration, curvature, each=epsilon is None)


def shock_filter(
    image: Image,
    duration: float = 3.0,
    *,
    contrast: float | None = None,
    spacing: float | Sequence[float] = 1.0,
    boundary: Boundary = "neumann",
    channel_axis: int | None = None,
    dims: int | None = None,
) -> Image:
    """Osher and Rudin's shock filter, u_t = −F(Δu)|∇u|: blurred edges become jumps.

    It erodes where u is convex and dilates where it is concave, F being a smooth sign. The filter sharpens: a longer
    duration is not smoother, but nearer to the steady state, flat regions with jumps at the zeros of Δu. Noise is
    sharpened as well; denoise first.

    Args:
        image: (H, W), or on 1 to 3 axes, with or without channels, each of which is filtered by itself.
        duration: Time, in length, as edges move at the speed 1 at most: a blur is gone after about its radius.
        contrast: Of F, in value/length²: Laplacians well above it count fully, those below as noise. By default a
            hundredth of the difference between a channel's largest and least value, over one pixel twice.
        spacing: Distance of neighbouring pixels, or one for each axis.
        boundary: What lies beyond the edge, as of :class:`pdeconv.Grid`.
        channel_axis: The axis of colours; None for a gray image.
        dims: Number of spatial axes, by default all but ``channel_axis``; if fewer, the last ones, of a batch.

    Keeps: The range (joined with 0 under the dirichlet boundary).

    Raises:
        PDEConvError: If an argument is out of its range, or the image is empty, of too many axes, or not finite.
            If it looks like one of colours, such as (H, W, 3), and neither ``channel_axis`` says so, nor ``dims=3``
            that it is a volume.
            Or if it took more than 20 000 steps: the filter is explicit, and takes 2·√(axes)·duration/spacing.

    References:
        S. Osher, L. I. Rudin. Feature-oriented image enhancement using shock filters. SIAM J. Numer. Anal. 27(4),
        1990.

    Example:
        >>> import torch
        >>> blurred = torch.tensor([0.0, 0.0, 0.1, 0.3, 0.7, 0.9, 1.0, 1.0])
        >>> shock_filter(blurred)
        tensor([0.0000, 0.0000, 0.0019, 0.0143, 0.9857, 0.9981, 1.0000, 1.0000])
    """
    contrast = None if contrast is None else checked_number("shock_filter", "contrast", contrast)

    def shock(u: Tensor, grid: Grid, units: Units) -> Step:
        found = units.own(contrast, 1, -2) or slope(u, grid, 0.01) / min(grid.spacings)
        return Euler(ShockFilter(contrast=found, grid=grid))

    equal = Lengthening(growth=0.0)
    flow = ImageFlow("shock_filter", spacing, boundary, channel_axis, dims, control=equal, unit=(0, 1))
    return flow(image, duration, shock, each=contrast is None)
