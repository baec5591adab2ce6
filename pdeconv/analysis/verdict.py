"""Is an evolution stable at the states that it meets, why, and what to do."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from pdeconv.analysis.stability import jacobian_norm
from pdeconv.control import Clamp, Measured, steps_needed
from pdeconv.evolve import Evolve
from pdeconv.layer_bounds import is_norm
from pdeconv.lipschitz import lipschitz_bound
from pdeconv.models.denoiser import Denoiser
from pdeconv.operator import Keeps, describe, intervals_of_halves
from pdeconv.steps import Euler, Exact
from pdeconv.terms import Residual, Term

Verdict = Literal["stable", "unproven", "unstable"]
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


def look_at(name: str, evolve: Evolve, u: Tensor, iterations: int) -> BlockStability:
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
    verdict, reason, remedy = _judge(evolve, u, dt, limit, measured, courant, growth, gain, finite)
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


def look_at_denoiser(model: Denoiser, noisy: Tensor, iterations: int) -> BlockStability:
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
    evolve: Evolve,
    u: Tensor,
    dt: float | None,
    limit: float,
    measured: float | None,
    courant: float | None,
    growth: float,
    gain: float,
    finite: bool,
) -> tuple[Verdict, str, str]:
    """The verdict, why, and what to do."""
    step = evolve.step
    if outside := _outside(step.keeps, u):
        remedy = "bound what enters, as nn.Tanh and nn.Sigmoid do"
        if not isinstance(step, Exact):
            remedy += ", or take Exact where the reaction's solution is known"
        wrong = "the state does not stay finite" if not finite else f"the state grows {growth:.3g} times"
        if not finite or growth > ENERGY_GROWTH:
            return "unstable", f"{wrong}: {outside}", remedy
        return "unproven", outside, remedy
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
    if measured is not None:
        needed = steps_needed(evolve.duration, limit) if limit > 0 else None
        remedy = "give each coefficient a finite ceiling" if needed is None else f"Fixed({needed}) is proven, as CFL()"
        if dt <= measured * (1 + 1e-6):
            said = f"dt = {dt:.3g} is within the limit {measured:.3g} of these states, but not of every state"
            return "unproven", said, remedy
        verdict: Verdict = "unstable" if gain > 1 + 1e-4 or growth > 1 + 1e-4 else "unproven"
        return verdict, f"dt = {dt:.3g} exceeds the limit {measured:.3g} of these states; {seen}", remedy
    kept = "nothing is proven of the step"
    if isinstance(getattr(step, "term", None), Residual):
        if courant is not None and courant < 1 and type(step) is Euler:
            bounded = f"a perturbation grows at most {1 + courant:.3g} times in a step, as dt·L ≤ {courant:.3g}"
            return "unproven", f"a residual branch, bounded but not proven to shrink anything: {bounded}", ""
        if courant is None:
            return "unproven", f"{kept}, a residual branch; {seen}", ""
        bounded = f"limit_lipschitz(evolve.step.term.module, {0.9 / dt:.3g})"
        remedy = f"bound it: {bounded}, or StabilisedBlocks() for a ResNet's blocks"
        return "unproven", f"{kept}, a residual branch; {seen}", remedy
    if any(is_norm(part) for part in step.modules()):
        remedy = "leave out the normalisation inside, or bound it: NormalisedInfluence"
    else:
        remedy = "take a step with a proven limit, such as Euler or Heun, of terms that declare ceiling and keeps"
    return "unproven", f"{kept}; {seen}", remedy


def _outside(keeps: Keeps, u: Tensor) -> str:
    """What is wrong with a state that lies in none of the intervals that a step keeps, where it keeps nothing else."""
    intervals = [intervals_of_halves(kept) for kept in keeps if isinstance(kept, tuple)]
    if not intervals or len(intervals) < len(keeps) or not u.isfinite().all():
        return ""
    halves = [(float(half.min()), float(half.max())) for half in u.chunk(2, 1)]
    for pair in intervals:
        matched = zip(pair, halves, strict=False)  # a single channel has one half
        if all(a - 1e-6 <= low and high <= b + 1e-6 for (a, b), (low, high) in matched):
            return ""
    low, high = min(low for low, _ in halves), max(high for _, high in halves)
    return f"a limit is proven for states within {describe(keeps)} alone, and these enter with {low:.3g} to {high:.3g}"


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
