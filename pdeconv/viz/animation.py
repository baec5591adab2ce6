"""Animations of a state as it evolves: GIF, APNG and WebP by Pillow, MP4 by imageio."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from pdeconv.errors import PDEConvError, checked_number
from pdeconv.viz.evolution import HasTimesAndStates

KINDS = {".gif": "GIF", ".png": "PNG", ".apng": "PNG", ".webp": "WEBP", ".mp4": "MP4"}


def animate(
    trajectory: HasTimesAndStates,
    path: str | os.PathLike[str],
    example: int = 0,
    channels: Sequence[int] | None = None,
    zoom: int = 4,
    seconds: float = 3.0,
    loop: bool = True,
    columns: int | None = None,
) -> Path:
    """Write one sample as it evolves to a file; its ending chooses the format: .gif, .png (APNG), .webp or .mp4.

    A state of 1 or 3 channels is a picture of values in [0, 1]. Of others each channel is a tile, in one scale of gray
    over the whole time, so that what fades in the animation fades in the network.

    Args:
        trajectory: Times and states, all of one shape.
        path: Of the file; a folder that is missing is made.
        example: Which sample.
        channels: Which channels to show as tiles; None for a picture of 1 or 3 channels, else all.
        zoom: Pixels of the file for one cell.
        seconds: Of the whole; each frame is shown as long as its step of time lasts.
        loop: Whether it begins again, where the format can say so: an mp4 is played as its player likes.
        columns: Tiles side by side; by default about as many as rows.

    Returns:
        The path.

    Raises:
        PDEConvError: If the states differ in shape, the ending is unknown, or an mp4 is asked for without imageio.
    """
    path = Path(path)
    if path.suffix.lower() not in KINDS:
        raise PDEConvError(f"animate writes {', '.join(KINDS)}, but got {path.name!r}; choose one of these endings.")
    if not trajectory.states or any(state.shape != trajectory.states[0].shape for state in trajectory.states):
        shapes = sorted({tuple(state.shape) for state in trajectory.states})
        raise PDEConvError(f"animate needs states of one shape, but got {shapes}; give the trajectory of one Evolve.")
    if trajectory.states[0].dim() != 4:
        raise PDEConvError(f"animate needs states (B, C, H, W), but got {tuple(trajectory.states[0].shape)}.")
    states = torch.stack([state[example].detach().float().cpu() for state in trajectory.states])
    frames = _pictures(states) if channels is None and states.shape[1] in (1, 3) else _tiles(states, channels, columns)
    frames = frames.repeat(max(1, zoom), axis=1).repeat(max(1, zoom), axis=2)
    durations = _durations(trajectory.times, checked_number("animate", "seconds", seconds))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")  # ffmpeg tells the format from the ending
    try:
        if path.suffix.lower() == ".mp4":
            _write_mp4(frames, durations, partial, path)
        else:
            images = [Image.fromarray(frame) for frame in frames]
            images[0].save(
                partial,
                format=KINDS[path.suffix.lower()],
                save_all=True,
                append_images=images[1:],
                duration=durations,
                **_repeats(path, loop),
            )
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _repeats(path: Path, loop: bool) -> dict[str, int]:
    """As Pillow wants it: 0 is for ever; a gif counts repetitions, so it plays once without a number."""
    return {"loop": 0} if loop else {} if path.suffix.lower() == ".gif" else {"loop": 1}


def _pictures(states: Tensor) -> NDArray:
    """(T, C, H, W) in [0, 1] to bytes, (T, H, W) or (T, H, W, 3)."""
    pixels = (states.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    return pixels[..., 0] if pixels.shape[3] == 1 else pixels


def _tiles(states: Tensor, channels: Sequence[int] | None, columns: int | None) -> NDArray:
    """(T, C, H, W) to bytes, (T, rows·(H + 1) − 1, columns·(W + 1) − 1), a gap of one cell between tiles."""
    chosen = range(states.shape[1]) if channels is None else channels
    if not chosen or any(not 0 <= channel < states.shape[1] for channel in chosen):
        raise PDEConvError(f"animate needs channels of 0 to {states.shape[1] - 1}, but got {list(chosen)}.")
    states = states[:, list(chosen)]
    low, high = states.amin((0, 2, 3), keepdim=True), states.amax((0, 2, 3), keepdim=True)
    pixels = ((states - low) / (high - low).clamp(min=1e-12) * 255).round().byte().numpy()
    times, count, height, width = pixels.shape
    across = columns or max(1, round((count * height / width) ** 0.5))
    down = -(-count // across)
    sheet = np.full((times, down * (height + 1) - 1, across * (width + 1) - 1), 255, dtype=np.uint8)
    for place in range(count):
        top, left = place // across * (height + 1), place % across * (width + 1)
        sheet[:, top : top + height, left : left + width] = pixels[:, place]
    return sheet


def _durations(times: Tensor, seconds: float) -> list[int]:
    """Milliseconds of each frame: that of its step; the last one stays a fifth of the whole."""
    times = times.float().reshape(len(times), -1).mean(1)
    steps = times.diff()
    total = float(steps.sum())
    if len(times) == 1 or not total > 0:
        return [max(20, round(1000 * seconds / len(times)))] * len(times)
    shares = torch.cat((steps / total * 0.8, torch.tensor([0.2])))
    return [max(20, round(1000 * seconds * float(share))) for share in shares]


def _write_mp4(frames: NDArray, durations: list[int], partial: Path, path: Path) -> None:
    try:
        import imageio.v3 as imageio
    except ModuleNotFoundError as error:
        raise PDEConvError(f"{path.name} needs imageio: pip install 'imageio[ffmpeg]'; or write a .webp.") from error
    rate = 50
    counts = [max(1, lasts * rate // 1000) for lasts in durations]
    stacked = np.repeat(frames, counts, axis=0)
    stacked = stacked if stacked.ndim == 4 else np.repeat(stacked[..., None], 3, axis=3)
    height, width = stacked.shape[1:3]
    stacked = np.pad(stacked, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")  # H.264 wants even sides
    imageio.imwrite(partial, stacked, extension=".mp4", plugin="FFMPEG", fps=rate, macro_block_size=2)
