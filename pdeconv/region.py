"""One step as a region that ``torch.compile`` compiles once, however often a march calls it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import torch
from torch import Tensor

from pdeconv.steps import Step

_TESTED = (["2", "14"],)  # versions of torch: a fault in its regions changes weights and gradients silently


def _step(step: Step, u: Tensor, dt: Tensor) -> Tensor:
    return step(u, dt)


def _marked(function: Callable[[Step, Tensor, Tensor], Tensor]) -> Callable[[Step, Tensor, Tensor], Tensor] | None:
    """``function`` marked as a region; None where this torch has no regions that can be trained."""
    try:  # the public decorator takes no options
        from torch._higher_order_ops.invoke_subgraph import NestedCompileRegionOptions, mark_compile_region
    except ImportError:
        return None
    if torch.__version__.split(".")[:2] not in _TESTED:
        return None
    if "inductor_config_patches" not in {field.name for field in fields(NestedCompileRegionOptions)}:
        return None
    # Inductor takes inputs of the region's backward for buffers that it may write into, and so overwrote weights
    # (torch 2.14.1: it looks them up by the places of the outer graph's inputs). Hence no writing in place.
    options = NestedCompileRegionOptions(inductor_config_patches={"inplace_buffers": False})
    return mark_compile_region(function, options=options, max_reuse_entries=1000)  # pyright: ignore[reportReturnType]


_region = _marked(_step)


def fits_region(step: Step) -> bool:
    """Whether torch can make a region of ``step``: it writes no buffers, and is traced whole.

    Torch refuses a region that breaks the graph, or trains and updates running means; code of others could do either.
    So only this library's modules, and torch's that have no buffers, make a region.
    """
    return _region is not None and all(
        (package := type(module).__module__.partition(".")[0]) == "pdeconv"
        or (package == "torch" and not module._buffers)
        for module in step.modules()
    )


def step_once_compiled(step: Step, u: Tensor, dt: Tensor) -> Tensor:
    """step(u, dt) of a step that fits; while ``torch.compile`` traces, a call of one compiled region.

    So code is generated once for all steps; what is left for each is the trace of a call.
    Eager calls and ``torch.export`` see the step itself.
    """
    if _region is not None and torch.compiler.is_dynamo_compiling() and not torch.compiler.is_exporting():
        return _region(step, u, dt)
    return step(u, dt)
