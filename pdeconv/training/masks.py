"""Masks of what is known of an image, which a seed and a position decide: single pixels, rectangles, or strokes."""

from typing import Literal

import torch
from torch import Tensor

from pdeconv.errors import PDEConvError
from pdeconv.training.randomness import derived_seeds, uniform

Kind = Literal["pixels", "rectangles", "strokes"]
SIDES = (4, 16)  # of a rectangle in pixels
WIDTHS, LENGTHS, BENDS = (2, 5), (6, 18), 4  # of a stroke: a pen's width, that of a straight piece, and pieces
MOST = 10_000  # rectangles or strokes in an image


def drawn_mask(kind: Kind, height: int, width: int, known: float, seed: int) -> Tensor:
    """A mask (1, H, W), True where the image is known, which is a share ``known`` of it; at least one pixel is.

    Args:
        kind: "pixels", known one by one at random; "rectangles" of 4 to 16 pixels a side, or "strokes" like those of
            handwriting, which hide the image until only so much is left.
        height: of the image.
        width: of the image.
        known: share from 0 to 1; after the last rectangle or stroke a little less.
        seed: of the generator, on the CPU.

    Raises:
        PDEConvError: If there is no such kind of mask, or ``known`` is not above 0 and at most 1.

    Example:
        >>> round(float(drawn_mask("pixels", 100, 100, known=0.2, seed=0).float().mean()), 2)
        0.2
    """
    if kind not in ("pixels", "rectangles", "strokes"):
        raise PDEConvError(f"expected a mask of pixels, rectangles or strokes, got {kind!r}")
    if not 0 < known <= 1:
        raise PDEConvError(f"expected a known share of the image above 0 and up to 1, got {known}")
    generator = torch.Generator().manual_seed(seed)
    if kind == "pixels":
        ranks = torch.rand(height * width, generator=generator).argsort().argsort()
        return (ranks < max(1, round(known * height * width))).reshape(1, height, width)
    mask = torch.ones(height, width, dtype=torch.bool)
    paint = _rectangle if kind == "rectangles" else _stroke
    left, goal = height * width, known * height * width
    for _ in range(MOST):
        if left <= goal:
            break
        before = mask.clone()
        paint(mask, generator)
        left = int(mask.sum())
        if left == 0:  # all of it would be hidden: the last one is not painted
            mask = before
            break
    return mask[None]


def training_masks(images: Tensor, kind: Kind, known: tuple[float, float], seed: int, first: int = 0) -> Tensor:
    """Masks (B, 1, H, W) for a batch (B, C, H, W); each depends on (seed, the sample's position) alone.

    Args:
        images: for shape and device.
        kind: see :func:`drawn_mask`.
        known: lowest and highest share that is known; each sample draws its own, uniformly.
        seed: of the optimizer step.
        first: position of the first sample in the global batch.
    """
    positions = torch.arange(first, first + len(images))
    shares = known[0] + (known[1] - known[0]) * uniform(seed, positions, 1)[:, 0]
    height, width = images.shape[-2:]
    drawn = zip(shares.tolist(), derived_seeds(seed, positions), strict=True)
    return torch.stack([drawn_mask(kind, height, width, share, own) for share, own in drawn]).to(images.device)


def masks_of_test(images: Tensor, kind: Kind, known: float, index: int) -> Tensor:
    """Masks for test images from number ``index`` on: they depend on (index, kind, known) alone."""
    own = round(known * 1e6) * 8 + ("pixels", "rectangles", "strokes").index(kind)
    seeds = derived_seeds(own, torch.arange(index, index + len(images)))
    height, width = images.shape[-2:]
    return torch.stack([drawn_mask(kind, height, width, known, seed) for seed in seeds]).to(images.device)


def _between(ends: tuple[int, int], generator: torch.Generator) -> int:
    return int(torch.randint(ends[0], ends[1] + 1, (), generator=generator))


def _rectangle(mask: Tensor, generator: torch.Generator) -> None:
    """Hide a rectangle, part of which may be outside."""
    height, width = mask.shape
    rows, columns = _between(SIDES, generator), _between(SIDES, generator)
    top, left = _between((1 - rows, height - 1), generator), _between((1 - columns, width - 1), generator)
    mask[max(0, top) : top + rows, max(0, left) : left + columns] = False


def _stroke(mask: Tensor, generator: torch.Generator) -> None:
    """Hide what a round pen covers on a path of straight pieces, each of which turns a little."""
    height, width = mask.shape
    pen = _between(WIDTHS, generator) / 2
    row, column = (torch.rand(2, generator=generator, dtype=torch.float64) * torch.tensor([height, width])).tolist()
    angle = 2 * torch.pi * float(torch.rand((), generator=generator))
    for turn in (torch.rand(BENDS, generator=generator, dtype=torch.float64) * 2 - 1).tolist():
        angle += 1.5 * turn
        length = _between(LENGTHS, generator)
        down, across = torch.sin(torch.tensor([angle, angle + torch.pi / 2], dtype=torch.float64)).tolist()
        _piece(mask, row, column, down, across, length, pen)
        row, column = row + length * down, column + length * across


def _piece(mask: Tensor, row: float, column: float, down: float, across: float, length: float, pen: float) -> None:
    """Hide the pixels within ``pen`` of a line that starts at (row, column) in the direction (down, across)."""
    ends = [(row, row + length * down), (column, column + length * across)]
    spans = [
        slice(max(0, int(min(pair) - pen)), max(0, min(size, int(max(pair) + pen) + 2)))
        for pair, size in zip(ends, mask.shape, strict=True)
    ]
    rows = torch.arange(spans[0].start, max(spans[0].start, spans[0].stop), dtype=torch.float64)[:, None] - row
    columns = torch.arange(spans[1].start, max(spans[1].start, spans[1].stop), dtype=torch.float64)[None] - column
    along = (rows * down + columns * across).clamp(0, length)
    squared = (rows - along * down).square() + (columns - along * across).square()
    mask[spans[0], spans[1]] &= squared > pen**2
