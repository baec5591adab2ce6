"""Gaussian noise that a seed and a position decide. It is never clipped: a noisy value may leave [0, 1]."""

import torch
from torch import Tensor

from pdeconv.errors import PDEConvError
from pdeconv.training.randomness import derived_seeds, uniform

EIGHT_BIT = 255.0


def training_noise(clean: Tensor, sigma: tuple[float, float], seed: int, first: int = 0) -> tuple[Tensor, Tensor]:
    """Noise for a batch and its levels (B,) in the image's units; each depends on (seed, the sample's position) alone.

    One generator on the batch's own device is seeded anew for every sample. So a process draws only what it needs,
    and still the samples get the noise that one process alone would give them.

    Args:
        clean: (B, C, H, W), for shape and device.
        sigma: lowest and highest standard deviation in 8-bit units; each sample draws its own, uniformly.
        seed: of the optimizer step.
        first: position of the first sample in the global batch.
    """
    positions = torch.arange(first, first + len(clean))
    low, high = sigma
    levels = (low + (high - low) * uniform(seed, positions, 1)[:, 0]) / EIGHT_BIT
    generator = torch.Generator(clean.device)
    noise = torch.empty_like(clean, dtype=torch.float32, memory_format=torch.contiguous_format)
    for sample, own_seed, level in zip(noise, derived_seeds(seed, positions), levels.tolist(), strict=True):
        sample.normal_(0.0, level, generator=generator.manual_seed(own_seed))
    return noise, levels.to(clean.device, torch.float32)


def noisy_test_image(clean: Tensor, sigma: float, index: int) -> Tensor:
    """Test images with their noise, which depends on (index, sigma) alone: the same for every model and every run.

    It is drawn on the CPU, so that it is the same on every device too.

    Args:
        clean: (B, C, H, W), the test images from number ``index`` on.
        sigma: standard deviation in 8-bit units.
        index: number of the first image within the test set.
    """
    if sigma < 0:
        raise PDEConvError(f"expected a noise level of at least 0, got {sigma}")
    seeds = derived_seeds(round(sigma * 1000), torch.arange(index, index + len(clean)))
    noise = torch.empty(clean.shape, dtype=torch.float32)
    for sample, seed in zip(noise, seeds, strict=True):
        sample.normal_(0.0, sigma / EIGHT_BIT, generator=torch.Generator().manual_seed(seed))
    return clean + noise.to(clean.device, clean.dtype)
