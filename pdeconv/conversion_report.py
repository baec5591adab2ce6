"""What a conversion of residual blocks changed: parameters, multiply-adds and Courant numbers, block by block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pdeconv.evaluating import evaluating


@dataclass(frozen=True)
class BlockReport:
    """One block, or one run of blocks that became one.

    Attributes:
        name: Where it is in the converted model.
        blocks: Where it was: one name, or those of a run.
        kind: Its class.
        became: What it became, in words, or why it stayed.
        converted: Whether it became something.
        parameters: Their number before and after.
        multiply_adds: Of convolutions and matrix products for the sample, before and after; None without a sample.
        courant: dt·L with the Lipschitz bound L of the branch in evaluation; None where none is known.
    """

    name: str
    blocks: tuple[str, ...]
    kind: str
    became: str
    converted: bool
    parameters: tuple[int, int]
    multiply_adds: tuple[int, int] | None = None
    courant: float | None = None


@dataclass(frozen=True)
class ConversionReport:
    """What :func:`pdeconv.replace_blocks` did; ``print`` it for a table.

    Attributes:
        blocks: One entry a residual block of a known type, or run of them that became one.
        parameters: Of the whole model, before and after.
        multiply_adds: Of the whole model for the sample, before and after; None without a sample.
    """

    blocks: tuple[BlockReport, ...]
    parameters: tuple[int, int]
    multiply_adds: tuple[int, int] | None

    def __str__(self) -> str:
        rows = [("block", "was", "is", "parameters", "multiply-adds", "dt·L")]
        for block in self.blocks:
            where = block.blocks[0] if len(block.blocks) == 1 else f"{block.blocks[0]} … {block.blocks[-1]}"
            courant = "–" if not block.converted else "unproven" if block.courant is None else f"{block.courant:.4g}"
            numbers = _change(block.parameters), _change(block.multiply_adds)
            rows.append((where or "(the model)", block.kind, block.became, *numbers, courant))
        changed = sum(block.converted for block in self.blocks)
        total = f"{changed} of {len(self.blocks)} changed"
        rows.append(("total", "", total, _change(self.parameters), _change(self.multiply_adds), ""))
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        rule = "─" * max(map(len, lines))
        return "\n".join((lines[0], rule, *lines[1:-1], rule, lines[-1]))


def _change(numbers: tuple[int, int] | None) -> str:
    if numbers is None:
        return "–"
    before, after = numbers
    return f"{before:,}" if before == after else f"{before:,} → {after:,}"


def count_parameters(module: nn.Module) -> int:
    """The number of parameters, each counted once."""
    return sum(parameter.numel() for parameter in module.parameters())


def count_multiply_adds(model: nn.Module, sample: Tensor) -> Mapping[str, int]:
    """Multiply-adds of each module by name, the whole under ``""``, in one forward pass in evaluation."""
    from torch.utils.flop_counter import FlopCounterMode  # slow to import

    # A count leaves running statistics and random numbers alone.
    with evaluating(model), FlopCounterMode(display=False) as counter, torch.no_grad():
        model(sample)
    root = type(model).__name__
    counts = {name: sum(by_operator.values()) // 2 for name, by_operator in counter.get_flop_counts().items()}
    inside = {name.removeprefix(f"{root}."): count for name, count in counts.items() if name.startswith(f"{root}.")}
    names: dict[nn.Module, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        names.setdefault(module, []).append(name)
    # A module at several places is counted under one of its names.
    inside = {name: sum(inside.get(other, 0) for other in of) for of in names.values() for name in of}
    return inside | {"": counts.get("Global", 0)}
