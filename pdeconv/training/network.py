"""The network that a configuration names."""

from collections.abc import Sequence

from torch import nn

from pdeconv.errors import PDEConvError
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
