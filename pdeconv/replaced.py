"""A walk that puts other modules in the place of some in a network."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn


def replaced(
    module: nn.Module,
    made: Callable[[nn.Module], nn.Module | None],
    known: dict[nn.Module, nn.Module] | None = None,
) -> nn.Module:
    """The module, or what is made of it; of None, its parts are replaced. One that lies at two places stays one."""
    known = {} if known is None else known
    if module not in known:
        new = made(module)
        if new is None:
            for name, child in list(module._modules.items()):  # named_children has one that lies here twice once
                if child is not None and (part := replaced(child, made, known)) is not child:
                    setattr(module, name, part)
        known[module] = module if new is None else new
    return known[module]
