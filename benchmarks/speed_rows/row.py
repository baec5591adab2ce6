"""A row of the table: what is compared, the target, and how to measure it."""

from __future__ import annotations

import importlib
import types
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn

from .pairing import Call, Patience, Summary, alternate, ratio, summarise


class PeerMissingError(Exception):
    """A package that a row compares with is not installed."""


@dataclass(frozen=True)
class Setting:
    """How the whole run measures.

    Attributes:
        quick: Tiny sizes and nothing compiled to machine code: for a test of the script, its figures mean nothing.
    """

    quick: bool = False
    patience: Patience = field(default_factory=Patience)

    def compiled(self, module: nn.Module | Call) -> Call:
        """``module`` compiled, for one shape, as one graph."""
        torch._dynamo.reset()  # each row compiles anew: no limit of recompilations is shared between rows
        return torch.compile(module, fullgraph=True, dynamic=False, backend="aot_eager" if self.quick else "inductor")


@dataclass(frozen=True)
class Target:
    """The bound that the ratio is to keep."""

    bound: float
    at_least: bool

    def met(self, value: float) -> bool:
        return value >= self.bound if self.at_least else value <= self.bound

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.bound:g}"


@dataclass(frozen=True)
class Outcome:
    """What a row found: both amounts in ``unit``, and their ratio."""

    ours: float
    other: float
    unit: str
    ratio: Summary
    note: str = ""


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        name: Path-like, the family first; what ``--rows`` selects by.
        what: One line: what is divided by what, and whether the work is equal.
        target: None where the figure is for information.
        measure: Raises ``PeerMissingError`` where it cannot.
    """

    name: str
    what: str
    measure: Callable[[Setting], Outcome]
    target: Target | None = None


def at_least(bound: float) -> Target:
    return Target(bound, at_least=True)


def at_most(bound: float) -> Target:
    return Target(bound, at_least=False)


def peer(module: str, package: str) -> types.ModuleType:
    """The module of a package to compare with. Raises ``PeerMissingError`` with the remedy if it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise PeerMissingError(f'needs {package}: pip install "pdeconv[benchmark]"') from error


def times_as_fast(
    setting: Setting, ours: Call, other: Call, ours_units: float = 1, other_units: float = 1, note: str = ""
) -> Outcome:
    """other's time / our time, per unit; ``…_units`` says how many of what is compared a call does."""
    return _timed(setting, ours, other, ours_units, other_units, note, invert=True)


def times_the_cost(
    setting: Setting, ours: Call, other: Call, ours_units: float = 1, other_units: float = 1, note: str = ""
) -> Outcome:
    """our time / other's time, per unit."""
    return _timed(setting, ours, other, ours_units, other_units, note, invert=False)


def amounts(ours: float, other: float, unit: str, note: str = "") -> Outcome:
    """ours / other of two amounts that do not vary from run to run, such as bytes."""
    return Outcome(ours, other, unit, summarise([ours / other]), note)


def _timed(
    setting: Setting, ours: Call, other: Call, ours_units: float, other_units: float, note: str, invert: bool
) -> Outcome:
    mine, theirs = alternate((ours, other), setting.patience)
    mine, theirs = [t / ours_units for t in mine], [t / other_units for t in theirs]
    found = ratio(theirs, mine) if invert else ratio(mine, theirs)
    return Outcome(1e3 * summarise(mine).median, 1e3 * summarise(theirs).median, "ms", found, note)
