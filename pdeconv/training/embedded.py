"""Data that needs no download: it ships inside scikit-image and scikit-learn."""

from importlib.resources import as_file, files

import torch

from pdeconv.image_square import Statistics
from pdeconv.training.data import Data
from pdeconv.training.data_config import DataConfig
from pdeconv.training.image_files import channels_of, read_image
from pdeconv.training.labelled_images import Jitter, LabelledImages, chosen_places
from pdeconv.training.photographs import Patches, WholeImages

_SKIMAGE, _SKLEARN = "skimage.data", "sklearn.datasets.images"
TRAIN_PHOTOGRAPHS = (
    (_SKIMAGE, "astronaut.png"),
    (_SKIMAGE, "chelsea.png"),
    (_SKIMAGE, "rocket.jpg"),
    (_SKIMAGE, "motorcycle_left.png"),
    (_SKIMAGE, "brick.png"),
    (_SKIMAGE, "gravel.png"),
    (_SKIMAGE, "moon.png"),
    (_SKLEARN, "china.jpg"),
    (_SKLEARN, "flower.jpg"),
)
TEST_PHOTOGRAPHS = ((_SKIMAGE, "camera.png"), (_SKIMAGE, "coins.png"), (_SKIMAGE, "coffee.png"))
DIGITS_SIZE = 8
DIGITS_STATISTICS: Statistics = ((0.3054,), (0.3761,))


def load_photographs(config: DataConfig) -> Data:
    """Photographs for denoising from the scikit-image and scikit-learn wheels: train and test share none.

    The test images are camera, coins and coffee. Gray images become RGB by repetition.
    """
    channels = channels_of(config.color)

    def train() -> Patches:
        images = [_packaged_image(package, name, config.color) for package, name in TRAIN_PHOTOGRAPHS]
        return Patches.of(images, config.patch_size, config.patches_per_epoch, config.augment)

    test = [_packaged_image(package, name, config.color) for package, name in TEST_PHOTOGRAPHS]
    names = tuple(name.split(".")[0] for _, name in TEST_PHOTOGRAPHS)
    return Data(train, WholeImages(tuple(test), names), channels, classes=None)


def _packaged_image(package: str, name: str, color: str) -> torch.Tensor:
    with as_file(files(package) / name) as path:
        return read_image(path, color)


def load_digits(config: DataConfig) -> Data:
    """scikit-learn's 1797 handwritten digits of 8 × 8 pixels; a fixed fifth of every class is the test set."""
    train, test, train_labels, test_labels = split_digits()
    change = Jitter() if config.augment else None

    def training() -> LabelledImages:
        places = chosen_places(train_labels.long(), 10, config)
        images, names = train[places].byte(), train_labels[places].long()
        return LabelledImages(images, names, 16.0, DIGITS_STATISTICS, change, erase=config.erase)

    return Data(
        training,
        LabelledImages(test.byte(), test_labels.long(), 16.0, DIGITS_STATISTICS),
        channels=1,
        classes=tuple(str(digit) for digit in range(10)),
    )


def split_digits() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """scikit-learn's digits to train on and to test on, (N, 1, 8, 8) with values from 0 to 16, and their labels."""
    from sklearn.datasets import load_digits as load
    from sklearn.model_selection import train_test_split

    pixels, labels = load(return_X_y=True)
    parts = train_test_split(pixels.reshape(-1, 1, 8, 8), labels, test_size=0.2, stratify=labels, random_state=0)
    train, test, train_labels, test_labels = (torch.from_numpy(part) for part in parts)
    return train, test, train_labels, test_labels
