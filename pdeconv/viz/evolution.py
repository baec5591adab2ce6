"""How a state evolves in time."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from pdeconv.errors import PDEConvError
from pdeconv.viz.style import QUIET, as_pixels, montage, show_picture, styled

FEATURES = "cividis"  # one scale for colour-blind and other readers; unlike gray, it cannot be taken for a picture


class HasTimesAndStates(Protocol):
    """What ``Evolve.trajectory`` returns: times (T,) and T states (B, C, *S), whose sizes may differ."""

    @property
    def times(self) -> Tensor: ...

    @property
    def states(self) -> Sequence[Tensor]: ...


@styled
def evolution_figure(
    trajectory: HasTimesAndStates,
    example: int = 0,
    channels: int = 5,
    columns: int = 9,
    picture: Tensor | None = None,
    as_picture: bool = False,
    title: str = "",
) -> Figure:
    """The states of one sample side by side in time: a column for each time, a row for each channel.

    The channels that vary most are chosen. Each channel keeps one scale of colour as long as the state keeps its shape,
    so what fades or grows in the picture does so in the network. Of volumes the middle slice is shown, across their
    first axis; signals are drawn by :func:`signal_evolution_figure`.

    Args:
        trajectory: times and states.
        example: which sample of the batch.
        channels: how many channels to show at most.
        columns: how many times to show at most; the first and the last are always among them.
        picture: what the network was given, (C, H, W) or (C, D, H, W) with values in [0, 1], shown in front; None for
            nothing.
        as_picture: show each state as one picture with values in [0, 1], gray or RGB, instead of channel by channel.
        title: over all.
    """
    count = count_of_states(trajectory)
    if trajectory.states[0].ndim not in (4, 5):
        raise PDEConvError(
            f"expected states of shape (B, C, H, W) or (B, C, D, H, W), got {tuple(trajectory.states[0].shape)}; "
            "signals are drawn by signal_evolution_figure"
        )
    shown = evenly(count, columns)
    times = [float(trajectory.times[place]) for place in shown]
    states = [middle_slice(trajectory.states[place][example].detach().float().cpu()) for place in shown]
    picture = None if picture is None else middle_slice(picture)
    rows = [("", [as_pixels(state) for state in states])] if as_picture else _channel_rows(states, channels)

    front = 0 if picture is None else 1
    side = 1.5 if len(rows) > 1 else 2.2
    wide = states[0].shape[-1] / states[0].shape[-2]
    width = (len(shown) + front) * (side * wide + 0.06) + (0.06 if as_picture else 0.3)
    figure = montage(width, (side + 0.06) * len(rows) + 0.3, title)
    grid = figure.subplots(len(rows), len(shown) + front, squeeze=False)
    if picture is not None:
        show_picture(grid[0, 0], as_pixels(picture), "input")
        for axes in grid[1:, 0]:
            axes.set_axis_off()
    for row, (name, tiles) in enumerate(rows):
        for column, pixels in enumerate(tiles):
            axes = grid[row, column + front]
            show_picture(axes, pixels, cmap="gray" if as_picture else FEATURES)
            if row == 0:
                axes.set_title(f"t = {times[column]:.3g}", color=QUIET, pad=5)
        first = grid[row, front].transAxes
        grid[row, front].text(
            -0.03, 0.5, name, transform=first, rotation=90, ha="right", va="center", color=QUIET, fontsize=8
        )
    return figure


def count_of_states(trajectory: HasTimesAndStates) -> int:
    """How many there are. Raises ``PDEConvError`` unless there is one at least, and as many times."""
    count = len(trajectory.states)
    if count == 0 or len(trajectory.times) != count:
        raise PDEConvError(f"expected as many times as states, at least one; got {len(trajectory.times)} and {count}")
    return count


def middle_slice(state: Tensor) -> Tensor:
    """(C, H, W) of a volume (C, D, H, W), across its first axis; an image as it is."""
    return state[:, state.shape[1] // 2] if state.ndim == 4 else state


def evenly(count: int, most: int) -> list[int]:
    """At most so many of the places 0 … count − 1, evenly spaced where possible, the first and last among them."""
    stride = -(-(count - 1) // max(1, most - 1)) if count > 1 else 1
    fitting = [s for s in range(stride, 2 * stride) if (count - 1) % s == 0]
    return sorted({*range(0, count, fitting[0] if fitting else stride), count - 1})


def _channel_rows(states: Sequence[Tensor], channels: int) -> list[tuple[str, list[NDArray]]]:
    """For each chosen channel its name and its pictures in time, scaled to [0, 1]."""
    fewest = min(state.shape[0] for state in states)
    liveliness = torch.stack([_relative_spread(state[:fewest]) for state in states]).mean(0)
    chosen = sorted(liveliness.argsort(descending=True)[:channels].tolist())
    rows: list[tuple[str, list[NDArray]]] = []
    for channel in chosen:
        tiles: list[NDArray] = []
        for run in _runs_of_one_shape(states):
            values = torch.stack([state[channel] for state in run])
            low, high = np.quantile(values.numpy(), [0.005, 0.995])
            tiles += [as_pixels((frame[None] - low) / max(float(high - low), 1e-12)) for frame in values]
        rows.append((f"channel {channel}", tiles))
    return rows


def _relative_spread(state: Tensor) -> Tensor:
    """How much each channel (C, H, W) varies in space, against the channel that varies most."""
    spread = state.flatten(1).std(dim=1, correction=0).nan_to_num()
    return spread / spread.max().clamp(min=1e-12)


def _runs_of_one_shape(states: Sequence[Tensor]) -> list[list[Tensor]]:
    """The states split where their shape changes."""
    runs: list[list[Tensor]] = []
    for state in states:
        if runs and runs[-1][-1].shape == state.shape:
            runs[-1].append(state)
        else:
            runs.append([state])
    return runs
