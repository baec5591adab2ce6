"""Sequences of frames from a user's own folders: videos as pictures, radar composites, microscopy."""

import re
import warnings
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
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
from pdeconv.training.image_sets import BYTES_PER_GIB
from pdeconv.training.labelled_images import read_ahead
from pdeconv.training.randomness import uniform


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
        count: of samples in one epoch, squares of a random start and place; None for each start once, and whole frames.
        side: of a sample's square in pixels.
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
    side: int = 1
    augment: bool = False
    workers: int = 0
    same_size = True
    names: tuple[str, ...] = ()

    @property
    def in_memory(self) -> bool:
        return isinstance(self.sequences[0], Tensor)

    @cached_property
    def _ends(self) -> list[int]:
        """How many starts there are up to the end of each sequence."""
        return list(accumulate(max(0, length - self.frames - self.horizon + 1) for length in self.lengths))

    def __len__(self) -> int:
        return self._ends[-1] if self.count is None else self.count

    def batch(self, indices: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        if self.count is None:
            windows = torch.stack([self._window(int(index)) for index in indices])
        else:
            windows = torch.stack([self._drawn(*draws) for draws in uniform(seed, indices, 4).tolist()])
        return windows[:, : self.frames], windows[:, self.frames :]

    def _window(self, start: int) -> Tensor:
        """The frames from a start, (frames + horizon, C, H, W); starts are counted through all sequences."""
        number = bisect_right(self._ends, start)
        first = start - (self._ends[number - 1] if number else 0)
        chosen = self.sequences[number][first : first + self.frames + self.horizon]
        return chosen if isinstance(chosen, Tensor) else torch.stack([self.reading.frame(path) for path in chosen])

    def _drawn(self, start: float, row: float, column: float, symmetry: float) -> Tensor:
        window = self._window(int(start * self._ends[-1]))
        top, left = (int(draw * (n - self.side + 1)) for draw, n in zip((row, column), self.size, strict=True))
        window = window[..., top : top + self.side, left : left + self.side]
        if not self.augment:
            return window
        rows, columns = turned_places(self.side, torch.tensor([int(symmetry * 8)]))
        return window[..., rows[0], columns[0]]

    def iterate(self, batches: Iterable[tuple[Tensor, int]]) -> Iterator[tuple[Tensor, Tensor]]:
        return read_ahead(self, batches, 0 if self.in_memory else self.workers)


def load_frame_sequences(config: DataConfig) -> Data:
    """Every folder below ``train`` and below ``test`` that holds images is a sequence, in the order of their names.

    Of ``root`` in place of both, the first ``train_share`` of each sequence is for training, and what comes after it is
    to be forecast in the test, from the frames before.
    """
    length = config.frames + config.horizon
    if config.root is not None and config.train is None and config.test is None:
        whole = list_sequences(config.root)
        cuts = [round(config.train_share * len(paths)) for paths in whole]
        beginnings = [paths[:cut] for paths, cut in zip(whole, cuts, strict=True)]
        test = [paths[max(0, cut - config.frames) :] for paths, cut in zip(whole, cuts, strict=True)]
    elif config.test is not None and config.root is None:
        beginnings, test = None, list_sequences(config.test)
    else:
        raise PDEConvError(
            "the data frames needs folders: give --data.train FOLDER and --data.test FOLDER, or --data.root FOLDER of "
            "sequences whose beginnings are for training"
        )
    test = _long_enough(test, length, "test")

    def training() -> FrameSequences:
        train = _long_enough(_trained_on(config, test) if beginnings is None else beginnings, length, "train")
        source = _sequences(config, train, config.sequences_per_epoch)
        height, width = source.size
        if min(height, width) < config.patch_size:
            raise PDEConvError(
                f"data.patch_size: expected at most {min(height, width)}, as frames are of {height} × {width} pixels, "
                f"got {config.patch_size}"
            )
        return source

    return Data(training, _sequences(config, test, None), channels_of(config.color), None)


def _trained_on(config: DataConfig, test: Sequence[Sequence[Path]]) -> list[list[Path]]:
    """The sequences below ``train``, none of which is for the test."""
    if config.train is None:
        raise PDEConvError("the data frames needs --data.train FOLDER to train on")
    train = list_sequences(config.train)
    shared = {path.resolve() for paths in train for path in paths} & {
        path.resolve() for paths in test for path in paths
    }
    if shared:
        raise PDEConvError(
            f"{len(shared)} of the test frames are training frames too, {min(shared)} among them; give folders that do "
            "not overlap"
        )
    return train


def _long_enough(sequences: Sequence[list[Path]], length: int, part: str) -> list[list[Path]]:
    """The sequences of ``length`` frames or more; says how many are left out."""
    long = [paths for paths in sequences if len(paths) >= length]
    if not long:
        raise PDEConvError(
            f"expected sequences of data.frames + data.horizon = {length} frames to {part} on, the longest has "
            f"{max(map(len, sequences))}; take fewer, or change data.train_share"
        )
    if len(long) < len(sequences):
        left = len(sequences) - len(long)
        warnings.warn(f"{left} of {len(sequences)} sequences to {part} on have less than {length} frames", stacklevel=2)
    return long


def read_sequence(config: DataConfig, folder: str | Path) -> Tensor:
    """The last frames of a folder, (frames, C, H, W), as a network expects them that was trained on this data: 0 for no
    data.
    """
    found = list_sequences(folder)
    if len(found) > 1:
        raise PDEConvError(f"expected the frames of one sequence in {folder}, found {len(found)} folders; give one")
    last, reading = found[0][-config.frames :], _reading(config)
    _size(reading, last)
    return torch.stack([reading.frame(path) for path in last]).nan_to_num(0.0)


def list_sequences(folder: str | Path) -> list[list[Path]]:
    """The frames of each folder below ``folder``, or of itself, that holds images; frame2 comes before frame10."""
    found: dict[Path, list[Path]] = {}
    for path in list_images(folder):
        found.setdefault(path.parent, []).append(path)
    return [sorted(paths, key=lambda path: _in_order(path.name)) for _, paths in sorted(found.items())]


def _in_order(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name) if part]


def _reading(config: DataConfig) -> Reading:
    return Reading(config.color, config.no_data, config.shrink)


def _size(reading: Reading, paths: Iterable[Path]) -> tuple[int, int]:
    """The size that all frames have."""
    sizes = {reading.size(path): path for path in paths}
    if len(sizes) > 1:
        (first, one), (second, other) = list(sizes.items())[:2]
        raise PDEConvError(
            f"expected frames of one size, got {first[0]} × {first[1]} in {one} and {second[0]} × {second[1]} in "
            f"{other}; resize them"
        )
    ((size, path),) = sizes.items()
    if 0 in size:
        raise PDEConvError(f"data.shrink: {reading.shrink} leaves no pixel of {path}; take a smaller one")
    return size


def _sequences(config: DataConfig, paths: Sequence[Sequence[Path]], count: int | None) -> FrameSequences:
    """A source of ``count`` squares in an epoch; with None, of whole frames."""
    reading = _reading(config)
    size = _size(reading, (path for frames in paths for path in frames))
    held = sum(map(len, paths)) * size[0] * size[1] * channels_of(config.color) * 4
    if held <= config.memory_gib * BYTES_PER_GIB:
        sequences = tuple(torch.stack([reading.frame(path) for path in frames]) for frames in paths)
    else:
        sequences = tuple(tuple(frames) for frames in paths)
    window = sequences, tuple(map(len, paths)), size, config.frames, config.horizon, reading
    return FrameSequences(*window, count, config.patch_size, config.augment, config.workers)
