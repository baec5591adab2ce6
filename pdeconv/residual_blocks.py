"""What is known of other people's residual blocks: the branch f of after(u + f(u)), with its own weights."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.nn.utils import parametrize

from pdeconv.errors import PDEConvError


@dataclass(frozen=True)
class ResidualParts:
    """A residual block taken apart: it computes after(u + branch(u)).

    Attributes:
        branch: f, which keeps the shape; made of the block's own modules.
        after: What follows the sum; None for nothing.
    """

    branch: nn.Module
    after: nn.Module | None = None


Parts = Callable[[Any], ResidualParts | None]
_P = TypeVar("_P", bound=Parts)
_known: dict[str, Parts] = {}


def register_residual_block(kind: type[nn.Module] | str) -> Callable[[_P], _P]:
    """Tell :func:`pdeconv.replace_blocks` how a type of block is taken apart.

    The function that is registered takes a block and gives its :class:`ResidualParts`, or None for one that is no time
    step, as it changes the shape of the state or has no skip connection. It may take the modules of the block into the
    branch: the block is a copy, and is not used afterwards. A subclass is another type, as its ``forward`` may differ.

    Args:
        kind: The class, or its qualified name, such as ``"torchvision.models.resnet.BasicBlock"``: then its package
            need not be imported. A type that is known already is told anew.

    Raises:
        PDEConvError: If it is neither.

    Example:
        >>> class PreActivation(nn.Module):
        ...     def __init__(self, channels):
        ...         super().__init__()
        ...         self.body = nn.Sequential(nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1))
        ...     def forward(self, u):
        ...         return u + self.body(u)
        >>> @register_residual_block(PreActivation)
        ... def parts(block):
        ...     return ResidualParts(block.body)
    """
    if isinstance(kind, type) and issubclass(kind, nn.Module):
        kind = _name(kind)
    if not isinstance(kind, str) or not kind:
        raise PDEConvError(f"register_residual_block needs a class of nn.Module or its qualified name, but got {kind}.")

    def register(parts: _P) -> _P:
        _known[kind] = parts
        return parts

    return register


def is_residual_block(module: nn.Module) -> bool:
    """Whether the type of ``module`` is known."""
    return qualified_name(module) in _known


def residual_parts(block: nn.Module) -> ResidualParts | None:
    """The parts of a block of a known type; None if it is no time step. Raises ``PDEConvError`` for anything else."""
    parts = _known[qualified_name(block)](block)
    if parts is not None and not isinstance(parts, ResidualParts):
        raise PDEConvError(
            f"The function that is registered for {qualified_name(block)} must give ResidualParts or None, but gave "
            f"{type(parts).__name__}."
        )
    return parts


def known_blocks() -> list[str]:
    """The qualified names of the types that are known."""
    return sorted(_known)


def qualified_name(module: nn.Module) -> str:
    """``torch.nn.modules.conv.Conv2d``, also where its weight is parametrised, which makes a class of its own."""
    return _name(type(module).__bases__[0] if parametrize.is_parametrized(module) else type(module))


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


class ChannelScale(nn.Module):
    """s·u with a number for each channel: the layer scale of ConvNeXt.

    Args:
        weight: C numbers, of any shape.

    Example:
        >>> import torch
        >>> ChannelScale(nn.Parameter(torch.tensor([2.0, 3.0])))(torch.ones(1, 2, 1, 1)).flatten()
        tensor([2., 3.], grad_fn=<ViewBackward0>)
    """

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, u: Tensor) -> Tensor:
        return self.weight.reshape(-1, *(1,) * (u.dim() - 2)) * u


class Permuted(nn.Module):
    """Axes in another order.

    Args:
        order: The axes, as ``Tensor.permute`` takes them.

    Example:
        >>> import torch
        >>> Permuted(0, 2, 3, 1)(torch.zeros(1, 2, 3, 4)).shape
        torch.Size([1, 3, 4, 2])
    """

    def __init__(self, *order: int) -> None:
        super().__init__()
        self.order = order

    def forward(self, u: Tensor) -> Tensor:
        return u.permute(self.order)

    def extra_repr(self) -> str:
        return ", ".join(map(str, self.order))


def chain(block: nn.Module, *names: str) -> nn.Sequential:
    """The children of ``block`` in the order in which its ``forward`` calls them, without those that do nothing."""
    branch = nn.Sequential()
    for name in names:
        child = getattr(block, name)
        if child is not None and not isinstance(child, nn.Identity):
            branch.add_module(f"{name}_again" if name in branch._modules else name, child)
    return branch


def _alone(activation: nn.Module) -> nn.Module:
    """A module of its own where nothing is learned: tracers name a shared one by its first place, in the branch."""
    return activation if activation.state_dict() else copy.deepcopy(activation)


def _strided(block: Any) -> bool:
    return block.stride not in (1, (1, 1)) or block.downsample is not None


@register_residual_block("torchvision.models.resnet.BasicBlock")
def _torchvision_basic(block: Any) -> ResidualParts | None:
    names = "conv1", "bn1", "relu", "conv2", "bn2"
    return None if _strided(block) else ResidualParts(chain(block, *names), _alone(block.relu))


@register_residual_block("torchvision.models.resnet.Bottleneck")
def _torchvision_bottleneck(block: Any) -> ResidualParts | None:
    names = "conv1", "bn1", "relu", "conv2", "bn2", "relu", "conv3", "bn3"
    return None if _strided(block) else ResidualParts(chain(block, *names), _alone(block.relu))


@register_residual_block("torchvision.models.mobilenetv2.InvertedResidual")
def _torchvision_mobilenet_v2(block: Any) -> ResidualParts | None:
    return ResidualParts(chain(block, "conv")) if block.use_res_connect else None


@register_residual_block("torchvision.models.mobilenetv3.InvertedResidual")
def _torchvision_mobilenet_v3(block: Any) -> ResidualParts | None:
    return ResidualParts(chain(block, "block")) if block.use_res_connect else None


@register_residual_block("torchvision.models.efficientnet.MBConv")
@register_residual_block("torchvision.models.efficientnet.FusedMBConv")
def _torchvision_efficientnet(block: Any) -> ResidualParts | None:
    return ResidualParts(chain(block, "block", "stochastic_depth")) if block.use_res_connect else None


@register_residual_block("torchvision.models.convnext.CNBlock")
def _torchvision_convnext(block: Any) -> ResidualParts:
    branch = chain(block, "block")
    branch.add_module("layer_scale", ChannelScale(block.layer_scale))
    branch.add_module("stochastic_depth", block.stochastic_depth)
    return ResidualParts(branch)


@register_residual_block("timm.models.resnet.BasicBlock")
def _timm_basic(block: Any) -> ResidualParts | None:
    names = "conv1", "bn1", "drop_block", "act1", "aa", "conv2", "bn2", "se", "drop_path"
    return None if _strided(block) else ResidualParts(chain(block, *names), block.act2)


@register_residual_block("timm.models.resnet.Bottleneck")
def _timm_bottleneck(block: Any) -> ResidualParts | None:
    names = "conv1", "bn1", "act1", "conv2", "bn2", "drop_block", "act2", "aa", "conv3", "bn3", "se", "drop_path"
    return None if _strided(block) else ResidualParts(chain(block, *names), block.act3)


_EFFICIENTNET = "timm.models._efficientnet_blocks"


@register_residual_block(f"{_EFFICIENTNET}.InvertedResidual")
def _timm_inverted(block: Any) -> ResidualParts | None:
    names = "conv_pw", "bn1", "conv_dw", "bn2", "aa", "se", "conv_pwl", "bn3", "drop_path"
    return _timm_efficientnet(block, *names)


@register_residual_block(f"{_EFFICIENTNET}.DepthwiseSeparableConv")
def _timm_separable(block: Any) -> ResidualParts | None:
    return _timm_efficientnet(block, "conv_dw", "bn1", "aa", "se", "conv_pw", "bn2", "drop_path")


@register_residual_block(f"{_EFFICIENTNET}.EdgeResidual")
def _timm_edge(block: Any) -> ResidualParts | None:
    return _timm_efficientnet(block, "conv_exp", "bn1", "aa", "se", "conv_pwl", "bn2", "drop_path")


@register_residual_block(f"{_EFFICIENTNET}.UniversalInvertedResidual")
def _timm_universal(block: Any) -> ResidualParts | None:
    names = "dw_start", "pw_exp", "dw_mid", "se", "pw_proj", "dw_end", "layer_scale", "drop_path"
    return _timm_efficientnet(block, *names)


def _timm_efficientnet(block: Any, *names: str) -> ResidualParts | None:
    first_of_all = getattr(block, "conv_s2d", None)  # halves the resolution
    return ResidualParts(chain(block, *names)) if block.has_skip and first_of_all is None else None


@register_residual_block("timm.models.convnext.ConvNeXtBlock")
def _timm_convnext(block: Any) -> ResidualParts | None:
    if not isinstance(block.shortcut, nn.Identity):
        return None
    branch = chain(block, "conv_dw")
    channels_last = not block.use_conv_mlp
    if channels_last:
        branch.add_module("channels_last", Permuted(0, 2, 3, 1))
    branch.add_module("norm", block.norm)
    branch.add_module("mlp", block.mlp)
    if channels_last:
        branch.add_module("channels_first", Permuted(0, 3, 1, 2))
    if block.gamma is not None:
        branch.add_module("gamma", ChannelScale(block.gamma))
    if not isinstance(block.drop_path, nn.Identity):
        branch.add_module("drop_path", block.drop_path)
    return ResidualParts(branch)
