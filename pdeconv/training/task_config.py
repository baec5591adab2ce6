"""What the tasks of a run can be told."""

from dataclasses import dataclass, field
from typing import Literal

from pdeconv.training.requirement import require


@dataclass
class ClassificationConfig:
    """Only read when task is classification."""

    label_smoothing: float = 0.0
    """share of the target spread evenly over the classes, 0 to below 1"""
    mixup: float = 0.0
    """parameter of mixup's beta distribution; 0 mixes nothing"""

    def __post_init__(self) -> None:
        smoothing = self.label_smoothing
        require("classification.label_smoothing", smoothing, 0 <= smoothing < 1, "0 to below 1")
        require("classification.mixup", self.mixup, self.mixup >= 0, "0 or more")


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
        require("denoising.sigma", self.sigma, 0 <= low <= high, "0 or more, or a range [low, high]")
        tested = [self.test_sigma] if isinstance(self.test_sigma, int | float) else self.test_sigma
        right = tested is None or (len(set(tested)) == len(tested) > 0 and min(tested) >= 0)
        require("denoising.test_sigma", tested, right, "at least one level, each 0 or more and different")
        low, high = self.gain if isinstance(self.gain, tuple) else (self.gain, self.gain)
        require("denoising.gain", self.gain, 0 <= low <= high, "0 or more, or a range [low, high]")
        gains = [self.test_gain] if isinstance(self.test_gain, int | float) else self.test_gain
        right = gains is None or (len(set(gains)) == len(gains) > 0 and min(gains) >= 0)
        require("denoising.test_gain", gains, right, "at least one gain, each 0 or more and different")
        one = self.noise == "gaussian" or tested is None or len(tested) == 1
        require("denoising.test_sigma", tested, one, "one read noise for the test of poisson_gaussian")


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
        require("inpainting.known", self.known, 0 < low <= high < 1, "between 0 and 1, or a range [low, high]")
        tested = [self.test_known] if isinstance(self.test_known, int | float) else self.test_known
        right = tested is None or (len(set(tested)) == len(tested) > 0 and 0 < min(tested) <= max(tested) < 1)
        require("inpainting.test_known", tested, right, "at least one share, each between 0 and 1 and different")


@dataclass
class ForecastConfig:
    """Only read when task is forecast."""

    thresholds: list[float] = field(default_factory=list)
    """values, from 0 to 1, for each of which the critical success index of exceeding it is measured"""
    compare: bool = False
    """print a table against persistence at the end, by lead time"""

    def __post_init__(self) -> None:
        right = len(set(self.thresholds)) == len(self.thresholds) and all(0 <= value <= 1 for value in self.thresholds)
        require("forecast.thresholds", self.thresholds, right, "different values from 0 to 1")
