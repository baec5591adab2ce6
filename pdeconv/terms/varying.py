"""Coefficients that depend on time."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

from pdeconv.errors import checked_count, checked_type
from pdeconv.operator import OWN_ENERGY, Operator
from pdeconv.terms.term import Term
from pdeconv.time_specific_norm import TimeSpecificNorm


class TimeVarying(Term):
    """A term whose parameters depend on time, u_t = A(u; w(t)) u: given at control points, linear in between.

    A term does not know the time. So this one owns a copy for each control point, the points evenly spaced from time 0
    to the duration; at each step ``Evolve`` sets the weights w to their interpolation at the middle of the step, and
    calls the step as ever. The states may lie on a much finer grid of times than the control points. Called by itself
    it is the term at time 0.

    What is learned is interpolated before it is bounded, so the ceilings hold at all times, and a convex set that each
    step keeps is kept. The energy of a wave is not: a speed that varies in time can pump it. Weights that are constant
    over a step make an error of order 2: a step of higher order falls to 2. Buffers do not vary. While an evolution
    runs, the weights in the module are those of the step: no other thread may use it meanwhile.

    Args:
        term: The term; all its parameters vary, and start equal at all control points.
        points: Number of control points K; 1 for weights that do not vary.

    Rate, Solve, Flow, Keeps: Those of the term.

    Raises:
        PDEConvError: When ``Evolve`` is built, unless its control is ``Fixed`` or ``CFL``: samples at different times
            cannot share weights.

    References:
        E. Haber, L. Ruthotto. Stable architectures for deep neural networks. Inverse Problems 34, 2018.

    Example:
        >>> from pdeconv import Diffusion, Evolve, Fixed, Heun, PerChannel
        >>> evolve = Evolve(Heun(TimeVarying(Diffusion(PerChannel(3)), points=4)), duration=1.0, control=Fixed(16))
        >>> sum(weight.numel() for weight in evolve.parameters())
        12
        >>> evolve(torch.rand(1, 3, 8, 8)).shape
        torch.Size([1, 3, 8, 8])
    """

    def __init__(self, term: Term, points: int) -> None:
        super().__init__()
        checked_type("TimeVarying", term, Term, "give for example Diffusion(PerChannel(channels))")
        points = checked_count("TimeVarying", "points", points)
        self.copies = nn.ModuleList([term, *(copy.deepcopy(term) for _ in range(points - 1))])
        self._declare()

    def _declare(self) -> None:
        term = self.at_start
        self.equation, self.grid, self.ceiling = term.equation, term.grid, term.ceiling
        self.keeps = term.keeps - {OWN_ENERGY}  # which changes with the weights
        self.growth, self.frequency, self.symmetric = term.growth, term.frequency, term.symmetric
        self.radius = term.radius

    @property
    def at_start(self) -> Term:
        """The term at time 0, whose weights ``Evolve`` replaces."""
        return self.copies[0]  # pyright: ignore[reportReturnType]

    @property
    def halves(self) -> tuple[Term, Term] | None:
        return self.at_start.halves

    def refine(self, factor: float) -> None:
        for term in self.copies:
            term.refine(factor)  # pyright: ignore[reportCallIssue]
        self._declare()

    def forward(self, u: Tensor) -> Operator:
        return self.at_start(u)

    def extra_repr(self) -> str:
        return f"points={len(self.copies)}, {super().extra_repr()}"


class OwnTime(nn.Module):
    """A module whose parts live in its own time: an evolution around it does not change them from step to step."""


def call_with(module: nn.Module, values: dict[str, Tensor], u: Tensor, dt: Tensor) -> Tensor:
    """module(u, dt) with its parameters and buffers replaced by ``values``.

    Not all that share a name with one that is replaced: with ties, ``functional_call`` would leave a module that is
    reached on two ways with the replaced weights. ``parameters_of`` lists every place instead.
    """
    return functional_call(module, values, (u, dt), tie_weights=False)


def parameters_of(module: nn.Module) -> dict[str, Tensor]:
    """The parameters in every place of every module: a weight that two modules share is listed twice."""
    return {
        f"{prefix}.{name}" if prefix else name: weight
        for prefix, part in module.named_modules()
        for name, weight in part.named_parameters(recurse=False)
    }


def what_varies_in_time(module: nn.Module) -> set[type[nn.Module]]:
    """Which kinds of parts of ``module`` change from step to step: ``TimeVarying``, ``TimeSpecificNorm``."""
    parts = [part for _, part in parts_in_time_of(module)]
    return {kind for kind in (TimeVarying, TimeSpecificNorm) if any(isinstance(part, kind) for part in parts)}


def parts_in_time_of(
    module: nn.Module, prefix: str = "", seen: set[nn.Module] | None = None
) -> Iterator[tuple[str, nn.Module]]:
    """``module.named_modules()``, without what is inside of an ``OwnTime``."""
    seen = set() if seen is None else seen
    if module not in seen:
        seen.add(module)
        yield prefix, module
        for name, child in module.named_children():
            if not isinstance(child, OwnTime):
                yield from parts_in_time_of(child, f"{prefix}.{name}" if prefix else name, seen)


def values_at(module: nn.Module, parameters: Mapping[str, Tensor], fraction: float) -> dict[str, Tensor]:
    """The parameters of ``module`` for a step whose middle is at ``fraction`` of the duration, for ``call_with``.

    Args:
        module: A module that may contain ``TimeVarying`` terms.
        parameters: Those of ``parameters_of``.
        fraction: Time / duration, in [0, 1].
    """
    values = dict(parameters)
    for prefix, part in parts_in_time_of(module):  # an outer one comes before those inside
        if isinstance(part, TimeVarying):
            position = fraction * (len(part.copies) - 1)
            low, high = math.floor(position), math.ceil(position)
            for name in parameters_of(part.at_start):
                before, after = (values[f"{prefix}.copies.{point}.{name}"] for point in (low, high))
                values[f"{prefix}.copies.0.{name}"] = torch.lerp(before, after, position - low)
    return values
