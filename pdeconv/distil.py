"""Fitting condensed blocks to the blocks that they replace."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pdeconv.convert import Conversion
from pdeconv.errors import PDEConvError, checked_count, checked_number, checked_type
from pdeconv.evaluating import evaluating


@dataclass(frozen=True)
class Distilled:
    """How well a condensed block does what the blocks did: Σ‖g(u) − y‖² / Σ‖y‖² over the batches.

    Attributes:
        name: Where the block is in the converted model.
        before, after: The loss before and after the fit; 0 is perfect, 1 is what the answer 0 would have.
    """

    name: str
    before: float
    after: float


def distil_blocks(
    original: nn.Module,
    conversion: Conversion,
    batches: Iterable[Tensor | tuple[Tensor, ...] | list[Tensor]],
    epochs: int = 10,
    lr: float = 1e-2,
    seed: int = 0,
) -> tuple[Distilled, ...]:
    """Fit each condensed block of a conversion, in place, to what the blocks of ``original`` in its place do.

    min Σ‖g(u) − y‖² / ‖y‖² over the weights of g, where u goes into the first of the blocks and y comes out of the
    last, as ``original`` computes them: layer by layer, so that no block learns from the errors of another. Both are
    in evaluation mode, so the running statistics of a normalisation stay; its weights are learned. The training modes
    are put back. Weights that require no gradient are left alone.

    Args:
        original: The model that was converted.
        conversion: What ``replace_blocks(original, CondensedBlocks())`` gave.
        batches: Inputs of the model, or tuples that begin with one, as a ``DataLoader`` gives; iterated anew for each
            epoch.
        epochs: Passes over the batches.
        lr: Rate of Adam at the start; it falls to 0 as a cosine does.
        seed: Of the order of a shuffling ``DataLoader``: equal seeds give equal weights.

    Raises:
        PDEConvError: If no block was condensed, there are no batches, or they can be iterated once only.

    References:
        A. Romero et al. FitNets: hints for thin deep nets. ICLR 2015.

    Example:
        >>> from pdeconv import CondensedBlocks, PDEBasicBlock, replace_blocks
        >>> net = nn.Sequential(PDEBasicBlock(4, 4), PDEBasicBlock(4, 4))
        >>> conversion = replace_blocks(net, CondensedBlocks())
        >>> [fit] = distil_blocks(net, conversion, [torch.rand(8, 4, 8, 8)], epochs=2)
        >>> fit.after < fit.before
        True
    """
    checked_type("distil_blocks", original, nn.Module, "give the model that was converted")
    checked_type("distil_blocks", conversion, Conversion, "give what replace_blocks returned")
    checked_count("distil_blocks", "epochs", epochs)
    checked_number("distil_blocks", "lr", lr)
    runs = {block.name: block.blocks for block in conversion.report.blocks if len(block.blocks) > 1}
    if not runs:
        raise PDEConvError("distil_blocks needs condensed blocks, but none was; convert by CondensedBlocks().")
    if isinstance(batches, Iterator):
        raise PDEConvError(
            f"distil_blocks iterates its batches anew for each epoch, but got {type(batches).__name__}, which can be "
            "iterated once; give a list or a DataLoader."
        )
    students = {name: conversion.model.get_submodule(name) for name in runs}
    weights = {name: [p for p in student.parameters() if p.requires_grad] for name, student in students.items()}
    device = next(original.parameters()).device
    with evaluating(original, conversion.model), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # of the order of a DataLoader; nothing else is random in evaluation
        before = _losses(original, runs, students, batches, device)
        optimizers = {name: torch.optim.Adam(w, lr) for name, w in weights.items() if w}
        decays = [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs) for optimizer in optimizers.values()]
        for _ in range(epochs):
            for pairs in _pairs(original, runs, batches, device):
                for name, optimizer in optimizers.items():
                    u, y = pairs[name]
                    energy = y.square().sum()
                    loss = (students[name](u) - y).square().sum() / torch.where(energy > 0, energy, 1)
                    gradients = torch.autograd.grad(loss, weights[name], allow_unused=True)
                    for weight, gradient in zip(weights[name], gradients, strict=True):
                        weight.grad = gradient
                    optimizer.step()
                    optimizer.zero_grad()
            for decay in decays:
                decay.step()
        after = _losses(original, runs, students, batches, device)
    return tuple(Distilled(name, before[name], after[name]) for name in runs)


@torch.no_grad()
def _losses(
    original: nn.Module,
    runs: dict[str, tuple[str, ...]],
    students: dict[str, nn.Module],
    batches: Iterable,
    device: torch.device,
) -> dict[str, float]:
    errors, energies = dict.fromkeys(runs, 0.0), dict.fromkeys(runs, 0.0)
    for pairs in _pairs(original, runs, batches, device):
        for name, (u, y) in pairs.items():
            errors[name] += float((students[name](u) - y).square().sum())
            energies[name] += float(y.square().sum())
    if not all(energies.values()):
        raise PDEConvError("distil_blocks needs batches for which the blocks give something else than 0, but got none.")
    return {name: errors[name] / energies[name] for name in runs}


def _pairs(
    original: nn.Module, runs: dict[str, tuple[str, ...]], batches: Iterable, device: torch.device
) -> Iterator[dict[str, tuple[Tensor, Tensor]]]:
    """For each batch, what goes into the first and comes out of the last block of each run."""
    for batch in batches:
        image = batch[0] if isinstance(batch, tuple | list) else batch
        with ExitStack() as stack, torch.no_grad():
            watched = {name: _Watched(original, blocks, stack) for name, blocks in runs.items()}
            original(image.to(device))
        yield {name: (seen.into, seen.out) for name, seen in watched.items()}


class _Watched:
    """What goes into the first and comes out of the last of some blocks: copies, as blocks may work in place."""

    into: Tensor
    out: Tensor

    def __init__(self, model: nn.Module, blocks: tuple[str, ...], stack: ExitStack) -> None:
        first, last = model.get_submodule(blocks[0]), model.get_submodule(blocks[-1])
        stack.callback(first.register_forward_pre_hook(self._note_input).remove)
        stack.callback(last.register_forward_hook(self._note_output).remove)

    def _note_input(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.into = inputs[0].clone()

    def _note_output(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self.out = output.clone()
