"""The network that a configuration names."""

import inspect
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from pdeconv.errors import PDEConvError
from pdeconv.training.checkpoint import find_checkpoint
from pdeconv.training.command_line import nearest
from pdeconv.training.config import ModelConfig


def build_network(config: ModelConfig, channels: int, classes: Sequence[str] | None) -> nn.Module:
    """Create the model for images of ``channels`` channels; ``classes`` are their names, or None for denoising.

    Raises:
        PDEConvError: no such model, or an option that it lacks.
    """
    from pdeconv.models import create_model, list_models, model_options

    if config.name not in list_models():
        meant, known = nearest(config.name, list_models()), ", ".join(list_models())
        raise PDEConvError(f"unknown model.name {config.name!r}; {meant} (known: {known})")
    accepted = model_options(config.name)
    for option in config.options():
        if option not in accepted:
            settable = [name for name in ModelConfig.__dataclass_fields__ if name in accepted]
            raise PDEConvError(f"model {config.name} has no option {option!r}; it has {', '.join(settable) or 'none'}")
    if classes is None:
        return create_model(config.name, in_channels=channels, **config.options())
    return create_model(config.name, in_channels=channels, num_classes=len(classes), **config.options())


def begin_with(network: nn.Module, source: str, channels: int) -> str:
    """Copy into the parts of a network the weights of the same names and shapes of another; returns what was copied.

    Args:
        source: the folder of a run or a checkpoint, or the name of a model whose weights come with pdeconv.

    Raises:
        PDEConvError: no such weights, or none of them has the name and the shape of one of the network's.
    """
    from pdeconv.models import create_model, list_pretrained

    if (source, channels) in list_pretrained():
        weights = create_model(source, pretrained=True, in_channels=channels).state_dict()
    else:
        weights = find_checkpoint(Path(source)).weights
    own = network.state_dict()
    shared = {key: value for key, value in weights.items() if key in own and own[key].shape == value.shape}
    if not shared:
        raise PDEConvError(
            f"begin_with: no weight of {source!r} has the name and the shape of one of {type(network).__name__}; give "
            "a run of the same model, or of a part of it"
        )
    network.load_state_dict(own | shared)
    return f"begins with {len(shared)} of its {len(own)} weights from {source}"


def require_argument(name: str, argument: str, task: str) -> None:
    """Refuse a registered model class whose ``forward`` does not take what a task gives it besides the image.

    Raises:
        PDEConvError: with the models that do.
    """
    from pdeconv.models import list_models
    from pdeconv.models.registry import model_constructor

    def takes(model: str) -> bool:
        forward = getattr(model_constructor(model), "forward", None)  # a function that makes a model has none
        return forward is None or argument in inspect.signature(forward).parameters

    if name in list_models() and not takes(name):
        fitting = ", ".join(model for model in list_models() if takes(model))
        raise PDEConvError(f"model.name: {name} is not for {task}, as it takes no {argument}; take one of {fitting}")
