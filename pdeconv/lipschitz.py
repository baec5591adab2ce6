"""Lipschitz constants of networks that are chains of convolutions, normalisations and activations: bounds, ceilings."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from pdeconv.errors import UnsupportedError, checked_number, checked_type
from pdeconv.evolve import Evolve
from pdeconv.layer_bounds import (
    atoms,
    channel_scale,
    is_convolution,
    is_identity,
    is_linear,
    is_norm,
    kernel_of,
    largest_slope,
    with_weights,
)
from pdeconv.spectral import convolution_norm_bound
from pdeconv.steps import Euler
from pdeconv.terms import Residual
from pdeconv.time_specific_norm import TimeSpecificNorm

Module = TypeVar("Module", bound=nn.Module)


def lipschitz_bound(module: nn.Module) -> float | None:
    """An upper bound of the Lipschitz constant of ``module`` in evaluation, ‖f(u) − f(v)‖ ≤ L‖u − v‖; None if unknown.

    The product of the bounds of a chain: of convolutions by :func:`pdeconv.spectral.convolution_norm_bound`, group by
    group, whatever the stride (zero and circular padding); of batch normalisation, folded into the convolution before
    it, |γ|/√(σ² + ε); of layer and group normalisation max|γ|/√ε, which is crude; of activations the largest slope.
    Dropout and stochastic depth do nothing in evaluation. Of pooling without overlap 1, of means over n cells 1/√n; of
    an ``Evolve`` 1 where its step is proven nonexpansive, and (1 + dt·L)ⁿ where it takes n Euler steps along a residual
    branch of bound L. A chain is an ``nn.Sequential`` of these and of chains.

    It says nothing of training: batch statistics have no bound, and stochastic depth divides by the chance to stay.
    Squeeze-and-excitation multiplies two functions of the state, and has no Lipschitz constant: None.

    Example:
        >>> conv = nn.Conv2d(1, 1, 1, bias=False)
        >>> nn.init.constant_(conv.weight, 2.0).shape
        torch.Size([1, 1, 1, 1])
        >>> lipschitz_bound(nn.Sequential(conv, nn.ReLU(), conv))
        4.0
    """
    checked_type("lipschitz_bound", module, nn.Module, "give a chain such as nn.Sequential(conv, norm, nn.ReLU())")
    with torch.no_grad():
        try:
            return math.prod(float(stage.bound()) for stage in _stages(module))
        except UnsupportedError:
            return None


def limit_lipschitz(module: nn.Module, ceiling: float) -> None:
    """Parametrise the weights of ``module``, in place, such that its :func:`lipschitz_bound` is at most ``ceiling``.

    A convolution and what follows it, up to the next one, is a stage with a ceiling cᵢ of its own, Πcᵢ = ceiling: its
    weight W becomes min(1, cᵢ/L(W))·W. Where the bound holds already nothing changes, to the last bit; elsewhere all
    stages shrink by the same factor. With a normalisation in the stage it is the weight γ of the norm that is
    parametrised, not that of the convolution, which batch normalisation would undo while it trains. Of a
    ``TimeSpecificNorm`` the ceiling holds at all its times. A call for a module
    that is parametrised already sets new ceilings.

    Raises:
        UnsupportedError: If a part has no bound, or no weight to parametrise, or one that is parametrised otherwise.
    """
    ceiling = checked_number("limit_lipschitz", "ceiling", ceiling)
    stages = _stages(module)
    if all(stage.linear is None for stage in stages):
        raise UnsupportedError(f"{type(module).__name__} has no convolution whose norm could be bounded.")
    if len({id(stage.target) for stage in stages}) < len(stages):
        raise UnsupportedError(f"{type(module).__name__} uses a weight twice, which would need two ceilings.")
    for stage in stages:
        _refuse_others(stage.target)
    with torch.no_grad():
        bounds = [float(stage.bound(stage.original)) for stage in stages]
        for stage, share in zip(stages, _shares(bounds, ceiling), strict=True):
            stage.limit(share)


def fold_ceilings(module: Module) -> Module:
    """A copy of ``module`` whose weights are plain numbers, equal to what :func:`limit_lipschitz` makes of them now.

    For use after training: the bounds are computed at every forward pass otherwise, and exported with it. It computes
    the same, bit for bit, and has no ceilings any more. Its checkpoints have the names of an unlimited one.

    Example:
        >>> branch = nn.Sequential(nn.Conv2d(2, 2, 1))
        >>> limit_lipschitz(branch, ceiling=0.5)
        >>> list(fold_ceilings(branch).state_dict())
        ['0.bias', '0.weight']
    """
    checked_type("fold_ceilings", module, nn.Module, "give a network")
    module = copy.deepcopy(module)
    for part in [part for part in module.modules() if _limit_of(part) is not None]:
        limited: Any = part
        _refuse_others(limited)
        weight = nn.Parameter(limited.weight.detach(), limited.parametrizations.weight.original.requires_grad)
        # remove_parametrizations would change the class, which a parametrised module shares with its copies.
        limited.__class__ = type(part).__bases__[0]
        del limited.parametrizations
        limited.weight = weight
    return module


def renew_limits(module: nn.Module) -> None:
    """Let the ceilings of ``module`` know normalisations that got, or lost, statistics of each step since."""
    timed = [part for part in module.modules() if isinstance(part, TimeSpecificNorm)]
    known: dict[nn.Module, nn.Module] = {part.copies[0]: part for part in timed}
    for part in module.modules():
        limit = _limit_of(part)
        for parts in () if limit is None else (limit.stage.before, limit.stage.after):
            parts[:] = [known.get(norm, norm) for norm in map(with_weights, parts)]


def _shares(bounds: list[float], ceiling: float) -> list[float]:
    """Ceilings of stages whose product is ``ceiling``, none below its bound if the product of the bounds is not."""
    total = math.prod(bounds)
    if total > ceiling:
        return [bound * (ceiling / total) ** (1 / len(bounds)) for bound in bounds]
    floor = ceiling ** (1 / len(bounds))  # a stage whose norm begins with the weight 0 needs room to grow
    raised = [max(bound, floor) for bound in bounds]
    while math.prod(raised) > ceiling:
        floor /= 2
        raised = [max(bound, floor) for bound in bounds]
    room = (ceiling / math.prod(raised)) ** (1 / len(bounds))
    return [max(bound * room, was) for bound, was in zip(raised, bounds, strict=True)]


@dataclass
class _Stage:
    """A linear map and what comes before the next one: norms, scales, activations. The first holds what precedes it."""

    linear: nn.Module | None
    before: list[nn.Module]
    after: list[nn.Module]

    @property
    def target(self) -> nn.Module:
        """The module whose weight is parametrised."""
        norms = [part for part in self.after if is_norm(part)]
        target = with_weights(norms[-1]) if norms else self.linear
        if target is None or (_limit_of(target) is None and target.weight is None):  # asking a limited one computes L
            raise UnsupportedError(
                f"{type(target).__name__} has no weight by which a bound could be reached; use a norm with affine=True."
            )
        return target

    @property
    def original(self) -> Tensor:
        """The weight of the target as it is learned."""
        target: Any = self.target
        return target.weight if _limit_of(target) is None else target.parametrizations.weight.original

    def bound(self, weight: Tensor | None = None) -> Tensor:
        """The bound; with ``weight`` in place of the target's if given."""
        target = None if weight is None else self.target

        def weight_of(module: nn.Module) -> Any:
            return weight if module is target else module.weight

        bound: Any = 1.0
        for part in self.before:
            bound = bound * _slope(part, weight_of)
        if self.linear is None:
            return torch.as_tensor(bound)
        kernel = kernel_of(self.linear, weight_of(self.linear))
        folds = is_convolution(self.linear)  # nn.Linear acts on the last axis, where channels may not be
        for part in self.after:
            scale = channel_scale(part, weight_of) if folds else None
            if scale is None:
                folds = folds and is_identity(part)
                bound = bound * _slope(part, weight_of)
            else:
                kernel = kernel * scale.unflatten(0, (len(kernel), -1))[(...,) + (None,) * (kernel.dim() - 2)]
        return torch.vmap(convolution_norm_bound)(kernel).amax() * bound

    def limit(self, ceiling: float) -> None:
        """Bound the stage by ``ceiling`` from now on."""
        target: Any = self.target
        limit = _limit_of(target)
        if limit is not None:
            limit.stage = self  # what it was limited with before may have been another chain
            limit.ceiling.fill_(ceiling)
            return
        parametrize.register_parametrization(target, "weight", _Limited(self, ceiling, target.weight))


def _slope(module: nn.Module, weight_of: Callable[[nn.Module], Any]) -> Tensor | float:
    return evolution_bound(module) if isinstance(module, Evolve) else largest_slope(module, weight_of)


def evolution_bound(evolve: Evolve) -> float:
    """The Lipschitz bound of an evolution. Raises ``UnsupportedError`` where none is known."""
    step = evolve.step
    if evolve.control.static:
        dt = evolve.duration / evolve.steps
        if step.nonexpansive and dt <= step.guaranteed_limit:
            return 1.0
        bound = lipschitz_bound(step.term.module) if type(step) is Euler and isinstance(step.term, Residual) else None
        if bound is not None:
            growth = evolve.steps * math.log1p(dt * bound)
            return math.exp(growth) if growth < 700 else math.inf
    raise UnsupportedError(
        f"No Lipschitz bound of {step.name} is known; explicit steps of diffusion with a given diffusivity, and of a "
        "SymmetricConvolution with a monotone influence, are nonexpansive within their limit."
    )


class _Limited(nn.Module):
    """W ↦ min(1, c/L(W))·W, where L(W), the bound of the stage, is linear in W."""

    def __init__(self, stage: _Stage, ceiling: float, weight: Tensor) -> None:
        super().__init__()
        self.stage = stage  # a dataclass: its modules are those of the branch, and not listed twice
        # A buffer: a checkpoint holds the ceilings, which another initialisation would have set otherwise.
        dtype = torch.promote_types(weight.dtype, torch.float32)
        self.ceiling: Tensor
        self.register_buffer("ceiling", torch.tensor(ceiling, dtype=dtype, device=weight.device))

    def forward(self, weight: Tensor) -> Tensor:
        bound = self.stage.bound(weight)
        factor = (self.ceiling / bound.clamp(min=torch.finfo(bound.dtype).tiny)).clamp(max=1)
        return weight * factor.to(weight.dtype)

    def extra_repr(self) -> str:
        return f"ceiling={float(self.ceiling):.4g}"


def _limit_of(module: Any) -> _Limited | None:
    """What limits the weight of ``module``, if anything does."""
    parts: Any = module.parametrizations["weight"] if parametrize.is_parametrized(module, "weight") else ()
    return next((part for part in parts if isinstance(part, _Limited)), None)


def _refuse_others(module: Any) -> None:
    """A limit does not know what other parametrisations, such as a spectral norm, make of the weight."""
    if parametrize.is_parametrized(module) and not (
        list(module.parametrizations) == ["weight"] and [*module.parametrizations["weight"]] == [_limit_of(module)]
    ):
        raise UnsupportedError(f"{type(module).__name__} has other parametrisations; remove them first.")


def _stages(module: nn.Module) -> list[_Stage]:
    stages, before = [], []
    for part in atoms(module):
        if is_linear(part):
            stages.append(_Stage(part, [] if stages else before, []))
        elif stages:
            stages[-1].after.append(part)
        else:
            before.append(part)
    return stages or [_Stage(None, before, [])]
