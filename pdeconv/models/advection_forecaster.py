"""Frames to come as the last one carried along by learned velocities."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from pdeconv.control import Fixed
from pdeconv.errors import checked_count, checked_number
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
        push: What the velocities are made of, (B, 2·layers, H/patch, W/patch); see ``_velocities``.
        layers: As they were when the last frame came, (B·layers, C, H, W); their sum was that frame.
        displacement: From where each layer's values came since then, in cells, (B·layers, 2, H, W).
        moved: The layers now.
        dt: The time over which they moved last.
    """

    hidden: Tensor
    push: Tensor
    layers: Tensor
    displacement: Tensor
    moved: Tensor
    dt: Tensor


@register_model("advection_forecaster")
class AdvectionForecaster(Forecaster[Carried]):
    """Forecasts frames by advection of layers, ∂ₜpₖ + vₖ·∇pₖ = 0 with u = Σₖ pₖ, and a correction.

    A frame is the sum of layers pₖ, each carried by a velocity field vₖ of its own, so that things that overlap move
    each its own way. When a frame comes, what the layers do not explain of it is shared out among them, by weights that
    sum to 1, and tells how much further they moved (the least squares of Lucas and Kanade, patch by patch). A recurrent
    cell (:class:`pdeconv.PDECell`) sees the layers, that surprise and the velocities, in patches, and says how the
    velocities change, the weights, and the correction: the forecast is (1 − g) Σₖ pₖ + g c, with g and c in [0, 1].

    Transport is semi-Lagrangian: the layers of the last frame are looked up where their values came from, along the
    velocities of all steps since, and so interpolated once, however far ahead. |vₖ| ≤ ``speed`` along each axis; any
    time between frames is safe. Nothing comes in from beyond the edge. Before any training the forecast is a nowcast by
    optical flow.

    Args:
        in_channels: Channels C of a frame.
        channels: Channels of the cell's state.
        layers: Layers that a frame is made of.
        patch: Side of a patch in pixels: the cell works at one place a patch.
        speed: Largest velocity along each axis, in pixels per time.
        longest: Longest time between frames.

    References:
        N. Zakariaei, S. Rout, E. Haber, M. Eliasof. Advection augmented convolutional neural networks. NeurIPS 2024.
        U. Germann, I. Zawadzki. Scale-dependence of the predictability of precipitation from continental radar images.
        Part I. Monthly Weather Review 130, 2002 (semi-Lagrangian extrapolation of the last frame).
        B. D. Lucas, T. Kanade. An iterative image registration technique with an application to stereo vision. IJCAI
        1981.

    Example:
        >>> AdvectionForecaster(channels=16)(torch.rand(2, 4, 1, 16, 16), horizon=3).shape
        torch.Size([2, 3, 1, 16, 16])
    """

    def __init__(
        self,
        in_channels: int = 1,
        channels: int = 48,
        layers: int = 2,
        patch: int = 8,
        speed: float = 6.0,
        longest: float = 1.0,
    ) -> None:
        super().__init__(in_channels, patch)
        channels = checked_count("advection_forecaster", "channels", channels)
        self.layers = checked_count("advection_forecaster", "layers", layers)
        self.speed = checked_number("advection_forecaster", "speed", speed)
        shown, cells = in_channels * (1 + self.layers), self.patch**2
        self.embed = nn.Sequential(nn.Conv2d(shown * cells, channels, 1), nn.ReLU())
        branch = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, channels, 1))
        mixing, once = Euler(Residual(branch)), Fixed(1, unchecked=True)
        self.cell = PDECell(channels + 4 * self.layers, channels, mixing, longest, once)
        self.change = nn.Conv2d(channels, 2 * self.layers, 3, padding=1)
        self.trust = nn.Parameter(torch.tensor(0.8))
        self.shares = nn.Conv2d(channels, self.layers * cells, 1)
        self.correction = nn.Conv2d(channels, 2 * in_channels * cells, 1)
        self._begin()

    def _begin(self) -> None:
        """Begin with hardly any change of velocities but by optical flow, and hardly any correction."""
        with torch.no_grad():
            self.change.weight.mul_(0.1)
            nn.init.zeros_(self.correction.weight)
            for bias in (self.change.bias, self.correction.bias):
                assert bias is not None
                nn.init.zeros_(bias)
            gate, _ = self.correction.bias.chunk(2)  # pyright: ignore[reportOptionalMemberAccess]
            gate.fill_(-4.0)

    def advance(self, frame: Tensor | None, state: Carried | None, dt: Tensor) -> tuple[Tensor, Carried]:
        if state is None:
            assert frame is not None
            state = self._at_rest(frame)
        if frame is None:
            layers, moved, displacement = state.layers, state.moved, state.displacement
            surprise, flow = torch.zeros_like(self._sum(moved)), torch.zeros_like(state.push)
        else:
            surprise = frame - self._sum(state.moved)
            flow = self._flow(state.moved, surprise) / per_sample(state.dt, state.push).clamp(min=1e-6)
            weights = functional.pixel_shuffle(self.shares(state.hidden), self.patch).softmax(1)
            layers = moved = state.moved + (weights[:, :, None] * surprise[:, None]).flatten(0, 1)
            displacement = None
        shown = torch.cat((surprise, moved.unflatten(0, (-1, self.layers)).flatten(1, 2)), 1)
        seen = self.embed(functional.pixel_unshuffle(shown, self.patch))
        hidden = self.cell(torch.cat((seen, state.push, flow), 1), state.hidden, dt)
        push = state.push + self.trust * flow + self.change(hidden)
        step = (per_sample(dt, push)[..., None] if dt.dim() else dt) * self._velocities(push)
        step = step.flatten(0, 1)
        displacement = step if displacement is None else step + _carried(displacement, step, "neumann")
        moved = _carried(layers, displacement, "dirichlet")
        gate, colour = functional.pixel_shuffle(self.correction(hidden), self.patch).sigmoid().chunk(2, 1)
        forecast = torch.lerp(self._sum(moved), colour, gate)
        return forecast, Carried(hidden, push, layers, displacement, moved, dt)

    def _at_rest(self, frame: Tensor) -> Carried:
        """Before the first frame there is nothing, and nothing moves; what the cell would say of it shares it out."""
        height, width = (n // self.patch for n in frame.shape[2:])
        nothing = frame.new_zeros(len(frame) * self.layers, *frame.shape[1:])
        push = frame.new_zeros(len(frame), 2 * self.layers, height, width)
        shown = torch.cat((frame, frame.new_zeros(len(frame), self.layers * frame.shape[1], *frame.shape[2:])), 1)
        seen = self.embed(functional.pixel_unshuffle(shown, self.patch))
        hidden = self.cell(torch.cat((seen, push, push), 1), None, min(1.0, self.cell.longest))
        return Carried(
            hidden, push, nothing, frame.new_zeros(len(nothing), 2, *frame.shape[2:]), nothing, frame.new_ones(())
        )

    def _velocities(self, push: Tensor) -> Tensor:
        """v = speed · tanh(push), in pixels per time, (B, layers, 2, H, W), linear between patches."""
        velocity = functional.interpolate(torch.tanh(push), scale_factor=self.patch, mode="bilinear")
        return self.speed * velocity.unflatten(1, (-1, 2))

    @torch.no_grad()
    def _flow(self, moved: Tensor, surprise: Tensor) -> Tensor:
        """How much further each layer went than foreseen, in multiples of ``speed``, (B, 2·layers, H/patch, W/patch).

        The displacement δ of least squares of surprise + δ·∇p over 3 × 3 patches, which is held within ``speed``.
        """
        surprise = surprise.repeat_interleave(self.layers, 0)
        down, right = (torch.gradient(moved, dim=axis)[0] if moved.shape[axis] > 1 else 0 * moved for axis in (2, 3))
        products = (down * down, right * right, down * right, surprise * down, surprise * right)
        means = torch.stack([product.sum(1) for product in products], 1)
        means = functional.avg_pool2d(functional.avg_pool2d(means, self.patch), 3, stride=1, padding=1)
        dd, rr, dr, sd, sr = means.unbind(1)
        dd, rr = dd + RIDGE, rr + RIDGE
        determinant = dd * rr - dr * dr
        delta = torch.stack(((dr * sr - rr * sd) / determinant, (dr * sd - dd * sr) / determinant), 1)
        return (delta / self.speed).clamp(-1, 1).unflatten(0, (-1, self.layers)).flatten(1, 2)

    def _sum(self, layers: Tensor) -> Tensor:
        return layers.unflatten(0, (-1, self.layers)).sum(1)


def _carried(u: Tensor, displacement: Tensor, boundary: Boundary) -> Tensor:
    """u(x − displacement(x)), linearly between cells; the displacement (B, 2, H, W) is shared by all channels."""
    rows, columns = (torch.arange(n, dtype=displacement.dtype, device=u.device) for n in u.shape[2:])
    positions = rows[:, None] - displacement[:, :1], columns - displacement[:, 1:]
    return LinearInterpolation()(u, positions, boundary)
