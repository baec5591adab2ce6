"""torchvision's small data sets, held in memory as bytes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdeconv.errors import PDEConvError
from pdeconv.image_square import Statistics
from pdeconv.training.data import Data
from pdeconv.training.data_config import DataConfig
from pdeconv.training.labelled_images import LabelledImages, ShiftAndFlip, chosen_places


@dataclass(frozen=True)
class TorchvisionSet:
    """What there is to know about one of torchvision's sets.

    Args:
        dataset: name of its class in torchvision.datasets.
        folder: where it lies below root.
        size: side of its images in pixels.
        flip: whether an image flipped left to right is still one of its class.
        statistics: mean and standard deviation of each channel of the training images, of values in [0, 1].
        by_split: whether torchvision selects the part by split="train" rather than by train=True.
        classes: their names where torchvision's class does not hold them.
    """

    dataset: str
    folder: str
    size: int
    flip: bool
    statistics: Statistics
    by_split: bool = False
    classes: tuple[str, ...] | None = None


_DIGITS = tuple(str(digit) for digit in range(10))
SETS = {
    "cifar10": TorchvisionSet(
        "CIFAR10", "cifar-10-batches-py", 32, True, ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
    ),
    "cifar100": TorchvisionSet(
        "CIFAR100", "cifar-100-python", 32, True, ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762))
    ),
    "mnist": TorchvisionSet("MNIST", "MNIST/raw", 28, False, ((0.1307,), (0.3081,)), classes=_DIGITS),
    "fashion_mnist": TorchvisionSet("FashionMNIST", "FashionMNIST/raw", 28, True, ((0.2860,), (0.3530,))),
    "svhn": TorchvisionSet(
        "SVHN", ".", 32, False, ((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)), by_split=True, classes=_DIGITS
    ),
    "stl10": TorchvisionSet(
        "STL10", "stl10_binary", 96, True, ((0.4467, 0.4398, 0.4066), (0.2603, 0.2566, 0.2713)), by_split=True
    ),
}


def load_torchvision_set(config: DataConfig) -> Data:
    """CIFAR-10, CIFAR-100, MNIST, Fashion-MNIST, SVHN or STL-10 from below ``root``, fetched on ``download``."""
    chosen = SETS[config.name]
    margin = ShiftAndFlip.margin if config.margin is None else config.margin
    change = ShiftAndFlip(chosen.flip, margin) if config.augment else None
    tested = opened_set(config, config.name, train=False)

    classes = chosen.classes or tuple(tested.classes)

    def train() -> LabelledImages:
        pixels, labels = _tensors(opened_set(config, config.name, train=True))
        if config.train_images is not None:
            places = chosen_places(labels, len(classes), config)
            pixels, labels = pixels[places], labels[places]
        return LabelledImages(pixels, labels, 255.0, chosen.statistics, change, erase=config.erase)

    test = LabelledImages(*_tensors(tested), 255.0, chosen.statistics)
    return Data(train, test, len(chosen.statistics[0]), classes)


def opened_set(config: DataConfig, name: str, train: bool) -> Any:
    """torchvision's dataset called ``name``, one of ``SETS``, from below ``root``."""
    from torchvision import datasets

    chosen = SETS[name]
    if config.root is None:
        raise PDEConvError(f"the data {config.name} needs a folder to lie in: give --data.root FOLDER")
    constructor: Callable[..., Any] = getattr(datasets, chosen.dataset)
    folder = (Path(config.root) / chosen.folder).resolve()
    try:
        if chosen.by_split:
            return constructor(config.root, split="train" if train else "test", download=config.download)
        return constructor(config.root, train=train, download=config.download)
    except (RuntimeError, OSError) as error:
        if config.download:
            raise PDEConvError(f"could not fetch {chosen.dataset} into {folder}: {error}") from error
        raise PDEConvError(
            f"expected {chosen.dataset} in {folder}, where it is missing or damaged; "
            f"correct --data.root, now {config.root}, or fetch it with --data.download true"
        ) from error


def _tensors(dataset: Any) -> tuple[Tensor, Tensor]:
    """(N, C, H, W) bytes and (N,) labels, from the differing layouts of torchvision's classes."""
    pixels = torch.as_tensor(np.asarray(dataset.data))
    if pixels.ndim == 3:
        pixels = pixels[:, None]
    elif pixels.shape[-1] == 3:
        pixels = pixels.permute(0, 3, 1, 2)
    labels = dataset.targets if hasattr(dataset, "targets") else dataset.labels
    return pixels.contiguous(), torch.as_tensor(np.asarray(labels)).long()
