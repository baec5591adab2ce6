"""Single steps on feature maps (128, 64, 32, 32) against a copy of the state into existing memory: the floor."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from pdeconv import (
    SSPRK3,
    Advection,
    Bistable,
    Diffusion,
    Euler,
    Evolve,
    Fixed,
    Heun,
    PerChannel,
    PerChannelVelocity,
    Reaction,
    Step,
    Term,
)

from .machine import copying
from .pairing import Call
from .row import Outcome, Row, Setting, at_most, times_the_cost


def linear_diffusion(channels: int) -> Term:
    return Diffusion(PerChannel(channels))


def upwind_advection(channels: int) -> Term:
    velocity = PerChannelVelocity(channels)
    nn.init.normal_(velocity.weight)  # at rest nothing would be carried
    return Advection(velocity)


def allen_cahn(channels: int) -> Term:
    return linear_diffusion(channels) + Reaction(Bistable(channels))


def three_terms(channels: int) -> Term:
    return allen_cahn(channels) + upwind_advection(channels)


Equation = Callable[[int], Term]
TARGETS = {"forward": at_most(3), "backward": at_most(8)}
WHAT = {"forward": "forward without gradients", "backward": "forward and backward, gradients to state and weights"}


def features(setting: Setting) -> Tensor:
    return torch.rand((2, 8, 8, 8) if setting.quick else (128, 64, 32, 32))


def forward(module: Callable[[Tensor], Tensor], u: Tensor) -> Call:
    """Calls ``module`` without gradients."""

    def run() -> Tensor:
        with torch.no_grad():
            return module(u)

    return run


def forward_backward(module: Callable[[Tensor], Tensor], u: Tensor, parameters: list[nn.Parameter]) -> Call:
    """Calls ``module``, then backward with a given gradient, to the state and all parameters."""
    u = u.detach().requires_grad_()
    cotangent = torch.randn_like(u)
    return lambda: torch.autograd.grad(module(u), (u, *parameters), cotangent)


def running(module: nn.Module, u: Tensor, mode: str, compiled: bool, setting: Setting) -> Call:
    """A call of ``module`` in a mode of ``TARGETS``, eager or compiled."""
    call = setting.compiled(module) if compiled else module
    return forward(call, u) if mode == "forward" else forward_backward(call, u, list(module.parameters()))


def _measure(
    equation: Equation, method: Callable[[Term], Step], mode: str, compiled: bool, setting: Setting
) -> Outcome:
    torch.manual_seed(0)
    u = features(setting)
    step = method(equation(u.shape[1]))
    evolve = Evolve(step, 0.9 * step.guaranteed_limit, Fixed(1))
    return times_the_cost(setting, running(evolve, u, mode, compiled, setting), copying(*u.shape))


def rows() -> list[Row]:
    cases: list[tuple[str, Equation, Callable[[Term], Step]]] = [
        ("linear_diffusion", linear_diffusion, Euler),
        ("upwind_advection", upwind_advection, Euler),
        ("allen_cahn", allen_cahn, Euler),
        ("heun_of_three", three_terms, Heun),
        ("ssprk3_of_three", three_terms, SSPRK3),
    ]
    found = []
    for name, equation, method in cases:
        for mode, target in TARGETS.items():
            for build in ("eager", "compiled"):
                what = f"one {method.__name__} step, (128, 64, 32, 32) float32, {WHAT[mode]}: our ms / ms of a copy"
                measure = partial(_measure, equation, method, mode, build == "compiled")
                single = method is Euler
                if not single:
                    what += "; diffusion + advection + reaction, several stages: no target"
                found.append(Row(f"step/{name}/{mode}/{build}", what, measure, target if single else None))
    return found
