"""PDEBlock against torchvision's BasicBlock, and against the same equation through torchdiffeq's odeint."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from pdeconv import (
    Advection,
    Bistable,
    ConvVelocity,
    Diffusion,
    Euler,
    Evolve,
    Fixed,
    Heun,
    Law,
    PDEBlock,
    PerChannel,
    PointwiseNetwork,
    Reaction,
    Step,
    Term,
)

from .peak_memory import peak_bytes
from .row import Outcome, Row, Setting, amounts, at_least, at_most, peer, times_as_fast
from .steps import features, forward_backward

STEPS = 4
CEILING = 0.1  # of each coefficient: a step of 1 is stable for all three terms together
METHODS: dict[str, tuple[Callable[[Term], Step], str]] = {"euler": (Euler, "euler"), "heun": (Heun, "heun2")}


def terms(channels: int, law: Law | None = None) -> Term:
    """u_t = κΔu − v(u)·∇u + r(u), v by a depthwise convolution, r by default s u(1 − u²)."""
    reaction = Reaction(Bistable(channels, ceiling=CEILING) if law is None else law)
    velocity = ConvVelocity(channels, ceiling=CEILING)
    return Diffusion(PerChannel(channels, ceiling=CEILING)) + Advection(velocity) + reaction


def open_block(channels: int, evolve: Evolve | None = None) -> PDEBlock:
    """A block whose gate is 1: nothing of its work is lost."""
    block = PDEBlock(channels, evolve)
    nn.init.ones_(block.gate)
    return block


def one_step_block(method: Callable[[Term], Step], channels: int, law: Law | None = None) -> PDEBlock:
    """One step of ``terms``, the gate 1."""
    return open_block(channels, Evolve(method(terms(channels, law)), 1.0, Fixed(1)))


def _network_block(channels: int) -> PDEBlock:
    return one_step_block(Heun, channels, PointwiseNetwork(channels, channels, ceiling=CEILING))


class PlainEquation(nn.Module):
    """The same right-hand side as a user of torchdiffeq writes it in plain PyTorch, with the weights of ``term``."""

    def __init__(self, term: Term) -> None:
        super().__init__()
        self.diffusion, self.advection, self.reaction = term.terms

    def forward(self, t: Tensor, u: Tensor) -> Tensor:
        # Not by functional.pad(mode="replicate"): its backward fails under torch.compile (2.14).
        tall = torch.cat((u[:, :, :1], u, u[:, :, -1:]), 2)
        padded = torch.cat((tall[..., :1], tall, tall[..., -1:]), 3)
        up, down = padded[:, :, :-2, 1:-1], padded[:, :, 2:, 1:-1]
        left, right = padded[:, :, 1:-1, :-2], padded[:, :, 1:-1, 2:]
        kappa = CEILING * torch.sigmoid(self.diffusion.diffusivity.weight)[:, None, None]
        strength = CEILING * torch.sigmoid(self.reaction.law.strength.weight)[:, None, None]
        rows, columns = (CEILING * torch.tanh(self.advection.velocity.conv(padded))).unflatten(1, (-1, 2)).unbind(2)
        slope = rows.clamp(min=0) * (u - up) + rows.clamp(max=0) * (down - u)
        slope = slope + columns.clamp(min=0) * (u - left) + columns.clamp(max=0) * (right - u)
        return kappa * (up + down + left + right - 4 * u) - slope + strength * (u - u**3)


class OwnTerm(nn.Module):
    """The right-hand side by our term: then only the solver differs."""

    def __init__(self, term: Term) -> None:
        super().__init__()
        self.term = term

    def forward(self, t: Tensor, u: Tensor) -> Tensor:
        return self.term(u)(u)


class OdeBlock(nn.Module):
    """u + gate·(odeint(u) − u), with the gate of ``block``, by equal steps over one unit of time."""

    def __init__(self, block: PDEBlock, right_hand_side: Callable, method: str) -> None:
        super().__init__()
        self.block, self.right_hand_side, self.method = block, right_hand_side, method
        self.odeint = peer("torchdiffeq", "torchdiffeq").odeint

    def forward(self, u: Tensor) -> Tensor:
        times = torch.tensor([0.0, 1.0])
        end = self.odeint(self.right_hand_side, u, times, method=self.method, options={"step_size": 1 / STEPS})[-1]
        return u + self.block.gate.reshape(-1, 1, 1) * (end - u)


def _basic_block(build: Callable[[int], PDEBlock], compiled: bool, setting: Setting) -> Outcome:
    ours, other, u = _with_basic_block(build, setting)
    calls = [
        forward_backward(setting.compiled(block) if compiled else block, u, list(block.parameters()))
        for block in (ours, other)
    ]
    return times_as_fast(setting, *calls)


def _basic_block_memory(build: Callable[[int], PDEBlock], setting: Setting) -> Outcome:
    ours, other, u = _with_basic_block(build, setting)
    return amounts(peak_bytes(ours, u) / 2**20, peak_bytes(other, u) / 2**20, "MiB")


def _with_basic_block(build: Callable[[int], PDEBlock], setting: Setting) -> tuple[nn.Module, nn.Module, Tensor]:
    torch.manual_seed(0)
    u = features(setting)
    other = peer("torchvision.models.resnet", "torchvision").BasicBlock(u.shape[1], u.shape[1])
    return build(u.shape[1]), other, u


def _odes(name: str, kind: str, setting: Setting) -> tuple[nn.Module, nn.Module, Tensor, str]:
    """Our block, the peer's of the same function and weights, a state, and how far apart their results are."""
    torch.manual_seed(0)
    u, (method, theirs) = features(setting), METHODS[name]
    term = terms(u.shape[1])
    ours = open_block(u.shape[1], Evolve(method(term), 1.0, Fixed(STEPS)))
    right_hand_side = (OwnTerm if kind == "own_term" else PlainEquation)(term)
    if kind in ("compiled", "both_compiled"):
        right_hand_side = setting.compiled(right_hand_side)
    other = OdeBlock(ours, right_hand_side, theirs)
    with torch.no_grad():
        apart = float((ours(u) - other(u)).abs().max())
    return ours, other, u, f"results apart by {apart:.1e} at most"


def _torchdiffeq(name: str, kind: str, setting: Setting) -> Outcome:
    ours, other, u, note = _odes(name, kind, setting)
    weights = list(ours.parameters())
    mine = forward_backward(setting.compiled(ours) if kind == "both_compiled" else ours, u, weights)
    return times_as_fast(setting, mine, forward_backward(other, u, weights), note=note)


def _torchdiffeq_memory(name: str, kind: str, setting: Setting) -> Outcome:
    ours, other, u, note = _odes(name, kind, setting)
    for block in (ours, other):
        block(u)  # what is compiled, or cached, is not the peak
    return amounts(peak_bytes(ours, u) / 2**20, peak_bytes(other, u) / 2**20, "MiB", note)


def rows() -> list[Row]:
    state = "forward and backward on (128, 64, 32, 32) float32:"
    variants = {
        "euler": (partial(one_step_block, Euler), "one Euler step of diffusion + advection + bistable reaction"),
        "heun": (partial(one_step_block, Heun), "one Heun step of diffusion + advection + bistable reaction"),
        "network": (_network_block, "one Heun step of diffusion + advection + a pointwise network of 64"),
        "default": (open_block, "the default block: diffusion + advection, as many Heun steps as its ceilings ask"),
    }
    found = []
    for name, (build, what) in variants.items():
        target = None if name == "default" else at_least(1)
        for compiled in ("eager", "compiled"):
            line = f"{state} BasicBlock(64, 64)'s ms / ms of PDEBlock, {what}, both {compiled}"
            measure = partial(_basic_block, build, compiled == "compiled")
            found.append(Row(f"block/basic_block/{name}/{compiled}", line, measure, target))
        line = f"{state} peak MiB of PDEBlock, {what} / of BasicBlock"
        found.append(Row(f"block/basic_block/{name}/memory", line, partial(_basic_block_memory, build)))
    kinds = {
        "plain": "its right-hand side in plain PyTorch, eager",
        "compiled": "its right-hand side in plain PyTorch, compiled",
        "both_compiled": "its right-hand side in plain PyTorch, compiled, and PDEBlock compiled",
        "own_term": "its right-hand side by our term, so that the solver alone differs",
    }
    for name in METHODS:
        for kind, what in kinds.items():
            line = f"{state} ms / ms of PDEBlock, {STEPS} {name} steps; odeint of the same method and steps, {what}"
            target = at_least(3) if kind == "plain" else None
            found.append(Row(f"block/torchdiffeq/{name}/{kind}", line, partial(_torchdiffeq, name, kind), target))
            if kind == "both_compiled":
                continue  # the profiler sees both in the rows above
            line = f"{state} peak MiB of PDEBlock / of odeint, {STEPS} {name} steps, {what}"
            target = at_most(1) if kind == "plain" else None
            measure = partial(_torchdiffeq_memory, name, kind)
            found.append(Row(f"block/torchdiffeq/{name}/{kind}/memory", line, measure, target))
    return found
