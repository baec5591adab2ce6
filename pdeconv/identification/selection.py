"""Least squares with few columns: which of them are needed, and how sure their coefficients are."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations

import torch
from torch import Tensor

MOST_CHOICES = 100_000
FEWEST_BLOCKS = 4


def fewest_columns(matrix: Tensor, right: Tensor, tolerance: float, resolution: float) -> list[list[int]]:
    """Choices of the fewest columns that leave hardly more than all do, the best first.

    More than one where the data cannot tell them apart. Where there are too many choices of as many columns, those that
    matter least are left out one by one.

    Args:
        matrix: (N, J).
        right: (N,).
        tolerance: How much more may be left than by all columns, as a share, each for its degrees of freedom.
        resolution: What may be left in any case, as a share of ``right``.
    """
    scales = matrix.norm(dim=0)
    usable = (scales > 1e-10 * scales.max()).nonzero().flatten().tolist()  # others are rounding
    if not usable or right.norm() == 0:
        return [[]]
    rows, count = matrix.shape[0], len(usable)
    scaled = matrix[:, usable] / scales[usable]
    triangle = torch.linalg.qr(torch.cat((scaled, right[:, None]), 1), mode="r").R  # keeps all norms
    columns, target = triangle[:, :-1], triangle[:, -1]
    least = float(least_squares(columns, target)[1]) / math.sqrt(rows - count)

    def enough(size: int) -> float:
        return max((1 + tolerance) * least * math.sqrt(rows - size), resolution * float(right.norm()))

    if target.norm() <= enough(0):
        return [[]]
    for size in range(1, count):
        if math.comb(count, size) > MOST_CHOICES:
            return [[usable[column] for column in _one_by_one(columns, target, enough)]]
        choices = torch.tensor(list(combinations(range(count), size)))
        chosen = columns[:, choices].movedim(1, 0)  # (choices, rows, size)
        found = torch.linalg.lstsq(chosen, target[:, None].expand(len(choices), -1, 1)).solution
        left = (chosen @ found - target[:, None]).norm(dim=(1, 2))
        good = (left <= enough(size)).nonzero().flatten().tolist()
        if good:
            best = sorted(good, key=lambda place: float(left[place]))
            return [[usable[column] for column in choices[place].tolist()] for place in best]
    return [usable]


def _one_by_one(columns: Tensor, target: Tensor, enough: Callable[[int], float]) -> list[int]:
    kept = list(range(columns.shape[1]))
    while kept:
        without = {column: [other for other in kept if other != column] for column in kept}
        left = {column: float(least_squares(columns[:, others], target)[1]) for column, others in without.items()}
        column = min(left, key=left.__getitem__)
        if left[column] > enough(len(kept) - 1):
            break
        kept = without[column]
    return kept


def least_squares(matrix: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Coefficients, and the norm of what they leave; columns are scaled, as their units differ."""
    if matrix.shape[1] == 0:
        return right.new_zeros(0), right.norm()
    scales = matrix.norm(dim=0).clamp(min=1e-300)
    found = torch.linalg.lstsq(matrix / scales, right[:, None], driver="gelsd").solution[:, 0] / scales
    return found, (matrix @ found - right).norm()


def standard_errors(matrix: Tensor, right: Tensor, shape: tuple[int, ...], side: int) -> Tensor:
    """By the jackknife over boxes of neighbouring rows, whose errors go together; NaN where there are too few boxes.

    Args:
        matrix: (N, J), rows in the order of an array of ``shape``.
        right: (N,).
        shape: Of the array of rows, N in all.
        side: Rows along each side of a box.
    """
    numbers = [torch.arange(count) * max(1, count // side) // count for count in shape]
    boxes = torch.zeros(shape, dtype=torch.long)
    for axis, number in enumerate(numbers):
        boxes = boxes * (int(number.max()) + 1) + number.reshape(-1, *(1,) * (len(shape) - axis - 1))
    boxes, blocks = boxes.flatten(), math.prod(int(number.max()) + 1 for number in numbers)
    if matrix.shape[1] == 0 or blocks < FEWEST_BLOCKS:
        return torch.full((matrix.shape[1],), math.nan, dtype=matrix.dtype)
    found = torch.stack([least_squares(matrix[boxes != block], right[boxes != block])[0] for block in range(blocks)])
    return ((blocks - 1) / blocks * (found - found.mean(0)).square().sum(0)).sqrt()
