"""Weights that come with the package."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import TYPE_CHECKING

from torch import nn

from pdeconv.errors import PDEConvError

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

COLORS = {1: "gray", 3: "rgb"}


def load_pretrained(model: nn.Module, name: str, in_channels: int) -> None:
    """Set the weights of ``model`` to those that come with the package for ``name`` and so many channels.

    Raises:
        PDEConvError: If there are none, or they are of a model with other options.
    """
    check_pretrained(name, in_channels)
    from safetensors.torch import load  # only here, so that importing pdeconv stays cheap

    weights = load((_folder() / f"{name}.{COLORS[in_channels]}.safetensors").read_bytes())
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    if shapes != {key: tuple(value.shape) for key, value in weights.items()}:
        raise PDEConvError(
            f"The weights of {name} that come with pdeconv are of a model with its default options; create it without "
            "other options, or without pretrained=True."
        )
    model.load_state_dict(weights)


def check_pretrained(name: object, in_channels: object) -> None:
    """Raise ``PDEConvError``, which names those there are, unless weights of such a model come with the package."""
    if (name, in_channels) not in list_pretrained():
        known = ", ".join(f"{known} (in_channels={channels})" for known, channels in list_pretrained()) or "none"
        raise PDEConvError(
            f"No weights for {name} with in_channels={in_channels} come with pdeconv; there are weights for: {known}."
        )


def list_pretrained() -> list[tuple[str, int]]:
    """(name of a model, in_channels) of all weights that come with the package, sorted.

    Example:
        >>> ("multiscale_denoiser_small", 1) in list_pretrained()
        True
    """
    channels = {color: number for number, color in COLORS.items()}
    names = (file.name.split(".") for file in _folder().iterdir() if file.name.endswith(".safetensors"))
    return sorted((name, channels[color]) for name, color, _ in names)


def pretrained_about(name: str, in_channels: int) -> dict[str, str]:
    """What the file of weights that come with the package says besides the weights: of which run they are, and so on.

    Raises:
        PDEConvError: If there are no such weights.
    """
    check_pretrained(name, in_channels)
    with (_folder() / f"{name}.{COLORS[in_channels]}.safetensors").open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        return json.loads(file.read(length)).get("__metadata__", {})


def model_card(name: str, in_channels: int) -> str:
    """The model card of weights that come with the package, as Markdown: data, recipe, figures, licence and limits.

    Raises:
        PDEConvError: If there are no such weights, or they came without a card.
    """
    check_pretrained(name, in_channels)
    file = _folder() / f"{name}.{COLORS[in_channels]}.md"
    if not file.is_file():
        raise PDEConvError(f"The weights of {name} came without their model card, {file.name}; install pdeconv anew.")
    return file.read_text(encoding="utf-8")


def _folder() -> Traversable:
    return files("pdeconv.weights")
