"""A residual block that is an evolution, and takes the checkpoints of the block that it was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from pdeconv.evolve import Evolve, Memory
from pdeconv.lipschitz import renew_limits
from pdeconv.residual_blocks import ResidualParts, register_residual_block
from pdeconv.time_specific_norm import TimeSpecificNorm
from pdeconv.unproven_steps import residual_steps


class EvolvingBlock(nn.Module):
    """after(u(T)) with u_t = f(u), u(0) the input: what a residual block after(u + f(u)) becomes.

    It is made by :func:`pdeconv.replace_blocks`. A checkpoint of the block that it replaces loads into it: the names of
    the weights are translated. With several steps, batch normalisation keeps statistics of each
    (:class:`pdeconv.TimeSpecificNorm`); with one it is the layer that it was.

    Args:
        branch: f, any module that keeps the shape.
        after: What follows the evolution; None for nothing.
        steps: Euler steps, all with the same weights.
        duration: Time T to evolve.
        memory: As in :class:`pdeconv.Evolve`.

    Example:
        >>> import torch
        >>> EvolvingBlock(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), steps=2)(torch.rand(1, 4, 8, 8)).shape
        torch.Size([1, 4, 8, 8])
    """

    _version = 1

    def __init__(
        self,
        branch: nn.Module,
        after: nn.Module | None = None,
        steps: int = 1,
        duration: float = 1.0,
        memory: Memory = "store",
    ) -> None:
        super().__init__()
        self.evolve = residual_steps(branch, steps, duration, memory)
        renew_limits(self.branch)
        self.after = nn.Identity() if after is None else after
        self._renamed: dict[str, tuple[str, ...]] = {}
        self._added: tuple[str, ...] = ()
        self._branches: set[str] = set()
        self.register_load_state_dict_pre_hook(_rename_keys)

    @property
    def branch(self) -> nn.Module:
        """f."""
        return self.evolve.step.term.module  # pyright: ignore[reportAttributeAccessIssue, reportReturnType]

    @property
    def dt(self) -> float:
        return self.evolve.duration / self.evolve.steps

    def forward(self, u: Tensor) -> Tensor:
        return self.after(self.evolve(u))

    def take_names(self, block: nn.Module, before: Mapping[str, Any]) -> None:
        """Remember what the weights were called in ``block``, whose state with ``keep_vars`` was ``before``."""
        own: dict[int, list[str]] = {}
        for name, value in self.state_dict(keep_vars=True).items():
            own.setdefault(id(value), []).append(name)
        known = {id(value) for value in before.values()}
        names = {old: tuple(own.get(id(value), ())) for old, value in before.items()}
        if isinstance(block, EvolvingBlock):  # what the block was called before it became this one
            for old, between in block._renamed.items():
                names[old] = tuple(new for name in between for new in names.get(name, ()))
            known -= {id(before[name]) for name in block._added}
            self._branches |= block._branches
        of_branch = {f"{name}." for name, part in block.named_modules() if part is self.branch}
        self._branches |= of_branch  # what is inside keeps its names, of normalisations with other steps too
        self._renamed = {
            old: new for old, new in names.items() if old not in new and not old.startswith(tuple(of_branch))
        }
        found = {  # by the normalisation itself, in any checkpoint
            f"{place}.{name}"
            for place, part in self.named_modules(remove_duplicate=False)
            if isinstance(part, TimeSpecificNorm)
            for name, _ in part.named_buffers()
        }
        made = (name for place, of in own.items() if place not in known for name in of)
        self._added = tuple(name for name in made if name not in found)


def _rename_keys(module: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    """Let a checkpoint of the block that was replaced load."""
    assert isinstance(module, EvolvingBlock)
    places = [(old, new) for old, names in module._renamed.items() if prefix + old in state for new in names]
    for branch in module._branches:
        inside = [key.removeprefix(prefix) for key in state if key.startswith(prefix + branch)]
        places += [(old, _BRANCH + old.removeprefix(branch)) for old in inside]
    if not places:
        return
    own = module.state_dict()
    places = [(old, now) for old, new in places if (now := _name_now(new, own)) != old]
    if not places:
        return
    values = {old: state.pop(prefix + old) for old in dict.fromkeys(old for old, _ in places)}
    state |= {prefix + new: values[old] for old, new in places}
    for name in own:  # what the other block does not have, such as ceilings, stays as it is
        if (name in module._added or name.endswith(_CEILING)) and prefix + name not in state:
            state[prefix + name] = own[name]


_BRANCH = "evolve.step.term.module."
_CEILING, _LEARNED = "parametrizations.weight.0.ceiling", "parametrizations.weight.original"


def _name_now(name: str, own: Mapping[str, Any]) -> str:
    """Where a weight is that may have got a ceiling since, or lost it, or become that of the first step."""
    place = name.removesuffix(_LEARNED).removesuffix("weight").removesuffix("copies.0.")
    if name in own or place == name:
        return name
    known = (place + time + weight for time in ("", "copies.0.") for weight in ("weight", _LEARNED))
    return next((name for name in known if name in own), name)


@register_residual_block(EvolvingBlock)
def _evolving_block(block: Any) -> ResidualParts:
    return ResidualParts(block.branch, block.after)


@register_residual_block("pdeconv.blocks.PDEBasicBlock")
def _pde_basic_block(block: Any) -> ResidualParts | None:
    transition = not isinstance(block.residual, Evolve)
    return None if transition else ResidualParts(block.residual.step.term.module, block.relu)
