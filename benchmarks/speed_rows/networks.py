"""Networks to train: a plain ResNet of given multiply-adds, and one whose residual blocks alternate with PDE blocks."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from pdeconv import Evolve, Fixed, Heun

from .blocks import open_block, terms
from .row import peer

SIDE, LEVELS = 32, 3


def basic_block(before: int, after: int, stride: int) -> nn.Module:
    """torchvision's, with its projection where the shape changes."""
    projection = None
    if stride != 1 or before != after:
        projection = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
    return peer("torchvision.models.resnet", "torchvision").BasicBlock(before, after, stride, projection)


class ResNet(nn.Module):
    """A ResNet for small images: stem, three levels of ``blocks`` BasicBlocks, widths w, 2w, 4w, and a linear head.

    Args:
        width: w.
        blocks: BasicBlocks of each level.
        pde: Whether each BasicBlock is followed by a PDEBlock: one Heun step of diffusion + advection + reaction.
    """

    def __init__(self, width: int, blocks: Sequence[int], pde: bool = False) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        before = width
        for level, count in enumerate(blocks):
            after = width * 2**level
            for index in range(count):
                layers.append(basic_block(before, after, 2 if level > 0 and index == 0 else 1))
                before = after
                if pde:
                    layers.append(open_block(after, Evolve(Heun(terms(after)), 1.0, Fixed(1))))
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 10))

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.features(image))


def resnet_multiply_adds(width: int, blocks: Sequence[int]) -> int:
    """Of ``ResNet(width, blocks)`` on one 32 × 32 image, in its convolutions and head."""
    total, before = 27 * width * SIDE**2, width
    for level, count in enumerate(blocks):
        after, cells = width * 2**level, (SIDE // 2**level) ** 2
        for _ in range(count):
            projection = before * after if before != after else 0
            total += cells * (9 * before * after + 9 * after**2 + projection)
            before = after
    return total + 10 * before


def matched_resnet(multiply_adds: int, tolerance: float = 0.02) -> tuple[int, tuple[int, ...]]:
    """Width and blocks of the plain ResNet of as many multiply-adds, within ``tolerance``.

    Widths of the largest power of two that has one, up to 16, are preferred, since the processor computes such widths at
    its best; among them, equal levels first, then the nearest.
    """
    for multiple in (16, 8, 4, 2):
        candidates = [
            (max(blocks) - min(blocks), abs(resnet_multiply_adds(width, blocks) / multiply_adds - 1), width, blocks)
            for width in range(multiple, 129, multiple)
            for first in range(1, 10)
            for blocks in ((first,) * 3, (first, first, first + 1), (first, first + 1, first + 1))
        ]
        near = [candidate for candidate in candidates if candidate[1] <= tolerance]
        if near:
            return min(near)[2:]
    raise ValueError(f"No plain ResNet has {multiply_adds} multiply-adds within {tolerance:.0%}.")
