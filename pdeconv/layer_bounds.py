"""What is known of single layers of torch, torchvision and timm: kernels, channel scales and largest slopes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from pdeconv.errors import UnsupportedError
from pdeconv.residual_blocks import qualified_name
from pdeconv.time_specific_norm import TimeSpecificNorm


def is_linear(module: nn.Module) -> bool:
    return qualified_name(module) in _LINEAR


def is_convolution(module: nn.Module) -> bool:
    return qualified_name(module) in _CONVOLUTIONS


def atoms(module: nn.Module) -> list[nn.Module]:
    """The modules of a chain, in order."""
    kind, known = type(module), qualified_name(module)
    if kind.forward is nn.Sequential.forward:
        return [atom for child in module._modules.values() if child is not None for atom in atoms(child)]
    if known in _CHAINS:
        found: list[Any] = [getattr(module, name) for name in _CHAINS[known]]
        return [atom for child in found if child is not None for atom in atoms(child)]
    if isinstance(module, TimeSpecificNorm):
        return [module, *atoms(with_weights(module))[1:]]
    if known in _NORMS_WITH_ACTIVATION:
        found = [module.drop, module.act]
        return [module, *(atom for child in found for atom in atoms(child))]
    return [module]


_CONVOLUTIONS = {f"torch.nn.modules.conv.Conv{dims}d" for dims in (1, 2, 3)} | {"timm.layers.conv2d_same.Conv2dSame"}
_LINEAR = _CONVOLUTIONS | {"torch.nn.modules.linear.Linear"}
_CHAINS = {"timm.layers.mlp.Mlp": ("fc1", "act", "drop1", "norm", "fc2", "drop2")}
_CHAINS |= {"timm.layers.conv_bn_act.ConvNormAct": ("conv", "bn", "aa")}
_NORMS_WITH_ACTIVATION = {"timm.layers.norm_act.BatchNormAct2d"}
_BATCH_NORMS = {f"torch.nn.modules.batchnorm.{name}" for name in ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d")}
_BATCH_NORMS |= {"torch.nn.modules.batchnorm.SyncBatchNorm"} | _NORMS_WITH_ACTIVATION
_STATE_NORMS = {"torch.nn.modules.normalization.LayerNorm", "torch.nn.modules.normalization.GroupNorm"}
_STATE_NORMS |= {f"timm.layers.norm.{name}" for name in ("LayerNorm", "LayerNorm2d", "GroupNorm", "GroupNorm1")}
_STATE_NORMS |= {"torchvision.models.convnext.LayerNorm2d"}
_SCALES = {"pdeconv.residual_blocks.ChannelScale": "weight", "timm.layers.layer_scale.LayerScale2d": "gamma"}
_SLOPES = {"ReLU": 1.0, "ReLU6": 1.0, "Hardtanh": 1.0, "Tanh": 1.0, "Softplus": 1.0, "Sigmoid": 0.25}
_SLOPES |= {"SiLU": 1.1, "Swish": 1.1, "GELU": 1.13, "GELUTanh": 1.13, "Mish": 1.09}
_SLOPES |= {"Hardswish": 1.5, "HardSwish": 1.5, "Hardsigmoid": 1 / 6, "HardSigmoid": 1 / 6}
_ACTIVATIONS = {f"torch.nn.modules.activation.{name}": slope for name, slope in _SLOPES.items()}
_ACTIVATIONS |= {f"timm.layers.activations.{name}": slope for name, slope in _SLOPES.items()}
_LEFT_SLOPES = {"torch.nn.modules.activation.LeakyReLU": "negative_slope", "torch.nn.modules.activation.ELU": "alpha"}
_IDENTITIES = {"torch.nn.modules.linear.Identity", "timm.layers.drop.DropPath", "timm.layers.drop.DropBlock2d"}
_IDENTITIES |= {f"torch.nn.modules.dropout.Dropout{dims}" for dims in ("", "1d", "2d", "3d")}
_IDENTITIES |= {"torchvision.ops.stochastic_depth.StochasticDepth"}  # in evaluation
_POOLS = {f"torch.nn.modules.pooling.{kind}Pool{dims}d" for kind in ("Avg", "Max") for dims in (1, 2, 3)}
_ISOMETRIES = {"pdeconv.residual_blocks.Permuted", "torchvision.ops.misc.Permute"}


def is_norm(module: nn.Module) -> bool:
    return qualified_name(with_weights(module)) in _BATCH_NORMS | _STATE_NORMS


def with_weights(module: nn.Module) -> nn.Module:
    """The module that has the weights of ``module``: of statistics of each step, the normalisation of the first."""
    return module.copies[0] if isinstance(module, TimeSpecificNorm) else module


def is_identity(module: nn.Module) -> bool:
    return qualified_name(module) in _IDENTITIES


def kernel_of(linear: Any, weight: Tensor) -> Tensor:
    """The weight as (groups, F/groups, C/groups, *kernel)."""
    if not is_convolution(linear):
        return weight[None, :, :, None]
    if linear.padding_mode not in ("zeros", "circular"):
        raise UnsupportedError(f"A convolution with {linear.padding_mode} padding has no known bound; use zeros.")
    if linear.padding_mode == "circular" and _repeats_cells(linear):
        raise UnsupportedError("A circular convolution that repeats cells has no known bound; use padding='same'.")
    return weight.unflatten(0, (linear.groups, -1))


def _repeats_cells(conv: Any) -> bool:
    """Whether the padding is more than the kernel takes away, so that cells come out twice."""
    pads, axes = conv._reversed_padding_repeated_twice, range(len(conv.kernel_size))
    taken = [conv.dilation[axis] * (conv.kernel_size[axis] - 1) for axis in reversed(axes)]
    return any(pads[2 * place] + pads[2 * place + 1] > taken[place] for place in axes)


def _pool_bound(pool: Any) -> float | None:
    """Of means and maxima over windows, where each cell goes to one window at most; None where windows overlap.

    A mean of n cells is at most ‖x‖/√n; where windows are cut at the border, to one cell even, at most ‖x‖.
    """
    dims = int(type(pool).__name__[-2])
    sizes, strides, padding = (
        (n,) * dims if isinstance(n, int) else tuple(n) for n in (pool.kernel_size, pool.stride, pool.padding)
    )
    apart = all(stride >= size for size, stride in zip(sizes, strides, strict=True))
    dilation, divisor = getattr(pool, "dilation", 1), getattr(pool, "divisor_override", None)
    if not apart or dilation not in (1, (1,) * dims) or divisor is not None:
        return None
    means_whole = hasattr(pool, "count_include_pad") and (pool.count_include_pad or not any(padding))
    return math.prod(sizes) ** -0.5 if means_whole and not pool.ceil_mode else 1.0


def channel_scale(module: Any, weight_of: Callable[[nn.Module], Any]) -> Tensor | None:
    """The numbers (C,) by which the module multiplies each channel in evaluation; None if it does something else.

    Of statistics of each step the largest, by size.
    """
    norm: Any = with_weights(module)
    name = qualified_name(norm)
    if name in _SCALES:
        return getattr(module, _SCALES[name]).flatten()
    if name in _BATCH_NORMS and norm.running_var is not None:
        variances = [each.running_var for each in (module.copies if norm is not module else [norm])]
        scale = (torch.stack(variances).amin(0) + norm.eps).rsqrt()
        weight = weight_of(norm)
        return scale if weight is None else scale * weight
    return None


def largest_slope(module: Any, weight_of: Callable[[nn.Module], Any]) -> Tensor | float:
    """The Lipschitz bound of a module that is no linear map."""
    name, scale = qualified_name(module), channel_scale(module, weight_of)
    if scale is not None:
        return scale.abs().amax()
    if name in _STATE_NORMS:
        weight = weight_of(module)
        return module.eps**-0.5 if weight is None else weight.abs().amax() * module.eps**-0.5
    if name in _IDENTITIES | _ISOMETRIES:
        return 1.0
    if name in _POOLS and (bound := _pool_bound(module)) is not None:
        return bound
    if name in _ACTIVATIONS:
        return _ACTIVATIONS[name]
    if name in _LEFT_SLOPES:
        return max(1.0, abs(getattr(module, _LEFT_SLOPES[name])))
    raise UnsupportedError(
        f"{name.rpartition('.')[2]} has no known Lipschitz bound; chains of convolutions, normalisations and "
        "activations have one."
    )
