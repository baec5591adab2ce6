"""What a training run is made of: typed dataclasses, read from YAML and the command line.

The text under each field is what ``python train.py --help`` shows for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Any, Literal

from pdeconv.training.data_config import DataConfig
from pdeconv.training.model_config import ModelConfig
from pdeconv.training.requirement import require
from pdeconv.training.task_config import (
    ClassificationConfig,
    DenoisingConfig,
    ForecastConfig,
    InpaintingConfig,
)


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
        require("optimizer.lr", self.lr, self.lr > 0, "more than 0")
        require("optimizer.momentum", self.momentum, 0 <= self.momentum < 1, "0 to below 1")
        require("optimizer.weight_decay", self.weight_decay, self.weight_decay >= 0, "0 or more")
        for name in ("warmup", "final_share", "greedy"):
            require(f"optimizer.{name}", getattr(self, name), 0 <= getattr(self, name) < 1, "0 to below 1")
        require("optimizer.final_rate", self.final_rate, 0 < self.final_rate <= 1, "more than 0, up to 1")
        require("optimizer.clip_norm", clip, clip is None or clip > 0, "more than 0")


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
        require("levels.share", self.share, fine or abs(total - 1) < 1e-6, f"shares that sum to 1 (not {total:g})")
        require("levels.share", self.share, all(share > 0 for share in self.share), "shares of more than 0")
        for name in ("image_scale", "time_scale"):
            scales = getattr(self, name)
            if scales:
                count = f"as many as the {len(self.share)} shares" if self.share else "none without levels.share"
                require(f"levels.{name}", scales, len(scales) == len(self.share), count)
                right = min(scales) > 0 and scales == sorted(scales) and scales[-1] == 1
                require(f"levels.{name}", scales, right, "scales above 0 that do not fall, the last of them 1")

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
        require("run", self.run, bool(self.run), "the name of a folder")
        require("ema", self.ema, self.ema is None or 0 < self.ema < 1, "between 0 and 1")
        for name in ("epochs", "batch_size", "evaluate_every", "log_every"):
            require(name, getattr(self, name), getattr(self, name) >= 1, "1 or more")
        for name in ("checkpoint_every", "sharpness_every"):
            every = getattr(self, name)
            require(name, every, every is None or every >= 1, "1 or more")
        require("seed", self.seed, 0 <= self.seed < 2**32, "a whole number from 0 to 2**32 - 1")
        if self.task == "forecast":
            require("channels_last", self.channels_last, not self.channels_last, "false: frames have five axes")
            require("levels.share", self.levels.share, not self.levels.share, "none when task is forecast")
        ends = self.levels.ends(self.epochs)
        enough = all(start < end for start, end in pairwise([0, *ends]))
        require("levels.share", self.levels.share, enough, f"shares of at least one of the {self.epochs} epochs each")
        greedy, alone = self.optimizer.greedy, "0 beside levels: each of them is a plan for the whole run"
        require("optimizer.greedy", greedy, greedy == 0 or not self.levels.share, alone)

    def evaluates(self, epoch: int) -> bool:
        """Whether an epoch, counted from 0, ends with an evaluation: the last of a level does."""
        return (epoch + 1) % self.evaluate_every == 0 or epoch + 1 in self.levels.ends(self.epochs)


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
