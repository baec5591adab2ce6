"""A network to look into, by name or folder, and one picture made ready for it: what explore and report begin with."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pdeconv.errors import PDEConvError
from pdeconv.image_square import in_color, prepared_image, resized_square

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
TORCHVISION = "torchvision:"
SIDE = 128  # of the middle of a picture that a denoiser is shown

Prepare = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Subject:
    """A network, and how a picture becomes its input.

    Attributes:
        network: In evaluation, on the CPU.
        prepare: (1 to 4 channels, H, W) in [0, 1] ↦ what the network takes (1, C, H, W), and the same as a person sees
            it.
        classes: Names of its classes; None for a denoiser, or where they have no names.
        title: What it is called.
    """

    network: nn.Module
    prepare: Prepare
    classes: tuple[str, ...] | None
    title: str


def subject_of(name: str, weights: str | None = None, sigma: float = 25.0) -> Subject:
    """The network that a name stands for.

    Args:
        name: The folder of a run or a checkpoint of train.py; a model whose weights come with pdeconv; or a classifier
            of torchvision, as ``torchvision:resnet18``.
        weights: Of torchvision's: a file of a state dictionary, or a name such as DEFAULT, which is downloaded; None
            for random ones.
        sigma: Noise that is added to the picture for a denoiser, in 8-bit units.

    Raises:
        PDEConvError: If there is no such network or no such weights.
    """
    if name.startswith(TORCHVISION):
        return _of_torchvision(name.removeprefix(TORCHVISION), weights)
    if weights is not None:
        raise PDEConvError(f"weights: only with a network of torchvision, such as {TORCHVISION}resnet18, not {name!r}")
    if Path(name).exists():
        return _of_run(Path(name), sigma)
    from pdeconv.classifying import list_classifiers, pretrained_classifier
    from pdeconv.models import create_model, list_pretrained

    known = [model for model, channels in list_pretrained() if channels == 1 and "denoiser" in model]
    if name in list_classifiers():
        found = pretrained_classifier(name)
        prepare = _for_classifier(found.size, found.statistics, found.margin)
        return Subject(found.network.cpu().eval(), prepare, found.classes, name)
    if name in known:
        return Subject(create_model(name, pretrained=True).eval(), _for_denoiser(1, sigma), None, name)
    names = ", ".join([*list_classifiers(), *known])
    raise PDEConvError(f"network: no folder {name!r}, and no weights of that name; with pdeconv come {names}")


def _of_run(folder: Path, sigma: float) -> Subject:
    from pdeconv.training.checkpoint import find_checkpoint
    from pdeconv.training.config import restored_config
    from pdeconv.training.data import classifier_format
    from pdeconv.training.network import network_of

    checkpoint = find_checkpoint(folder)
    config = restored_config(checkpoint.training["config"])
    title = f"{config.model.name} on {config.data.name}"
    if config.task == "classification":
        prepare = _for_classifier(*classifier_format(config.data))
        return Subject(network_of(checkpoint), prepare, tuple(checkpoint.training["classes"]), title)
    if config.task != "denoising":
        raise PDEConvError(f"network: {str(folder)!r} was trained for {config.task}; give a classifier or a denoiser")
    return Subject(network_of(checkpoint), _for_denoiser(checkpoint.training["channels"], sigma), None, title)


def _of_torchvision(name: str, weights: str | None) -> Subject:
    import torchvision
    from torchvision.models import get_model, get_model_weights, list_models

    known = list_models(module=torchvision.models)  # those that classify images
    if name not in known:
        raise PDEConvError(f"network: torchvision has no classifier {name!r}; it has {', '.join(known[:6])} …")
    classes: tuple[str, ...] | None = None
    title = f"torchvision {name}"
    if weights is None:
        network, title = get_model(name), f"{title}, random weights"
    elif Path(weights).exists():
        try:
            state: dict[str, Any] = torch.load(weights, map_location="cpu", weights_only=True)
            rows = [value for key, value in state.items() if key.endswith("weight") and value.dim() == 2]
            network = get_model(name, num_classes=len(rows[-1]) if rows else 1000)
            network.load_state_dict(state)
        except (RuntimeError, AttributeError, TypeError, OSError, pickle.UnpicklingError) as error:
            said = (str(error).splitlines() or [type(error).__name__])[0]
            raise PDEConvError(f"weights: {weights} holds no state dictionary of {name}: {said}") from error
    else:
        try:
            chosen: Any = get_model_weights(name)[weights]
        except KeyError as error:
            known = ", ".join(get_model_weights(name).__members__)
            raise PDEConvError(f"weights: no file {weights!r}, and {name} has none of that name; {known}") from error
        try:
            network, classes = get_model(name, weights=chosen), tuple(chosen.meta["categories"])
        except OSError as error:
            raise PDEConvError(f"weights: {weights} of {name} could not be downloaded: {error}") from error
    return Subject(network.eval(), _for_classifier(224, IMAGENET, True), classes, title)


def _for_classifier(size: int, statistics: Any, margin: bool = False) -> Prepare:
    def prepare(image: Tensor) -> tuple[Tensor, Tensor]:
        square = resized_square(in_color(image, len(statistics[0])), size)
        return prepared_image(image, size, statistics, margin), square

    return prepare


def _for_denoiser(channels: int, sigma: float) -> Prepare:
    def prepare(image: Tensor) -> tuple[Tensor, Tensor]:
        clean = resized_square(in_color(image, channels), SIDE)
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
        noisy = clean + sigma / 255 * noise
        return noisy[None], noisy.clamp(0, 1)

    return prepare
