"""Drop-in blocks: PDE layers for the CNNs that people already have."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from pdeconv.coefficient import PerChannel
from pdeconv.control import CFL
from pdeconv.errors import PDEConvError, checked_count, checked_type
from pdeconv.evolve import Evolve
from pdeconv.grid import Grid
from pdeconv.layers_by_dims import CONVOLUTION, checked_norm
from pdeconv.steps import Heun
from pdeconv.terms import Advection, Diffusion
from pdeconv.tracing import traced_leaf
from pdeconv.unproven_steps import residual_steps
from pdeconv.velocity import ConvVelocity


class PDEBlock(nn.Module):
    """Evolves feature maps by an equation; the identity at initialisation, so it can be put into a trained network.

    out = u + gate · (evolve(u) − u), with a gate in [0, 1] per channel that starts at 0: a convex combination, so the
    block keeps the convex sets that the evolution keeps.

    Args:
        channels: Number of channels C.
        evolve: The evolution, C channels in and out; by default diffusion with a learned diffusivity per channel and
            advection with a velocity read off the state, Heun steps, duration 1.
        grid: Spacing, boundary and number of axes of the default evolution.

    Example:
        >>> block = PDEBlock(8)
        >>> u = torch.randn(2, 8, 16, 16)
        >>> torch.equal(block(u), u)
        True
    """

    _version = 1

    def __init__(
        self,
        channels: int,
        evolve: Evolve | None = None,
        grid: Grid | None = None,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if evolve is not None and grid is not None:
            raise PDEConvError("PDEBlock takes the grid from evolve; give one of evolve and grid, not both.")
        channels = checked_count("PDEBlock", "channels", channels)
        if evolve is not None:
            checked_type("PDEBlock", evolve, Evolve, "give for example Evolve(Euler(term), duration=1.0)")
        if evolve is None:
            grid = Grid() if grid is None else grid
            diffusion = Diffusion(PerChannel(channels, ceiling=0.5, initial=0.1, device=device, dtype=dtype), grid)
            velocity = ConvVelocity(channels, ceiling=0.5, dims=grid.dims, device=device, dtype=dtype)
            evolve = Evolve(Heun(diffusion + Advection(velocity, grid)), duration=1.0, control=CFL(0.9))
        self.evolve = evolve
        self.gate = nn.Parameter(torch.zeros(channels, device=device, dtype=dtype))

    def forward(self, u: Tensor) -> Tensor:
        leaf = traced_leaf(self, u)
        if leaf is not None:
            return leaf
        # Bounded in value but not in gradient: a gate that training pushed below 0 can come back.
        bounded = self.gate.clamp(0, 1).detach() + (self.gate - self.gate.detach())
        gate = bounded.to(u.dtype).reshape(-1, *(1,) * (u.dim() - 2))
        return u + gate * (self.evolve(u) - u)


class PDEBasicBlock(nn.Module):
    """A ResNet's basic block as forward Euler steps of u_t = f(u), with the signature of torchvision's ``BasicBlock``.

    f is conv–norm–ReLU–conv–norm, and a ReLU follows. With ``steps=1, duration=1`` it is the block of He et al., and
    takes the weights of torchvision's. A block with a stride or a ``downsample`` changes the shape of the state, which
    is no time step: there it is the usual block.

    Args:
        inplanes, planes, stride, downsample, groups, base_width, dilation, norm_layer: As in
            ``torchvision.models.resnet.BasicBlock``.
        act_layer: Of the activation, within f and after it; by default ReLU.
        steps: Euler steps, all with the same weights.
        duration: Time over which the block evolves.
        dims: Number of spatial axes: 1 for signals, 2 for images, 3 for volumes.

    References:
        K. He et al. Deep residual learning for image recognition. CVPR 2016.

    Example:
        >>> PDEBasicBlock(16, 16, steps=2)(torch.randn(1, 16, 8, 8)).shape
        torch.Size([1, 16, 8, 8])
    """

    expansion = 1
    _version = 1

    def __init__(
        self,
        inplanes: int,
        planes: int,
        stride: int = 1,
        downsample: nn.Module | None = None,
        groups: int = 1,
        base_width: int = 64,
        dilation: int = 1,
        norm_layer: Callable[..., nn.Module] | None = None,
        *,
        act_layer: Callable[[], nn.Module] | None = None,
        steps: int = 1,
        duration: float = 1.0,
        dims: int = 2,
    ) -> None:
        super().__init__()
        if groups != 1 or base_width != 64 or dilation != 1:
            raise PDEConvError(
                f"PDEBasicBlock supports groups=1, base_width=64 and dilation=1, but got groups={groups}, "
                f"base_width={base_width}, dilation={dilation}; use another block for those."
            )
        norm_layer, convolution = checked_norm("PDEBasicBlock", norm_layer, dims), CONVOLUTION[dims]
        act_layer = partial(nn.ReLU, inplace=True) if act_layer is None else act_layer
        branch = nn.Sequential()
        branch.add_module("conv1", convolution(inplanes, planes, 3, stride, padding=1, bias=False))
        branch.add_module("bn1", norm_layer(planes))
        branch.add_module("relu", act_layer())
        branch.add_module("conv2", convolution(planes, planes, 3, padding=1, bias=False))
        branch.add_module("bn2", norm_layer(planes))
        self.relu = act_layer()
        if stride == 1 and downsample is None:
            self.residual = residual_steps(branch, steps, duration)
        else:
            self.residual = _Transition(branch, downsample)
        self.register_load_state_dict_pre_hook(_rename_torchvision_keys)

    def forward(self, u: Tensor) -> Tensor:
        return self.relu(self.residual(u))


class _Transition(nn.Module):
    """f(u) + P(u): a residual block that changes the shape of the state."""

    def __init__(self, branch: nn.Module, downsample: nn.Module | None) -> None:
        super().__init__()
        self.branch = branch
        self.downsample = nn.Identity() if downsample is None else downsample

    def forward(self, u: Tensor) -> Tensor:
        return self.branch(u) + self.downsample(u)


def _rename_torchvision_keys(module: nn.Module, state: dict, prefix: str, *_: object) -> None:
    """Let the weights of torchvision's BasicBlock load: ``conv1.weight`` lies deeper here."""
    transition = isinstance(getattr(module, "residual", None), _Transition)
    branch = "residual.branch." if transition else "residual.step.term.module."
    for key in [key for key in state if key.startswith(prefix)]:
        name = key[len(prefix) :]
        if name.split(".")[0] in ("conv1", "bn1", "conv2", "bn2"):
            state[prefix + branch + name] = state.pop(key)
        elif name.startswith("downsample."):
            state[prefix + "residual." + name] = state.pop(key)
