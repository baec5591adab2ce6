"""What a classifier is given of a picture: its colours, its middle square of one size, normalised."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pdeconv.errors import PDEConvError

Statistics = tuple[tuple[float, ...], tuple[float, ...]]  # mean and standard deviation of each channel
LUMA = (0.2125, 0.7154, 0.0721)  # scikit-image's rgb2gray: CRT luminance of linear sRGB primaries
MARGIN = 1.125  # what is cropped to `size` is resized to this times `size` first


def in_color(image: Tensor, channels: int) -> Tensor:
    """Turn (1 | 2 | 3 | 4, H, W) with values in [0, 1] into gray or RGB; a second or fourth channel is opacity."""
    count = image.shape[0]
    if count in (2, 4):
        image, opacity = image[:-1], image[-1:]
        image = image * opacity + (1 - opacity)
    elif count not in (1, 3):
        raise PDEConvError(f"expected an image of 1 to 4 channels, got {count}; split it into images first")
    if image.shape[0] == 3 and channels == 1:
        image = (image * image.new_tensor(LUMA)[:, None, None]).sum(0, keepdim=True)
    elif image.shape[0] == 1 and channels == 3:
        image = image.expand(3, -1, -1)
    return image.contiguous()


def resized_square(image: Tensor, size: int) -> Tensor:
    """The middle square of (C, H, W), resized to ``size`` with smoothing."""
    side = min(image.shape[-2:])
    square = middle(image[None], side)
    if side != size:
        square = F.interpolate(square, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
    return square[0].clamp(0, 1)


def middle(images: Tensor, side: int) -> Tensor:
    """The middle (B, C, side, side) of (B, C, H, W)."""
    top, left = ((length - side) // 2 for length in images.shape[-2:])
    return images[..., top : top + side, left : left + side]


def normalised(images: Tensor, largest: float, statistics: Statistics) -> Tensor:
    """(images / largest − mean) / standard deviation, by channel, in single precision."""
    shape = -1, *(1,) * (images.dim() - 2)
    mean, deviation = (torch.tensor(values, device=images.device).reshape(shape) for values in statistics)
    return ((wide(images) - mean * largest) / (deviation * largest)).float()


def wide(values: Tensor) -> Tensor:
    """As floating point that holds them: double precision of what single would round."""
    return values.double() if values.dtype in (torch.float64, torch.int32, torch.int64) else values.float()


def prepared_image(image: Tensor, size: int, statistics: Statistics, margin: bool = False) -> Tensor:
    """One image (1 to 4 channels, H, W) in [0, 1] made ready for a network: (1, C, size, size), normalised."""
    image = in_color(image, len(statistics[0]))
    square = resized_square(image, round(size * MARGIN) if margin else size)[None]
    return normalised(middle(square, size), 1.0, statistics)
