"""Signals, images and volumes from NumPy files: an .npz, or a folder of .npy files, with MedMNIST's names."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pdeconv.errors import PDEConvError
from pdeconv.layers_by_dims import SAMPLES
from pdeconv.training.data_config import DataConfig

NAMES = "train_images and test_images (or val_images), and for classification train_labels and test_labels"
FEW = 4  # an axis of at most so many entries may well be one of colours
WIDER = {"uint16": np.int32, "uint32": np.int64, "uint64": np.float64}  # torch does not compute with these
VALUES_AT_ONCE = 1 << 22


@dataclass(frozen=True, eq=False)
class Archive:
    """The arrays of a file or a folder by name; those of a folder are mapped, not read.

    Args:
        path: of an .npz, or of a folder that holds NAME.npy files.
    """

    path: Path

    @classmethod
    def of(cls, config: DataConfig) -> Archive:
        """That of a configuration. Raises ``PDEConvError`` unless ``data.root`` is one."""
        if config.root is None:
            raise PDEConvError(f"the data arrays needs --data.root: an .npz, or a folder of .npy files, with {NAMES}")
        path = Path(config.root)
        if not path.is_dir() and not (path.is_file() and zipfile.is_zipfile(path)):
            found = "that is another file" if path.is_file() else "there is none"
            raise PDEConvError(f"data.root: expected an .npz or a folder of .npy files, got {config.root!r}; {found}")
        return cls(path)

    def names(self) -> set[str]:
        if self.path.is_dir():
            return {file.stem for file in self.path.glob("*.npy")}
        with np.load(self.path, allow_pickle=False) as arrays:
            return set(arrays.files)

    def array(self, name: str) -> NDArray:
        """One of them. Raises ``PDEConvError`` if it is not there, or holds Python objects."""
        if name not in self.names():
            known = ", ".join(sorted(self.names())) or "nothing"
            raise PDEConvError(f"expected an array {name} in {self.path}, which holds {known}; it needs {NAMES}")
        try:
            if self.path.is_dir():
                return np.load(self.path / f"{name}.npy", mmap_mode="r", allow_pickle=False)
            with np.load(self.path, allow_pickle=False) as arrays:
                return arrays[name]
        except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
            raise PDEConvError(f"{name} in {self.path} cannot be read as plain numbers: {error}") from error


def test_part(config: DataConfig, archive: Archive) -> str:
    """The part that is tested on: "test" or "val"."""
    if config.test is not None:
        if config.test not in ("test", "val"):
            raise PDEConvError(f"data.test: expected test or val for the data arrays, got {config.test!r}")
        return config.test
    return "test" if "test_images" in archive.names() else "val"


def samples_of(config: DataConfig, archive: Archive, part: str) -> NDArray:
    """The samples (N, C, *S) of a part, without a copy: mapped where the archive is a folder.

    Raises:
        PDEConvError: no real numbers, no 1 to 3 spatial axes, NaN or infinity; or the channels may be meant otherwise.
    """
    name = f"{part}_images"
    array = archive.array(name)
    if array.dtype.kind not in "uifb":
        raise PDEConvError(f"{name}: expected real numbers, got {array.dtype}; convert them first")
    shape, axis = array.shape, config.channel_axis
    spatial = array.ndim - (1 if axis is None else 2)
    if spatial not in SAMPLES or 0 in shape:
        channels = "no axis of channels" if axis is None else f"channels along axis {axis}"
        raise PDEConvError(
            f"{name}: expected (N, *S) with 1 to 3 spatial axes, or (N, C, *S) and data.channel_axis, got the shape "
            f"{shape} with {channels}"
        )
    if axis is None:
        if array.ndim > 2 and min(shape[1], shape[-1]) <= FEW:
            looks = -1 if shape[-1] <= FEW else 1
            raise PDEConvError(
                f"{name}: the shape {shape} looks like {shape[looks]} channels; if so, set data.channel_axis to {looks}"
                ", and if not, give an axis of one channel: images[:, None], with data.channel_axis 1"
            )
        array = array[:, None]
    else:
        if axis == 0 or not -array.ndim < axis < array.ndim:
            raise PDEConvError(f"data.channel_axis: expected 1 or -1 for the shape {shape}, got {axis}")
        array = np.moveaxis(array, axis, 1)
        if axis in (-1, array.ndim - 1) and array.shape[1] > FEW and shape[1] <= FEW:
            raise PDEConvError(
                f"{name}: the shape {shape} has {shape[-1]} entries along data.channel_axis {axis}, but {shape[1]}"
                " along the first; if those are the channels, set it to 1"
            )
    if array.dtype.kind == "f":
        for chunk in chunks(array):
            if not np.isfinite(chunk).all():
                raise PDEConvError(f"{name}: expected finite numbers, got NaN or infinity; fill them in first")
    return array


def labels_of(archive: Archive, part: str, count: int) -> Tensor:
    """The class numbers (N,) of a part. Raises ``PDEConvError`` unless they are whole, from 0, and one a sample."""
    name = f"{part}_labels"
    labels = archive.array(name)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.shape != (count,) or count == 0 or labels.dtype.kind not in "uib":
        raise PDEConvError(
            f"{name}: expected a whole number for each of the {count} images, ({count},) or ({count}, 1), got the "
            f"shape {labels.shape} of {labels.dtype}"
        )
    numbers = torch.from_numpy(labels.astype(np.int64))
    if int(numbers.min()) < 0:
        raise PDEConvError(f"{name}: expected class numbers from 0, got {int(numbers.min())}; renumber them")
    return numbers


def classes_of(train: Tensor, test: Tensor) -> tuple[str, ...]:
    """Their names, which are numbers. Raises ``PDEConvError`` if a class has no training sample."""
    count = int(train.max()) + 1
    missing = sorted(set(range(count)) - set(train.tolist()))
    if missing:
        raise PDEConvError(
            f"train_labels: expected samples of each class from 0 to {count - 1}, got none of {missing[0]}; renumber "
            "the classes without gaps"
        )
    if int(test.max()) >= count:
        raise PDEConvError(
            f"the test labels: expected classes from 0 to {count - 1}, those of train_labels, got {int(test.max())}"
        )
    return tuple(str(number) for number in range(count))


def chunks(array: NDArray) -> list[NDArray]:
    """Views of some samples at a time, so that passing over them needs little memory."""
    at_once = max(1, VALUES_AT_ONCE // max(1, array[0].size))
    return [array[first : first + at_once] for first in range(0, len(array), at_once)]


def as_tensor(array: NDArray) -> Tensor:
    """A copy in memory, of the same values."""
    kind = WIDER.get(array.dtype.name, array.dtype.newbyteorder("="))
    return torch.from_numpy(np.array(array, dtype=kind, order="C"))


@dataclass(frozen=True, eq=False)
class MappedSamples:
    """Reads samples at some indices from a mapped array (N, C, *S); of ``places`` alone, if they are given."""

    array: NDArray
    places: Tensor | None = None

    def __call__(self, indices: Tensor) -> Tensor:
        chosen = indices if self.places is None else self.places[indices]
        return torch.stack([as_tensor(self.array[index]) for index in chosen.tolist()])
