"""Naming what an image shows in one call: any array or tensor in, names and probabilities out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn

from pdeconv.errors import PDEConvError, checked_count
from pdeconv.evaluating import evaluating
from pdeconv.image_square import Statistics, prepared_image
from pdeconv.models import create_model, list_pretrained
from pdeconv.models.pretrained import pretrained_about
from pdeconv.models.registry import model_constructor

if TYPE_CHECKING:
    from numpy.typing import NDArray

Image = TypeVar("Image", "NDArray", Tensor)
PRETRAINED = "adr_residual_classifier"
"""The classifier that is taken unless another is named."""
ABOUT = ("classes", "size", "mean", "std")
"""What the file of a classifier's weights says besides, each as JSON; and ``margin``, which may be missing."""

Likeliest = list[tuple[str, float]]


@dataclass(frozen=True, eq=False)
class ImageClassifier:
    """A network that names what an image shows, and what it has to be given.

    Args:
        network: (B, C, size, size) → logits (B, number of classes), on its device.
        classes: The names of the classes.
        size: Side in pixels of the images that it was trained on.
        statistics: Mean and standard deviation of each channel, of values in [0, 1], by which they were normalised.
        margin: Whether an eighth more was resized, and the middle taken.
    """

    network: nn.Module
    classes: tuple[str, ...]
    size: int
    statistics: Statistics
    margin: bool = False

    @torch.no_grad()
    def likeliest(self, image: Tensor, top: int) -> Likeliest:
        """Names and probabilities of the likeliest classes of one image (1 to 4 channels, H, W) in [0, 1]."""
        like = next(self.network.parameters(), torch.empty(0))
        prepared = prepared_image(image.float(), self.size, self.statistics, self.margin)
        with evaluating(self.network):
            logits = self.network(prepared.to(like.device, like.dtype if like.is_floating_point() else None))[0]
        found = logits.float().softmax(0).cpu().topk(min(top, len(self.classes)))
        return [(self.classes[int(place)], float(value)) for value, place in zip(*found, strict=True)]


def classify(
    image: Image,
    *,
    channel_axis: int | None = None,
    model: str | ImageClassifier | None = None,
    top: int = 5,
) -> Likeliest | list[Likeliest]:
    """Name what an image shows, or each image of a stack.

    The middle square of an image is resized with smoothing to the size that the network was trained on, so it may have
    any size; gray becomes RGB or the other way round, as the network needs it. The last two axes, channels aside, are
    those of an image; an axis before them counts images.

    Args:
        image: NumPy array or tensor: gray ([B,] H, W), or in colour with ``channel_axis``; floating-point numbers from
            0 to 1, or integers, whose largest value is white.
        channel_axis: The axis of the colours, 1 to 4 long (gray or RGB, then opacity, laid over white): −1 for
            (H, W, 3), −3 for (B, 3, H, W). None for gray images.
        model: The name of a classifier whose weights come with pdeconv, or an :class:`ImageClassifier` of your own.
        top: How many of the likeliest classes.

    Returns:
        (name, probability) of the likeliest classes, the likeliest first; of a stack, such a list for each image.

    Raises:
        PDEConvError: If the image holds NaN or ∞, or values outside of [0, 1] as floating-point numbers; if it has no
            axes for an image, or more than 4 channels; if there is no such classifier.

    Example:
        >>> network = create_model("parabolic_classifier", in_channels=1, num_classes=2)
        >>> classifier = ImageClassifier(network, ("cat", "dog"), 16, ((0.5,), (0.25,)))
        >>> [(first, _), (second, _)] = classify(torch.rand(40, 30), model=classifier)
        >>> sorted((first, second))
        ['cat', 'dog']
    """
    from pdeconv.image_array import read_image

    top = checked_count("classify", "top", top)
    read = read_image("classify", image, channel_axis, dims=2, most_dims=2)
    axes = image.ndim - (channel_axis is not None)
    if axes > 3:
        raise PDEConvError(f"classify takes an image or a stack of images, but got shape {tuple(image.shape)}.")
    if channel_axis is None and image.ndim == 3 and 3 in (image.shape[0], image.shape[-1]):
        axis = -1 if image.shape[-1] == 3 else 0
        raise PDEConvError(
            f"classify got shape {tuple(image.shape)}; if those are colours, give channel_axis={axis}, and for a stack "
            "of gray images an axis of one channel, as in image[:, None] with channel_axis=1."
        )
    low, high = float(read.state.min()), float(read.state.max())
    if low < 0 or high > 1:
        raise PDEConvError(
            f"classify needs values from 0 to 1, or integers from 0, but these span [{low:g}, {high:g}]; rescale them."
        )
    classifier = model if isinstance(model, ImageClassifier) else pretrained_classifier(model)
    found = [classifier.likeliest(state, top) for state in read.state]
    return found if axes == 3 else found[0]


@cache
def pretrained_classifier(name: str | None = None) -> ImageClassifier:
    """A classifier whose weights come with the package, on the GPU that CUDA finds, else on the CPU; loaded once.

    Raises:
        PDEConvError: If there is no such model, or no weights of it with the names of their classes; those that there
            are are named.
    """
    name = PRETRAINED if name is None else name
    model_constructor(name)  # or it says which names are near
    for channels in (3, 1):
        about = pretrained_about(name, channels) if (name, channels) in list_pretrained() else {}
        if all(key in about for key in ABOUT):
            network = create_model(name, pretrained=True, in_channels=channels)
            classes, size, mean, std = (json.loads(about[key]) for key in ABOUT)
            device = "cuda" if torch.cuda.is_available() else "cpu"
            margin = json.loads(about.get("margin", "false"))
            return ImageClassifier(network.to(device).eval(), tuple(classes), size, (tuple(mean), tuple(std)), margin)
    known = ", ".join(list_classifiers()) or "none yet; train one, and give its folder as run"
    raise PDEConvError(f"no classifier's weights for {name!r} come with pdeconv; there are those of: {known}")


def list_classifiers() -> list[str]:
    """The names of the models for which classifier's weights come with the package."""
    known = [name for name, channels in list_pretrained() if "classes" in pretrained_about(name, channels)]
    return list(dict.fromkeys(known))


def about_classifier(classes: Sequence[str], size: int, statistics: Statistics, margin: bool = False) -> dict[str, str]:
    """What the file of a classifier's weights has to say besides, for ``pretrained_classifier``."""
    mean, std = statistics
    values = {"classes": list(classes), "size": size, "mean": list(mean), "std": list(std), "margin": margin}
    return {key: json.dumps(value, ensure_ascii=False) for key, value in values.items()}
