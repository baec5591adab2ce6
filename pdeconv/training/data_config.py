"""Which data a run has, and from where."""

from dataclasses import dataclass, field
from typing import Literal

from pdeconv.training.requirement import require


@dataclass
class DataConfig:
    """What a run learns from: images, signals, volumes or sequences."""

    name: Literal[
        "photographs",
        "digits",
        "cifar10",
        "cifar100",
        "mnist",
        "fashion_mnist",
        "svhn",
        "stl10",
        "image_folder",
        "images",
        "moving_digits",
        "moving_mnist",
        "frames",
        "arrays",
        "solids",
        "trace",
    ]
    """photographs, digits, moving_digits, solids (volumes) and trace (signals) need no download; image_folder: your own
    classes; images: your own pictures; frames: your own sequences; arrays: your own signals, images or volumes in NumPy
    files"""
    root: str | None = None
    """folder of a torchvision set; for image_folder the folder that holds train/ and test/ (or val/); for frames the
    folder of sequences whose beginnings are for training and whose ends are for the test; for arrays an .npz, or a
    folder of .npy files, of train_images, train_labels, test_images, test_labels (or val_…)"""
    train: str | None = None
    """images and frames: folder of the training pictures, searched recursively"""
    test: str | None = None
    """images and frames: folder of the test pictures, searched recursively; arrays: the part to test on, test or val"""
    color: Literal["gray", "rgb"] = "gray"
    """photographs, images and frames: channels of the pictures"""
    download: bool = False
    """fetch a torchvision set that is not under root"""
    image_size: int | None = None
    """image_folder: side in pixels to which pictures are resized and cropped; moving digits: side of the square;
    solids: cells along each axis"""
    patch_size: int = 64
    """photographs, images, frames, arrays, solids and trace: side in pixels of a training patch"""
    patches_per_epoch: int = 4096
    """of those but frames: training patches in one epoch"""
    augment: bool = True
    """random crops, flips and turns of the training samples, as fits the set"""
    margin: float | None = None
    """torchvision's sets: by how much a training image is mirrored beyond each edge before it is cropped at random, as
    a share of its side; left out: an eighth"""
    erase: float = 0.0
    """classification, cutout: side of a random square of each training image that is erased, as a share of its side"""
    train_images: int | None = None
    """classification: train on so many images, as many of each class as can be; left out: on all"""
    subset_seed: int = 0
    """which images those are; not the seed of the run, so that runs of several seeds may share them"""
    frames: int = 10
    """forecast: frames that are given"""
    horizon: int = 10
    """forecast: frames to come"""
    sequences_per_epoch: int = 4096
    """forecast: training sequences in one epoch"""
    test_sequences: int = 1000
    """moving_digits and moving_mnist: sequences of the test"""
    train_share: float = 0.6
    """frames below one root: share of each sequence, from its beginning, that is for training"""
    no_data: int | None = None
    """frames: the number that a file holds where nothing was measured, such as 255; left out: all was"""
    shrink: int = 1
    """frames: side in pixels of the squares whose means become one pixel"""
    memory_gib: float = 4.0
    """a set that decodes to less than this many GiB is held in memory"""
    workers: int = 0
    """processes that read images from disk; 0 reads in the training process"""
    channel_axis: int | None = None
    """arrays: the axis of the channels, 1 for (N, C, …) or -1 for (N, …, C); left out: there is none"""
    offset: list[float] | None = None
    """arrays, solids, trace: what is subtracted, a number a channel (one for denoising); left out: the mean of the
    training samples, for denoising their least value"""
    scale: list[float] | None = None
    """arrays, solids, trace: what is divided by then; left out: their standard deviation, for denoising their range"""
    shift: float = 0.0
    """arrays, solids, trace: largest shift of a training sample along each axis, as a share of its side"""
    flips: list[int] = field(default_factory=list)
    """arrays, solids, trace: spatial axes along which half of the training samples are flipped, such as [0, 1, 2]"""

    def __post_init__(self) -> None:
        require("data.patch_size", self.patch_size, self.patch_size >= 1, "1 or more")
        require("data.patches_per_epoch", self.patches_per_epoch, self.patches_per_epoch >= 1, "1 or more")
        erased = "a share of the side, 0 to 1 (0.5 is 16 of 32 pixels)"
        require("data.erase", self.erase, 0 <= self.erase <= 1, erased)
        for name in ("frames", "horizon", "sequences_per_epoch", "test_sequences", "shrink"):
            require(f"data.{name}", getattr(self, name), getattr(self, name) >= 1, "1 or more")
        require("data.train_share", self.train_share, 0 < self.train_share < 1, "between 0 and 1")
        few = self.train_images
        require("data.train_images", few, few is None or few >= 1, "1 or more")
        require("data.subset_seed", self.subset_seed, 0 <= self.subset_seed < 2**32, "a whole number below 2**32")
        require("data.memory_gib", self.memory_gib, self.memory_gib >= 0, "0 or more")
        require("data.workers", self.workers, self.workers >= 0, "0 or more")
        require("data.shift", self.shift, 0 <= self.shift < 1, "a share of the side, 0 to below 1")
        margin = self.margin
        require("data.margin", margin, margin is None or 0 <= margin < 1, "a share of the side, 0 to below 1")
