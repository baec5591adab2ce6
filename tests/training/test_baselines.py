"""The classical filters that a denoiser is compared with."""

import pytest
import torch
from torch import Tensor

from pdeconv.training.baselines import classical_filters
from pdeconv.training.data import load_data
from pdeconv.training.data_config import DataConfig
from pdeconv.training.image_quality import quality
from pdeconv.training.noise import noisy_test_image

KNOWN = {"wavelet": 27.4, "total variation": 28.8, "non-local means": 29.2}  # dB for the whole photograph at σ = 25


def camera(color: str, sigma: float, part: slice) -> tuple[Tensor, Tensor]:
    data = load_data(DataConfig("photographs", color=color), "denoising", 0)  # pyright: ignore[reportArgumentType]
    clean = data.test.batch(torch.tensor([0]), 0)[0]
    return clean[0, :, part, part], noisy_test_image(clean, sigma, 0)[0, :, part, part]


def test_filters_reach_their_known_quality() -> None:
    clean, noisy = camera("gray", 25, slice(None))
    scores = classical_filters([clean], [noisy], 25)
    assert list(scores) == list(KNOWN)
    for name, (score,) in scores.items():
        assert score.psnr == pytest.approx(KNOWN[name], abs=0.3), name
        psnr, ssim = quality(score.estimate[None], clean[None])
        assert (score.psnr, score.ssim) == pytest.approx((psnr.item(), ssim.item()))


@pytest.mark.parametrize("color", ["gray", "rgb"])
def test_filters_adapt_to_level_and_colour(color: str) -> None:
    for sigma in (10.0, 50.0):
        clean, noisy = camera(color, sigma, slice(128, 224))
        before = quality(noisy[None], clean[None])[0].item()
        for (score,) in classical_filters([clean], [noisy], sigma).values():
            assert score.psnr > before + 2 and score.estimate.shape == clean.shape
