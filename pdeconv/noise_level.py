"""How noisy an image is, estimated from the image alone."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from pdeconv.errors import PDEConvError
from pdeconv.layers_by_dims import SAMPLES, checked_dims
from pdeconv.precision import without_autocast

SIDE = 5  # of a patch; 8, as in the paper, is no more accurate, and dearer
FRAME = 4  # width of the frame around a patch
QUIET = 8  # one patch in so many is taken
CANDIDATES = 1 << 16  # patches of a large image to choose from
PER_VALUE = 8  # patches for each value of a patch: with fewer, the eigenvalues of pure noise spread too far
CELLS = 1 << 18  # so many values of each image are judged at once
SLICES = 32  # of a volume
HALF = 0.6745  # of a standard normal variable's sizes half are below this
CLIPPED = 0.05  # share of a frame's cells at the image's extremes from which it counts as clipped


@torch.no_grad()
def estimate_noise_level(image: Tensor, dims: int = 2) -> Tensor:
    """The standard deviation σ of additive white Gaussian noise, for each image by itself; without gradients.

    Patches of a clean image lie near a subspace of low dimension, so the small eigenvalues of the covariance of its
    noisy patches scatter around σ² as those of pure noise do, evenly to both sides, and the large ones lie above.
    Starting from all, the largest eigenvalue is left out until the mean of those that are left is not above their
    median; σ² is that mean. Patches are 5 × 5, over all channels together.

    Fine texture would pass for noise, so the patches are the eighth with the flattest surroundings: a patch is judged
    by the frame around it, whose noise is not its own, and so the choice does not favour patches of weak noise.
    Frames that are clipped (at the extremes of the image's values) come last. Of a large image 65536 patches stand
    for choice, always the same.

    Images too small for this take all patches, of 5 × 5 or 3 × 3, and the smallest ones the mean size of what a
    (second) difference along each axis leaves. One pixel shows no noise: 0.

    Noise that is correlated (of a demosaiced or compressed photograph) comes out too small, and texture as fine as
    the noise that covers the whole image is taken for noise.

    Of a volume at most 32 slices, evenly spaced, are estimated as images, and the median is taken. Of a signal the
    median size of second differences tells σ: few jumps do not change it.

    Beside the image it needs little more than the memory of a channel. A GPU is waited for: its solver of eigenvalues
    reports to the CPU whether it succeeded.

    Args:
        image: (B, C, *S), floating point, in any units. All channels have the same noise.
        dims: Number of spatial axes: 2 for images, 1 for signals (B, C, L), 3 for volumes (B, C, D, H, W).

    Returns:
        σ of shape (B,) in the image's units, float32 (float64 of a float64 image); NaN where an image holds NaN or ∞.

    Raises:
        PDEConvError: If ``image`` has another shape or type.

    References:
        G. Chen, F. Zhu, P. A. Heng. An efficient statistical method for image noise level estimation. ICCV 2015.
        J. Immerkær. Fast noise variance estimation. CVIU 64(2), 1996 (the smallest images).
        D. L. Donoho, I. M. Johnstone. Ideal spatial adaptation by wavelet shrinkage. Biometrika 81(3), 1994 (the
        median).

    Example:
        >>> ramp = torch.linspace(0, 1, 128).expand(1, 1, 128, 128)
        >>> sigma = estimate_noise_level(ramp + 0.1 * torch.randn(1, 1, 128, 128, generator=torch.manual_seed(0)))
        >>> print(f"{sigma.item():.2f}")
        0.10
    """
    takes = f"estimate_noise_level needs floating-point {SAMPLES[checked_dims('estimate_noise_level', dims)]}"
    if not isinstance(image, Tensor):
        raise PDEConvError(f"{takes}, but got {type(image).__name__}.")
    if image.dim() != 2 + dims or not image.is_floating_point() or 0 in image.shape[1:]:
        raise PDEConvError(f"{takes}, but got {tuple(image.shape)} of {image.dtype}; dims={dims} says so.")
    with without_autocast(image):
        u = image if image.dtype == torch.float64 else image.float()
        every = tuple(range(1, u.dim()))
        finite = (u.amin(every).isfinite() & u.amax(every).isfinite()).reshape(-1)
        sigma = {1: _level_of_signals, 2: _level, 3: _level_of_volumes}[dims](u)
    return torch.where(finite, sigma, math.nan)


def _level(u: Tensor) -> Tensor:
    if _enough(u, SIDE, FRAME):
        return _level_of_patches(_quiet_patches(u))
    for side in (SIDE, 3):
        if _enough(u, side, 0):
            return _level_of_patches(_windows(u, side).flatten(1, 2))
    return _level_of_differences(u)


def _level_of_volumes(u: Tensor) -> Tensor:
    count = min(u.shape[2], SLICES)
    places = torch.arange(count, device=u.device) * u.shape[2] // count
    levels = _level(u[:, :, places].movedim(2, 1).flatten(0, 1))
    return levels.unflatten(0, (-1, count)).median(1).values


def _level_of_signals(u: Tensor) -> Tensor:
    order = min(u.shape[2] - 1, 2)
    if order == 0:
        return 0 * u.sum((1, 2))
    sizes = u.diff(n=order, dim=2).abs().flatten(1)
    return sizes.median(1).values / (HALF * math.sqrt(math.comb(2 * order, order)))


def _enough(u: Tensor, side: int, frame: int) -> bool:
    rows, columns = (max(cells - side - 2 * frame + 1, 0) for cells in u.shape[2:])
    return rows * columns >= PER_VALUE * u.shape[1] * side**2


def _windows(u: Tensor, side: int) -> Tensor:
    """All patches, (B, rows, columns, C, side, side)."""
    return u.unfold(2, side, 1).unfold(3, side, 1).permute(0, 2, 3, 1, 4, 5)


def _quiet_patches(u: Tensor) -> Tensor:
    """The patches with the flattest frames, (B, N, C, side, side)."""
    unevenness = _unevenness_of_frames(u)
    rows, columns = unevenness.shape[1:]
    places = _spread_out(rows * columns, u.device)
    count = max(len(places) // QUIET, PER_VALUE * u.shape[1] * SIDE**2)
    chosen = unevenness.flatten(1)[:, places].topk(count, dim=1, largest=False, sorted=False).indices
    places = places[chosen]
    windows = _windows(u[..., FRAME:-FRAME, FRAME:-FRAME], SIDE)
    return windows[torch.arange(u.shape[0], device=u.device)[:, None], places // columns, places % columns]


def _unevenness_of_frames(u: Tensor) -> Tensor:
    """Mean squared difference of neighbours in the frame around each patch, (B, rows, columns); ∞ where clipped."""
    lowest, highest = u.amin((2, 3), keepdim=True), u.amax((2, 3), keepdim=True)
    beyond = SIDE + 2 * FRAME - 1  # rows that the last patch needs below its first
    rows = u.shape[2] - beyond
    at_once = max(CELLS // (u.shape[1] * u.shape[3]), 4 * beyond)
    unevenness = u.new_empty(u.shape[0], rows, u.shape[3] - beyond)
    for first in range(0, rows, at_once):
        strip = u[:, :, first : first + at_once + beyond]
        uneven = (strip.diff(dim=2).square_()[..., :-1] + strip.diff(dim=3).square_()[..., :-1, :]).sum(1)
        extreme = ((strip == lowest) | (strip == highest))[..., :-1, :-1].any(1).to(u.dtype)
        mean = _mean_in_frames(torch.stack((uneven, extreme), dim=1))
        unevenness[:, first : first + at_once] = torch.where(mean[:, 1] > CLIPPED, math.inf, mean[:, 0])
    return unevenness


def _mean_in_frames(cells: Tensor) -> Tensor:
    """Means over squares without their middles; a difference that touches the patch belongs to the middle."""
    outer, inner = SIDE + 2 * FRAME - 1, SIDE + 1
    edge = FRAME - 1
    within = _sums(cells, inner)[..., edge:-edge, edge:-edge]
    return (_sums(cells, outer) - within[..., : cells.shape[2] - outer + 1, : cells.shape[3] - outer + 1]) / (
        outer**2 - inner**2
    )


def _sums(cells: Tensor, side: int) -> Tensor:
    """Sums over all squares of ``side`` cells."""
    lines = F.avg_pool2d(cells, (side, 1), 1, divisor_override=1)
    return F.avg_pool2d(lines, (1, side), 1, divisor_override=1)


def _spectrum(patches: Tensor) -> Tensor:
    """Eigenvalues of the covariance of (B, N, C, side, side), ascending; NaN where a patch holds NaN or ∞."""
    patches = patches.flatten(2)
    patches = patches - patches.mean(1, keepdim=True)
    covariance = patches.mT @ patches / patches.shape[1]
    finite = covariance.isfinite().flatten(1).all(1)[:, None]
    covariance = torch.where(finite[..., None], covariance, 0.0)  # LAPACK would raise for the whole batch
    device = "cpu" if covariance.device.type == "mps" else covariance.device  # mps has no eigenvalues
    values = torch.linalg.eigvalsh(covariance.to(device)).to(covariance.device)
    return torch.where(finite, values, math.nan)


def _spread_out(count: int, device: torch.device) -> Tensor:
    """At most ``CANDIDATES`` of the numbers 0 … count − 1, evenly spread, in no step with rows or blocks of pixels."""
    if count <= CANDIDATES:
        return torch.arange(count, device=device)
    step = round(count * (math.sqrt(5) - 1) / 2)  # the golden section: any first so many are evenly spread
    while math.gcd(step, count) > 1:
        step += 1
    return torch.arange(CANDIDATES, device=device) * step % count


def _level_of_patches(patches: Tensor) -> Tensor:
    """√ of the mean of the smallest so many eigenvalues, as many as have a mean not above their median."""
    ascending = _spectrum(patches)
    counts = torch.arange(1, ascending.shape[1] + 1, device=ascending.device)
    means = ascending.cumsum(1) / counts
    medians = (ascending[:, (counts - 1) // 2] + ascending[:, counts // 2]) / 2
    skew = counts / (3 * patches.shape[1])  # of pure noise from few patches: Marchenko and Pastur's law
    kept = torch.where(means <= medians * (1 + skew), counts, 1).amax(1)
    return means.gather(1, kept[:, None] - 1)[:, 0].clamp(min=0).sqrt()


def _level_of_differences(u: Tensor) -> Tensor:
    """σ from differences along both axes, second ones where there are cells for them, which cancel smooth images."""
    gain = 1.0  # the variance of white noise after the differences
    for axis in (2, 3):
        order = min(u.shape[axis] - 1, 2)
        u = u.diff(n=order, dim=axis)
        gain *= math.comb(2 * order, order)
    if u.shape[2:] == (1, 1) and gain == 1.0:
        return 0 * u.sum((1, 2, 3))
    return u.abs().mean((1, 2, 3)) * math.sqrt(math.pi / 2 / gain)
