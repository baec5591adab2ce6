"""Classical filters of images, each an equation evolved for a duration: as functions, in scikit-image's manner.

An image is a NumPy array or a tensor, (H, W), or with other axes; the result is one too. Colours are told from a third
axis of space by ``channel_axis``: an image that looks like one of colours, such as (H, W, 3), is refused without it.
Integers and bool become floating-point numbers in which the largest integer is 1, as in scikit-image; floating-point
images keep their type and their values' unit. Nothing is written to the input. A filter of a tensor differentiates.
Each channel of each image is filtered as if it were alone, with a contrast of its own where none is given.

The duration is the strength: 0 leaves the image as it is, and a longer filter goes on from a shorter one. Its unit, and
that of every gradient, comes from the spacing; at the usual spacing of 1 lengths are in pixels. No spacing and no
duration is unstable, as implicit steps, which grow longer as the image grows smoother, take about ten times as many
steps for a duration 10⁴ times as long.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from pdeconv.coefficient import Constant
from pdeconv.control import Fixed
from pdeconv.diffusivity import PeronaMalik
from pdeconv.errors import PDEConvError, checked_number
from pdeconv.grid import Boundary, Grid
from pdeconv.image_array import Image
from pdeconv.image_flow import ImageFlow, Units, noise_slope, slope
from pdeconv.morphological_filters import curvature_motion, shock_filter
from pdeconv.p_laplacian import TotalVariation
from pdeconv.steps import AOS, BackwardEuler, Exact, Step
from pdeconv.structure_tensor import CoherenceEnhancing
from pdeconv.terms import AnisotropicDiffusion, Diffusion
from pdeconv.terms.anisotropic import largest_condition

__all__ = [
    "curvature_motion",
    "denoise_perona_malik",
    "denoise_tv_flow",
    "diffuse",
    "enhance_coherence",
    "shock_filter",
]

_START = 0.9  # the share of its ceiling that a learned diffusivity starts at


def diffuse(
    image: Image,
    duration: float = 1.0,
    *,
    spacing: float | Sequence[float] = 1.0,
    boundary: Boundary = "neumann",
    channel_axis: int | None = None,
    dims: int | None = None,
) -> Image:
    """Heat, u_t = Δu, solved exactly: a Gaussian filter of the standard deviation √(2·duration).

    Args:
        image: (H, W), or on 1 to 3 axes, with or without channels, each of which is filtered by itself.
        duration: Time, in length².
        spacing: Distance of neighbouring pixels, or one for each axis.
        boundary: What lies beyond the edge, as of :class:`pdeconv.Grid`.
        channel_axis: The axis of colours; None for a gray image.
        dims: Number of spatial axes, by default all but ``channel_axis``; if fewer, the last ones, of a batch.

    Keeps: The range (joined with 0 under the dirichlet boundary); the mean, under neumann and periodic. Variance falls.

    Raises:
        PDEConvError: If an argument is out of its range, or the image is empty, of too many axes, or not finite.
            If it looks like one of colours, such as (H, W, 3), and neither ``channel_axis`` says so, nor ``dims=3``
            that it is a volume.

    References:
        J. J. Koenderink. The structure of images. Biological Cybernetics 50, 1984.

    Example:
        >>> import torch
        >>> spot = torch.zeros(9, 9)
        >>> spot[4, 4] = 1.0
        >>> diffuse(spot, duration=2.0)[4, 4:]
        tensor([0.0429, 0.0371, 0.0245, 0.0132, 0.0073])
    """

    def heat(u: Tensor, grid: Grid, units: Units) -> Step:
        return Exact(Diffusion(Constant(1.0), grid))

    flow = ImageFlow("diffuse", spacing, boundary, channel_axis, dims, control=Fixed(1))
    return flow(image, duration, heat, each=False)


def denoise_perona_malik(
    image: Image,
    duration: float = 3.0,
    *,
    contrast: float | None = None,
    spacing: float | Sequence[float] = 1.0,
    boundary: Boundary = "neumann",
    channel_axis: int | None = None,
    dims: int | None = None,
) -> Image:
    """Perona and Malik's diffusion, u_t = ∇·(∇u / (1 + |∇u|²/λ²)): regions are smoothed, edges stay.

    Args:
        image: (H, W), or on 1 to 3 axes, with or without channels, each of which is filtered by itself.
        duration: Time, in length². Where nothing is an edge, it is a Gaussian filter of deviation √(2·duration).
        contrast: λ, in value/length: gradients well above it are edges. By default 0.7 times the standard deviation of
            a channel's noise, as the median of all differences of neighbours tells it, over one pixel.
        spacing: Distance of neighbouring pixels, or one for each axis.
        boundary: What lies beyond the edge, as of :class:`pdeconv.Grid`.
        channel_axis: The axis of colours; None for a gray image.
        dims: Number of spatial axes, by default all but ``channel_axis``; if fewer, the last ones, of a batch.

    Keeps: The range (joined with 0 under the dirichlet boundary); the mean, under neumann and periodic. Variance falls.

    Raises:
        PDEConvError: If an argument is out of its range, or the image is empty, of too many axes, or not finite.
            If it looks like one of colours, such as (H, W, 3), and neither ``channel_axis`` says so, nor ``dims=3``
            that it is a volume.

    References:
        P. Perona, J. Malik. Scale-space and edge detection using anisotropic diffusion. IEEE TPAMI 12(7), 1990.
        M. J. Black, G. Sapiro, D. H. Marimont, D. Heeger. Robust anisotropic diffusion. IEEE TIP 7(3), 1998 (the
        contrast from the median absolute deviation).

    Example:
        >>> import torch
        >>> edge = torch.tensor([[0.1, 0.0, 0.1, 0.9, 1.0, 0.9]])
        >>> denoise_perona_malik(edge, duration=2.0, contrast=0.1)
        tensor([[0.0693, 0.0712, 0.1078, 0.8922, 0.9288, 0.9307]])
    """
    contrast = None if contrast is None else checked_number("denoise_perona_malik", "contrast", contrast)

    def diffusion(u: Tensor, grid: Grid, units: Units) -> Step:
        found = units.own(contrast, 1, -1) or noise_slope(u, grid) / 2
        stopping = PeronaMalik(u.shape[1], found, 1 / _START, dtype=u.dtype)
        return AOS(Diffusion(stopping, grid))

    flow = ImageFlow("denoise_perona_malik", spacing, boundary, channel_axis, dims)
    return flow(image, duration, diffusion, each=contrast is None)


def denoise_tv_flow(
    image: Image,
    duration: float = 0.1,
    *,
    epsilon: float | None = None,
    spacing: float | Sequence[float] = 1.0,
    boundary: Boundary = "neumann",
    channel_axis: int | None = None,
    dims: int | None = None,
) -> Image:
    """Total variation flow, u_t = ∇·(∇u/|∇u|), |∇u| being √(|∇u|² + ε²): regions become flat, edges stay sharp.

    A region loses contrast at the rate perimeter/area, a disc of radius r at 2/r: the smaller, the sooner.

    Args:
        image: (H, W), or on 1 to 3 axes, with or without channels, each of which is filtered by itself.
        duration: Time, in value·length. A pixel of noise loses four times this, at a spacing of 1.
        epsilon: ε, in value/length; gradients below it diffuse as heat does. By default a thousandth of the difference
            between a channel's largest and least value, over one pixel.
        spacing: Distance of neighbouring pixels, or one for each axis.
        boundary: What lies beyond the edge, as of :class:`pdeconv.Grid`.
        channel_axis: The axis of colours; None for a gray image.
        dims: Number of spatial axes, by default all but ``channel_axis``; if fewer, the last ones, of a batch.

    Keeps: The range (joined with 0 under the dirichlet boundary); the mean, under neumann and periodic. Variance and
        total variation fall.

    Raises:
        PDEConvError: If an argument is out of its range, or the image is empty, of too many axes, or not finite.
            If it looks like one of colours, such as (H, W, 3), and neither ``channel_axis`` says so, nor ``dims=3``
            that it is a volume.

    References:
        L. I. Rudin, S. Osher, E. Fatemi. Nonlinear total variation based noise removal algorithms. Physica D 60, 1992.
        F. Andreu, C. Ballester, V. Caselles, J. M. Mazón. Minimizing total variation flow. Differential and Integral
        Equations 14(3), 2001.

    Example:
        >>> import torch
        >>> bar = torch.tensor([0.0, 0.0, 1.0, 1.0, 0.0, 0.0])
        >>> denoise_tv_flow(bar, duration=0.2)  # of width 2, it sinks by 2·0.2/2
        tensor([0.0980, 0.0986, 0.8034, 0.8034, 0.0986, 0.0980])
    """
    epsilon = None if epsilon is None else checked_number("denoise_tv_flow", "epsilon", epsilon)

    def variation(u: Tensor, grid: Grid, units: Units) -> Step:
        return AOS(Diffusion(TotalVariation(epsilon=units.own(epsilon, 1, -1) or slope(u, grid, 1e-3)), grid))

    flow = ImageFlow("denoise_tv_flow", spacing, boundary, channel_axis, dims, unit=(1, 1))
    return flow(image, duration, variation, each=epsilon is None)


def enhance_coherence(
    image: Image,
    duration: float = 10.0,
    *,
    contrast: float | None = None,
    noise_scale: float | None = None,
    integration_scale: float | None = None,
    condition: float = 1000.0,
    spacing: float | Sequence[float] = 1.0,
    boundary: Boundary = "neumann",
    channel_axis: int | None = None,
    dims: int | None = None,
) -> Image:
    """Coherence-enhancing diffusion, u_t = ∇·(D(u)∇u): stripes flow along themselves, and interrupted lines close.

    D is that of :class:`pdeconv.CoherenceEnhancing`: 1 along a stripe, 1/condition across it and where there is none.

    Args:
        image: (H, W), with or without channels, each of which is filtered by itself.
        duration: Time, in length². Along a stripe it is a Gaussian filter of deviation √(2·duration).
        contrast: λ, in value/length: stripes of gradients well above it flow. By default 0.005 times the
            difference between a channel's largest and least value, over one pixel.
        noise_scale: Standard deviation of the Gaussian before gradients are taken, a length; by default 0.7 pixels.
        integration_scale: That of the Gaussian that averages directions, several stripes wide; by default 4 pixels.
        condition: The ratio of D along and across a stripe, at least 1.
        spacing: Distance of neighbouring pixels, or one for each axis.
        boundary: What lies beyond the edge, as of :class:`pdeconv.Grid`.
        channel_axis: The axis of colours; None for a gray image.
        dims: 2 for a batch of images: the last two axes beside ``channel_axis`` are spatial.

    Keeps: The mean, under neumann and periodic. Variance falls. The range for a condition of at most 3 + 2√2 (at equal
        spacing; see :class:`pdeconv.AnisotropicDiffusion`); above, values may leave it by little, and the boundary
        cannot be reflect.

    Raises:
        PDEConvError: If an argument is out of its range, or the image is empty, not of two spatial axes, or not finite.
            If it looks like one of colours, such as (H, W, 3), and ``channel_axis`` does not say so.

    References:
        J. Weickert. Coherence-enhancing diffusion filtering. Int. J. Comput. Vision 31, 1999.

    Example:
        >>> import torch
        >>> stripes = torch.tensor([0.0, 1.0, 1.0, 0.0]).repeat(8, 4)
        >>> broken = stripes.clone()
        >>> broken[3:5] = 0.5
        >>> healed = enhance_coherence(broken)
        >>> bool((healed - stripes)[3:5].abs().mean() < 0.3)
        True
    """
    name = "enhance_coherence"
    contrast = None if contrast is None else checked_number(name, "contrast", contrast)
    if noise_scale is not None:
        noise_scale = checked_number(name, "noise_scale", noise_scale, zero_too=True)
    if integration_scale is not None:
        integration_scale = checked_number(name, "integration_scale", integration_scale, zero_too=True)

    def diffusion(u: Tensor, grid: Grid, units: Units) -> Step:
        pixel = min(grid.spacings)
        tensor = CoherenceEnhancing(
            u.shape[1],
            units.own(contrast, 1, -1, power=4) or slope(u, grid, 0.005),
            0.7 * pixel if noise_scale is None else units.own(noise_scale, 0, 1),
            4 * pixel if integration_scale is None else units.own(integration_scale, 0, 1),
            1 / _START,
            condition,
            dtype=u.dtype,
        )
        step = BackwardEuler(AnisotropicDiffusion(tensor, grid))
        if not step.keeps:
            raise PDEConvError(
                f"{name} keeps nothing under the reflect boundary at condition={condition:g}; expected at most "
                f"{largest_condition(grid):.4g} there. Give that, or the boundary 'neumann'."
            )
        return step

    flow = ImageFlow(name, spacing, boundary, channel_axis, dims, fewest=2, most=2)
    return flow(image, duration, diffusion, each=contrast is None)
