"""Several explicit steps of a depthwise equation as one operator of PyTorch, with its gradient."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pdeconv.depthwise import DepthwiseEquation
from pdeconv.grid import Grid
from pdeconv.native.library import (
    BIAS,
    BOUNDARIES,
    CONV,
    GRADS,
    KAPPA,
    REACTION,
    SHARPNESS,
    VELOCITY,
    Problem,
    enabled,
)
from pdeconv.native.reference import plain_march
from pdeconv.transformed import is_transformed

_STATES = 2**23  # numbers that the states of a plane may take on the way back
_PLANE = 50_000  # cells of a plane that is marched whole: four of them fit a second-level cache
_TILE = 256, 256  # of a larger one
_SMALL = 4096  # cells of a plane that is marched whole although there are more threads than planes
_REACH = 8  # cells that the steps of one pass over such a tile may depend on


def can_march(u: Tensor, dt: Tensor) -> bool:
    """Whether the kernels take this state: float32 on the CPU, on one axis or two, one dt, no other transformation."""
    return (
        enabled()
        and isinstance(dt, Tensor)
        and u.device.type == "cpu"
        and u.dtype == torch.float32
        and u.dim() in (3, 4)
        and u.numel() > 0
        and dt.dim() == 0
        and not dt.requires_grad
        and not is_transformed()
    )


def has_hooks(module: nn.Module) -> bool:
    """Whether somebody listens to a module inside, which a kernel calls none of; ``torch.compile`` does not ask."""
    if torch.compiler.is_compiling():
        return False
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    everywhere = any(getattr(nn.modules.module, f"_global{kind}") for kind in kinds)
    return everywhere or any(getattr(part, kind) for part in module.modules() for kind in kinds)


def march(
    u: Tensor, dt: Tensor, equation: DepthwiseEquation, grid: Grid, alphas: tuple[float, ...], steps: int
) -> Tensor:
    """``steps`` steps of an explicit method whose stages are v ← α·u + (1 − α)·(v + dt·A(v)v).

    Args:
        u: State (B, C, *S) in float32 on the CPU, one axis or two.
        dt: ().
        equation: The right-hand side.
        grid: Spacing and boundary.
        alphas: α of each stage.
        steps: Number of steps.
    """
    cells = u.shape[2:].numel() if u.dim() == 4 else u.shape[2]
    coefficients = [None if c is None else c.to(torch.float32) for c in equation.coefficients]
    learns = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (u, *coefficients))
    counts = [steps]
    if learns and cells * len(alphas) * steps > _STATES:  # backward holds the states of a plane
        most = max(1, _STATES // (cells * len(alphas)))
        counts = [most] * (steps // most) + [steps % most] * (steps % most > 0)
    for count in counts:
        u = _march(
            u,
            dt,
            *coefficients,
            equation.profile_number,
            equation.ceiling,
            BOUNDARIES.index(grid.boundary),
            list(grid.spacings),
            list(alphas),
            count,
        )
    return u


@torch.library.custom_op("pdeconv::march", mutates_args=(), device_types="cpu")
def _march(
    u: Tensor,
    dt: Tensor,
    kappa: Tensor | None,
    sharpness: Tensor | None,
    velocity: Tensor | None,
    conv: Tensor | None,
    bias: Tensor | None,
    reaction: Tensor | None,
    profile: int,
    ceiling: float,
    boundary: int,
    spacings: Sequence[float],
    alphas: Sequence[float],
    steps: int,
) -> Tensor:
    coefficients = kappa, sharpness, velocity, conv, bias, reaction
    height, width = u.shape[-2] if u.dim() == 4 else 1, u.shape[-1]
    reach = (1 if profile == 0 else 2) * len(alphas)
    planes, threads = u.shape[0] * u.shape[1], torch.get_num_threads()
    if height * width <= _PLANE and (planes >= threads or height * width <= _SMALL):
        tile, at_once, halo = (height, width), steps, 0
    else:
        at_once = min(steps, max(1, _REACH // reach))
        halo = at_once * reach
        rows = max(2 * halo, -(-height // -(-threads // planes)))  # so that every thread has some
        tile = min(_TILE[0], rows, height), min(_TILE[1], width)
    u = u.contiguous()
    for done in range(0, steps, at_once):
        count = min(at_once, steps - done)
        problem = Problem(u, dt.item(), coefficients, profile, ceiling, boundary, spacings, alphas, count)
        out = torch.empty_like(u)
        problem.march(out, tile, halo)
        u = out
    return u


@_march.register_fake
def _(u: Tensor, *arguments: object) -> Tensor:
    return torch.empty_like(u, memory_format=torch.contiguous_format)


@torch.library.custom_op("pdeconv::march_backward", mutates_args=(), device_types="cpu")
def _march_backward(
    grad_out: Tensor,
    u: Tensor,
    dt: Tensor,
    kappa: Tensor | None,
    sharpness: Tensor | None,
    velocity: Tensor | None,
    conv: Tensor | None,
    bias: Tensor | None,
    reaction: Tensor | None,
    profile: int,
    ceiling: float,
    boundary: int,
    spacings: Sequence[float],
    alphas: Sequence[float],
    steps: int,
) -> tuple[Tensor, Tensor]:
    """The gradient by u, and (C, GRADS) by the coefficients, in float64."""
    coefficients = kappa, sharpness, velocity, conv, bias, reaction
    problem = Problem(u, dt.item(), coefficients, profile, ceiling, boundary, spacings, alphas, steps)
    grad_u = torch.empty_like(u, memory_format=torch.contiguous_format)
    grads = torch.empty(*u.shape[:2], GRADS, dtype=torch.float64)
    problem.march_backward(grad_out.contiguous(), grad_u, grads)
    return grad_u, grads.sum(0)


@_march_backward.register_fake
def _(grad_out: Tensor, u: Tensor, *arguments: object) -> tuple[Tensor, Tensor]:
    return torch.empty_like(u, memory_format=torch.contiguous_format), u.new_empty(
        u.shape[1], GRADS, dtype=torch.float64
    )


def _setup_context(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs[:8])
    ctx.options = inputs[8:]


def _backward(ctx, grad):
    u, dt, *coefficients = ctx.saved_tensors
    nothing = (None,) * len(ctx.options)
    if torch.is_grad_enabled():  # gradients of gradients, by operators that have them
        wanted = [t for t, needed in zip((u, dt, *coefficients), ctx.needs_input_grad[:8], strict=True) if needed]
        again = plain_march(u, dt, *coefficients, *ctx.options)
        found = iter(torch.autograd.grad(again, wanted, grad, create_graph=True))
        return *(next(found) if needed else None for needed in ctx.needs_input_grad[:8]), *nothing
    grad_u, grads = _march_backward(grad, u, dt, *coefficients, *ctx.options)
    grads = grads.to(u.dtype)
    places = KAPPA, SHARPNESS, VELOCITY, CONV, BIAS, REACTION
    found = [
        None if c is None else grads[:, place].reshape(c.shape) for c, place in zip(coefficients, places, strict=True)
    ]
    return grad_u, None, *found, *nothing


_march.register_autograd(_backward, setup_context=_setup_context)
