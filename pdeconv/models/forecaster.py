"""What every forecaster shares: frames in, frames out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from pdeconv.errors import PDEConvError, checked_count, checked_number, checked_type

State = TypeVar("State")


class Forecaster(nn.Module, ABC, Generic[State]):
    """A network that is given frames one by one, and says the next one each time; then it goes on alone.

    A model of this family says in ``advance`` what happens from one frame to the next. Frames of any size are continued
    by zeros to a multiple of ``patch``.

    Args:
        in_channels: Channels C of a frame.
        patch: Side in pixels of the squares into which the network divides a frame.
        longest: Longest time between frames.
    """

    def __init__(self, in_channels: int, patch: int, longest: float = 1.0) -> None:
        super().__init__()
        self.longest = checked_number(type(self).__name__, "longest", longest)
        self.in_channels = checked_count(type(self).__name__, "in_channels", in_channels)
        self.patch = checked_count(type(self).__name__, "patch", patch)

    @abstractmethod
    def advance(self, frame: Tensor | None, state: State | None, dt: Tensor) -> tuple[Tensor, State]:
        """The forecast of the next frame, (B, C, H, W) with sides that are multiples of ``patch``, and the next state.

        Args:
            frame: (B, C, H, W) of the same size; None where it has not come, and the last forecast has to do.
            state: None before the first frame.
            dt: Time from this frame to the next, () or (B,).
        """

    def forward(
        self, frames: Tensor, horizon: int = 10, times: Tensor | None = None, all_frames: bool = False
    ) -> Tensor:
        """The frames to come, (B, horizon, C, H, W).

        Args:
            frames: (B, T, C, H, W), those that are given.
            horizon: How many to forecast.
            times: (T + horizon,) or (B, T + horizon), when the frames are, rising by at most ``longest``; None for one
                unit of time between them. They are looked at where they are: best give them on the CPU.
            all_frames: Also the forecasts of the given frames after the first, each from those before it:
                (B, T − 1 + horizon, C, H, W).
        """
        name = type(self).__name__
        horizon = checked_count(name, "horizon", horizon)
        checked_type(name, frames, Tensor, "stack frames by torch.stack(frames, 1)")
        if frames.dim() != 5 or frames.shape[2] != self.in_channels or 0 in frames.shape[1:]:
            raise PDEConvError(
                f"{name} needs frames (B, T, {self.in_channels}, H, W), but got shape {tuple(frames.shape)}."
            )
        if not frames.is_floating_point():
            raise PDEConvError(f"{name} needs floating-point frames, but got {frames.dtype}; convert them by .float().")
        count, (height, width) = frames.shape[1], frames.shape[3:]
        lengths = self._lengths(times, frames, count + horizon)
        frames = functional.pad(frames, (0, -width % self.patch, 0, -height % self.patch))
        forecasts, state = [], None
        for index in range(count + horizon - 1):
            frame = frames[:, index] if index < count else None
            forecast, state = self.advance(frame, state, lengths[index])
            if all_frames or index >= count - 1:
                forecasts.append(forecast)
        return torch.stack(forecasts, 1)[..., :height, :width]

    def _lengths(self, times: Tensor | None, frames: Tensor, count: int) -> list[Tensor]:
        """The times between frames, each () or (B,)."""
        if times is None:
            return [frames.new_ones(())] * (count - 1)
        checked_type(type(self).__name__, times, Tensor, "give them as torch.tensor(times)")
        if times.shape not in ((count,), (len(frames), count)):
            raise PDEConvError(
                f"{type(self).__name__} needs the times of all {count} frames, given and to come, of shape ({count},) "
                f"or ({len(frames)}, {count}), but got {tuple(times.shape)}."
            )
        lengths = times.diff(dim=-1)
        if not bool(((lengths > 0) & (lengths <= self.longest)).all()):
            raise PDEConvError(
                f"{type(self).__name__} needs times that rise by at most longest={self.longest:g}, but got "
                f"{times.tolist()}; build it with a larger longest."
            )
        return list(lengths.to(frames).unbind(-1))
