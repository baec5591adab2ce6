"""The residual blocks of CNNs that people already have, as steps of an equation."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pdeconv.block_rules import BlockRule, CondensedBlocks, StabilisedBlocks
from pdeconv.conversion_report import BlockReport, ConversionReport, count_multiply_adds, count_parameters
from pdeconv.errors import PDEConvError, UnsupportedError, checked_type
from pdeconv.evolving_block import EvolvingBlock
from pdeconv.lipschitz import lipschitz_bound
from pdeconv.residual_blocks import ResidualParts, is_residual_block, known_blocks, residual_parts

Rule = Callable[[str, nn.Module], "BlockRule | nn.Module | None"]


class Conversion(NamedTuple):
    """The converted model, and a report of what changed."""

    model: nn.Module
    report: ConversionReport


def replace_blocks(model: nn.Module, rule: Rule, sample: Tensor | None = None) -> Conversion:
    """A copy of ``model`` whose residual blocks are steps of an equation u_t = f(u), with a report of what changed.

    Residual blocks after(u + f(u)) are known by the name of their class: the ResNets, MobileNets, EfficientNets and
    ConvNeXts of torchvision and timm; :func:`pdeconv.register_residual_block` adds your own. The blocks that this
    function made are among them: to change the steps or the duration of a converted model, convert it again. Blocks
    that change the shape of the state (stride, downsampling) are no time step, and stay. Weights, ``requires_grad``,
    device, dtype and training mode are those of the model, which is not changed. Hooks on a block that is replaced do
    not go over to what takes its place; hooks on other modules stay.

    A checkpoint of the unconverted model loads before the conversion, and after it too, unless blocks were condensed.

    Args:
        model: A network with residual blocks.
        rule: (name, block) ↦ what becomes of it: :class:`EulerBlocks`, :class:`StabilisedBlocks`,
            :class:`CondensedBlocks`, a module to put in its place, or None to leave it. One of the three stands for
            itself for all blocks. It is asked about time steps only.
        sample: Input of the model; with it multiply-adds are counted.

    Raises:
        PDEConvError: If the model has no residual block of a known type; the rule gives something else; or, with a
            sample, what is put in the place of a block changes the shape of its output.
        UnsupportedError: If a branch that is to be stabilised has no Lipschitz bound, or shares a module with another
            part of the model, which a ceiling would change too; names the block.

    References:
        K. He et al. Deep residual learning for image recognition. CVPR 2016.
        W. E. A proposal on machine learning via dynamical systems. Comm. Math. Stat. 5, 2017.

    Example:
        >>> from pdeconv import EulerBlocks, PDEBasicBlock
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), PDEBasicBlock(8, 8), PDEBasicBlock(8, 8))
        >>> model, report = replace_blocks(net, EulerBlocks(steps=2))
        >>> model[1].evolve.steps, report.blocks[0].became
        (2, 'Euler, 2 steps of dt=0.5')
    """
    checked_type("replace_blocks", model, nn.Module, "give a network, such as torchvision.models.resnet18()")
    if not callable(rule) or isinstance(rule, type | nn.Module):  # both callable: EulerBlocks without (), a block
        got = f"the class {rule.__name__}" if isinstance(rule, type) else type(rule).__name__
        raise PDEConvError(
            f"replace_blocks needs a rule, but got {got}; give EulerBlocks(), StabilisedBlocks(), CondensedBlocks(), "
            "or a function (name, block) ↦ one of them, a module or None."
        )
    model = copy.deepcopy(model)
    found: dict[str, nn.Module] = {}
    for name, block in _residual_blocks(model):
        if block not in found.values():  # one may be at several places
            found[name] = block
    if not found:
        raise PDEConvError(
            f"replace_blocks needs residual blocks of a known type, but {type(model).__name__} has none; known are "
            f"{', '.join(known_blocks())}. register_residual_block adds one."
        )
    shapes: dict[str, torch.Size] = {}
    before = {} if sample is None else _watched(model, sample, found, lambda name, shape: shapes.update({name: shape}))
    total = count_parameters(model)
    runs = _runs(model, [_choice(name, block, rule) for name, block in found.items()])
    changes = [_changed(model, run) for run in runs]
    model = _with_changes(model, changes)
    names = {id(module): name for name, module in model.named_modules()}

    def check(name: str, shape: torch.Size) -> None:
        change = placed[name]
        expected = shapes.get(change.names[-1], shape)
        if change.new is not None and shape != expected:
            raise PDEConvError(
                f"replace_blocks: what the rule puts in the place of {change.names[-1]!r} must keep the shape "
                f"{tuple(expected)}, but gave {tuple(shape)}; return None to leave the block."
            )

    placed = {names[id(change.module)]: change for change in changes}
    after = {} if sample is None else _watched(model, sample, {names[id(c.module)]: c.module for c in changes}, check)
    blocks = tuple(change.report(names[id(change.module)], before, after) for change in changes)
    multiply_adds = None if sample is None else (before[""], after[""])
    return Conversion(model, ConversionReport(blocks, (total, count_parameters(model)), multiply_adds))


@dataclass
class _Choice:
    """What the rule says of one block: None to leave it, for a reason."""

    name: str
    block: nn.Module
    parts: ResidualParts | None
    chosen: BlockRule | nn.Module | None
    reason: str = ""


@dataclass
class _Change:
    """What one block, or a run of them, becomes; ``new`` is None if it stays."""

    names: list[str]
    old: list[nn.Module]
    new: nn.Module | None
    parameters: int
    became: str

    @property
    def module(self) -> nn.Module:
        return self.old[0] if self.new is None else self.new

    def report(self, name: str, before: Mapping[str, int], after: Mapping[str, int]) -> BlockReport:
        courant = None
        if isinstance(self.new, EvolvingBlock):
            bound = lipschitz_bound(self.new.branch)
            courant = None if bound is None else self.new.dt * bound
        counted = sum(before.get(old, 0) for old in self.names), after.get(name, 0)
        return BlockReport(
            name=name,
            blocks=tuple(self.names),
            kind=type(self.old[0]).__name__,
            became=self.became,
            converted=self.new is not None,
            parameters=(self.parameters, count_parameters(self.module)),
            multiply_adds=counted if before else None,
            courant=courant,
        )


def _residual_blocks(module: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The outermost blocks of a known type, by name, in order."""
    if is_residual_block(module):
        yield name, module
        return
    for child_name, child in module.named_children():
        yield from _residual_blocks(child, f"{name}.{child_name}" if name else child_name)


def _choice(name: str, block: nn.Module, rule: Rule) -> _Choice:
    parts = residual_parts(block)
    if parts is None:
        return _Choice(name, block, None, None, "kept: changes the shape, or has no skip")
    chosen = rule(name, block)
    if chosen is None or chosen is block:
        return _Choice(name, block, parts, None, "kept: by the rule")
    if not isinstance(chosen, BlockRule | nn.Module):
        raise PDEConvError(
            f"replace_blocks: the rule must give EulerBlocks, StabilisedBlocks, CondensedBlocks, a module or None, but "
            f"gave {type(chosen).__name__} for {name!r}."
        )
    return _Choice(name, block, parts, chosen)


def _runs(model: nn.Module, choices: list[_Choice]) -> list[list[_Choice]]:
    """The choices, those together that become one block."""
    runs: list[list[_Choice]] = []
    for choice in choices:
        if runs and _joins(model, runs[-1][-1], choice):
            runs[-1].append(choice)
        else:
            runs.append([choice])
    return runs


def _joins(model: nn.Module, one: _Choice, other: _Choice) -> bool:
    parent, _, last = one.name.rpartition(".")
    sequence = model.get_submodule(parent)
    if not (isinstance(one.chosen, CondensedBlocks) and one.chosen == other.chosen) or one.block is other.block:
        return False
    in_order = type(sequence).forward is nn.Sequential.forward  # a subclass may do something else with its members
    if not in_order or other.name.rpartition(".")[0] != parent:
        return False
    names = list(sequence._modules)
    neighbours = names.index(other.name.rpartition(".")[2]) == names.index(last) + 1
    shapes = [{key: value.shape for key, value in c.block.state_dict().items()} for c in (one, other)]
    return neighbours and type(one.block) is type(other.block) and shapes[0] == shapes[1]


def _changed(model: nn.Module, run: list[_Choice]) -> _Change:
    """Build what takes the place of a run."""
    first = run[0]
    change = _Change([c.name for c in run], [c.block for c in run], None, 0, first.reason)
    change.parameters = sum(count_parameters(block) for block in change.old)
    if isinstance(first.chosen, CondensedBlocks) and len(run) == 1:
        change.became = "kept: no equal neighbour"
    elif isinstance(first.chosen, BlockRule):
        assert first.parts is not None
        before, own = first.block.state_dict(keep_vars=True), {id(module) for module in first.block.modules()}
        try:
            if isinstance(first.chosen, StabilisedBlocks):
                _refuse_shared(model, first.block)
            new = first.chosen.build(first.parts, len(run))
        except UnsupportedError as error:
            raise UnsupportedError(
                f"replace_blocks: {first.name!r} cannot become {first.chosen}: {error} Give a rule that returns "
                "None for it."
            ) from error
        new.take_names(first.block, before)
        for module in new.modules():
            if id(module) not in own:
                module.training = first.block.training
        steps = f"{new.evolve.steps} step" + ("s" if new.evolve.steps > 1 else "")
        kind = "stabilised Euler" if isinstance(first.chosen, StabilisedBlocks) else "Euler"
        change.new, change.became = new, f"{kind}, {steps} of dt={new.dt:.4g}"
    elif first.chosen is not None:
        change.new, change.became = first.chosen, type(first.chosen).__name__
    return change


def _with_changes(model: nn.Module, changes: list[_Change]) -> nn.Module:
    by_old = {id(change.old[0]): change.new for change in changes if change.new is not None}
    gone = {id(old) for change in changes for old in change.old[1:]}
    if id(model) in by_old:
        return by_old[id(model)]
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if id(child) in by_old:
                setattr(parent, name, by_old[id(child)])
        stay = {name: child for name, child in parent._modules.items() if id(child) not in gone}
        if type(parent).forward is nn.Sequential.forward and len(stay) < len(parent._modules):
            numbered = all(name.isdecimal() for name in stay)  # del parent[place] would number those with names too
            parent._modules = dict(zip(parent._modules, stay.values(), strict=False)) if numbered else stay
    return model


def _refuse_shared(model: nn.Module, block: nn.Module) -> None:
    """A ceiling on a module that another part of the model uses would change that part."""
    own = set(block.modules())
    for parent_name, parent in model.named_modules():
        for child in () if parent in own else parent._modules.values():
            if child in own and child is not block and any(True for _ in child.parameters()):
                raise UnsupportedError(
                    f"its {type(child).__name__} belongs to {parent_name or 'the model'!r} too, where a ceiling would "
                    "change it."
                )


def _watched(
    model: nn.Module, sample: Tensor, modules: Mapping[str, nn.Module], seen: Callable[[str, torch.Size], None]
) -> Mapping[str, int]:
    """The multiply-adds of each module, while ``seen`` is told the shape of the output of each of ``modules``."""

    def hook(name: str) -> Callable[..., None]:
        return lambda module, inputs, output: seen(name, output.shape)

    handles = [module.register_forward_hook(hook(name)) for name, module in modules.items()]
    try:
        return count_multiply_adds(model, sample)
    finally:
        for handle in handles:
            handle.remove()
