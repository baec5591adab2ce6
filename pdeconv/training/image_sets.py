"""Denoising on a user's own pictures: one folder to train on, one to test on."""

from collections.abc import Sequence
from pathlib import Path

import torch

from pdeconv.errors import PDEConvError
from pdeconv.training.data import Data
from pdeconv.training.data_config import DataConfig
from pdeconv.training.image_files import channels_of, image_size, list_images, read_image
from pdeconv.training.photographs import Patches, WholeImages

BYTES_PER_GIB = 2**30


def load_images(config: DataConfig) -> Data:
    """Pictures of any format and size below two folders, held in memory if they fit into ``memory_gib``.

    Otherwise they are decoded whenever a batch needs them, by ``workers`` processes.
    """
    channels = channels_of(config.color)
    if config.test is None:
        raise PDEConvError("the data images needs two folders: give --data.train FOLDER and --data.test FOLDER")
    test = list_images(config.test)
    sizes = tuple(image_size(path) for path in test)
    names = _names(test, Path(config.test))
    if _gib(sizes, channels) <= config.memory_gib:
        whole = WholeImages(tuple(read_image(path, config.color) for path in test), names)
    else:
        whole = WholeImages(tuple(test), names, config.color, config.workers, sizes)
    return Data(lambda: _patches(config, test, sizes), whole, channels, None)


def _patches(config: DataConfig, test: list[Path], test_sizes: Sequence[tuple[int, int]]) -> Patches:
    if config.train is None:
        raise PDEConvError("the data images needs two folders: give --data.train FOLDER and --data.test FOLDER")
    train = list_images(config.train)
    shared = {path.resolve() for path in train} & {path.resolve() for path in test}
    if shared:
        raise PDEConvError(
            f"{len(shared)} of the test images are training images too, {min(shared)} among them; "
            "give folders that do not overlap"
        )
    sizes = [image_size(path) for path in train]
    shape = config.patch_size, config.patches_per_epoch, config.augment
    if _gib([*sizes, *test_sizes], channels_of(config.color)) <= config.memory_gib:
        return Patches.of([read_image(path, config.color) for path in train], *shape)
    return Patches(tuple(train), torch.tensor(sizes), *shape, config.color, config.workers)


def _gib(sizes: Sequence[tuple[int, int]], channels: int) -> float:
    return sum(height * width for height, width in sizes) * channels * 4 / BYTES_PER_GIB


def _names(paths: list[Path], folder: Path) -> tuple[str, ...]:
    """Short names: without the ending, unless two images would share one."""
    short = tuple(path.relative_to(folder).with_suffix("").as_posix() for path in paths)
    return short if len(set(short)) == len(short) else tuple(path.relative_to(folder).as_posix() for path in paths)
