"""Which terms and steps of the catalogue go together."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from catalogue import COUSINS, OTHER_DIFFUSIONS, SAMPLE, SAMPLED, STEPS, TERMS, build
from states import number, state
from torch import Tensor

from pdeconv import Advection, Term, UnsupportedError, Upwind


def can(term: Term, ability: str, u: Tensor | None = None) -> bool:
    """Whether the operator of ``term`` has a ``solve``, a ``flow`` or ``axes``."""
    u = state(1 if term.grid is None else term.grid.dims) if u is None else u
    try:
        found = getattr(term(u), ability)
        if ability != "axes":
            found(u, number(0.1))
    except UnsupportedError:
        return False
    return True


def can_step(step: str, term: Term, u: Tensor | None = None) -> bool:
    """Whether the step called ``step`` can step ``term``."""
    if step == "SemiLagrangian":  # of the velocity alone, whatever the scheme
        return isinstance(term, Advection) and term.scheme == Upwind()
    if step == "DuFortFrankel":
        return math.isfinite(term.ceiling)
    needs = {"BackwardEuler": "solve", "CrankNicolson": "solve", "Exact": "flow", "AOS": "axes", "ADI": "axes"}
    return step not in needs or can(term, needs[step], u)


def pairs(terms=tuple(TERMS), steps=tuple(STEPS)) -> Iterator[tuple[str, str]]:
    """The (term, step) that go together."""
    with torch.random.fork_rng():
        for term in terms:
            for step in steps:
                if term in COUSINS and step != "Euler":
                    continue
                if term in OTHER_DIFFUSIONS and step not in ("Euler", "BackwardEuler", "Exact"):
                    continue
                if (step not in SAMPLED or term in SAMPLE) and can_step(step, build(term)):
                    yield term, step


def cover() -> list[tuple[str, str]]:
    """Every term with three steps, and every step with three terms: for laws too dear for all :func:`pairs`."""
    by_term = pairs(steps=("Euler", "BackwardEuler", "Exact"))
    by_step = pairs(terms=("channel_diffusion", "perona_malik", "sum"))
    return list(dict.fromkeys((*by_term, *by_step)))
