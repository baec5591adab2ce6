"""Is a network stable, why, and what to do: one readable page."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from pdeconv.analysis.decomposition import SHARES, Decomposition, decompose
from pdeconv.analysis.stability import jacobian_norm
from pdeconv.block_rules import EulerBlocks
from pdeconv.control import Clamp, Measured
from pdeconv.convert import replace_blocks
from pdeconv.errors import PDEConvError, checked_type
from pdeconv.evolve import Evolve
from pdeconv.layer_bounds import is_norm
from pdeconv.lipschitz import lipschitz_bound
from pdeconv.models.denoiser import Denoiser
from pdeconv.operator import describe
from pdeconv.residual_blocks import is_residual_block
from pdeconv.steps import Euler
from pdeconv.terms import Residual, Term

Verdict = Literal["stable", "unproven", "unstable"]
MARKS = {"stable": "●", "unproven": "◐", "unstable": "○"}
ENERGY_GROWTH = 1e3
"""‖u‖ after / before an evolution, beyond which it is called unstable."""


@dataclass(frozen=True)
class BlockStability:
    """One evolution of a network, at the states that a batch brings to it.

    Attributes:
        name: Where it is in the model.
        equation: u_t = …, in writing.
        scheme: The step.
        steps: How many; None where the state decides.
        dt: Of a step; None where the state decides.
        limit: The largest dt that is proven safe for all weights and states; 0 if none is.
        measured_limit: The largest safe dt at these states by the measured rate; None where none is known.
        courant: dt·rate from the ceilings; of an unproven residual branch dt·L with the bound L of its Lipschitz
            constant in evaluation; None if there is neither.
        keeps: What no step lets grow, in words.
        gain: ‖∂u(T)/∂u(0)‖ there: how far the whole evolution magnifies a small perturbation,
            measured from below.
        growth: ‖u(T)‖ / ‖u(0)‖ there.
        verdict: Proven ``"stable"``, ``"unproven"``, or ``"unstable"``.
        reason: Of the verdict.
        remedy: What to do about it; empty if nothing.
    """

    name: str
    equation: str
    scheme: str
    steps: int | None
    dt: float | None
    limit: float
    measured_limit: float | None
    courant: float | None
    keeps: str
    gain: float
    growth: float
    verdict: Verdict
    reason: str
    remedy: str


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
            blocks = [_look_at_denoiser(model, batch, iterations)]
        return _report(model, blocks)
    network, evolutions = evolutions_of("report", model)
    with evaluating(network):
        states = states_entering("report", network, evolutions, batch)
        blocks = [_look(name, evolutions[name], state, iterations) for name, state in states.items()]
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
    if any(is_residual_block(part) for part in model.modules()):
        network = replace_blocks(model, EulerBlocks()).model
    found = {name: part for name, part in network.named_modules() if isinstance(part, Evolve)}
    if not found:
        raise PDEConvError(
            f"{owner} needs an Evolve or residual blocks of a known type, but {type(model).__name__} has none; "
            "register_residual_block adds your own."
        )
    return network, {name: part for name, part in found.items() if not _is_inner(name, found)}


def _is_inner(name: str, others: dict[str, Evolve]) -> bool:
    return any(other != name and (other == "" or name.startswith(f"{other}.")) for other in others)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """The network in evaluation, and then again in the modes in which its modules were."""
    training = {part: part.training for part in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for part, was in training.items():
            part.training = was


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


def _look(name: str, evolve: Evolve, u: Tensor, iterations: int) -> BlockStability:
    step, static = evolve.step, evolve.control.static
    dt = evolve.duration / evolve.steps if static else None
    limit = step.guaranteed_limit
    with torch.no_grad():
        after = evolve(u)
        measured = float(step.limit(u).min()) if step.keeps else None
    growth = _growth(u, after)
    finite = bool(after.isfinite().all())
    gain = jacobian_norm(evolve, u, iterations) if finite else math.inf
    courant = None if dt is None else step.courant(dt)
    if courant is None or math.isinf(courant):
        bound = _branch_bound(evolve)
        courant = None if bound is None or dt is None else dt * bound
    verdict, reason, remedy = _judge(evolve, dt, limit, measured, growth, gain, finite)
    return BlockStability(
        name=name or "(the model)",
        equation="u_t = " + " and ".join(dict.fromkeys(term.equation for term in _terms(step))),
        scheme=step.name,
        steps=evolve.steps if static else None,
        dt=dt,
        limit=limit,
        measured_limit=measured,
        courant=courant,
        keeps=describe(step.keeps),
        gain=gain,
        growth=growth,
        verdict=verdict,
        reason=reason,
        remedy=remedy,
    )


def _look_at_denoiser(model: Denoiser, noisy: Tensor, iterations: int) -> BlockStability:
    """Its whole evolution, which it marches by itself, from the noisy image to the last."""
    with torch.no_grad():
        trajectory = model.trajectory(noisy)
        after = model(noisy)
    finite, proven = bool(after.isfinite().all()), model.courant <= 1 + 1e-6
    verdict: Verdict = "unstable" if not finite else "stable" if proven and model.keeps else "unproven"
    reasons = {
        "unstable": "the image does not stay finite",
        "stable": f"proven: each step is at most {model.courant:.3g} of its limit, whatever the weights",
        "unproven": "nothing is proven of its steps",
    }
    equations = dict.fromkeys(term.equation for term in _terms(model))
    return BlockStability(
        name="(the model)",
        equation="u_t = " + (" and ".join(equations) or "f(u)"),
        scheme=type(model).__name__,
        steps=len(trajectory.states) - 1,
        dt=1.0,
        limit=0.0 if not proven else 1 / model.courant if model.courant > 0 else math.inf,
        measured_limit=None,
        courant=model.courant,
        keeps=describe(model.keeps),
        gain=jacobian_norm(model, noisy, iterations) if finite else math.inf,
        growth=_growth(noisy, after),
        verdict=verdict,
        reason=reasons[verdict],
        remedy="" if verdict == "stable" else "give every coefficient a finite ceiling",
    )


def _growth(before: Tensor, after: Tensor) -> float:
    """The largest ‖u(T)‖ / ‖u(0)‖ of the samples; of one that begins at rest, against a state of ones."""
    sizes = before.flatten(1).norm(dim=1)
    at_rest = sizes == 0
    sizes = torch.where(at_rest, torch.full_like(sizes, before[0].numel() ** 0.5), sizes)
    return float((after.flatten(1).norm(dim=1) / sizes).max())


def _judge(
    evolve: Evolve, dt: float | None, limit: float, measured: float | None, growth: float, gain: float, finite: bool
) -> tuple[Verdict, str, str]:
    """The verdict, why, and what to do."""
    step = evolve.step
    seen = f"a perturbation of these states grew {gain:.3g} times, in the worst direction found"
    if not finite:
        return "unstable", "the state does not stay finite", "take more steps, or a shorter duration"
    if growth > ENERGY_GROWTH:
        return "unstable", f"the state grows {growth:.3g} times", "take more steps, or bound the branch"
    if dt is None:
        if step.keeps and type(step) is Euler and isinstance(evolve.control, Measured | Clamp):
            return (
                "stable",
                f"{evolve.control} chooses dt within the limit of each state; keeps {describe(step.keeps)}",
                "",
            )
        remedy = "Euler with Measured() keeps within measured limits, CFL() within proven ones"
        return "unproven", f"{evolve.control} chooses dt, and no limit is proven for what it does; {seen}", remedy
    if step.keeps and dt <= limit * (1 + 1e-6):
        most = "any dt is safe" if math.isinf(limit) else f"dt = {dt:.3g} ≤ {limit:.3g}, whatever the weights"
        return "stable", f"proven: {most}; keeps {describe(step.keeps)}", ""
    if step.keeps and measured is not None:
        needed = math.ceil(evolve.duration / limit) if limit > 0 else None
        remedy = "give each coefficient a finite ceiling" if needed is None else f"Fixed({needed}) is proven, as CFL()"
        if dt <= measured * (1 + 1e-6):
            said = f"dt = {dt:.3g} is within the limit {measured:.3g} of these states, but not of every state"
            return "unproven", said, remedy
        verdict: Verdict = "unstable" if gain > 1 + 1e-4 or growth > 1 + 1e-4 else "unproven"
        return verdict, f"dt = {dt:.3g} exceeds the limit {measured:.3g} of these states; {seen}", remedy
    kept = "nothing is proven of the step"
    if isinstance(getattr(step, "term", None), Residual):
        return "unproven", f"{kept}, a residual branch; {seen}", "replace_blocks(model, StabilisedBlocks()) bounds it"
    if any(is_norm(part) for part in step.modules()):
        remedy = "leave out the normalisation inside, or bound it: NormalisedInfluence"
    else:
        remedy = "take a step with a proven limit, such as Euler or Heun, of terms that declare ceiling and keeps"
    return "unproven", f"{kept}; {seen}", remedy


def _branch_bound(evolve: Evolve) -> float | None:
    term = getattr(evolve.step, "term", None)
    return lipschitz_bound(term.module) if isinstance(term, Residual) else None


def _terms(module: nn.Module) -> Iterator[Term]:
    """The outermost terms of a step, in order."""
    if isinstance(module, Term):
        yield module
        return
    for child in module.children():
        yield from _terms(child)


def _paragraph(block: BlockStability) -> list[str]:
    steps = "dt by the state" if block.dt is None else f"{counted(block.steps, 'step')} of dt = {block.dt:.3g}"
    courant = "" if block.courant is None else f", dt·rate ≤ {block.courant:.3g}"
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
        said.append(f"it {share} most in {layer.name or '(the model)'} ({getattr(layer, share):.0%})")
    return [f"By these shares {', '.join(said)}."]
