"""Linear interpolation on two axes by PyTorch's own kernel, which is several times faster than gathering."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from pdeconv.grid import Boundary
from pdeconv.transformed import is_transformed

# What lies beyond the edge as grid_sampler counts, 0 for zeros and 2 for reflection, and whether −1 and 1 are the
# outermost centres; else they are the edges.
_PADDING: dict[Boundary, tuple[int, bool]] = {"dirichlet": (0, False), "neumann": (2, False), "reflect": (2, True)}
_DEVICES, _TYPES, _LINEAR = ("cpu", "cuda"), (torch.float32, torch.float64), 0

Gather = Callable[[Tensor, Sequence[Tensor], Boundary], Tensor]


def suits_bilinear(u: Tensor, positions: Sequence[Tensor], boundary: Boundary) -> bool:
    """Whether :func:`bilinear` takes a state. Compilers fuse the gathering, and transforms know it."""
    if torch.compiler.is_compiling() or is_transformed():  # first of all: sizes may be symbols
        return False
    same = all(at.dtype == u.dtype for at in positions)
    known = u.device.type in _DEVICES and u.dtype in _TYPES and boundary in _PADDING
    fits = u.dim() == 4 and len(u) > 0 and min(u.shape[2:]) > 1
    repeats = not (u.is_cuda and torch.are_deterministic_algorithms_enabled())  # its backward on CUDA does not
    return fits and same and known and repeats


def bilinear(u: Tensor, positions: Sequence[Tensor], boundary: Boundary, gather: Gather) -> Tensor:
    """The state at ``positions``, (B, C, H, W). Places are rounded as shares of an axis: by 10⁻⁷ of it in float32.

    Args:
        u: For which :func:`suits_bilinear` holds.
        positions: As of ``LinearInterpolation``.
        boundary: What lies beyond the edge.
        gather: Computes the same by operators that can be differentiated twice.
    """
    corners, sizes = _PADDING[boundary][1], u.shape[2:]
    scaled = [
        at * (2 / (n - 1)) - 1 if corners else at * (2 / n) + (1 / n - 1)
        for at, n in zip(positions, sizes, strict=True)
    ]
    # Channels that share their places are looked up together, others one by one.
    shared = all(at.dim() < 3 or at.shape[-3] == 1 for at in positions)
    shape = (len(u), 1 if shared else u.shape[1], *sizes)
    places = torch.stack([at.expand(shape) for at in reversed(scaled)], -1).flatten(0, 1)
    sampled = _Sampled.apply(u if shared else u.reshape(-1, 1, *sizes), places, boundary, gather)
    assert isinstance(sampled, Tensor)
    return sampled.reshape(u.shape)


class _Sampled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, places: Tensor, boundary: Boundary, gather: Gather) -> Tensor:  # pyright: ignore
        ctx.save_for_backward(u, places)
        ctx.boundary, ctx.gather = boundary, gather
        sampled = torch.grid_sampler_2d(u, places, _LINEAR, *_PADDING[boundary])
        # A place that is no number has no value, where the kernel gives one.
        return sampled.add_((0.0 * places.sum(-1))[:, None])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore
        u, places = ctx.saved_tensors
        needed = ctx.needs_input_grad[:2]
        if torch.is_grad_enabled():  # gradients of gradients, by operators that have them
            corners = _PADDING[ctx.boundary][1]
            sizes = zip(reversed(places.unbind(-1)), u.shape[2:], strict=True)
            positions = [(at + 1) * ((n - 1) / 2) if corners else (at + 1) * (n / 2) - 0.5 for at, n in sizes]
            again = ctx.gather(u, [at[:, None] for at in positions], ctx.boundary)
            wanted = [tensor for tensor, need in zip((u, places), needed, strict=True) if need]
            found = iter(torch.autograd.grad(again, wanted, grad, create_graph=True))
            return *(next(found) if need else None for need in needed), None, None
        padding = _PADDING[ctx.boundary]
        found = torch.ops.aten.grid_sampler_2d_backward(grad, u, places, _LINEAR, *padding, list(needed))
        return *(value if need else None for value, need in zip(found, needed, strict=True)), None, None
