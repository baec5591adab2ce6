"""Classical filters of scikit-image, each tuned on every image for its best PSNR: a generous yardstick.

A network does not get to see the clean test image; these filters choose their strength by looking at it.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pdeconv.training.image_quality import peak_signal_to_noise, quality

Filter = Callable[[NDArray, float, float], NDArray]  # of (H, W) or (H, W, C), the noise level, and a strength


@dataclass(frozen=True)
class Score:
    """What a filter reached on one image, and the image it made, (C, H, W)."""

    psnr: float
    ssim: float
    estimate: Tensor


def classical_filters(clean: Sequence[Tensor], noisy: Sequence[Tensor], sigma: float) -> dict[str, list[Score]]:
    """Wavelet shrinkage, total variation and non-local means on each noisy image.

    Args:
        clean: images (C, H, W) with values in [0, 1].
        noisy: the same with noise.
        sigma: its standard deviation in 8-bit units.

    Returns:
        For each filter a score an image, by the filter's name.
    """
    level = sigma / 255.0
    with ThreadPoolExecutor(2) as pool:  # the filters release the interpreter for most of their time
        tasks = {
            name: [pool.submit(_best_over, rows, y, x, level) for x, y in zip(clean, noisy, strict=True)]
            for name, rows in _SEARCHES.items()
        }
        return {name: [task.result() for task in scores] for name, scores in tasks.items()}


def classical_filter(name: str, noisy: Tensor, sigma: float) -> Tensor:
    """One of them with a strength in the middle of those tried: (C, H, W) in, the same out; σ in 8-bit units."""
    variants, strengths = _SEARCHES[name]
    return _filtered(variants[-1], strengths[len(strengths) // 2], noisy, sigma / 255.0)


def _channel_axis(image: NDArray) -> int | None:
    return -1 if image.ndim == 3 else None


def _wavelet(image: NDArray, level: float, factor: float, wavelet: str) -> NDArray:
    from skimage.restoration import denoise_wavelet

    axis = _channel_axis(image)
    return denoise_wavelet(
        image,
        sigma=factor * level,
        wavelet=wavelet,
        channel_axis=axis,
        convert2ycbcr=axis is not None,
        rescale_sigma=True,
    )


def _total_variation(image: NDArray, level: float, factor: float) -> NDArray:
    from skimage.restoration import denoise_tv_chambolle

    axis = _channel_axis(image)
    return denoise_tv_chambolle(image, weight=factor * level, eps=1e-4, max_num_iter=150, channel_axis=axis)


def _non_local_means(image: NDArray, level: float, factor: float, reach: int) -> NDArray:
    from skimage.restoration import denoise_nl_means

    axis = _channel_axis(image)
    return denoise_nl_means(
        image.astype(np.float32),
        patch_size=5,
        patch_distance=reach,
        h=factor * level,
        sigma=level,
        fast_mode=True,
        channel_axis=axis,
    )


# variants of each filter, and strengths in rising order as multiples of the noise level: each variant seeks its best
_SEARCHES: dict[str, tuple[tuple[Filter, ...], tuple[float, ...]]] = {
    "wavelet": (
        tuple(partial(_wavelet, wavelet=name) for name in ("db2", "sym4", "sym8")),
        (0.7, 0.8, 0.9, 1.0, 1.1, 1.25),
    ),
    "total variation": ((_total_variation,), (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.05, 1.25, 1.5)),
    "non-local means": (
        tuple(partial(_non_local_means, reach=reach) for reach in (6, 9)),
        (0.3, 0.4, 0.5, 0.6, 0.7, 0.85, 1.0),
    ),
}


def _best_over(
    search: tuple[tuple[Filter, ...], tuple[float, ...]], noisy: Tensor, clean: Tensor, level: float
) -> Score:
    variants, strengths = search
    found = [_climb(variant, strengths, noisy, clean, level) for variant in variants]
    _, estimate = max(found, key=lambda pair: pair[0])
    psnr, ssim = quality(estimate[None], clean[None])
    return Score(float(psnr), float(ssim), estimate)


def _climb(
    filter_: Filter, strengths: tuple[float, ...], noisy: Tensor, clean: Tensor, level: float
) -> tuple[float, Tensor]:
    """The best of a row of strengths, climbing from the middle, as PSNR has a single peak along the row."""
    tried: dict[int, tuple[float, Tensor]] = {}

    def score(position: int) -> tuple[float, Tensor]:
        if position not in tried:
            estimate = _filtered(filter_, strengths[position], noisy, level)
            tried[position] = (float(peak_signal_to_noise(estimate[None], clean[None])), estimate)
        return tried[position]

    best = len(strengths) // 2
    for direction in (-1, 1):
        while 0 <= best + direction < len(strengths) and score(best + direction)[0] > score(best)[0]:
            best += direction
    return score(best)


def _filtered(filter_: Filter, strength: float, noisy: Tensor, level: float) -> Tensor:
    image = noisy.permute(1, 2, 0).numpy().astype(np.float64)
    values = filter_(image[..., 0] if image.shape[2] == 1 else image, level, strength)
    estimate = torch.from_numpy(np.ascontiguousarray(values)).float()
    return estimate[None] if estimate.ndim == 2 else estimate.permute(2, 0, 1)
