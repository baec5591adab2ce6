"""Evolutions whose stability normalisation decides, not a ceiling: steps of residual blocks and of their kin."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.lazy import LazyModuleMixin

from pdeconv.control import Fixed
from pdeconv.errors import PDEConvError
from pdeconv.evolve import Evolve, Memory
from pdeconv.replaced import replaced
from pdeconv.steps import Euler, Step
from pdeconv.terms import Residual
from pdeconv.time_specific_norm import TimeSpecificNorm, of_plain_norms


def residual_steps(branch: nn.Module, steps: int = 1, duration: float = 1.0, memory: Memory = "store") -> Evolve:
    """u_t = f(u) by forward Euler: a residual block with weights that it shares over ``steps`` steps."""
    return unproven_steps(Euler(Residual(branch)), steps, duration, memory)


def unproven_steps(step: Step, steps: int, duration: float = 1.0, memory: Memory = "store") -> Evolve:
    """So many steps, of which nothing is proven; batch normalisation keeps statistics of each.

    A checkpoint of other steps loads, with the statistics of the nearest times.
    """
    evolve = Evolve(step, duration, Fixed(steps, unchecked=True), memory)
    _give_norms_of_each_step(step, steps)
    evolve.set_control(evolve.control)  # it looks at what varies in time
    evolve.register_load_state_dict_pre_hook(_load_norms_of_each_step)
    return evolve


def _give_norms_of_each_step(step: Step, steps: int) -> None:
    """Let batch normalisations keep statistics of each of so many steps; those of an evolution inside are its own."""

    def made(part: nn.Module) -> nn.Module | None:
        if isinstance(part, Evolve):
            return part
        if isinstance(part, TimeSpecificNorm):
            retimed = part if len(part.copies) == steps else part.retimed(steps)
            return retimed.copies[0] if steps == 1 else retimed
        if not isinstance(part, _BatchNorm) or not part.track_running_stats or steps == 1:
            return None
        if isinstance(part, LazyModuleMixin):
            raise PDEConvError(
                f"{type(part).__name__} cannot keep statistics of each of {steps} steps before it knows its channels; "
                "give the normalisation that is not lazy."
            )
        return TimeSpecificNorm(part, steps)

    replaced(step, made)


def _load_norms_of_each_step(module: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    own = {prefix + name for name, _ in module.named_buffers(remove_duplicate=False)}
    of_plain_norms(state, own.__contains__)
