"""Evolutions whose stability normalisation decides, not a ceiling: steps of residual blocks and of their kin."""

from __future__ import annotations

from torch import nn

from pdeconv.control import Fixed
from pdeconv.evolve import Evolve, Memory
from pdeconv.steps import Euler, Step
from pdeconv.terms import Residual
from pdeconv.time_specific_norm import norms_of_each_step


def residual_steps(branch: nn.Module, steps: int = 1, duration: float = 1.0, memory: Memory = "store") -> Evolve:
    """u_t = f(u) by forward Euler: a residual block with weights that it shares over ``steps`` steps."""
    return unproven_steps(Euler(Residual(branch)), steps, duration, memory)


def unproven_steps(step: Step, steps: int, duration: float = 1.0, memory: Memory = "store") -> Evolve:
    """So many steps, of which nothing is proven; batch normalisation keeps statistics of each."""
    control = Fixed(steps, unchecked=True)  # it checks the steps
    norms_of_each_step(step, steps)
    return Evolve(step, duration, control, memory)
