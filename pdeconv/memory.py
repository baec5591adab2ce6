"""What backward needs of a march: stored by autograd, computed again from checkpoints, or undone step by step."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pdeconv.control import Advance
from pdeconv.errors import PDEConvError
from pdeconv.steps import Step
from pdeconv.terms.varying import call_with, parameters_of, values_at


def recomputed(advance: Advance, u: Tensor, dt: Tensor, index: int) -> Tensor:
    """advance(u, dt, index), of which autograd keeps the arguments only."""
    return checkpoint(advance, u, dt, index, use_reentrant=False)  # pyright: ignore[reportReturnType]


def march_in_segments(advance: Advance, u: Tensor, dt: Tensor, steps: int) -> Tensor:
    """``steps`` steps of ``dt`` that keep about 2√steps states and what one step needs.

    The states between √steps segments are kept; backward computes a segment again and keeps its states, and then each
    step again from its own. Up to 16 steps, where that saves nothing, each step is a segment and computed once more.

    References:
        T. Chen, B. Xu, C. Zhang, C. Guestrin. Training deep nets with sublinear memory cost. arXiv:1604.06174, 2016.
        A. Griewank. Achieving logarithmic growth of temporal and spatial complexity in reverse automatic
        differentiation. Optimization Methods and Software 1, 1992.
    """
    length = math.isqrt(steps) if steps > 16 else 1

    def segment(u: Tensor, dt: Tensor, start: int) -> Tensor:
        for index in range(start, min(start + length, steps)):
            u = recomputed(advance, u, dt, index)
        return u

    for start in range(0, steps, length):
        u = segment(u, dt, start) if length == 1 else recomputed(segment, u, dt, start)
    return u


class Undo(nn.Module):
    """The inverse of a step, as a module: so that its parameters can be replaced, as those of the step.

    Raises:
        PDEConvError: If the step has no inverse.
    """

    def __init__(self, step: Step) -> None:
        super().__init__()
        if not step.reversible:
            raise PDEConvError(
                "memory='reversible' needs a step that can be undone, Leapfrog, VelocityVerlet, Momentum or a "
                f"splitting of them, but got {step.name}; use memory='checkpoint' for any other step."
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
            values = values_at(step, dict(zip(names, parameters, strict=True)), (index + 0.5) / steps)
            u = call_with(step, values, u, dt)
        ctx.save_for_backward(u, dt, *parameters)
        return u

    @staticmethod
    def backward(ctx, *grads):
        undo, step, steps, names, (grad,) = ctx.undo, ctx.undo.step, ctx.steps, ctx.names, grads

        def advance(module: nn.Module, prefix: str, index: int, u: Tensor, dt: Tensor, *parameters: Tensor) -> Tensor:
            values = values_at(step, dict(zip(names, parameters, strict=True)), (index + 0.5) / steps)
            # Running means are those of the forward pass, and are not updated again.
            values = {name: buffer.clone() for name, buffer in step.named_buffers()} | values
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
