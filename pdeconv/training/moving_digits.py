"""Moving digits: two handwritten digits that drift over a dark square and bounce off its walls, drawn by a seed."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pdeconv.errors import PDEConvError
from pdeconv.training.data import Data
from pdeconv.training.data_config import DataConfig
from pdeconv.training.randomness import uniform

DIGITS, DRAWS = 2, 4  # in a sequence, and random numbers for each
STRIDE = 0.1  # from one frame to the next, as a share of the free range


@dataclass(frozen=True, eq=False)
class MovingDigits:
    """A `Source` of (frames given, frames to come), (B, frames, 1, side, side) and (B, horizon, 1, side, side).

    The construction of Srivastava et al.: each of two digits starts at a random place and moves a tenth of the free
    range a frame in a random direction, and bounces off the walls. Places are rounded down to whole pixels, and where
    digits overlap the brighter shows. A sequence depends on (seed, its index) alone.

    Args:
        digits: (N, h, w) bytes.
        side: of the square in pixels.
        count: sequences in one epoch.
        frames: that are given.
        horizon: frames to come.

    References:
        N. Srivastava, E. Mansimov, R. Salakhutdinov. Unsupervised learning of video representations using LSTMs.
        ICML 2015.
    """

    digits: Tensor
    side: int
    count: int
    frames: int
    horizon: int
    in_memory = same_size = True
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return self.count

    def batch(self, indices: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        chosen, *start = uniform(seed, indices, DIGITS * DRAWS).reshape(-1, DIGITS, DRAWS).unbind(-1)
        digits = self.digits[(chosen * len(self.digits)).long()]
        corners = self._corners(*start)
        rows, inside_rows = self._places(corners[..., 0], digits.shape[-2])
        columns, inside_columns = self._places(corners[..., 1], digits.shape[-1])
        sample = torch.arange(len(digits))[:, None, None, None, None]
        which = torch.arange(DIGITS)[None, None, :, None, None]
        drawn = digits[sample, which, rows[..., :, None], columns[..., None, :]]
        drawn = torch.where(inside_rows[..., :, None] & inside_columns[..., None, :], drawn, 0)
        video = drawn.amax(2)[:, :, None].float() / 255
        return video[:, : self.frames], video[:, self.frames :]

    def _corners(self, row: Tensor, column: Tensor, turn: Tensor) -> Tensor:
        """Top left corners in pixels, (B, T, DIGITS, 2), from places in [0, 1) and a direction in turns."""
        free = torch.tensor([self.side - length for length in self.digits.shape[-2:]])
        place = torch.stack((row, column), -1)
        angle = 2 * torch.pi * turn
        velocity = STRIDE * torch.stack((angle.sin(), angle.cos()), -1)
        corners = []
        for _ in range(self.frames + self.horizon):
            place = place + velocity
            bounces = (place <= 0) | (place >= 1)
            place, velocity = place.clamp(0, 1), torch.where(bounces, -velocity, velocity)
            corners.append((place * free).long())
        return torch.stack(corners, 1)

    def _places(self, corner: Tensor, length: int) -> tuple[Tensor, Tensor]:
        """For each pixel along an axis, the pixel of the digit that shows there, and whether one does."""
        places = torch.arange(self.side) - corner[..., None]
        return places.clamp(0, length - 1), (places >= 0) & (places < length)

    def iterate(self, batches: Iterable[tuple[Tensor, int]]) -> Iterator[tuple[Tensor, Tensor]]:
        return (self.batch(indices, seed) for indices, seed in batches)


def load_moving_digits(config: DataConfig) -> Data:
    """scikit-learn's digits, which need no download: 16 × 16 pixels each, made from 8 × 8, on a square of 32 × 32."""
    from pdeconv.training.embedded import split_digits

    train, test, _, _ = split_digits()
    return _moving(config, lambda: _enlarged(train), _enlarged(test), 32)


def load_moving_mnist(config: DataConfig) -> Data:
    """Moving MNIST, 64 × 64: digits of MNIST's training images to train on, and of its test images to test on."""
    from pdeconv.training.torchvision_sets import opened_set

    test = opened_set(config, "mnist", train=False).data
    return _moving(config, lambda: opened_set(config, "mnist", train=True).data, test, 64)


def _moving(config: DataConfig, train: Callable[[], Tensor], test: Tensor, side: int) -> Data:
    side = side if config.image_size is None else config.image_size
    if side < max(test.shape[-2:]):
        raise PDEConvError(
            f"data.image_size: expected {max(test.shape[-2:])}, the side of a digit, or more, got {side}"
        )
    length = config.frames, config.horizon
    return Data(
        lambda: MovingDigits(train(), side, config.sequences_per_epoch, *length),
        MovingDigits(test, side, config.test_sequences, *length),
        1,
        None,
    )


def _enlarged(digits: Tensor) -> Tensor:
    """Digits of 16 levels twice as high and wide, as bytes."""
    larger = torch.nn.functional.interpolate(digits.float(), scale_factor=2, mode="bilinear")
    return (larger[:, 0] * (255 / 16)).round().byte()
