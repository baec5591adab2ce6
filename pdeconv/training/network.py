"""The network that a configuration names."""

import inspect
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from pdeconv.errors import PDEConvError
from pdeconv.time_specific_norm import of_plain_norms
from pdeconv.training.checkpoint import Checkpoint, find_checkpoint
from pdeconv.training.command_line import nearest
from pdeconv.training.config import TrainConfig, restored_config
from pdeconv.training.data import Data
from pdeconv.training.model_config import ModelConfig
from pdeconv.training.model_source import run_model_source


def build_network(config: ModelConfig, channels: int, classes: Sequence[str] | None) -> nn.Module:
    """Create the model for images of ``channels`` channels; ``classes`` are their names, or None for denoising.

    Raises:
        PDEConvError: no such model, an option that it lacks or cannot be built with, a ``source`` that does not
            register it, or something that it needs and that cannot be read or fetched, such as weights.
    """
    from pdeconv.models import create_model, list_models

    if config.source is not None:
        run_model_source(config.source, config.name)
    if config.name not in list_models():
        meant, known = nearest(config.name, list_models()), ", ".join(list_models())
        raise PDEConvError(f"unknown model.name {config.name!r}; {meant} (known: {known})")
    of_the_data = {"in_channels": channels} | ({} if classes is None else {"num_classes": len(classes)})
    try:
        return create_model(config.name, **of_the_data, **config.given())
    except PDEConvError:
        raise
    except OSError as error:  # the weights that it begins with, for one
        given = f" with {config.options}" if config.options else ""
        reason = f"needs something that cannot be read or fetched: {error}"
        raise PDEConvError(f"model: {config.name}{given} {reason}") from error
    except Exception as error:  # options of no declared type are checked by the model alone, if at all
        if not config.options:
            raise
        raise PDEConvError(f"model.options: {config.name} cannot be built with {config.options}: {error}") from error


def trained_network(run: str | Path, source: str | None = None, steps: int | None = None) -> nn.Module:
    """The network of a run as it is used: the weights of its best checkpoint, in evaluation mode, on the CPU.

    Args:
        run: the folder of a run, of which the best checkpoint is taken, or of a checkpoint.
        source: the file that registers the model, if it is not where it was in training.
        steps: time steps of each evolution, or frames of a spiking network, if not as many as in training. Steps of a
            denoiser or inpainter that are all of one length make a longer or shorter evolution, others a finer one.

    Raises:
        PDEConvError: no checkpoint; no model for it; or other ``steps`` than in training, for a model that has none, or
            that has weights of its own for each.

    Example:
        network = trained_network("runs/quickstart_digits")
    """
    return network_of(find_checkpoint(Path(run)), source, steps)


def network_of(checkpoint: Checkpoint, source: str | None = None, steps: int | None = None) -> nn.Module:
    """The network of a checkpoint as it is used, in evaluation mode, on the CPU; the rest as of `trained_network`."""
    config = restored_config(checkpoint.training["config"]).model
    config = config if source is None else replace(config, source=source)

    def built(steps: int | None) -> nn.Module:
        like = config if steps is None else replace(config, steps=steps)
        return build_network(like, checkpoint.training["channels"], checkpoint.training["classes"])

    network = built(steps)
    if steps is not None:
        trained = built(None)
        if _plain_shapes(network.state_dict()) != _plain_shapes(trained.state_dict()):
            known = "as many as in training" if config.steps is None else f"{config.steps}, as in training"
            raise PDEConvError(
                f"steps: {config.name} has weights of its own for each step; expected {known}, got {steps}"
            )
    network.load_state_dict(checkpoint.weights)
    return network.eval()


def _plain_shapes(state: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """The shapes, as if every normalisation had statistics of one step, since those of other steps load too."""
    plain = dict(state)
    of_plain_norms(plain)
    return {key: tuple(value.shape) for key, value in plain.items()}


def begin_with(network: nn.Module, source: str, channels: int) -> str:
    """Copy into the parts of a network those of another that are the same; returns in words what was copied.

    A part is a child of the network, or one of the modules of a list that is: it is copied as a whole, or not at all.

    Args:
        source: the folder of a run or a checkpoint, or the name of a model whose weights come with pdeconv.

    Raises:
        PDEConvError: no such weights, or no part is the same.
    """
    weights = weights_of(source, channels)
    own = network.state_dict()
    copied, left = {}, []
    for part in dict.fromkeys(_part(key) for key in own):
        mine, theirs = ({key: value for key, value in of.items() if _part(key) == part} for of in (own, weights))
        if _plain_shapes(mine) == _plain_shapes(theirs):
            copied[part] = theirs
        else:
            left.append(part)
    if not copied:
        raise PDEConvError(
            f"begin_with: no part of {source!r} has the weights of one of {type(network).__name__}; give a run of the "
            "same model, or of a part of it"
        )
    kept = {key: value for key, value in own.items() if _part(key) not in copied}
    network.load_state_dict(kept | {key: value for part in copied.values() for key, value in part.items()})
    start = f"; {', '.join(left)} at the start" if left else ""
    return f"{', '.join(copied)} from {source}{start}"


def weights_of(source: str, channels: int) -> dict[str, Tensor]:
    """The weights of a run, of a checkpoint, or that come with pdeconv."""
    from pdeconv.models import create_model, list_models, list_pretrained

    if Path(source).exists():
        return find_checkpoint(Path(source)).weights
    if source in list_models():
        return create_model(source, pretrained=True, in_channels=channels).state_dict()
    meant = nearest(source, [name for name, _ in list_pretrained()])
    raise PDEConvError(f"begin_with: no folder and no model with weights is called {source!r}; {meant}")


def _part(key: str) -> str:
    """cycles.0 of cycles.0.grids.1.lift.weight, head of head.weight."""
    first, _, rest = key.partition(".")
    second = rest.partition(".")[0]
    return f"{first}.{second}" if second.isdecimal() else first


def require_dims(config: TrainConfig, data: Data) -> None:
    """Refuse a model for another number of axes than the data has, and what is for images alone.

    Raises:
        PDEConvError: with what to set.
    """
    from pdeconv.layers_by_dims import SAMPLES
    from pdeconv.models import model_options

    dims = 2 if config.model.dims is None else config.model.dims
    own = config.model.source is not None and "dims" not in model_options(config.model.name)  # for what it is for
    if dims != data.dims and not own:
        raise PDEConvError(
            f"model.dims: expected {data.dims}, as the data {config.data.name} is of {SAMPLES[data.dims]}, got a model "
            f"for {SAMPLES[dims]}; set model.dims to {data.dims}, or, if an axis of the data is that of the channels, "
            "set data.channel_axis"
        )
    if data.dims == 2:
        return
    given = {
        "channels_last": config.channels_last is True or (own and config.channels_last == "auto"),
        "denoising.compare": config.task == "denoising" and config.denoising.compare,
        "denoising.noise": config.task == "denoising" and config.denoising.noise != "gaussian",
    }
    for key, wrong in given.items():
        if wrong:
            raise PDEConvError(
                f"{key}: what it asks for is for images alone, and the data is of {SAMPLES[data.dims]}; leave it out"
            )


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
