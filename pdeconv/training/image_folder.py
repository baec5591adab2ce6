"""Classification of a user's own pictures: a folder for each class below train/ and test/ (or val/)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pdeconv.errors import PDEConvError
from pdeconv.image_square import MARGIN, Statistics, resized_square
from pdeconv.training.data import Data
from pdeconv.training.data_config import DataConfig
from pdeconv.training.image_files import list_images, read_image
from pdeconv.training.image_sets import BYTES_PER_GIB
from pdeconv.training.labelled_images import (
    CenterCrop,
    LabelledImages,
    ZoomAndFlip,
    chosen_places,
)

STATISTICS: Statistics = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # of ImageNet, as torchvision's weights expect
DEFAULT_SIZE = 224
LAYOUT = "a folder for each class below train/, and the same below test/ or val/"


def cropped_size(config: DataConfig) -> int:
    """Side of the images that the network sees: image_size, 224 if it is left out."""
    size = DEFAULT_SIZE if config.image_size is None else config.image_size
    if size < 1:
        raise PDEConvError(f"expected image_size of at least 1 pixel, got {size}")
    return size


@dataclass(frozen=True)
class SquareFiles:
    """Decodes images at some indices to (B, 3, side, side) bytes: the middle square of each, resized."""

    paths: tuple[Path, ...]
    side: int

    def __call__(self, indices: Tensor) -> Tensor:
        return torch.stack([self._read(self.paths[index]) for index in indices.tolist()])

    def _read(self, path: Path) -> Tensor:
        return (resized_square(read_image(path, "rgb"), self.side) * 255).round().byte()


def load_image_folder(config: DataConfig) -> Data:
    """A user's own classes. The middle square of each picture is resized, then cropped to ``image_size``.

    A set whose squares fit into ``memory_gib`` is decoded once and held in memory as bytes; a larger one is decoded
    batch by batch, by ``workers`` processes. Training takes random parts of the squares and flips them.
    """
    if config.root is None:
        raise PDEConvError(f"the data image_folder needs a folder: give --data.root FOLDER, with {LAYOUT}")
    root = Path(config.root)
    size = cropped_size(config)
    classes = _class_folders(root / "train")
    test_folder = root / "test" if (root / "test").is_dir() else root / "val"
    unknown = sorted(set(_class_folders(test_folder)) - set(classes))
    if unknown:
        raise PDEConvError(
            f"the class {unknown[0]} is in {test_folder} but not in {root / 'train'}, which has {', '.join(classes)}; "
            "rename its folder, or add training images"
        )
    side = round(size * MARGIN)
    train_paths, train_labels = _labelled(root / "train", classes)
    places = chosen_places(torch.tensor(train_labels), len(classes), config).tolist()
    train_paths, train_labels = [train_paths[place] for place in places], [train_labels[place] for place in places]
    test_paths, test_labels = _labelled(test_folder, classes)
    bytes_each = 3 * side**2

    def source(paths: list[Path], labels: list[int], change: ZoomAndFlip | CenterCrop) -> LabelledImages:
        files = SquareFiles(tuple(paths), side)
        held = len(paths) if paths is test_paths else len(paths) + len(test_paths)
        pixels = files(torch.arange(len(paths))) if held * bytes_each <= config.memory_gib * BYTES_PER_GIB else files
        erase = 0.0 if paths is test_paths else config.erase
        return LabelledImages(pixels, torch.tensor(labels), 255.0, STATISTICS, change, config.workers, erase)

    change = ZoomAndFlip(size) if config.augment else CenterCrop(size)
    test = source(test_paths, test_labels, CenterCrop(size))
    return Data(lambda: source(train_paths, train_labels, change), test, 3, tuple(classes))


def _class_folders(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise PDEConvError(f"expected {LAYOUT}; there is no folder {folder}")
    names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not names:
        raise PDEConvError(f"expected {LAYOUT}; there is no class folder in {folder}")
    return names


def _labelled(folder: Path, classes: Sequence[str]) -> tuple[list[Path], list[int]]:
    """The images of each class, and their class numbers. A class may be missing from the test folder."""
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        if (folder / name).is_dir():
            found = list_images(folder / name)
            paths += found
            labels += [label] * len(found)
    return paths, labels
