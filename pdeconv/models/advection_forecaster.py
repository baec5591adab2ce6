"""Frames to come as the last one carried along by learned velocities."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from pdeconv.control import Fixed
from pdeconv.errors import checked_count, checked_number, checked_type
from pdeconv.grid import Boundary
from pdeconv.interpolation import LinearInterpolation
from pdeconv.models.forecaster import Forecaster
from pdeconv.models.registry import register_model
from pdeconv.operator import per_sample
from pdeconv.recurrent import PDECell
from pdeconv.steps import Euler
from pdeconv.terms import Residual

RIDGE = 1e-4  # of the squared gradient, for patches with none


@dataclass(frozen=True)
class Carried:
    """What an :class:`AdvectionForecaster` knows between frames.

    Attributes:
        hidden: State of the recurrent cell, (B, channels, H/patch, W/patch).
        velocity: Of the layers, in multiples of ``speed``, (B, 2·layers, H/patch, W/patch).
        layers: The layers now, (B·layers, C, H, W); their sum is the forecast of the frame that comes.
        dt: The time over which they moved last.
        origin: Without a source, the layers when the last frame came.
        displacement: Without a source, how far the values at each place have moved since then, in pixels,
            (B·layers, 2, H, W).
    """

    hidden: Tensor
    velocity: Tensor
    layers: Tensor
    dt: Tensor
    origin: Tensor | None = None
    displacement: Tensor | None = None


@register_model("advection_forecaster")
class AdvectionForecaster(Forecaster[Carried]):
    """Forecasts frames by advection and reaction of layers, ∂ₜpₖ = −vₖ·∇pₖ + gₖ (cₖ − pₖ), with u = Σₖ pₖ.

    A frame u is the sum of layers pₖ, each carried by a velocity field vₖ of its own, so that things that overlap move
    each its own way. When a frame comes, what the layers do not explain of it is shared out among them, by weights that
    sum to 1, and tells how much further they moved than foreseen (the least squares of Lucas and Kanade). A recurrent
    cell (:class:`pdeconv.PDECell`) sees the layers, that surprise and the velocities, one place a patch, and says the
    velocities, the weights, and the rate gₖ and the aim cₖ of the source.

    A frame is a Lie step: transport is semi-Lagrangian, linear between pixels, and the source flows exactly,
    pₖ + (1 − e^(−dt gₖ)) (cₖ − pₖ) with cₖ in [0, 1]. |vₖ| ≤ ``speed`` along each axis, at any such velocity the step
    is safe, and between frames layers that are in [0, 1] stay there. Beyond the edge there is nothing. Without reaction
    values are looked up where they were when the last frame came, along velocities that go on mirrored at the edge, and
    so interpolated once, however far ahead: sharp, where a network that has learned the mean squared error fades what
    it is not sure of.

    Args:
        in_channels: Channels C of a frame.
        channels: Channels of the cell's state.
        layers: Layers that a frame is made of.
        patch: Side of a patch in pixels: the cell works at one place a patch.
        speed: Largest velocity along each axis, in pixels per time.
        longest: Longest time between frames.
        reaction: Whether there is a source; without, the equation is advection alone.

    Raises:
        PDEConvError: If an argument is out of range, or frames or times do not fit.

    References:
        N. Zakariaei, S. Rout, E. Haber, M. Eliasof. Advection augmented convolutional neural networks. NeurIPS 2024.
        B. D. Lucas, T. Kanade. An iterative image registration technique with an application to stereo vision. IJCAI
        1981.

    Example:
        >>> AdvectionForecaster(channels=16)(torch.rand(2, 4, 1, 16, 16), horizon=3).shape
        torch.Size([2, 3, 1, 16, 16])
    """

    def __init__(
        self,
        in_channels: int = 1,
        channels: int = 45,
        layers: int = 2,
        patch: int = 8,
        speed: float = 6.0,
        longest: float = 1.0,
        reaction: bool = True,
    ) -> None:
        super().__init__(in_channels, patch, longest)
        channels = checked_count("advection_forecaster", "channels", channels)
        self.layers = checked_count("advection_forecaster", "layers", layers)
        self.speed = checked_number("advection_forecaster", "speed", speed)
        checked_type("advection_forecaster", reaction, bool, "give reaction=True or reaction=False")
        shown, cells = in_channels * (1 + self.layers), self.patch**2
        self.embed = nn.Sequential(nn.Conv2d(shown * cells, channels, 1), nn.ReLU())
        branch = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, channels, 1))
        mixing, once = Euler(Residual(branch)), Fixed(1, unchecked=True)
        self.cell = PDECell(channels + 4 * self.layers, channels, mixing, self.longest, once)
        self.velocity = nn.Conv2d(channels, 2 * self.layers, 3, padding=1)
        self.shares = nn.Conv2d(channels, self.layers * cells, 1)
        self.source = nn.Conv2d(channels, 2 * self.layers * in_channels * cells, 1) if reaction else None
        self._begin()

    def _begin(self) -> None:
        """Begin near persistence: slow, and with hardly any source."""
        with torch.no_grad():
            self.velocity.weight.mul_(0.3)
            self.velocity.bias.zero_()  # pyright: ignore[reportOptionalMemberAccess]
            if self.source is not None:
                self.source.weight.zero_()
                self.source.bias.zero_()  # pyright: ignore[reportOptionalMemberAccess]
                self.source.bias.chunk(2)[0].fill_(-4.0)  # pyright: ignore[reportOptionalMemberAccess]

    def advance(self, frame: Tensor | None, state: Carried | None, dt: Tensor) -> tuple[Tensor, Carried]:
        if state is None:
            assert frame is not None
            state = self._at_rest(frame)
        if frame is None:
            layers, surprise = state.layers, torch.zeros_like(self._sum(state.layers))
            flow = torch.zeros_like(state.velocity)
        else:
            surprise = frame - self._sum(state.layers)
            flow = self._flow(state.layers, surprise, state.dt)
            weights = functional.pixel_shuffle(self.shares(state.hidden), self.patch).softmax(1)
            layers = state.layers + (weights[:, :, None] * surprise[:, None]).flatten(0, 1)
        hidden = self.cell(self._seen(surprise, layers, state.velocity, flow), state.hidden, dt)
        velocity = torch.tanh(self.velocity(hidden))
        cells = self._cells(velocity, dt, layers)
        if self.source is not None:
            layers = self._reacted(_carried(layers, cells, "dirichlet"), self.source(hidden), dt)
            return self._sum(layers), Carried(hidden, velocity, layers, dt)
        if frame is None:
            assert state.origin is not None and state.displacement is not None
            layers, cells = state.origin, cells + _carried(state.displacement, cells, "neumann")
        moved = _carried(layers, cells, "dirichlet")
        return self._sum(moved), Carried(hidden, velocity, moved, dt, layers, cells)

    def _at_rest(self, frame: Tensor) -> Carried:
        """Before the first frame nothing is there, and nothing moves; the cell has seen the frame, to share it out."""
        nothing = frame.new_zeros(len(frame) * self.layers, *frame.shape[1:])
        still = frame.new_zeros(len(frame), 2 * self.layers, *(n // self.patch for n in frame.shape[2:]))
        hidden = self.cell(self._seen(frame, nothing, still, still), None, min(1.0, self.longest))
        return Carried(hidden, still, nothing, frame.new_ones(()))

    def _seen(self, surprise: Tensor, layers: Tensor, velocity: Tensor, flow: Tensor) -> Tensor:
        """What the cell is shown."""
        pictures = torch.cat((surprise, layers.unflatten(0, (-1, self.layers)).flatten(1, 2)), 1)
        return torch.cat((self.embed(functional.pixel_unshuffle(pictures, self.patch)), velocity, flow), 1)

    def _cells(self, velocity: Tensor, dt: Tensor, layers: Tensor) -> Tensor:
        """dt·vₖ in pixels, (B·layers, 2, H, W): linear between patches, and never of half precision."""
        wide = torch.promote_types(layers.dtype, torch.float32)
        velocity = functional.interpolate(velocity.to(wide), scale_factor=self.patch, mode="bilinear")
        return (self.speed * per_sample(dt, velocity) * velocity).unflatten(1, (-1, 2)).flatten(0, 1)

    def _reacted(self, layers: Tensor, source: Tensor, dt: Tensor) -> Tensor:
        share, aim = functional.pixel_shuffle(source, self.patch).chunk(2, 1)
        share = -torch.expm1(per_sample(dt, share) * functional.logsigmoid(-share))
        return torch.lerp(layers, aim.sigmoid().reshape_as(layers).to(layers), share.reshape_as(layers).to(layers))

    @torch.no_grad()
    def _flow(self, layers: Tensor, surprise: Tensor, dt: Tensor) -> Tensor:
        """How much faster each layer was than foreseen, in multiples of ``speed``, (B, 2·layers, H/patch, W/patch).

        The δ of least squares of surprise + δ·∇p over 3 × 3 patches, by the time dt that it took, held within ±1.
        """
        given, wide = surprise.dtype, torch.promote_types(surprise.dtype, torch.float32)
        layers, surprise = layers.to(wide), surprise.to(wide).repeat_interleave(self.layers, 0)
        down, right = (torch.gradient(layers, dim=axis)[0] if layers.shape[axis] > 1 else 0 * layers for axis in (2, 3))
        products = (down * down, right * right, down * right, surprise * down, surprise * right)
        means = torch.stack([product.sum(1) for product in products], 1)
        means = functional.avg_pool2d(functional.avg_pool2d(means, self.patch), 3, stride=1, padding=1)
        dd, rr, dr, sd, sr = means.unbind(1)
        dd, rr = dd + RIDGE, rr + RIDGE
        delta = torch.stack((dr * sr - rr * sd, dr * sd - dd * sr), 1) / (dd * rr - dr * dr)[:, None]
        faster = delta.unflatten(0, (-1, self.layers)).flatten(1, 2) / self.speed
        return (faster / per_sample(dt.to(wide), faster)).clamp(-1, 1).to(given)

    def _sum(self, layers: Tensor) -> Tensor:
        return layers.unflatten(0, (-1, self.layers)).sum(1)


def _carried(u: Tensor, cells: Tensor, boundary: Boundary) -> Tensor:
    """u(x − cells(x)), linearly between pixels; all channels move by the same (B, 2, H, W)."""
    rows, columns = (torch.arange(n, dtype=cells.dtype, device=cells.device) for n in cells.shape[2:])
    positions = rows[:, None] - cells[:, :1], columns - cells[:, 1:]
    return LinearInterpolation()(u, positions, boundary)
