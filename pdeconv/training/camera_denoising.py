"""Removing the noise of a camera, whose variance grows with the light."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from pdeconv.errors import PDEConvError
from pdeconv.training.camera_noise import camera_test_image, noise_level_map, training_camera_noise
from pdeconv.training.denoising import Denoising
from pdeconv.training.noise import EIGHT_BIT


class CameraDenoising(Denoising):
    """Denoising of Poisson–Gaussian noise, of variance gain·u + read²; the network is told σ(x), from the noisy image.

    Args:
        gain: of the training noise, or the ends of a range; 1/gain is how many electrons make white.
        read: standard deviation of the read noise in training, in 8-bit units, or the ends of a range.
        test_gain: gain or gains of the test; None for ``gain``, or the ends and the middle (of the roots) of its range.
        test_read: the read noise of the test; None for the middle of its range.
        compare: whether the report compares with classical filters, which take the noise as the same everywhere.
        criterion: see :class:`Denoising`.
    """

    def __init__(
        self,
        gain: float | Sequence[float] = 0.01,
        read: float | Sequence[float] = 2.0,
        test_gain: float | Sequence[float] | None = None,
        test_read: float | None = None,
        compare: bool = False,
        criterion: Literal["mse", "psnr"] = "mse",
    ) -> None:
        super().__init__(read, test_read, compare, criterion)
        low, high = (gain, gain) if isinstance(gain, int | float) else tuple(gain)
        if not 0 <= low <= high:
            raise PDEConvError(f"expected gain as one number or a range [low, high], at least 0; got {gain}")
        self.gain = (float(low), float(high))
        if test_gain is None:
            test_gain = [low] if low == high else [low, float(f"{((low**0.5 + high**0.5) / 2) ** 2:.2g}"), high]
        gains = [test_gain] if isinstance(test_gain, int | float) else test_gain
        self.test_gain = [float(value) for value in gains]
        if not self.test_gain or min(self.test_gain) < 0 or len(set(self.test_gain)) < len(self.test_gain):
            raise PDEConvError(f"expected test_gain as different numbers of at least 0, got {self.test_gain}")
        self.test_read = sum(self.sigma) / 2 if test_read is None else float(test_read)

    @property
    def levels(self) -> list[float]:
        return self.test_gain

    def noisy_batch(self, clean: Tensor, seed: int, first: int) -> tuple[Tensor, Tensor]:
        return training_camera_noise(clean, self.gain, self.sigma, seed, first)

    def noisy_test(self, clean: Tensor, level: float, index: int) -> tuple[Tensor, float | Tensor]:
        noisy = camera_test_image(clean, level, self.test_read, index)
        return noisy, noise_level_map(noisy, level, self.test_read / EIGHT_BIT)

    def mean_level(self, level: float, clean: Sequence[Tensor]) -> float:
        light = float(torch.cat([image.flatten() for image in clean]).mean())
        return EIGHT_BIT * (level * light + (self.test_read / EIGHT_BIT) ** 2) ** 0.5

    def described(self, level: float) -> str:
        return f"Poisson–Gaussian noise of gain {level:g} and read noise {self.test_read:g}/255"
