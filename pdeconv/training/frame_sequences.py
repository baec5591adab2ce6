"""Sequences of frames from a user's own folders: videos as pictures, radar composites, microscopy."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from pdeconv.errors import PDEConvError
from pdeconv.training.augmentation import turned_places
from pdeconv.training.data import Data
from pdeconv.training.data_config import DataConfig
from pdeconv.training.image_files import channels_of, image_size, list_images, read_image
from pdeconv.training.labelled_images import read_ahead
from pdeconv.training.randomness import uniform

BYTES_PER_GIB = 2**30


@dataclass(frozen=True)
class Reading:
    """How a file becomes a frame (C, H, W); cells without a measurement are NaN.

    Args:
        color: "gray" or "rgb".
        no_data: the number in a file that says that nothing was measured; None if all was.
        shrink: side in pixels of the squares whose means become one cell; rows and columns that fill none are left out.
    """

    color: str
    no_data: int | None
    shrink: int

    def frame(self, path: Path) -> Tensor:
        image = read_image(path, self.color, self.no_data)
        return image if self.shrink == 1 else shrunk(image, self.shrink)

    def size(self, path: Path) -> tuple[int, int]:
        height, width = image_size(path)
        return height // self.shrink, width // self.shrink


def shrunk(image: Tensor, side: int) -> Tensor:
    """Means over squares of ``side`` pixels, of what is known there; NaN where nothing is."""
    known = image.isfinite()
    share = F.avg_pool2d(known.to(image.dtype)[None], side)[0]
    return F.avg_pool2d(torch.where(known, image, 0.0)[None], side)[0] / share  # 0/0 is NaN


@dataclass(frozen=True, eq=False)
class FrameSequences:
    """A `Source` of (frames given, frames to come) cut from sequences, at every start in time.

    Args:
        sequences: each (T, C, H, W), held in memory; or the files of its frames, in order.
        lengths: T of each.
        size: height and width of all frames.
        frames: that are given.
        horizon: frames to come.
        reading: of files.
        count: of samples in one epoch, each of a random start and place; None for each start once, and whole frames.
        side: of a sample's square in pixels; None for whole frames.
        augment: whether to turn and flip a sample, by one of the eight symmetries.
        workers: processes that read files ahead.
    """

    sequences: tuple[Tensor, ...] | tuple[tuple[Path, ...], ...]
    lengths: tuple[int, ...]
    size: tuple[int, int]
    frames: int
    horizon: int
    reading: Reading
    count: int | None = None
    side: int | None = None
    augment: bool = False
    workers: int = 0
    same_size = True
    names: tuple[str, ...] = ()

    @property
    def in_memory(self) -> bool:
        return isinstance(self.sequences[0], Tensor)

    @property
    def _starts(self) -> list[int]:
        """How many windows begin in each sequence."""
        return [max(0, length - self.frames - self.horizon + 1) for length in self.lengths]

    def __len__(self) -> int:
        return sum(self._starts) if self.count is None else self.count

    def batch(self, indices: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        if self.count is None:
            windows = torch.stack([self._window(int(index)) for index in indices])
        else:
            windows = torch.stack([self._drawn(*draws) for draws in uniform(seed, indices, 4).tolist()])
        return windows[:, : self.frames], windows[:, self.frames :]

    def _window(self, start: int) -> Tensor:
        """The frames from a start, (frames + horizon, C, H, W); starts are counted through all sequences."""
        ends = list(accumulate(self._starts))
        number = next(place for place, end in enumerate(ends) if start < end)
        first = start - ends[number] + self._starts[number]
        chosen = self.sequences[number][first : first + self.frames + self.horizon]
        return chosen if isinstance(chosen, Tensor) else torch.stack([self.reading.frame(path) for path in chosen])

    def _drawn(self, start: float, row: float, column: float, symmetry: float) -> Tensor:
        window = self._window(int(start * sum(self._starts)))
        if self.side is not None:
            top, left = (int(draw * (n - self.side + 1)) for draw, n in zip((row, column), self.size, strict=True))
            window = window[..., top : top + self.side, left : left + self.side]
        if not self.augment:
            return window
        if window.shape[-2] != window.shape[-1]:
            return window.flip(-1) if symmetry < 0.5 else window
        rows, columns = turned_places(window.shape[-1], torch.tensor([int(symmetry * 8)]))
        return window[..., rows[0], columns[0]]

    def iterate(self, batches: Iterable[tuple[Tensor, int]]) -> Iterator[tuple[Tensor, Tensor]]:
        return read_ahead(self, batches, 0 if self.in_memory else self.workers)


def load_frame_sequences(config: DataConfig) -> Data:
    """Every folder below ``train`` and below ``test`` that holds images is a sequence, in the order of their names.

    Of ``root`` in place of both, the first ``train_share`` of each sequence is for training, and what comes after it is
    to be forecast in the test, from the frames before.
    """
    reading = Reading(config.color, config.no_data, config.shrink)
    if config.root is not None and config.train is None and config.test is None:
        whole = list_sequences(config.root)
        cuts = [round(config.train_share * len(paths)) for paths in whole]
        train = [paths[:cut] for paths, cut in zip(whole, cuts, strict=True)]
        test = [paths[max(0, cut - config.frames) :] for paths, cut in zip(whole, cuts, strict=True)]
    elif config.test is not None and config.root is None:
        train, test = None if config.train is None else list_sequences(config.train), list_sequences(config.test)
    else:
        raise PDEConvError(
            "the data frames needs folders: give --data.train FOLDER and --data.test FOLDER, or --data.root FOLDER of "
            "sequences whose beginnings are for training"
        )
    tested = _sequences(config, reading, "test", test)

    def training() -> FrameSequences:
        if train is None:
            raise PDEConvError("the data frames needs --data.train FOLDER to train on")
        side = config.patch_size
        source = _sequences(config, reading, "train", train, config.sequences_per_epoch, side, config.augment)
        if min(source.size) < side:
            height, width = source.size
            raise PDEConvError(
                f"data.patch_size: expected at most {min(height, width)}, as frames are of {height} × "
                f"{width} pixels, got {side}"
            )
        return source

    return Data(training, tested, channels_of(config.color), None)


def read_sequence(config: DataConfig, folder: str | Path) -> Tensor:
    """The frames of a folder, (T, C, H, W), as a network that was trained on this data expects them: 0 for no data."""
    reading = Reading(config.color, config.no_data, config.shrink)
    found = list_sequences(folder)
    if len(found) > 1:
        raise PDEConvError(f"expected the frames of one sequence in {folder}, found {len(found)} folders; give one")
    sizes = {reading.size(path) for path in found[0]}
    if len(sizes) > 1:
        raise PDEConvError(f"expected frames of one size in {folder}, got {len(sizes)} sizes; resize them")
    return torch.stack([reading.frame(path) for path in found[0]]).nan_to_num(0.0)


def list_sequences(folder: str | Path) -> list[list[Path]]:
    """The frames of each folder below ``folder``, or of itself, that holds images; frame2 comes before frame10."""
    found: dict[Path, list[Path]] = {}
    for path in list_images(folder):
        found.setdefault(path.parent, []).append(path)
    return [sorted(paths, key=lambda path: _in_order(path.name)) for _, paths in sorted(found.items())]


def _in_order(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name) if part]


def _sequences(
    config: DataConfig,
    reading: Reading,
    part: str,
    paths: Sequence[Sequence[Path]],
    count: int | None = None,
    side: int | None = None,
    augment: bool = False,
) -> FrameSequences:
    length = config.frames + config.horizon
    if max(map(len, paths)) < length:
        raise PDEConvError(
            f"data.frames and data.horizon: expected sequences of {config.frames} + {config.horizon} frames to "
            f"{part} on, the longest has {max(map(len, paths))}; take fewer frames or a shorter horizon"
        )
    sizes = {reading.size(path): path for frames in paths for path in frames}
    if len(sizes) > 1:
        (first, one), (second, other) = list(sizes.items())[:2]
        raise PDEConvError(
            f"expected frames of one size, got {first[0]} × {first[1]} in {one} and {second[0]} × {second[1]} in "
            f"{other}; resize them"
        )
    size = next(iter(sizes))
    if 0 in size:
        raise PDEConvError(f"data.shrink: {config.shrink} leaves no pixel of {part} frames; take a smaller one")
    held = sum(map(len, paths)) * size[0] * size[1] * channels_of(config.color) * 4
    if held <= config.memory_gib * BYTES_PER_GIB:
        sequences = tuple(torch.stack([reading.frame(path) for path in frames]) for frames in paths)
    else:
        sequences = tuple(tuple(frames) for frames in paths)
    lengths = tuple(map(len, paths))
    return FrameSequences(
        sequences, lengths, size, config.frames, config.horizon, reading, count, side, augment, config.workers
    )
