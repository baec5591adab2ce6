"""The data of a training run, whatever it comes from: a training source, a test source, and what they hold."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from torch import Tensor

from pdeconv.errors import PDEConvError
from pdeconv.image_square import Statistics, prepared_image
from pdeconv.training.data_config import DataConfig

PICTURE_SETS = ("photographs", "images")
ARRAYS_IN_PYTHON = "docs/volumes_and_signals.md"
ARRAY_SETS = ("arrays", "solids", "trace")
SEQUENCE_SETS = ("moving_digits", "moving_mnist", "frames")
TORCHVISION_SETS = ("cifar10", "cifar100", "mnist", "fashion_mnist", "svhn", "stl10")


class Source(Protocol):
    """Samples by index. What a sample is depends on (seed, its index) alone, never on the rest of its batch."""

    @property
    def in_memory(self) -> bool:
        """Whether the samples come from tensors already held in memory."""
        ...

    @property
    def same_size(self) -> bool:
        """Whether all samples share one size; if not, ask for one index at a time."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """A name for each sample where samples have one (test images of denoising); otherwise empty."""
        ...

    def __len__(self) -> int:
        """Samples in one epoch."""
        ...

    def batch(self, indices: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """(input, target): (image, label) for classification; for pictures the clean image, twice; for sequences the
        frames given and the frames to come, (B, T, C, H, W), NaN where nothing was measured."""
        ...

    def iterate(self, batches: Iterable[tuple[Tensor, int]]) -> Iterator[tuple[Tensor, Tensor]]:
        """``batch(indices, seed)`` for each pair, in order; read ahead by worker processes where that helps."""
        ...


@dataclass(frozen=True)
class Data:
    """What a run trains and tests on.

    Args:
        load_train: gives the training source; called once, when ``train`` is first asked for: measuring needs none.
        test: the test source.
        channels: of the images.
        classes: names of the classes, or None for pictures.
        dims: spatial axes: 1 for signals, 2 for images, 3 for volumes.
        statistics: offset and scale by which values were normalised, where the training samples say them.
    """

    load_train: Callable[[], Source]
    test: Source
    channels: int
    classes: tuple[str, ...] | None
    dims: int = 2
    statistics: Statistics | None = None

    @cached_property
    def train(self) -> Source:
        return self.load_train()


def load_data(config: DataConfig, task: str, seed: int) -> Data:
    """Load the data that a configuration names.

    Args:
        config: which data, from where.
        task: as of the configuration.
        seed: of the run. No split depends on it: training and test images are the same in every run.

    Raises:
        PDEConvError: the data does not fit the task, or is not where the configuration says.
    """
    fitting = _fitting(task)
    if config.name not in fitting:
        raise PDEConvError(f"the data {config.name} is not for {task}, which takes {', '.join(fitting)}")
    given = [key for key, value in (("erase", config.erase), ("train_images", config.train_images)) if value]
    if task != "classification" and given:
        raise PDEConvError(f"data.{given[0]} is for classification, the task is {task}; leave it out")
    takers = dict.fromkeys(("flips", "shift", "offset", "scale", "channel_axis"), ARRAY_SETS)
    for key, names in (takers | {"margin": TORCHVISION_SETS}).items():
        if getattr(config, key) != getattr(DataConfig(config.name), key) and config.name not in names:
            raise PDEConvError(f"data.{key} is for {', '.join(names)}, the data is {config.name}; leave it out")
    if config.name in ARRAY_SETS:
        from pdeconv.training.array_sets import load_array_set

        return load_array_set(config, task)
    if config.name == "moving_digits":
        from pdeconv.training.moving_digits import load_moving_digits

        return load_moving_digits(config)
    if config.name == "moving_mnist":
        from pdeconv.training.moving_digits import load_moving_mnist

        return load_moving_mnist(config)
    if config.name == "frames":
        from pdeconv.training.frame_sequences import load_frame_sequences

        return load_frame_sequences(config)
    if config.name == "photographs":
        from pdeconv.training.embedded import load_photographs

        return load_photographs(config)
    if config.name == "images":
        from pdeconv.training.image_sets import load_images

        return load_images(config)
    if config.name == "digits":
        from pdeconv.training.embedded import load_digits

        return load_digits(config)
    if config.name == "image_folder":
        from pdeconv.training.image_folder import load_image_folder

        return load_image_folder(config)
    from pdeconv.training.torchvision_sets import load_torchvision_set

    return load_torchvision_set(config)


def _fitting(task: str) -> tuple[str, ...]:
    """The names of the data for a task."""
    if task == "classification":
        return ("digits", "image_folder", *TORCHVISION_SETS, *ARRAY_SETS)
    if task == "denoising":
        return (*PICTURE_SETS, *ARRAY_SETS)
    return SEQUENCE_SETS if task == "forecast" else PICTURE_SETS


def classifier_input(config: DataConfig, image: Tensor) -> Tensor:
    """One image as a network trained on this data expects it: its size, colour and normalisation.

    Args:
        config: the data that the network was trained on; nothing is loaded.
        image: (3, H, W) with values in [0, 1], as ``read_image(path, "rgb")`` gives it.

    Returns:
        (1, C, h, w).
    """
    return prepared_image(image, *classifier_format(config))


def classifier_format(config: DataConfig) -> tuple[int, Statistics, bool]:
    """What a network trained on this data is given: the side of its images, the statistics by which they are
    normalised, and whether they are the middle of a resized square rather than all of it.
    """
    if config.name == "digits":
        from pdeconv.training.embedded import DIGITS_SIZE, DIGITS_STATISTICS

        return DIGITS_SIZE, DIGITS_STATISTICS, False
    if config.name == "image_folder":
        from pdeconv.training.image_folder import STATISTICS, cropped_size

        return cropped_size(config), STATISTICS, True
    if config.name in TORCHVISION_SETS:
        from pdeconv.training.torchvision_sets import SETS

        return SETS[config.name].size, SETS[config.name].statistics, False
    if config.name in ARRAY_SETS:
        raise PDEConvError(f"the data {config.name} is not of pictures; give arrays to the network: {ARRAYS_IN_PYTHON}")
    raise PDEConvError(f"the data {config.name} has no classes")
