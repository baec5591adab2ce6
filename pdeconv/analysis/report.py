"""Is a network stable, why, and what to do: one readable page."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from pdeconv.analysis.decomposition import SHARES, Decomposition, decompose
from pdeconv.analysis.verdict import BlockStability, Verdict, look_at, look_at_denoiser
from pdeconv.block_rules import EulerBlocks
from pdeconv.blocks import PDEBasicBlock
from pdeconv.convert import replace_blocks
from pdeconv.errors import PDEConvError, checked_type
from pdeconv.evaluating import evaluating
from pdeconv.evolve import Evolve
from pdeconv.evolving_block import EvolvingBlock
from pdeconv.models.denoiser import Denoiser
from pdeconv.residual_blocks import is_residual_block

MARKS = {"stable": "●", "unproven": "◐", "unstable": "○"}


@dataclass(frozen=True)
class Report:
    """What :func:`report` found; ``print`` it for a page.

    Attributes:
        model: Its class.
        parameters: Their number.
        blocks: Its evolutions, in the order of the model.
        decomposition: What its kernels do; None if it has none.
    """

    model: str
    parameters: int
    blocks: tuple[BlockStability, ...]
    decomposition: Decomposition | None

    @property
    def verdict(self) -> Verdict:
        """The worst of the blocks."""
        found = {block.verdict for block in self.blocks}
        return "unstable" if "unstable" in found else "unproven" if "unproven" in found else "stable"

    def __str__(self) -> str:
        counts = {verdict: sum(block.verdict == verdict for block in self.blocks) for verdict in MARKS}
        said = ", ".join(f"{MARKS[verdict]} {count} {verdict}" for verdict, count in counts.items() if count)
        lines = [f"{self.model}, {self.parameters:,} parameters: {said}", ""]
        for block in self.blocks:
            lines += _paragraph(block)
        if self.decomposition is not None:
            lines += ["What its kernels do to an image, by the derivatives that they are made of", ""]
            lines += [str(self.decomposition.spatial), "", *_in_words(self.decomposition)]
            pointwise = len(self.decomposition.layers) - len(self.decomposition.spatial.layers)
            lines += [f"{counted(pointwise, 'layer')} of 1 × 1 only mix the channels."] if pointwise else []
        return "\n".join(lines)


def report(model: nn.Module, batch: Tensor, iterations: int = 6) -> Report:
    """Look at each evolution of a network with a batch of its inputs: is it stable, why, and what to do.

    A denoiser of this library, which marches by itself, is one evolution. A residual network of torchvision or timm is
    looked at as what it is: its blocks are Euler steps of dt = 1.

    Args:
        model: A network with an ``Evolve``, or with residual blocks of a known type; it is not changed.
        batch: Inputs, (B, …); a few are enough.
        iterations: Products with the Jacobian of each block, to measure its gain from below.

    Raises:
        PDEConvError: If there is neither, or the batch is not finite.

    Example:
        >>> from pdeconv import CFL, Diffusion, Euler, PeronaMalik
        >>> found = report(Evolve(Euler(Diffusion(PeronaMalik(channels=1))), 1.0, CFL(0.9)), torch.rand(1, 1, 8, 8))
        >>> found.verdict, found.blocks[0].equation
        ('stable', 'u_t = ∇·(κ(u)∇u)')
    """
    checked_type("report", model, nn.Module, "give a network")
    checked_type("report", batch, Tensor, "give a batch of inputs")
    if not batch.isfinite().all():
        raise PDEConvError("report needs a finite batch, but it holds NaN or infinity.")
    if isinstance(model, Denoiser):
        with evaluating(model):
            blocks = [look_at_denoiser(model, batch, iterations)]
        return _report(model, blocks)
    network, evolutions = evolutions_of("report", model)
    with evaluating(network):
        states = states_entering("report", network, evolutions, batch)
        blocks = [look_at(name, evolutions[name], state, iterations) for name, state in states.items()]
    return _report(model, blocks)


def _report(model: nn.Module, blocks: list[BlockStability]) -> Report:
    try:
        kernels = decompose(model)
    except PDEConvError:  # no convolution, or weights that are not finite
        kernels = None
    return Report(type(model).__name__, sum(weight.numel() for weight in model.parameters()), tuple(blocks), kernels)


def evolutions_of(owner: str, model: nn.Module) -> tuple[nn.Module, dict[str, Evolve]]:
    """The model, or a copy whose residual blocks are Euler steps, and its outermost evolutions by name.

    Raises ``PDEConvError`` if there is none.
    """
    network = model
    if any(is_residual_block(part) and not _evolves(part) for part in model.modules()):
        network = replace_blocks(model, lambda _, block: None if _evolves(block) else EulerBlocks()).model
    found = {name: part for name, part in network.named_modules() if isinstance(part, Evolve)}
    if not found:
        raise PDEConvError(
            f"{owner} needs an Evolve or residual blocks of a known type, but {type(model).__name__} has none; "
            "register_residual_block adds your own."
        )
    return network, {name: part for name, part in found.items() if not _is_inner(name, found)}


def _evolves(block: nn.Module) -> bool:
    """Whether a residual block takes steps of its own already, however many."""
    return isinstance(block, (EvolvingBlock, PDEBasicBlock))


def _is_inner(name: str, others: dict[str, Evolve]) -> bool:
    return any(other != name and (other == "" or name.startswith(f"{other}.")) for other in others)


def states_entering(owner: str, network: nn.Module, evolutions: dict[str, Evolve], batch: Tensor) -> dict[str, Tensor]:
    """What enters each evolution by name, in the order in which they act; of one that acts several times, at first.

    Raises ``PDEConvError`` if none acts.
    """
    states: dict[str, Tensor] = {}

    def note(name: str, _: nn.Module, given: tuple[Tensor, ...]) -> None:
        states.setdefault(name, given[0].detach().clone())  # what follows may act in place

    hooks = [evolve.register_forward_pre_hook(partial(note, name)) for name, evolve in evolutions.items()]
    try:
        with torch.no_grad():
            network(batch)
    finally:
        for hook in hooks:
            hook.remove()
    if not states:
        raise PDEConvError(f"{owner} needs evolutions that act, but {type(network).__name__} calls none of its own.")
    return states


def _paragraph(block: BlockStability) -> list[str]:
    steps = "dt by the state" if block.dt is None else f"{counted(block.steps, 'step')} of dt = {block.dt:.3g}"
    bound = "rate" if block.limit > 0 else "L"  # of a residual branch the Lipschitz constant
    courant = "" if block.courant is None else f", dt·{bound} ≤ {block.courant:.3g}"
    return [
        f"{MARKS[block.verdict]} {block.name}: {block.equation}",
        f"    {block.scheme}, {steps}{courant}; gain {block.gain:.3g}, ‖u‖ × {block.growth:.3g}",
        f"    {block.verdict}: {block.reason}",
        *([f"    → {block.remedy}"] if block.remedy else []),
        "",
    ]


def counted(number: int | None, noun: str) -> str:
    """``"1 step"``, ``"2 steps"``.

    Example:
        >>> counted(1, "step"), counted(2, "step")
        ('1 step', '2 steps')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _in_words(decomposition: Decomposition) -> list[str]:
    """Which layer blurs, carries and sharpens most."""
    wide = decomposition.spatial.layers
    if not wide:
        return []
    said = []
    for share in SHARES[1:4]:
        layer = max(wide, key=lambda layer, share=share: getattr(layer, share))
        most = getattr(layer, share)
        where = f"most in {layer.name or '(the model)'} ({most:.0%})" if most >= 0.005 else "nowhere"
        said.append(f"it {share} {where}")
    return [f"By these shares {', '.join(said)}."]
