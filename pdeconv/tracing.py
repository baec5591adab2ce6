"""Symbolic tracing by ``torch.fx``, which runs a forward pass on stand-ins for tensors."""

from __future__ import annotations

import torch.fx
from torch import Tensor, nn

from pdeconv.errors import UnsupportedError


def traced_leaf(module: nn.Module, u: object) -> Tensor | None:
    """What to return for a stand-in: one call of ``module`` in the traced graph. None for a tensor.

    The number of steps and the shapes that a forward pass looks at are not there to be traced; so an evolution is one
    node, whatever tracer comes along, and torchvision's ``create_feature_extractor`` needs no options.

    Example:
        >>> from pdeconv import PDEBlock
        >>> graph = torch.fx.symbolic_trace(nn.Sequential(PDEBlock(2), nn.ReLU())).graph
        >>> [node.op for node in graph.nodes]
        ['placeholder', 'call_module', 'call_module', 'output']
    """
    if not isinstance(u, torch.fx.Proxy):
        return None
    tracer = u.tracer
    path = tracer.path_of_module(module)  # pyright: ignore[reportAttributeAccessIssue]
    if not path:
        raise UnsupportedError(
            f"{type(module).__name__} is one node of a traced graph, and has none of its own; trace a network that "
            "holds it, such as nn.Sequential(block)."
        )
    return tracer.create_proxy("call_module", path, (u,), {})  # pyright: ignore[reportReturnType]
