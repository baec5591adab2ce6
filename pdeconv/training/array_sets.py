"""Data of 1, 2 or 3 axes: arrays of one's own, a set of signals that a package ships, volumes that the run makes."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pdeconv.errors import PDEConvError
from pdeconv.image_square import Statistics
from pdeconv.training.array_files import (
    VALUES_AT_ONCE,
    Archive,
    MappedSamples,
    as_tensor,
    chunks,
    classes_of,
    labels_of,
    samples_of,
    test_part,
)
from pdeconv.training.axis_changes import ShiftAndFlipAxes
from pdeconv.training.clean_arrays import CleanArrays
from pdeconv.training.data import Data
from pdeconv.training.data_config import DataConfig
from pdeconv.training.image_sets import BYTES_PER_GIB
from pdeconv.training.labelled_images import LabelledImages, chosen_places
from pdeconv.training.solids import NOISE, SIDE, SOLIDS, TEST, TRAIN, solids

BODIES = 3  # in a volume to denoise

Values = Tensor | MappedSamples


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples of one size and their classes.

    Args:
        values: (N, C, *S) in memory, or what reads them.
        shape: (N, C, *S).
        labels: (N,), or None for denoising.
    """

    values: Values
    shape: tuple[int, ...]
    labels: Tensor | None = None

    def parts(self) -> list[Tensor]:
        """The values, some samples at a time."""
        if isinstance(self.values, MappedSamples):
            return [as_tensor(chunk) for chunk in chunks(self.values.array)]
        at_once = max(1, VALUES_AT_ONCE // math.prod(self.shape[1:]))
        return list(self.values.split(at_once))


def load_array_set(config: DataConfig, task: str) -> Data:
    """Labelled samples for classification, or clean ones for denoising.

    Values are normalised by the ``offset`` and ``scale`` of the configuration, else by what the training samples say:
    for classification the mean and the standard deviation of each channel; for denoising their least value and their
    range, so that they lie in [0, 1] (bytes: 0 and 255).

    Args:
        config: which data, from where.
        task: "classification" or "denoising".

    Raises:
        PDEConvError: the data is not where the configuration says, or not what it says.
    """
    read = {"arrays": _arrays, "solids": _solids, "trace": _trace}[config.name]
    train, test, classes = read(config, task)
    dims = len(test.shape) - 2
    _check_axes(config, dims)
    if task == "denoising":
        return _clean(config, train, test, dims)
    assert classes is not None
    return _labelled(config, train, test, classes, dims)


def _labelled(
    config: DataConfig, train: Callable[[], Samples], test: Samples, classes: tuple[str, ...], dims: int
) -> Data:
    channels, known = test.shape[1], _given(config, test.shape[1])
    first = train() if known is None else None
    statistics = _mean_and_deviation(first) if first is not None else known
    assert statistics is not None and test.labels is not None
    change = ShiftAndFlipAxes(config.shift, tuple(config.flips)) if config.augment else None

    def training() -> LabelledImages:
        samples = train() if first is None else first
        assert samples.labels is not None
        _check_same(samples, test)
        values, labels = samples.values, samples.labels
        if config.train_images is not None:
            places = chosen_places(labels, len(classes), config)
            values = values[places] if isinstance(values, Tensor) else MappedSamples(values.array, places)
            labels = labels[places]
        return LabelledImages(values, labels, 1.0, statistics, change, config.workers, config.erase)

    tested = LabelledImages(test.values, test.labels, 1.0, statistics, workers=config.workers)
    return Data(training, tested, channels, classes, dims, statistics)


def _clean(config: DataConfig, train: Callable[[], Samples], test: Samples, dims: int) -> Data:
    known = _given(config, 1)
    first = train() if known is None else None
    statistics = _range(first) if first is not None else known
    assert statistics is not None
    ((offset,), (scale,)) = statistics

    def training() -> CleanArrays:
        samples = train() if first is None else first
        _check_same(samples, test, sizes=False)
        flips = tuple(config.flips) if config.augment else ()
        side, count = config.patch_size, config.patches_per_epoch
        return CleanArrays(samples.values, samples.shape[0], offset, scale, side, count, flips, config.workers)

    tested = CleanArrays(test.values, test.shape[0], offset, scale, workers=config.workers)
    return Data(training, tested, test.shape[1], None, dims, statistics)


def _arrays(config: DataConfig, task: str) -> tuple[Callable[[], Samples], Samples, tuple[str, ...] | None]:
    archive = Archive.of(config)
    part = test_part(config, archive)

    def samples(part: str) -> Samples:
        array = samples_of(config, archive, part)
        held = array.nbytes <= config.memory_gib * BYTES_PER_GIB or not archive.path.is_dir()
        labels = labels_of(archive, part, len(array)) if task == "classification" else None
        return Samples(as_tensor(array) if held else MappedSamples(array), array.shape, labels)

    test, classes = samples(part), None
    if test.labels is not None:
        train_labels = labels_of(archive, "train", len(archive.array("train_labels")))
        classes = classes_of(train_labels, test.labels)
    return lambda: samples("train"), test, classes


def _solids(config: DataConfig, task: str) -> tuple[Callable[[], Samples], Samples, tuple[str, ...] | None]:
    """Volumes of one body and noise, to name it; or clean ones of several bodies."""
    side = SIDE if config.image_size is None else config.image_size
    if side < 4:
        raise PDEConvError(f"data.image_size: expected at least 4 cells along each axis of the solids, got {side}")

    def made(count: int, seed: int) -> Samples:
        named = task == "classification"
        bodies, noise = (1, NOISE) if named else (BODIES, 0.0)
        volumes, kinds = solids(count, seed, side, bodies, noise)
        return Samples(volumes, tuple(volumes.shape), kinds if named else None)

    return lambda: made(*TRAIN), made(*TEST), SOLIDS


def _trace(config: DataConfig, task: str) -> tuple[Callable[[], Samples], Samples, tuple[str, ...] | None]:
    """The set Trace of tslearn's wheel: 100 + 100 signals of 275 samples of a plant's instruments, in 4 classes."""
    found = importlib.util.find_spec("tslearn")  # not imported: that takes seconds
    path = None if found is None or found.origin is None else Path(found.origin).parent / ".cached_datasets/Trace.npz"
    if path is None:
        raise PDEConvError('the data trace comes with the package tslearn: pip install "pdeconv[signals]"')
    if not path.exists():
        raise PDEConvError(
            f"expected the data trace in {path}, where tslearn keeps it; install another version of tslearn"
        )
    with np.load(path, allow_pickle=False) as arrays:
        parts = {part: (arrays[f"X_{part}"], arrays[f"y_{part}"]) for part in ("train", "test")}

    def samples(part: str) -> Samples:
        signals, labels = parts[part]
        values = torch.from_numpy(signals).float().movedim(2, 1).contiguous()
        numbers = torch.from_numpy(labels).long() - 1 if task == "classification" else None
        return Samples(values, tuple(values.shape), numbers)

    return lambda: samples("train"), samples("test"), ("1", "2", "3", "4")


def _check_axes(config: DataConfig, dims: int) -> None:
    wrong = [axis for axis in config.flips if not 0 <= axis < dims]
    if wrong:
        raise PDEConvError(f"data.flips: expected spatial axes from 0 to {dims - 1}, got {wrong[0]}")


def _check_same(train: Samples, test: Samples, sizes: bool = True) -> None:
    """Classes are told from samples of one size; a denoiser takes any."""
    last = None if sizes else 2
    if train.shape[1:last] != test.shape[1:last] or len(train.shape) != len(test.shape):
        raise PDEConvError(
            f"expected training and test samples of the same {'shape' if sizes else 'channels and axes'}, got "
            f"{train.shape[1:]} and {test.shape[1:]}"
        )


def _given(config: DataConfig, channels: int) -> Statistics | None:
    """Offset and scale of the configuration, or None."""
    if config.offset is None and config.scale is None:
        return None
    offset, scale = config.offset or (), config.scale or ()
    if len(offset) != channels or len(scale) != channels or not all(value > 0 for value in scale):
        raise PDEConvError(
            f"data.offset and data.scale: expected both, of {channels} numbers each, scales above 0, got "
            f"{config.offset} and {config.scale}"
        )
    return tuple(map(float, offset)), tuple(map(float, scale))


def _mean_and_deviation(samples: Samples) -> Statistics:
    total, squares, count = 0.0, 0.0, 0
    for part in samples.parts():
        values = part.double().transpose(0, 1).flatten(1)
        total, squares, count = total + values.sum(1), squares + values.square().sum(1), count + values.shape[1]
    mean = torch.as_tensor(total) / count
    deviation = (torch.as_tensor(squares) / count - mean.square()).clamp(min=0).sqrt()
    flat = (deviation <= 1e-7 * mean.abs()).nonzero()[:, 0].tolist()
    if flat:
        raise PDEConvError(
            f"expected values that vary, got {float(mean[flat[0]]):g} throughout channel {flat[0]} of the training "
            "samples; leave that channel out"
        )
    return tuple(mean.tolist()), tuple(deviation.tolist())


def _range(samples: Samples) -> Statistics:
    if samples.parts()[0].dtype == torch.uint8:
        return (0.0,), (255.0,)
    low = min(float(part.min()) for part in samples.parts())
    high = max(float(part.max()) for part in samples.parts())
    if not low < high:
        raise PDEConvError(f"expected values that vary, got {low:g} throughout the training samples")
    return (low,), (high - low,)
