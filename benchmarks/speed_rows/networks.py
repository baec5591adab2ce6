"""Networks to train: a plain ResNet of given multiply-adds, and one whose residual blocks alternate with PDE blocks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from torch import Tensor, nn

from pdeconv import Heun

from .blocks import one_step_block
from .row import peer

SIDE = 32


def basic_block(before: int, after: int, stride: int) -> nn.Module:
    """torchvision's, with its projection where the shape changes."""
    projection = None
    if stride != 1 or before != after:
        projection = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
    return peer("torchvision.models.resnet", "torchvision").BasicBlock(before, after, stride, projection)


class ResNet(nn.Module):
    """A ResNet for small images: stem, three levels of BasicBlocks, each of half the resolution, and a linear head.

    Args:
        widths: Channels of each level.
        blocks: BasicBlocks of each level.
        pde: Whether each BasicBlock is followed by a PDEBlock: one Heun step of diffusion + advection + reaction.
    """

    def __init__(self, widths: Sequence[int], blocks: Sequence[int], pde: bool = False) -> None:
        super().__init__()
        before = widths[0]
        layers: list[nn.Module] = [nn.Conv2d(3, before, 3, padding=1, bias=False), nn.BatchNorm2d(before), nn.ReLU()]
        for level, (after, count) in enumerate(zip(widths, blocks, strict=True)):
            for index in range(count):
                layers.append(basic_block(before, after, 2 if level > 0 and index == 0 else 1))
                before = after
                if pde:
                    layers.append(one_step_block(Heun, after))
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 10))

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.features(image))


def resnet_multiply_adds(widths: Sequence[int], blocks: Sequence[int]) -> int:
    """Of ``ResNet(widths, blocks)`` on one 32 × 32 image."""
    total, before = 27 * widths[0] * SIDE**2, widths[0]
    for level, (after, count) in enumerate(zip(widths, blocks, strict=True)):
        cells = (SIDE // 2**level) ** 2
        for index in range(count):
            projection = before * after if before != after or (level > 0 and index == 0) else 0
            total += cells * (9 * before * after + 9 * after**2 + projection)
            before = after
    return total + 10 * before


def matched_resnet(
    multiply_adds: int, like: Sequence[int], tolerance: float = 0.02
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Widths and blocks of the plain ResNet of as many multiply-adds, within ``tolerance``, and nearest to ``like``.

    Nearest: its levels as wide as those of ``like`` and equally deep, for as far as multiples of 16 channels allow,
    which the processor computes at its best; of 8 where those do not.
    """
    depths = [blocks for blocks in itertools.product(range(1, 10), repeat=len(like)) if max(blocks) - min(blocks) <= 1]
    for multiple in (16, 8, 4):
        choices = [range(multiple * max(1, w // (2 * multiple)), w + w // 2 + 1, multiple) for w in like]
        near = []
        for widths in itertools.product(*choices):
            away = sum(abs(math.log(width / wanted)) for width, wanted in zip(widths, like, strict=True))
            for blocks in depths:
                error = abs(resnet_multiply_adds(widths, blocks) / multiply_adds - 1)
                if error <= tolerance:
                    near.append((away + 0.05 * (max(blocks) - min(blocks)), error, widths, blocks))
        if near:
            return min(near)[2:]
    raise ValueError(f"No plain ResNet like {tuple(like)} has {multiply_adds} multiply-adds within {tolerance:.0%}.")
