"""What backward needs of a march: stored by autograd, computed again from checkpoints, or undone step by step."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, get_device_states, set_device_states

from pdeconv.control import Advance
from pdeconv.errors import PDEConvError
from pdeconv.steps import Step
from pdeconv.terms.varying import call_with, parameters_of, values_at
from pdeconv.time_specific_norm import AtTime

STATES = 8
"""States that ``march_in_segments`` keeps, the first and that of the step at hand among them."""


def recomputed(advance: Advance, u: Tensor, dt: Tensor, index: int) -> Tensor:
    """advance(u, dt, index), of which autograd keeps the arguments only."""
    return checkpoint(advance, u, dt, index, use_reentrant=False)  # pyright: ignore[reportReturnType]


def march_in_segments(advance: Advance, u: Tensor, dt: Tensor, steps: int) -> Tensor:
    """``steps`` steps of ``dt`` that keep at most ``STATES`` states and what one step needs, whatever their number.

    The schedule of Griewank and Walther, which computes the fewest steps again for the states that it keeps. With s of
    them besides that of the step at hand and the least r for which n ≤ C(s + r, s), backward computes each of n steps
    at most r times, in all r·n − C(s + r, s + 1) + 1 times: for s = 7 up to 8 steps once, up to 36 at most twice, up to
    120 three and up to 330 four times. The march is cut into two segments: the first, a checkpoint, will be done with
    all s states and one repetition fewer; the second, with s − 1 states, is cut in turn. Steps that draw random numbers
    keep the generator's state of each, 5 KiB on the CPU.

    References:
        A. Griewank, A. Walther. Algorithm 799: revolve: an implementation of checkpointing for the reverse or adjoint
        mode of computational differentiation. ACM TOMS 26(1), 2000.
    """
    checkpointed = _Checkpoints()

    def march(u: Tensor, dt: Tensor, start: int, length: int, states: int, repeats: int) -> Tensor:
        while length > 1:
            first = _first_segment(length, states, repeats)
            if first == 1:
                u = checkpointed(advance, u, dt, start)
            else:
                u = checkpointed(march, u, dt, start, first, states, repeats - 1)
            start, length, states = start + first, length - first, states - 1
        return checkpointed(advance, u, dt, start)

    repeats = next(r for r in itertools.count(1) if _longest(STATES - 1, r) >= steps)
    return march(u, dt, 0, steps, STATES - 1, repeats)


def _longest(states: int, repeats: int) -> int:
    """The most steps that can be reversed with so many states and repetitions."""
    return math.comb(states + repeats, states)


def _first_segment(length: int, states: int, repeats: int) -> int:
    """The length of the first of two segments, such that each fits what is left, and fewest steps are done again."""
    return min(_longest(states, repeats - 1), length - _longest(states - 1, repeats - 1))


class _Checkpoints:
    """Checkpoints whose parts meet the same random numbers again; equal states of a generator are kept once.

    That of the CPU takes 5 KiB: one for each step would grow with the number of steps.
    """

    def __init__(self) -> None:
        self._latest: Tensor | None = None

    def __call__(self, part: Callable[..., Tensor], u: Tensor, *others: Tensor | int) -> Tensor:
        if torch.compiler.is_compiling() or type(u) is not Tensor:  # fake tensors, for one, allow no comparison
            return checkpoint(part, u, *others, use_reentrant=False)  # pyright: ignore[reportReturnType]
        state = torch.get_rng_state()
        if self._latest is None or not torch.equal(state, self._latest):
            self._latest = state
        part = _repeatable(part, self._latest, u)
        return checkpoint(part, u, *others, use_reentrant=False, preserve_rng_state=False)  # pyright: ignore


def _repeatable(part: Callable[..., Tensor], state: Tensor, u: Tensor) -> Callable[..., Tensor]:
    """``part``, which from its second call on meets the random numbers of the first, those of ``state``."""
    kind, (devices, device_states) = u.device.type, get_device_states(u)
    begun = False

    def run(*arguments: Tensor | int) -> Tensor:
        nonlocal begun
        if not begun:
            begun = True
            return part(*arguments)
        with torch.random.fork_rng(devices, device_type=kind):
            torch.set_rng_state(state)
            set_device_states(devices, device_states, device_type=kind)
            return part(*arguments)

    return run


class Undo(nn.Module):
    """The inverse of a step, as a module: so that its parameters can be replaced, as those of the step.

    Raises:
        PDEConvError: If the step has no inverse.
    """

    def __init__(self, step: Step) -> None:
        super().__init__()
        if not step.reversible:
            raise PDEConvError(
                "memory='reversible' needs a step that can be undone, SymplecticEuler, Leapfrog, VelocityVerlet, "
                f"Momentum or a splitting of them, but got {step.name}; use memory='checkpoint' for any other step."
            )
        self.step = step

    def forward(self, u: Tensor, dt: Tensor) -> Tensor:
        return self.step.inverse(u, dt)


def march_reversibly(undo: Undo, u: Tensor, dt: Tensor, steps: int) -> Tensor:
    """``steps`` steps of ``dt`` that keep the last state only: backward undoes each step by its ``inverse``.

    Gradients reach ``u``, ``dt``, the parameters of the step and buffers that need one, to any order. The states that
    backward sees are those of the forward pass but for the rounding of the inverses; other buffers, such as running
    means, are those of the forward pass's end, and are not updated again. The step must be deterministic: no dropout.

    Args:
        undo: The step and its inverse.
        u: State (B, C, *S) at time 0.
        dt: () or (B,).
        steps: Number of steps.

    References:
        A. N. Gomez, M. Ren, R. Urtasun, R. B. Grosse. The reversible residual network: backpropagation without storing
        activations. NeurIPS 2017.

    Example:
        >>> from pdeconv import Constant, Diffusion, Grid, Momentum
        >>> u = torch.rand(1, 2, 8, requires_grad=True)
        >>> step = Momentum(Diffusion(Constant(1.0), Grid(dims=1)))
        >>> march_reversibly(Undo(step), u, torch.tensor(0.1), 20).sum().backward()
        >>> u.grad.shape
        torch.Size([1, 2, 8])
    """
    learned = {name: buffer for name, buffer in undo.step.named_buffers() if buffer.requires_grad}
    named = parameters_of(undo.step) | learned  # data that another network made is a buffer with a gradient
    return _Reversible.apply(undo, steps, tuple(named), u, dt, *named.values())  # pyright: ignore[reportReturnType]


class _Reversible(torch.autograd.Function):
    @staticmethod
    def forward(ctx, undo, steps, names, u, dt, *parameters):
        ctx.undo, ctx.steps, ctx.names, ctx.autocast = undo, steps, names, _autocast_of(u)
        step = undo.step
        for index in range(steps):
            fraction = (index + 0.5) / steps
            with AtTime(fraction):
                u = call_with(step, values_at(step, dict(zip(names, parameters, strict=True)), fraction), u, dt)
        ctx.save_for_backward(u, dt, *parameters)
        return u

    @staticmethod
    def backward(ctx, *grads):
        undo, step, steps, names, (grad,) = ctx.undo, ctx.undo.step, ctx.steps, ctx.names, grads

        def advance(module: nn.Module, prefix: str, index: int, u: Tensor, dt: Tensor, *parameters: Tensor) -> Tensor:
            fraction = (index + 0.5) / steps
            values = values_at(step, dict(zip(names, parameters, strict=True)), fraction)
            # Running means are those of the forward pass, and are not updated again.
            values = {name: buffer.clone() for name, buffer in step.named_buffers()} | values
            with AtTime(fraction):
                return call_with(module, {prefix + name: value for name, value in values.items()}, u, dt)

        u, *shared = ctx.saved_tensors
        totals = [torch.zeros_like(value) for value in shared]
        with ctx.autocast:
            for index in reversed(range(steps)):
                u = advance(undo, "step.", index, u, *shared)
                pull_back = torch.func.vjp(partial(advance, step, "", index), u, *shared)[1]
                grad, *found = pull_back(grad)
                totals = [total + part for total, part in zip(totals, found, strict=True)]
        return None, None, None, grad, *totals


def _autocast_of(u: Tensor) -> AbstractContextManager:
    """The autocast context that holds now, to enter again in backward."""
    device = u.device.type
    if device == "meta":
        return torch.autocast("cpu", enabled=False)
    return torch.autocast(device, torch.get_autocast_dtype(device), enabled=torch.is_autocast_enabled(device))
