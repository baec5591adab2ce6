"""What a training run is made of: typed dataclasses, read from YAML and the command line.

The text under each field is what ``python train.py --help`` shows for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from itertools import accumulate, pairwise
from typing import Any, Literal

from pdeconv.errors import PDEConvError


@dataclass
class ModelConfig:
    """The network. An option that is left out keeps the default of the model; one that it lacks is an error."""

    name: str
    """name of a registered model; pdeconv.list_models() lists them"""
    source: str | None = None
    """your own Python file, or module, that registers the model: @pdeconv.register_model(name)"""
    channels: int | None = None
    """width of the network"""
    depth: int | None = None
    """number of blocks"""
    widths: list[int] | None = None
    """channels of each stage of a classifier, such as [32, 64]"""
    depths: list[int] | None = None
    """blocks of each stage of a classifier, such as [1, 2]"""
    stem_width: int | None = None
    """channels before the first stage of a classifier"""
    steps: int | None = None
    """time steps of each evolution"""
    kernel_size: int | None = None
    """side of the learned kernels in pixels"""
    centres: int | None = None
    """Gaussians of each influence function of a reaction–diffusion denoiser"""
    expansion: int | None = None
    """width within a block, in multiples of the network's"""
    memory: Literal["store", "checkpoint", "reversible"] | None = None
    """what backward needs of the steps is kept, computed again, or undone (docs/memory.md); but for store, batch
    normalisation counts each batch twice"""
    dims: int | None = None
    """spatial axes of the data: 1 for signals, 2 for images (the default), 3 for volumes"""
    layers: int | None = None
    """layers of a frame that a forecaster carries, each by a velocity of its own"""
    patch: int | None = None
    """side in pixels of the patches into which a forecaster divides a frame"""
    speed: float | None = None
    """largest velocity of a forecaster in pixels a frame, along each axis"""
    reaction: bool | None = None
    """whether the equation of a forecaster has a reaction beside advection"""

    def options(self) -> dict[str, Any]:
        """The options that were given."""
        given = {option.name: getattr(self, option.name) for option in fields(self)}
        given = {name: value for name, value in given.items() if name not in ("name", "source")}
        return {name: value for name, value in given.items() if value is not None}


@dataclass
class DataConfig:
    """The images."""

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
        _require("data.patch_size", self.patch_size, self.patch_size >= 1, "1 or more")
        _require("data.patches_per_epoch", self.patches_per_epoch, self.patches_per_epoch >= 1, "1 or more")
        erased = "a share of the side, 0 to 1 (0.5 is 16 of 32 pixels)"
        _require("data.erase", self.erase, 0 <= self.erase <= 1, erased)
        for name in ("frames", "horizon", "sequences_per_epoch", "test_sequences", "shrink"):
            _require(f"data.{name}", getattr(self, name), getattr(self, name) >= 1, "1 or more")
        _require("data.train_share", self.train_share, 0 < self.train_share < 1, "between 0 and 1")
        few = self.train_images
        _require("data.train_images", few, few is None or few >= 1, "1 or more")
        _require("data.subset_seed", self.subset_seed, 0 <= self.subset_seed < 2**32, "a whole number below 2**32")
        _require("data.memory_gib", self.memory_gib, self.memory_gib >= 0, "0 or more")
        _require("data.workers", self.workers, self.workers >= 0, "0 or more")
        _require("data.shift", self.shift, 0 <= self.shift < 1, "a share of the side, 0 to below 1")


@dataclass
class ClassificationConfig:
    """Only read when task is classification."""

    label_smoothing: float = 0.0
    """share of the target spread evenly over the classes, 0 to below 1"""
    mixup: float = 0.0
    """parameter of mixup's beta distribution; 0 mixes nothing"""

    def __post_init__(self) -> None:
        smoothing = self.label_smoothing
        _require("classification.label_smoothing", smoothing, 0 <= smoothing < 1, "0 to below 1")
        _require("classification.mixup", self.mixup, self.mixup >= 0, "0 or more")


@dataclass
class DenoisingConfig:
    """Only read when task is denoising."""

    sigma: float | tuple[float, float] = 25.0
    """standard deviation of the training noise in 8-bit units (25 means 25/255), or a range [low, high]"""
    test_sigma: float | list[float] | None = None
    """noise levels of the test; left out: sigma, or the ends and the middle of its range"""
    noise: Literal["gaussian", "poisson_gaussian"] = "gaussian"
    """poisson_gaussian: a camera's, of variance gain·u + sigma²; the network is told the level at each pixel"""
    gain: float | tuple[float, float] = 0.01
    """poisson_gaussian: gain in training, or a range [low, high]; 1/gain is how many electrons make white"""
    test_gain: float | list[float] | None = None
    """poisson_gaussian: gains of the test, in which sigma is one; left out: gain, or ends and middle of its range"""
    loss: Literal["mse", "psnr"] = "mse"
    """psnr weighs weak and strong noise alike, as the mean PSNR of a test does"""
    compare: bool = False
    """print a table against classical filters at the end"""

    def __post_init__(self) -> None:
        low, high = self.sigma if isinstance(self.sigma, tuple) else (self.sigma, self.sigma)
        _require("denoising.sigma", self.sigma, 0 <= low <= high, "0 or more, or a range [low, high]")
        tested = [self.test_sigma] if isinstance(self.test_sigma, int | float) else self.test_sigma
        right = tested is None or (len(set(tested)) == len(tested) > 0 and min(tested) >= 0)
        _require("denoising.test_sigma", tested, right, "at least one level, each 0 or more and different")
        low, high = self.gain if isinstance(self.gain, tuple) else (self.gain, self.gain)
        _require("denoising.gain", self.gain, 0 <= low <= high, "0 or more, or a range [low, high]")
        gains = [self.test_gain] if isinstance(self.test_gain, int | float) else self.test_gain
        right = gains is None or (len(set(gains)) == len(gains) > 0 and min(gains) >= 0)
        _require("denoising.test_gain", gains, right, "at least one gain, each 0 or more and different")
        one = self.noise == "gaussian" or tested is None or len(tested) == 1
        _require("denoising.test_sigma", tested, one, "one read noise for the test of poisson_gaussian")


@dataclass
class InpaintingConfig:
    """Only read when task is inpainting."""

    mask: Literal["pixels", "rectangles", "strokes"] = "pixels"
    """pixels: known here and there; rectangles or strokes: hidden by them"""
    known: float | tuple[float, float] = (0.05, 0.3)
    """share of an image that is known in training, or a range [low, high]"""
    test_known: float | list[float] | None = None
    """shares of the test; left out: known, or the ends and the middle of its range"""
    compare: bool = False
    """print a table against homogeneous and biharmonic diffusion at the end"""

    def __post_init__(self) -> None:
        low, high = self.known if isinstance(self.known, tuple) else (self.known, self.known)
        _require("inpainting.known", self.known, 0 < low <= high < 1, "between 0 and 1, or a range [low, high]")
        tested = [self.test_known] if isinstance(self.test_known, int | float) else self.test_known
        right = tested is None or (len(set(tested)) == len(tested) > 0 and 0 < min(tested) <= max(tested) < 1)
        _require("inpainting.test_known", tested, right, "at least one share, each between 0 and 1 and different")


@dataclass
class ForecastConfig:
    """Only read when task is forecast."""

    thresholds: list[float] = field(default_factory=list)
    """values, from 0 to 1, for each of which the critical success index of exceeding it is measured"""
    compare: bool = False
    """print a table against persistence at the end, by lead time"""

    def __post_init__(self) -> None:
        right = len(set(self.thresholds)) == len(self.thresholds) and all(0 <= value <= 1 for value in self.thresholds)
        _require("forecast.thresholds", self.thresholds, right, "different values from 0 to 1")


@dataclass
class OptimizerConfig:
    """How the weights are learned."""

    name: Literal["sgd", "adamw"] = "adamw"
    """sgd is SGD with Nesterov momentum"""
    lr: float = 1e-3
    """largest learning rate"""
    momentum: float = 0.9
    """momentum of sgd; first beta of adamw"""
    weight_decay: float = 0.0
    """applied to tensors of two or more dimensions only: never to biases, norms or scalar coefficients"""
    schedule: Literal["one_cycle", "cosine", "constant"] = "one_cycle"
    """one_cycle: up, then down to nothing; cosine: from lr down to nothing; constant: lr throughout"""
    final_share: float = 0.0
    """share of the steps, at their end, at the low rate to which the schedule then falls; 0 to below 1"""
    final_rate: float = 0.05
    """the rate of the final phase, in multiples of lr"""
    greedy: float = 0.0
    """share of all steps in which a model of stages learns stage by stage, before all learn jointly; 0 to below 1"""
    warmup: float = 0.0
    """share of all steps during which the rate rises from 0, 0 to 1; one_cycle takes 0.25 when this is 0"""
    clip_norm: float | None = None
    """largest norm of the gradient; left out: not clipped"""

    def __post_init__(self) -> None:
        clip = self.clip_norm
        _require("optimizer.lr", self.lr, self.lr > 0, "more than 0")
        _require("optimizer.momentum", self.momentum, 0 <= self.momentum < 1, "0 to below 1")
        _require("optimizer.weight_decay", self.weight_decay, self.weight_decay >= 0, "0 or more")
        for name in ("warmup", "final_share", "greedy"):
            _require(f"optimizer.{name}", getattr(self, name), 0 <= getattr(self, name) < 1, "0 to below 1")
        _require("optimizer.final_rate", self.final_rate, 0 < self.final_rate <= 1, "more than 0, up to 1")
        _require("optimizer.clip_norm", clip, clip is None or clip > 0, "more than 0")


@dataclass
class LevelsConfig:
    """Multilevel training, coarse to fine: one number a level in each list. Without shares all is on the finest."""

    share: list[float] = field(default_factory=list)
    """shares of the epochs, which sum to 1: [0.5, 0.5] for two levels"""
    image_scale: list[float] = field(default_factory=list)
    """sides of the images, in multiples of the full ones: [0.5, 1]; left out: 1 on all levels"""
    time_scale: list[float] = field(default_factory=list)
    """steps of each evolution, in multiples of the model's: [0.5, 1]; left out: 1 on all levels"""

    def __post_init__(self) -> None:
        total, fine = sum(self.share), not self.share
        _require("levels.share", self.share, fine or abs(total - 1) < 1e-6, f"shares that sum to 1 (not {total:g})")
        _require("levels.share", self.share, all(share > 0 for share in self.share), "shares of more than 0")
        for name in ("image_scale", "time_scale"):
            scales = getattr(self, name)
            if scales:
                count = f"as many as the {len(self.share)} shares" if self.share else "none without levels.share"
                _require(f"levels.{name}", scales, len(scales) == len(self.share), count)
                right = min(scales) > 0 and scales == sorted(scales) and scales[-1] == 1
                _require(f"levels.{name}", scales, right, "scales above 0 that do not fall, the last of them 1")

    def scales(self) -> list[tuple[float, float]]:
        """(image_scale, time_scale) of each level; without levels of one, the finest."""
        count = max(1, len(self.share))
        return list(zip(self.image_scale or [1.0] * count, self.time_scale or [1.0] * count, strict=True))

    def ends(self, epochs: int) -> list[int]:
        """How many of the epochs are over when each level ends: its share, rounded."""
        return [int(share * epochs + 0.5) for share in accumulate(self.share)] or [epochs]


@dataclass
class TrainConfig:
    """A training run."""

    task: Literal["classification", "denoising", "inpainting", "forecast"]
    """what the network learns"""
    model: ModelConfig
    data: DataConfig
    run: str
    """folder of the run; an existing one is never overwritten"""
    begin_with: str | None = None
    """weights to begin with, in all parts of the network that they have: the folder of a run, or of a checkpoint; or a
    model whose weights come with pdeconv"""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    classification: ClassificationConfig = field(default_factory=ClassificationConfig)
    denoising: DenoisingConfig = field(default_factory=DenoisingConfig)
    inpainting: InpaintingConfig = field(default_factory=InpaintingConfig)
    forecast: ForecastConfig = field(default_factory=ForecastConfig)
    levels: LevelsConfig = field(default_factory=LevelsConfig)
    epochs: int = 10
    """passes over the training set"""
    batch_size: int = 128
    """samples in one optimizer step, over all processes together"""
    ema: float | None = None
    """decay of a running average of the weights (0.999, say), which is then what is evaluated; left out: none"""
    compile: bool = False
    """compile the network with torch.compile: slow to start, faster steps"""
    channels_last: bool | Literal["auto"] = False
    """channels-last memory layout: often faster for convolutions of many channels; auto measures both at the start"""
    keep_freed_memory: bool = True
    """on Linux, keep the CPU memory that tensors free for the next ones: faster, but it stays with the process"""
    precision: Literal["no", "bf16", "fp16"] = "no"
    """mixed precision; no is float32"""
    seed: int = 0
    """seed of weights, sample order, augmentation and noise"""
    resume: str | None = None
    """auto: continue from the newest checkpoint of the run, if it has one; or the folder of a checkpoint"""
    evaluate_every: int = 1
    """epochs between evaluations; the last epoch is always evaluated"""
    sharpness_every: int | None = None
    """epochs between measurements of how sharp the loss is, beside what the learning rate can bear; left out: none"""
    checkpoint_every: int | None = None
    """optimizer steps between checkpoints, besides the one at the end of each epoch"""
    log_every: int = 20
    """optimizer steps between looks at the loss: progress is shown, and a loss that is not finite is found"""
    deterministic: bool = False
    """use only kernels that repeat bit for bit on a GPU too, which are slower; a CPU repeats anyway"""
    tensorboard: bool = False
    """also write TensorBoard event files into the run folder"""

    def __post_init__(self) -> None:
        _require("run", self.run, bool(self.run), "the name of a folder")
        _require("ema", self.ema, self.ema is None or 0 < self.ema < 1, "between 0 and 1")
        for name in ("epochs", "batch_size", "evaluate_every", "log_every"):
            _require(name, getattr(self, name), getattr(self, name) >= 1, "1 or more")
        for name in ("checkpoint_every", "sharpness_every"):
            every = getattr(self, name)
            _require(name, every, every is None or every >= 1, "1 or more")
        _require("seed", self.seed, 0 <= self.seed < 2**32, "a whole number from 0 to 2**32 - 1")
        if self.task == "forecast":
            _require("channels_last", self.channels_last, not self.channels_last, "false: frames have five axes")
            _require("levels.share", self.levels.share, not self.levels.share, "none when task is forecast")
        ends = self.levels.ends(self.epochs)
        enough = all(start < end for start, end in pairwise([0, *ends]))
        _require("levels.share", self.levels.share, enough, f"shares of at least one of the {self.epochs} epochs each")
        greedy, alone = self.optimizer.greedy, "0 beside levels: each of them is a plan for the whole run"
        _require("optimizer.greedy", greedy, greedy == 0 or not self.levels.share, alone)

    def evaluates(self, epoch: int) -> bool:
        """Whether an epoch, counted from 0, ends with an evaluation: the last of a level does."""
        return (epoch + 1) % self.evaluate_every == 0 or epoch + 1 in self.levels.ends(self.epochs)


def _require(key: str, value: object, right: bool, expected: str) -> None:
    if not right:
        raise PDEConvError(f"{key}: expected {expected}, got {value!r}")


def parse_config(argv: Sequence[str]) -> TrainConfig:
    """Read a run's configuration from command-line arguments, ``--config FILE`` among them.

    A mistake ends the program with one line on stderr and exit status 2.
    """
    from pdeconv.training.command_line import parse

    usage = "--config configs/NAME.yaml [--KEY VALUE ...]"
    return parse(TrainConfig, argv, "train.py", usage, "Train a PDE network on images.")


def restored_config(saved: dict[str, Any]) -> TrainConfig:
    """The configuration that a checkpoint or a ``config.yaml`` holds as plain dictionaries."""
    parts = {"model": ModelConfig, "data": DataConfig, "optimizer": OptimizerConfig}
    parts |= {"classification": ClassificationConfig, "denoising": DenoisingConfig}
    parts |= {"inpainting": InpaintingConfig, "forecast": ForecastConfig, "levels": LevelsConfig}
    for part, ranges in (("denoising", ("sigma", "gain")), ("inpainting", ("known",))):
        given = {key: saved[part][key] for key in ranges if key in saved.get(part, {})}
        given = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
        saved = saved | {part: saved.get(part, {}) | given}
    return TrainConfig(**{key: parts[key](**value) if key in parts else value for key, value in saved.items()})
