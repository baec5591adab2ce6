"""Multiply-adds of a module's forward pass: what "equal multiply-adds" means in the training rows.

Counted are convolutions, matrix products, and each elementwise multiplication or division that runs as such (a
stencil's coefficients, upwind weights, steps of dt). Not counted, in either network: additions alone, and functions
such as tanh, normalisation and pooling; and what is made of the weights once for a whole batch, the bounded kernels of
``Filters``. So a stencil counts no more than it must: counting more would set a PDE network against a larger, slower
plain one.
"""

from __future__ import annotations

import copy
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from pdeconv.filter_bank import Filters

_MULTIPLYING = {"mul", "mul_", "div", "div_", "addcmul", "addcmul_", "addcdiv", "addcdiv_", "lerp", "lerp_", "pow"}


class _Elementwise(TorchDispatchMode):
    """Counts the values that elementwise multiplications give."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace not in ("aten", "prim", "prims"):
            raise RuntimeError(f"{func} is no operator of PyTorch: the multiply-adds in it cannot be counted.")
        found = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__ in _MULTIPLYING and isinstance(found, Tensor) and found.is_floating_point():
            self.count += found.numel()
        return found


def multiply_adds(module: nn.Module, sample: Tensor) -> int:
    """Of ``module`` on one ``sample`` (1, C, *S), in its forward pass.

    In float64, on a copy: there the library takes its plain path, whose operations can be seen.
    """
    wide = copy.deepcopy(module).double()
    flops, elementwise = FlopCounterMode(display=False), _Elementwise()
    with torch.no_grad():
        wide(sample.double())  # computes what is kept, such as the cosine transform's matrices
        kernels = {part: part.kernel for part in wide.modules() if isinstance(part, Filters)}
        with patch.object(Filters, "kernel", property(kernels.__getitem__)), flops, elementwise:
            wide(sample.double())
    return flops.get_total_flops() // 2 + elementwise.count
