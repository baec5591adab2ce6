"""Nonlocal diffusion, u_t = (P(u) − I)u: attention as an equation."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from pdeconv.coefficient import Coefficient, Constant, check_channels
from pdeconv.errors import PDEConvError, checked_count, checked_type
from pdeconv.grid import Grid
from pdeconv.operator import RANGE, Operator, largest
from pdeconv.precision import without_autocast
from pdeconv.terms.term import Term


class NonlocalDiffusion(Term):
    """Nonlocal diffusion, u_t = s (P(u) − I) u: each pixel goes towards a mean of the pixels that resemble it.

    P = softmax(QᵀK/√d) with queries Q and keys K read off the state by learned 1×1 maps: a random walk between pixels,
    whose rows sum to 1. Each head averages its share of the channels. An Euler step of dt = 1 at s = 1 is
    self-attention whose values are the state itself; a short one is nonlocal means. By fused attention, so backward
    works once; for second derivatives use ``torch.nn.attention.sdpa_kernel(SDPBackend.MATH)``.

    Args:
        channels: Number of channels C.
        features: Features d of a query and a key of each head.
        heads: Number of heads, a divisor of C.
        window: Width of the windows within which pixels see each other, side by side; by default the whole image.
            Windows that reach beyond the image see what is within.
        strength: Coefficient s, 1/time; by default 1.

    Rate: s; sharper by the least diagonal entry of P, which fused attention does not tell.
    Solve, Flow: Undefined.
    Keeps: The range: an Euler step of dt ≤ 1/s is a convex combination of v and the means Pv.

    References:
        A. Buades, B. Coll, J.-M. Morel. A non-local algorithm for image denoising. CVPR 2005.
        G. Gilboa, S. Osher. Nonlocal operators with applications to image processing. Multiscale Model. Simul. 7(3),
        2008.
        X. Wang, R. Girshick, A. Gupta, K. He. Non-local neural networks. CVPR 2018.

    Example:
        >>> from pdeconv import CFL, Euler, Evolve
        >>> layer = Evolve(Euler(NonlocalDiffusion(4, features=8, heads=2, window=4)), duration=1.0, control=CFL(1.0))
        >>> u = torch.rand(1, 4, 8, 8)
        >>> layer.steps, bool(layer(u).max() <= u.max())
        (1, True)
    """

    equation = "s (P(u) − I) u"
    keeps = frozenset({RANGE})

    def __init__(
        self,
        channels: int,
        features: int = 8,
        heads: int = 1,
        window: int | None = None,
        strength: Coefficient | None = None,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        channels, features = checked_count(name, "channels", channels), checked_count(name, "features", features)
        self.heads = checked_count(name, "heads", heads)
        if channels % self.heads:
            raise PDEConvError(f"{name} needs heads that divide the channels, but got {heads} for {channels} channels.")
        self.window = None if window is None else checked_count(name, "window", window)
        self.strength = Constant(1.0) if strength is None else strength
        checked_type(name, self.strength, Coefficient, "give for example PerChannel(channels)")
        self.ceiling = self.strength.ceiling
        # (queries and keys) · heads · features
        self.weight = nn.Parameter(torch.empty(2 * self.heads * features, channels, device=device, dtype=dtype))
        nn.init.normal_(self.weight, std=1 / math.sqrt(channels))

    def forward(self, u: Tensor) -> Operator:
        check_channels(self.weight.shape[1], u)
        projected = functional.conv1d(u.flatten(2), self.weight[..., None].to(u.dtype))
        projected = projected.to(u.dtype).unflatten(2, u.shape[2:])  # autocast may have rounded it
        window = None if self.window is None else tuple(min(self.window, n) for n in u.shape[2:])
        return Attention(projected, self.heads, window, self.strength(u, Grid(dims=u.dim() - 2)))

    def extra_repr(self) -> str:
        features, channels = self.weight.shape
        return f"{channels}, features={features // (2 * self.heads)}, heads={self.heads}, window={self.window}"


class Attention(Operator):
    """v ↦ s (Pv − v), P = softmax(QᵀK/√d) over the pixels of each window, None for the whole image.

    Args:
        projected: Queries and keys (B, 2·heads·d, *S).
        heads: Number of heads.
        window: Width of the windows along each axis.
        strength: s, () or (B|1, C|1, 1, …).
    """

    keeps = NonlocalDiffusion.keeps

    def __init__(self, projected: Tensor, heads: int, window: tuple[int, ...] | None, strength: Tensor) -> None:
        self.heads, self.window, self.strength = heads, window, strength
        self.queries, self.keys = (self._tokens(part) for part in projected.chunk(2, 1))
        self.inside = None
        size = projected.shape[2:]
        if window is not None and any(n % width for n, width in zip(size, window, strict=True)):
            # Which keys lie within the image: (B·windows, heads, 1, N).
            ones = projected.new_ones(()).expand(projected.shape[0], heads, *size)
            self.inside = self._tokens(ones).mT > 0.5
        self.rate = largest(strength)

    def __call__(self, v: Tensor) -> Tensor:
        return self.strength * (self.mean(v) - v)

    def mean(self, v: Tensor) -> Tensor:
        """P v."""
        tokens = self._tokens(v)
        with without_autocast(v):
            mean = functional.scaled_dot_product_attention(self.queries, self.keys, tokens, attn_mask=self.inside)
        mean = mean.mT.flatten(1, 2)
        return mean.unflatten(2, v.shape[2:]) if self.window is None else _from_windows(mean, v.shape, self.window)

    def _tokens(self, u: Tensor) -> Tensor:
        """(B, heads·F, *S) as (B·windows, heads, N, F), N the pixels of a window."""
        tokens = u.flatten(2) if self.window is None else _to_windows(u, self.window)
        return tokens.unflatten(1, (self.heads, -1)).mT


def _to_windows(u: Tensor, window: tuple[int, ...]) -> Tensor:
    """(B, F, *S) as (B·windows, F, N), N the pixels of a window; beyond the image zeros."""
    dims = len(window)
    for i, width in enumerate(window):
        axis = 2 + 2 * i  # the axes before are two by now
        beyond = -u.shape[axis] % width
        if beyond:
            u = torch.cat((u, u.new_zeros([beyond if j == axis else n for j, n in enumerate(u.shape)])), axis)
        u = u.unflatten(axis, (-1, width))
    counts, insides = range(2, 2 + 2 * dims, 2), range(3, 3 + 2 * dims, 2)
    return u.permute(0, *counts, 1, *insides).flatten(0, dims).flatten(2)


def _from_windows(tokens: Tensor, shape: torch.Size, window: tuple[int, ...]) -> Tensor:
    """The inverse of :func:`_to_windows`, for a state of ``shape``."""
    batch, _, *size = shape
    dims = len(window)
    counts = [-(-n // width) for n, width in zip(size, window, strict=True)]
    u = tokens.unflatten(2, window).unflatten(0, (batch, *counts))
    pairs = [axis for i in range(dims) for axis in (1 + i, 2 + dims + i)]
    u = u.permute(0, 1 + dims, *pairs)
    for axis, n in enumerate(size, start=2):
        u = u.flatten(axis, axis + 1).narrow(axis, 0, n)
    return u
