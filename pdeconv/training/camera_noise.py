"""Signal-dependent noise of a camera, Poisson–Gaussian, that a seed and a position decide. It is never clipped."""

import torch
import torch.nn.functional as F
from torch import Tensor

from pdeconv.errors import PDEConvError
from pdeconv.training.noise import EIGHT_BIT
from pdeconv.training.randomness import derived_seeds, uniform

WINDOW = 5  # pixels, to tell the light from


def camera_noise(clean: Tensor, gain: float, read: float, seed: int) -> Tensor:
    """f = gain·Poisson(u/gain) + read·N(0, 1), of mean u and variance gain·u + read².

    The electrons that light frees are counted, and the counter adds noise of its own. Both are drawn with one generator
    on the image's device.

    Args:
        clean: u, of any shape, at least 0; 1 is white.
        gain: of one electron, in units of u: white is 1/gain electrons. 0 for no noise of the light.
        read: standard deviation of the counter's noise, in units of u.
        seed: of the generator.

    References:
        A. Foi et al. Practical Poissonian-Gaussian noise modeling and fitting for single-image raw-data. IEEE TIP
        17(10), 2008.

    Example:
        >>> noisy = camera_noise(torch.full((100, 100), 0.25), gain=0.01, read=0.0, seed=0)
        >>> round(float(noisy.mean()), 2), round(float(noisy.var()), 4)
        (0.25, 0.0025)
    """
    generator = torch.Generator(clean.device).manual_seed(seed)
    # In double precision as many as 2⁵³ electrons are counted exactly.
    wide = clean.to(torch.float64 if clean.device.type != "mps" else torch.float32)
    light = gain * torch.poisson(wide.clamp(min=0) / gain, generator=generator) if gain > 0 else wide
    counter = torch.empty(clean.shape, dtype=torch.float32, device=clean.device)
    return (light + counter.normal_(0.0, read, generator=generator)).to(torch.float32)


def noise_level_map(noisy: Tensor, gain: Tensor | float, read: Tensor | float) -> Tensor:
    """σ(x) = √(gain·max(f̄(x), 0) + read²), (B, 1, H, W): the level at each pixel, told from the noisy image f.

    f̄ is the mean of f over the channels and over 5 × 5 pixels. An approximation, as the variance is that of the clean
    image, which nobody has: edges of light are blurred. Told from f itself σ would follow the noise, low where that is,
    and dividing by it would skew the noise.

    Args:
        noisy: (B, C, H, W).
        gain: a number or (B,).
        read: a number or (B,), in units of the image.

    Example:
        >>> noise_level_map(torch.full((1, 3, 1, 1), 0.25), gain=0.01, read=0.0).item()
        0.05000000074505806
    """
    gain, read = (torch.as_tensor(value, device=noisy.device).reshape(-1, 1, 1, 1) for value in (gain, read))
    light = F.avg_pool2d(noisy.mean(1, keepdim=True), WINDOW, 1, WINDOW // 2, count_include_pad=False).clamp(min=0)
    return (gain * light + read.square()).sqrt().to(noisy.dtype)


def training_camera_noise(
    clean: Tensor, gain: tuple[float, float], read: tuple[float, float], seed: int, first: int = 0
) -> tuple[Tensor, Tensor]:
    """Noisy samples and their level maps (B, 1, H, W); each depends on (seed, the sample's position) alone.

    Args:
        clean: (B, C, H, W).
        gain: lowest and highest gain; its root, to which the noise of white is equal, is drawn uniformly.
        read: lowest and highest standard deviation of the counter's noise in 8-bit units, drawn uniformly.
        seed: of the optimizer step.
        first: position of the first sample in the global batch.
    """
    positions = torch.arange(first, first + len(clean))
    draws = uniform(seed, positions, 2)
    roots = gain[0] ** 0.5 + (gain[1] ** 0.5 - gain[0] ** 0.5) * draws[:, 0]
    gains, reads = roots.square(), (read[0] + (read[1] - read[0]) * draws[:, 1]) / EIGHT_BIT
    settings = zip(clean, gains.tolist(), reads.tolist(), derived_seeds(seed, positions), strict=True)
    noisy = torch.stack([camera_noise(*setting) for setting in settings])
    levels = (values.to(clean.device, torch.float32) for values in (gains, reads))
    return noisy, noise_level_map(noisy, *levels)


def camera_test_image(clean: Tensor, gain: float, read: float, index: int) -> Tensor:
    """Test images with noise that depends on (index, gain, read) alone, drawn on the CPU: the same in every run.

    Args:
        clean: (B, C, H, W), the test images from number ``index`` on.
        gain: see :func:`camera_noise`.
        read: in 8-bit units.
        index: number of the first image within the test set.
    """
    if not (gain >= 0 and read >= 0):
        raise PDEConvError(f"expected a gain and a read noise of at least 0, got {gain} and {read}")
    own = (round(gain * 1e9) << 24) + round(read * 1000) + 1  # not the seed of Gaussian noise alone
    seeds = derived_seeds(own, torch.arange(index, index + len(clean)))
    noisy = [camera_noise(u, gain, read / EIGHT_BIT, seed) for u, seed in zip(clean.cpu(), seeds, strict=True)]
    return torch.stack(noisy).to(clean.device, clean.dtype)
