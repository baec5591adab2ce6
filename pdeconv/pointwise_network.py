"""A learned law of reaction: a small network at each pixel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real

import torch
from torch import Tensor, nn
from torch.nn import functional

from pdeconv.coefficient import PerChannel, check_channels
from pdeconv.errors import PDEConvError, checked_count, checked_number
from pdeconv.grid import Grid
from pdeconv.law import Law
from pdeconv.spectral import convolution_norm_bound


class PointwiseNetwork(Law):
    """A learned reaction, u_t = s (N(u) − u): each pixel goes towards the values that a network reads off its channels.

    N(u) = m + r·tanh(W₂ tanh(W₁u + b₁)/r + b₂), m and r the middle and half the length of an interval. The Lipschitz
    constant of N is at most ``lipschitz``, as ‖W₁‖‖W₂‖ is, by parametrisation: each W = w·√lipschitz / max(√lipschitz,
    b(w)), b(w) a guaranteed bound of ‖w‖₂. The right-hand side's is at most ceiling·(1 + lipschitz). With
    lipschitz ≤ 1 and a strength shared by the channels no two states part from each other.

    Args:
        channels: Number of channels C.
        hidden: Width of the network.
        ceiling: Upper bound of s, 1/time; s_c = ceiling · sigmoid(w_c).
        lipschitz: Upper bound of the Lipschitz constant of N.
        interval: (low, high), where the values of N lie.

    Rate: Its ceiling.
    Keeps: The interval (and every larger one): u + hs(N − u) is a convex combination of u and N for hs ≤ 1. Frozen it
        is so too; backward Euler and exact steps keep the interval for every dt.

    References:
        T. Miyato, T. Kataoka, M. Koyama, Y. Yoshida. Spectral normalization for generative adversarial networks.
        ICLR 2018.

    Example:
        >>> from pdeconv import CFL, Evolve, Heun, Reaction
        >>> layer = Evolve(Heun(Reaction(PointwiseNetwork(3, hidden=16))), duration=2.0, control=CFL())
        >>> u = layer(torch.rand(1, 3, 8, 8))
        >>> bool((u >= 0).all() and (u <= 1).all())
        True
    """

    equation = "s (N(u) − u)"

    def __init__(
        self,
        channels: int,
        hidden: int,
        ceiling: float = 1.0,
        lipschitz: float = 1.0,
        interval: tuple[float, float] = (0.0, 1.0),
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        channels, hidden = checked_count(name, "channels", channels), checked_count(name, "hidden", hidden)
        self.lipschitz = checked_number(name, "lipschitz", lipschitz)
        pair = isinstance(interval, Sequence) and len(interval) == 2
        if not (pair and all(isinstance(v, Real) and math.isfinite(v) for v in interval) and interval[0] < interval[1]):
            raise PDEConvError(f"{name} needs an interval (low, high) with low < high, but got {interval!r}.")
        low, high = interval
        self.strength = PerChannel(channels, ceiling, device=device, dtype=dtype)
        self.ceiling, self.keeps = self.strength.ceiling, frozenset({(float(low), float(high))})
        self.middle, self.radius = (low + high) / 2, (high - low) / 2
        self.weight_in = nn.Parameter(torch.empty(hidden, channels, device=device, dtype=dtype))
        self.weight_out = nn.Parameter(torch.empty(channels, hidden, device=device, dtype=dtype))
        for weight in (self.weight_in, self.weight_out):
            nn.init.normal_(weight, std=1 / math.sqrt(weight.shape[1]))
        self.bias_in = nn.Parameter(torch.zeros(hidden, device=device, dtype=dtype))
        self.bias_out = nn.Parameter(torch.zeros(channels, device=device, dtype=dtype))

    def forward(self, u: Tensor) -> Tensor:
        return -self.strength(u, Grid(dims=u.dim() - 2))

    def source(self, u: Tensor) -> Tensor:
        return self.strength(u, Grid(dims=u.dim() - 2)) * self.target(u)

    def target(self, u: Tensor) -> Tensor:
        """N(u), of the shape of ``u``."""
        check_channels(self.weight_in.shape[1], u)
        features = torch.tanh(self._linear(u.flatten(2), self.weight_in, self.bias_in))
        reach = self._linear(features, self.weight_out / self.radius, self.bias_out, self.radius)
        return self.middle + self.radius * torch.tanh(reach).reshape(u.shape).to(u.dtype)

    def _linear(self, u: Tensor, weight: Tensor, bias: Tensor, scale: float = 1.0) -> Tensor:
        """W u + b with ‖W‖ ≤ √lipschitz / scale."""
        norm = math.sqrt(self.lipschitz) / scale
        bound = convolution_norm_bound(weight[..., None])
        weight = weight * (norm / bound.clamp(min=norm)).to(weight.dtype)
        return functional.conv1d(u, weight[..., None].to(u.dtype), bias.to(u.dtype))

    def extra_repr(self) -> str:
        hidden, channels = self.weight_in.shape
        return f"{channels}, hidden={hidden}, lipschitz ≤ {self.lipschitz:g}"
