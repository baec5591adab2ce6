"""Random changes to a whole batch at once. Each takes the numbers that decide them, one row a sample."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def mirrored(position: Tensor, size: int | Tensor) -> Tensor:
    """Reflect integer positions outside [0, size) back inside, however far out, without repeating the edge."""
    period = torch.as_tensor(2 * (size - 1)).clamp(min=1)
    position = position.remainder(period)
    return torch.minimum(position, period - position).minimum(torch.as_tensor(size - 1))


def shifted_and_flipped(images: Tensor, draws: Tensor, margin: int, flip: bool) -> Tensor:
    """A random crop after mirroring ``margin`` pixels around each image, then a flip left to right of half of them.

    Args:
        images: (B, C, H, W) of any type.
        draws: (B, 3) numbers in [0, 1).
        margin: largest shift in pixels.
        flip: whether to flip.
    """
    count, channels, height, width = images.shape
    shift = (draws[:, :2] * (2 * margin + 1)).long() - margin
    rows = mirrored(torch.arange(height) + shift[:, 0, None], height)
    columns = torch.arange(width).expand(count, -1)
    if flip:
        columns = torch.where(draws[:, 2, None] < 0.5, columns, width - 1 - columns)
    columns = mirrored(columns + shift[:, 1, None], width)
    places = (rows[:, :, None] * width + columns[:, None, :]).reshape(count, 1, -1).expand(-1, channels, -1)
    return images.reshape(count, channels, -1).gather(2, places).reshape(images.shape)


def jittered(images: Tensor, draws: Tensor, shift: float = 1.0, degrees: float = 10.0, scale: float = 0.1) -> Tensor:
    """Random small shifts, rotations and changes of size, zero outside: one affine sampling of the batch.

    Args:
        images: (B, C, H, W), floating point.
        draws: (B, 4) numbers in [0, 1).
        shift: largest shift in pixels along each axis.
        degrees: largest rotation either way.
        scale: largest relative change of size either way.
    """
    signed = draws.to(images.dtype) * 2 - 1
    size = 1 + scale * signed[:, 0]
    angle = math.radians(degrees) * signed[:, 1]
    height, width = images.shape[-2:]
    cos, sin = angle.cos() / size, angle.sin() / size
    aspect = height / width
    across = torch.stack([cos, -sin * aspect, signed[:, 2] * shift * 2 / width], dim=1)
    down = torch.stack([sin / aspect, cos, signed[:, 3] * shift * 2 / height], dim=1)
    grid = F.affine_grid(torch.stack([across, down], dim=1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def zoomed_and_flipped(images: Tensor, draws: Tensor, size: int, smallest: float = 0.25) -> Tensor:
    """A random part of each image, resized to ``size``, half of them flipped left to right, as RandomResizedCrop does.

    Args:
        images: (B, C, H, W), floating point.
        draws: (B, 5) numbers in [0, 1).
        size: side of the result in pixels.
        smallest: smallest share of the area; the sides are in the ratio 3:4 to 4:3.
    """
    draws = draws.to(images.dtype)
    area = smallest + (1 - smallest) * draws[:, 0]
    ratio = torch.exp((draws[:, 1] * 2 - 1) * math.log(4 / 3))
    wide, tall = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
    sign = torch.where(draws[:, 4] < 0.5, 1.0, -1.0).to(images.dtype)
    zero = torch.zeros_like(wide)
    across = torch.stack([wide * sign, zero, (1 - wide) * (draws[:, 2] * 2 - 1)], dim=1)
    down = torch.stack([zero, tall, (1 - tall) * (draws[:, 3] * 2 - 1)], dim=1)
    shape = [images.shape[0], images.shape[1], size, size]
    grid = F.affine_grid(torch.stack([across, down], dim=1), shape, align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def erased(images: Tensor, draws: Tensor, side: int) -> Tensor:
    """Zero in a square of each image around a random pixel, as far as it lies inside (DeVries & Taylor 2017, cutout).

    Args:
        images: (B, C, *S), normalised: 0 is the mean.
        draws: (B, number of spatial axes) numbers in [0, 1).
        side: of the square in pixels.
    """
    hidden = torch.ones((len(images), *(1,) * (images.dim() - 1)), dtype=torch.bool)
    for axis, draw in enumerate(draws.unbind(1), start=2):
        size = images.shape[axis]
        first = (draw * size).long() - side // 2
        place = torch.arange(size) - first[:, None]
        within = (place >= 0) & (place < side)
        hidden = hidden & within.reshape([-1 if i == 0 else size if i == axis else 1 for i in range(images.dim())])
    return images.masked_fill(hidden, 0.0)


def turned_places(side: int, symmetry: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns, each (B, side, side), at which a square is read to get one of its eight symmetric images.

    Args:
        side: of the square in pixels.
        symmetry: (B,) integers 0 to 7; 0 leaves it as it is.
    """
    symmetry = symmetry.long()[:, None, None]
    line = torch.arange(side)
    rows, columns = line[None, :, None], line[None, None, :]
    swap = symmetry >= 4
    rows, columns = torch.where(swap, columns, rows), torch.where(swap, rows, columns)
    rows = torch.where(symmetry % 2 == 1, side - 1 - rows, rows)
    columns = torch.where(symmetry % 4 >= 2, side - 1 - columns, columns)
    return rows, columns
