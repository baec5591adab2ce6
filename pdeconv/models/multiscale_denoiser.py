"""A denoiser that diffuses on coarse and fine grids, with a diffusivity that a small network sees."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pdeconv.errors import PDEConvError, checked_count
from pdeconv.filter_bank import Filters, convolve, transpose
from pdeconv.grid import Grid
from pdeconv.layers_by_dims import CONVOLUTION, checked_dims
from pdeconv.models.denoiser import Denoiser, cosine_filters
from pdeconv.models.registry import register_model
from pdeconv.operator import ENERGY

LEVEL_UNIT = 25 / 255  # where the logarithm of the noise level is 0
LARGEST_SEEN = 2048.0  # of a response, in units of the noise: more than that of any image within [0, 1]
LARGEST_HALF = 2.0**14  # of a feature in float16, which ends at 2¹⁶


@register_model("multiscale_denoiser")
class MultiscaleDenoiser(Denoiser):
    """Denoises by u_t = −Rᵀ Kᵀ g(u, σ) K R u on grids of spacing 1, 2, 4 …, from the coarsest to the finest.

    One multigrid cycle: R restricts the image to a grid by averages of norm 1, K is a learned filter bank of windows
    that overlap, the same on every grid, and g in (0, 1) is the diffusivity of each window and filter. A small network
    sees g in the responses |Ku| of its own grid and of all others: downwards through the grids, and up again. Each grid
    then takes an Euler step of dt = 1.

    A further cycle starts again from the noisy image, and sees g in the responses of what the cycle before made of it,
    too: the lagged diffusivity, by which nonlinear diffusion is solved as a sequence of linear ones.

    Whatever the weights, g is in (0, 1), ‖R‖ = 1 and ‖K‖² ≤ 2, so that 1 is the limit of each step, and the image never
    leaves the energy ball around its mean: ‖û − μ‖ ≤ ‖f − μ‖ (of an image whose sides are no multiples of 2^depth, that
    of the image mirrored up to there). With a map σ(x) of the noise that holds for the norm weighted by 1/σ, not for
    the plain one. A constant image stays as it is.

    At initialisation K is the cosine basis and g a (high) threshold of the response, as in translation-invariant
    cosine shrinkage.

    Args:
        in_channels: 1 for gray, 3 for colour.
        channels: Features of the network that sees g: of every cycle, or a number for each.
        depth: Number of grids.
        steps: Number of cycles, each with its own weights and K.
        kernel_size: Width of the windows in cells, 2 (mod 4): 6, 10, … They are 2 cells apart. A window of d axes has
            kernel_size^d − 1 filters: 5, 35 or 215 of width 6.
        expansion: Width within a block of the network, in multiples of ``channels``.
        dims: Number of spatial axes: 1 for signals, 2 for images, 3 for volumes.

    Limit: dt = 1 for every step; see :attr:`pdeconv.filter_bank.Filters.squared_norm`.

    References:
        R. R. Coifman, D. L. Donoho. Translation-invariant de-noising. Wavelets and Statistics, 1995.
        S. Mohan et al. Robust and interpretable blind image denoising via bias-free convolutional neural networks.
        ICLR 2020 (denoisers act as linear filters with gains in [0, 1] that adapt to the image).
        C. R. Vogel, M. E. Oman. Iterative methods for total variation denoising. SIAM J. Sci. Comput. 17(1), 1996
        (lagged diffusivity).
        W. L. Briggs, V. E. Henson, S. F. McCormick. A multigrid tutorial. SIAM, 2000.

    Example:
        >>> denoiser = MultiscaleDenoiser()
        >>> noisy = torch.rand(1, 1, 40, 50)
        >>> denoised = denoiser(noisy, sigma=25 / 255)
        >>> denoised.shape, bool(denoised.std() < noisy.std())
        (torch.Size([1, 1, 40, 50]), True)
    """

    _version = 1
    keeps = frozenset({ENERGY})

    def __init__(
        self,
        in_channels: int = 1,
        channels: int | Sequence[int] = 20,
        depth: int = 3,
        steps: int = 1,
        kernel_size: int = 6,
        expansion: int = 2,
        dims: int = 2,
    ) -> None:
        super().__init__()
        self.dims = checked_dims("multiscale_denoiser", dims)
        sizes = dict(in_channels=in_channels, depth=depth, steps=steps, expansion=expansion)
        for option, value in sizes.items():
            checked_count("multiscale_denoiser", option, value)
        widths = list(channels) if isinstance(channels, Sequence) else [channels] * steps
        for width in widths:
            checked_count("multiscale_denoiser", "channels", width)
        if len(widths) != steps:
            raise PDEConvError(
                f"multiscale_denoiser needs one number of channels, or one for each of its steps={steps} cycles, "
                f"but got {len(widths)}."
            )
        if checked_count("multiscale_denoiser", "kernel_size", kernel_size) % 4 != 2:
            raise PDEConvError(
                f"multiscale_denoiser needs a kernel_size of 2, 6, 10, … (2 mod 4), but got {kernel_size}."
            )
        self.in_channels, self.stages = in_channels, steps
        self.multiple = 2**depth
        self.cycles = nn.ModuleList(
            Cycle(in_channels, width, depth, kernel_size, expansion, number > 0, dims)
            for number, width in enumerate(widths)
        )
        # On each grid, in windows: K and two blocks to see g, K and Kᵀ to act; and the coarsest grid's cells.
        self.radius = steps * (sum(2 * 2**grid * (3 * (kernel_size // 4) + 2) for grid in range(depth)) + self.multiple)

    @property
    def courant(self) -> float:
        return max(cycle.filters.squared_norm for cycle in self.cycles) / 2  # pyright: ignore

    def _evolved(self, v: Tensor, level: Tensor, stages: int | None = None) -> Sequence[Tensor]:
        v = v.to(self.cycles[0].filters.weight.dtype)  # pyright: ignore
        log_level = torch.log(level / LEVEL_UNIT).to(v.dtype)
        if log_level.shape[2:].numel() > 1:
            log_level = halved(log_level)
        states = [v]
        cycles = list(self.cycles)[:stages]
        if v.shape[0] == 0:  # pixel_unshuffle would leave an empty batch its shape
            return states * (1 + len(cycles))
        for number, cycle in enumerate(cycles, start=1):
            estimate = states[-1].detach() if number == stages else states[-1]
            states.append(cycle(v, log_level, None if number == 1 else estimate))
        return states


@register_model("multiscale_denoiser_small")
def multiscale_denoiser_small(in_channels: int = 1) -> MultiscaleDenoiser:
    """18 thousand parameters (gray)."""
    return MultiscaleDenoiser(in_channels, channels=20)


@register_model("multiscale_denoiser_large")
def multiscale_denoiser_large(in_channels: int = 1) -> MultiscaleDenoiser:
    """97 thousand parameters (gray): the cycle of the small one, and a wider one that looks at its result."""
    return MultiscaleDenoiser(in_channels, channels=(20, 48), steps=2)


class Cycle(nn.Module):
    """One step on each grid, from the coarsest to the finest; ``again``, with an estimate of the result."""

    def __init__(
        self, in_channels: int, channels: int, depth: int, kernel_size: int, expansion: int, again: bool, dims: int
    ) -> None:
        super().__init__()
        cosines = unshuffled(cosine_filters(kernel_size, in_channels, dims))
        width = kernel_size // 2
        # ‖K‖ is 1 to begin with, as each cell lies in `width`^dims windows; so noise of level 1 has responses of the
        # level `width`^(−dims/2).
        grid = Grid(boundary="dirichlet", dims=dims)
        self.filters = Filters(cosines.shape[1], len(cosines), width, norm=math.sqrt(2), grid=grid, mean_free=False)
        with torch.no_grad():
            self.filters.weight.copy_(cosines)
        contrast = 1.5 * width ** (dims / 2 - 1)
        self.grids = nn.ModuleList(
            Diffusivity(len(cosines), channels, expansion, again, contrast, dims) for _ in range(depth)
        )

    def forward(self, u: Tensor, log_level: Tensor, estimate: Tensor | None = None) -> Tensor:
        kernel = self.filters.kernel
        levels = [log_level]
        seen: list[Tensor] = []
        coarse, known = u, estimate
        estimates: list[Tensor | None] = []
        grids = cast("list[Diffusivity]", list(self.grids))
        for place, grid in enumerate(grids):
            if place:
                coarse = restrict(coarse)
                known = None if known is None else restrict(known)
                levels.append(levels[-1] if log_level.shape[2:].numel() == 1 else halved(levels[-1]))
            z, y = self._responses(coarse, kernel), None if known is None else self._responses(known, kernel)
            estimates.append(y)
            seen.append(grid.down(z if y is None else torch.cat((z, y), 1), seen[-1] if seen else None, levels[-1]))
        above = None
        for place in reversed(range(len(grids))):
            coarse = u
            for _ in range(place):
                coarse = restrict(coarse)
            z = self._responses(coarse, kernel)
            y = estimates[place]
            above, g = grids[place].up(z if y is None else y, seen[place], above, levels[place])
            flow = shuffled(transpose(g * z, kernel.to(z.dtype), self.filters.grid))
            for _ in range(place):
                flow = prolongate(flow)
            u = u - flow
        return u

    def _responses(self, u: Tensor, kernel: Tensor) -> Tensor:
        """K u, one cell for each 2 × 2 of the grid."""
        cells = unshuffled(u)
        if cells.dim() == 4:
            cells = cells.contiguous(memory_format=torch.channels_last)  # a layout of four axes alone
        z = convolve(cells, kernel.to(cells.dtype), self.filters.grid)
        assert z is not None  # windows always fit: beyond the edge are zeros
        return z


class Diffusivity(nn.Module):
    """The part of one grid in the network that sees g: sigmoid(what the features say − contrast·|z|).

    z are the responses of the image; ``again``, those of the estimate, and the features see both.
    """

    def __init__(self, filters: int, channels: int, expansion: int, again: bool, contrast: float, dims: int) -> None:
        super().__init__()
        conv = CONVOLUTION[dims]
        self.lift = conv(2 * filters if again else filters, channels, 1)
        self.lift_slope = nn.Parameter(torch.zeros(channels))
        self.before = Mixing(channels, expansion, dims)
        self.after = Mixing(channels, expansion, dims)
        self.head = conv(channels, filters, 1)
        self.head_slope = nn.Parameter(torch.zeros(filters))
        self.contrast = nn.Parameter(torch.full((filters,), contrast))
        # At first g falls from 1 to 0 where the response passes eight times the noise, and learns from there.
        nn.init.normal_(self.head.weight, std=1e-3)
        nn.init.constant_(self.head.bias, 1.0 if again else 4.0)  # pyright: ignore[reportArgumentType]

    def down(self, z: Tensor, finer: Tensor | None, log_level: Tensor) -> Tensor:
        """Features of this grid, from its responses and the features of the next finer one."""
        seen = self.lift(0.3 * z.clamp(-LARGEST_SEEN, LARGEST_SEEN))
        h = seen + (per_channel(self.lift_slope, z) * log_level).to(z.dtype)
        return self.before(h if finer is None else h + halved(finer))

    def up(self, z: Tensor, seen: Tensor, coarser: Tensor | None, log_level: Tensor) -> tuple[Tensor, Tensor]:
        """The features with what the next coarser grid knows, and g."""
        h = self.after(seen if coarser is None else seen + F.interpolate(coarser, scale_factor=2.0))
        logit = self.head(h) + (per_channel(self.head_slope, z) * log_level).to(z.dtype)
        return h, torch.sigmoid(logit - per_channel(self.contrast, z).to(z.dtype) * z.abs())


class Mixing(nn.Module):
    """h + W₂ φ(D W₁ h): wide, each feature spread over 3 × 3 cells, and narrow again."""

    def __init__(self, channels: int, expansion: int, dims: int) -> None:
        super().__init__()
        wide, conv = channels * expansion, CONVOLUTION[dims]
        self.widen = conv(channels, wide, 1)
        self.spread = conv(wide, wide, 3, padding=1, groups=wide)
        self.narrow = conv(wide, channels, 1)
        with torch.no_grad():
            self.narrow.weight.mul_(0.3)  # near the identity at first

    def forward(self, h: Tensor) -> Tensor:
        wide = within_half(self.spread(within_half(self.widen(h))))
        return within_half(h + self.narrow(F.silu(wide)))


def within_half(features: Tensor) -> Tensor:
    """Features that are not infinite in float16, where weak noise makes an edge as strong as that."""
    return features.clamp(-LARGEST_HALF, LARGEST_HALF) if features.dtype == torch.float16 else features


def restrict(u: Tensor) -> Tensor:
    """The next coarser grid: averages of 2 × 2 cells, doubled, so that noise of level 1 stays so; of norm 1.

    For d axes, averages of 2^d cells times 2^(d/2).
    """
    return 2 ** (u.dim() / 2 - 1) * halved(u)


def prolongate(u: Tensor) -> Tensor:
    """The transpose of :func:`restrict`."""
    return F.interpolate(u, scale_factor=2.0) / 2 ** (u.dim() / 2 - 1)


def halved(u: Tensor) -> Tensor:
    """Averages of 2 cells along each axis."""
    return _AVERAGE[u.dim() - 2](u, 2)


def unshuffled(u: Tensor) -> Tensor:
    """(B, C, *S) → (B, C·2^d, *S/2): each 2 × 2 cells (of d = 2 axes) as channels of one."""
    if u.dim() == 4:
        return F.pixel_unshuffle(u, 2)  # the same, and one operator when exported
    dims = u.dim() - 2
    for axis in range(dims):
        u = u.unflatten(2 + 2 * axis, (-1, 2))
    insides = range(3, 3 + 2 * dims, 2)
    return u.permute(0, 1, *insides, *range(2, 2 + 2 * dims, 2)).flatten(1, 1 + dims)


def shuffled(u: Tensor) -> Tensor:
    """The inverse of :func:`unshuffled`."""
    if u.dim() == 4:
        return F.pixel_shuffle(u, 2)
    dims = u.dim() - 2
    u = u.unflatten(1, (-1, *(2,) * dims))
    pairs = [place for axis in range(dims) for place in (2 + dims + axis, 2 + axis)]
    u = u.permute(0, 1, *pairs)
    for axis in range(dims):
        u = u.flatten(2 + axis, 3 + axis)
    return u


def per_channel(values: Tensor, u: Tensor) -> Tensor:
    """(C,) as (C, 1, …), for a state (B, C, *S)."""
    return values.reshape(-1, *(1,) * (u.dim() - 2))


_AVERAGE = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
