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
        names |= _of_each_step(names)
        self._renamed = {old: new for old, new in names.items() if old not in new}
        norms = [(place, norm) for place, norm in self.named_modules() if isinstance(norm, TimeSpecificNorm)]
        found = {f"{place}.{name}" for place, norm in norms for name, _ in norm.named_buffers()}  # in any checkpoint
        made = (name for place, of in own.items() if place not in known for name in of)
        self._added = tuple(name for name in made if name not in found)


def _of_each_step(names: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Normalisations with statistics of each step move as they are: the evolution finds what its own steps need."""
    moved, mark = {}, "copies.0.running_var"
    for old, new in names.items():
        if old.endswith(f".{mark}") and new:
            place, there = old.removesuffix(mark), new[0].removesuffix("running_var").removesuffix("copies.0.")
            moved |= {key: (there + key.removeprefix(place),) for key in names if key.startswith(f"{place}copies.")}
    return moved


def _rename_keys(module: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    """Let a checkpoint of the block that was replaced load."""
    assert isinstance(module, EvolvingBlock)
    found = {old: state.pop(prefix + old) for old in module._renamed if prefix + old in state}
    if not found:
        return
    own = module.state_dict()
    for old, value in found.items():
        state |= {prefix + _name_now(new, own): value for new in module._renamed[old]}
    for name in own:  # what the other block does not have, such as ceilings, stays as it is
        if (name in module._added or name.endswith(_CEILING)) and prefix + name not in state:
            state[prefix + name] = own[name]


_CEILING, _LEARNED = "parametrizations.weight.0.ceiling", "parametrizations.weight.original"


def _name_now(name: str, own: Mapping[str, Any]) -> str:
    """Where a weight is that may have got a ceiling since, or lost it."""
    plain = name.replace(_LEARNED, "weight")
    limited = plain.removesuffix("weight") + _LEARNED
    return next((known for known in (name, plain, limited) if known in own), name)


@register_residual_block(EvolvingBlock)
def _evolving_block(block: Any) -> ResidualParts:
    return ResidualParts(block.branch, block.after)


@register_residual_block("pdeconv.blocks.PDEBasicBlock")
def _pde_basic_block(block: Any) -> ResidualParts | None:
    transition = not isinstance(block.residual, Evolve)
    return None if transition else ResidualParts(block.residual.step.term.module, block.relu)
