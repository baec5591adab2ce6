"""What backward needs of a march: stored by autograd, computed again from checkpoints, or undone step by step."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from pdeconv.control import Advance
from pdeconv.errors import PDEConvError
from pdeconv.steps import Step
from pdeconv.terms import values_at


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


def march_reversibly(step: Step, u: Tensor, dt: Tensor, steps: int) -> Tensor:
    """``steps`` steps of ``dt`` that keep the last state only: backward undoes each step by its ``inverse``.

    Gradients reach ``u``, ``dt`` and the parameters of ``step``, once (no second derivative). The states that backward
    sees are those of the forward pass but for the rounding of the inverses; buffers, such as running means, are those
    of the forward pass's end, and are not updated again. The step must be deterministic: no dropout.

    Raises:
        PDEConvError: If the step has no inverse.

    References:
        A. N. Gomez, M. Ren, R. Urtasun, R. B. Grosse. The reversible residual network: backpropagation without storing
        activations. NeurIPS 2017.

    Example:
        >>> from pdeconv import Constant, Diffusion, Momentum
        >>> u = torch.rand(1, 2, 8, requires_grad=True)
        >>> from pdeconv import Grid
        >>> step = Momentum(Diffusion(Constant(1.0), Grid(dims=1)))
        >>> march_reversibly(step, u, torch.tensor(0.1), 20).sum().backward()
        >>> u.grad.shape
        torch.Size([1, 2, 8])
    """
    check_reversible(step)
    names, parameters = zip(*step.named_parameters(), strict=True) if any(True for _ in step.parameters()) else ((), ())
    return _Reversible.apply(step, steps, names, u, dt, *parameters)  # pyright: ignore[reportReturnType]


def check_reversible(step: Step) -> None:
    """Raise ``PDEConvError`` unless ``step`` has an inverse."""
    if not step.reversible:
        raise PDEConvError(
            f'memory="reversible" needs a step that can be undone, Leapfrog, VelocityVerlet, Momentum or a splitting '
            f'of them, but got {step.name}; use memory="checkpoint" for any other step.'
        )


class _Undo(nn.Module):
    """The inverse of a step, as a module whose parameters can be replaced."""

    def __init__(self, step: Step) -> None:
        super().__init__()
        self.step = step

    def forward(self, u: Tensor, dt: Tensor) -> Tensor:
        return self.step.inverse(u, dt)


class _Reversible(torch.autograd.Function):
    @staticmethod
    def forward(ctx, step, steps, names, u, dt, *parameters):
        ctx.step, ctx.steps, ctx.names, ctx.autocast = step, steps, names, _autocast_of(u)
        values = dict(zip(names, parameters, strict=True))
        for index in range(steps):
            u = functional_call(step, values_at(step, values, (index + 0.5) / steps), (u, dt))
        ctx.save_for_backward(u, dt, *parameters)
        return u

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads):
        step, steps, names = ctx.step, ctx.steps, ctx.names
        u, dt, *parameters = ctx.saved_tensors
        buffers = {name: buffer.clone() for name, buffer in step.named_buffers()}
        undo, grad = _Undo(step), grads[0]
        wanted = [
            value.detach().requires_grad_(needed)
            for value, needed in zip((dt, *parameters), ctx.needs_input_grad[4:], strict=True)
        ]
        totals: list[Tensor | None] = [None] * len(wanted)
        with ctx.autocast:
            for index in reversed(range(steps)):
                fraction = (index + 0.5) / steps
                with torch.no_grad():
                    values = values_at(step, dict(zip(names, wanted[1:], strict=True)), fraction) | buffers
                    u = functional_call(undo, {f"step.{name}": v for name, v in values.items()}, (u, wanted[0]))
                u = u.detach().requires_grad_()
                with torch.enable_grad():
                    values = values_at(step, dict(zip(names, wanted[1:], strict=True)), fraction) | buffers
                    after = functional_call(step, values, (u, wanted[0]))
                inputs = [u, *(value for value in wanted if value.requires_grad)]
                grad, *found = torch.autograd.grad(after, inputs, grad, allow_unused=True)
                found = iter(found)
                for i, value in enumerate(wanted):
                    part = next(found) if value.requires_grad else None
                    if part is not None:
                        totals[i] = part if totals[i] is None else totals[i] + part
        return None, None, None, grad, *totals


def _autocast_of(u: Tensor) -> AbstractContextManager:
    """The autocast context that holds now, to enter again in backward."""
    device = u.device.type
    if device == "meta":
        return torch.autocast("cpu", enabled=False)
    return torch.autocast(device, torch.get_autocast_dtype(device), enabled=torch.is_autocast_enabled(device))
