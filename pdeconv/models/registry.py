"""The registry of models: create, list and register by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import TypeVar, cast

from torch import nn

from pdeconv.errors import PDEConvError
from pdeconv.models.classifier import Classifier
from pdeconv.models.feature_info import FeatureMaps, Indices
from pdeconv.models.pretrained import check_pretrained, load_pretrained

Constructor = Callable[..., nn.Module]
_C = TypeVar("_C", bound=Constructor)
_constructors: dict[str, Constructor] = {}
OWN_OPTIONS = {"name": "title", "pretrained": "weights", "features_only": "only_features", "out_indices": "indices"}


def register_model(name: str) -> Callable[[_C], _C]:
    """Register a constructor under ``name``, for :func:`create_model`.

    Args:
        name: Not taken yet.

    Raises:
        PDEConvError: If the name is taken, or no name. If what is registered is no function or class, or takes an
            option that is one of :func:`create_model` itself, such as ``name``.

    Example:
        >>> @register_model("identity_denoiser_example")
        ... def identity(in_channels: int = 1) -> nn.Module:
        ...     return nn.Identity()
        >>> create_model("identity_denoiser_example")
        Identity()
    """

    if not isinstance(name, str) or not name:
        raise PDEConvError(f'register_model needs a name, as in @register_model("my_model"), but got {name!r}.')

    def register(constructor: _C) -> _C:
        if not callable(constructor):
            raise PDEConvError(
                f"register_model needs a class or a function that makes the model {name!r}, but got "
                f"{type(constructor).__name__}."
            )
        for option in _parameters(constructor):
            if option in OWN_OPTIONS:
                raise PDEConvError(
                    f"The model {name!r} has an option {option!r}, which is one of create_model itself and would never "
                    f"get there; call it otherwise, such as {OWN_OPTIONS[option]!r}."
                )
        if name in _constructors:
            raise PDEConvError(f"A model named {name!r} is registered already; choose another name.")
        _constructors[name] = constructor
        return constructor

    return register


def list_models(pattern: str = "*") -> list[str]:
    """Names of the registered models that match a wildcard pattern, sorted.

    Example:
        >>> list_models("adr_c*")
        ['adr_classifier']
    """
    return sorted(name for name in _constructors if fnmatchcase(name, pattern))


def model_options(name: str) -> tuple[str, ...]:
    """The options that the model called ``name`` takes by name; more, if its constructor has ``**options``."""
    many = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return tuple(key for key, value in _parameters(model_constructor(name)).items() if value.kind not in many)


def _parameters(constructor: Constructor) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(constructor).parameters


def create_model(
    name: str, pretrained: bool = False, *, features_only: bool = False, out_indices: Indices = None, **options: object
) -> nn.Module:
    """Create the model called ``name``.

    Args:
        name: One of :func:`list_models`.
        pretrained: Whether with the weights that come with the package, for the default options, besides
            ``in_channels``; nothing is downloaded. :func:`list_pretrained` lists them. With another
            ``num_classes``, the head of a classifier begins anew.
        features_only: Of a classifier, make the features of its stages alone, as a list.
        out_indices: With ``features_only``, the numbers of the stages, or how many of the last ones; by default all.
        options: What its constructor takes; see :func:`model_options`.

    Raises:
        PDEConvError: If there is no such model, or it takes no such option; near matches are named. If there are no
            such weights, or ``pretrained`` is neither True nor False. If ``features_only`` is asked of a model that is
            no :class:`Classifier`.

    Example:
        >>> model = create_model("reaction_diffusion_denoiser", in_channels=1)
        >>> maps = create_model("resnet_classifier", features_only=True, out_indices=(0, 2))
        >>> maps.feature_info.channels(), maps.feature_info.reduction()
        ([16, 64], [1, 4])
    """
    constructor = model_constructor(name)
    for option, value in (("pretrained", pretrained), ("features_only", features_only)):
        if not isinstance(value, bool):
            raise PDEConvError(
                f"create_model needs True or False for {option}, but got {option}={value!r}; weights of your own "
                "go into the model by model.load_state_dict."
            )
    if out_indices is not None and not features_only:
        raise PDEConvError("create_model takes out_indices with features_only=True alone; give that too.")
    _check_options(name, options)
    model = _with_weights(name, options) if pretrained else constructor(**options)
    if not features_only:
        return model
    if not isinstance(model, Classifier):
        raise PDEConvError(
            f"create_model makes feature maps of classifiers, but {name} is a {type(model).__name__}; leave out "
            "features_only."
        )
    return FeatureMaps(model, out_indices)


def _check_options(name: str, options: Mapping[str, object]) -> None:
    """Raise ``PDEConvError``, which names near matches, for an option that the model does not take."""
    known, parameters = model_options(name), _parameters(model_constructor(name))
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for option in options:
        if option not in known:
            near = get_close_matches(option, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise PDEConvError(f"{name} takes no option {option!r}{hint} It takes: {', '.join(known) or 'none'}.")


def _with_weights(name: str, options: Mapping[str, object]) -> nn.Module:
    """The model with the weights that come with the package, which are of its default options besides in_channels."""
    constructor = model_constructor(name)
    parameters = _parameters(constructor)
    channels = options.get("in_channels", parameters["in_channels"].default if "in_channels" in parameters else None)
    check_pretrained(name, channels)
    for option, value in options.items():
        default = parameters[option].default if option in parameters else inspect.Parameter.empty
        value = tuple(value) if isinstance(value, list) and isinstance(default, tuple) else value
        if option not in ("in_channels", "num_classes") and value is not default and value != default:
            raise PDEConvError(
                f"The weights of {name} that come with pdeconv are of its default options, besides in_channels, but "
                f"got {option}={value!r}; leave it out, or leave out pretrained=True."
            )
    model = constructor(**{option: value for option, value in options.items() if option != "num_classes"})
    load_pretrained(model, name, cast(int, channels))
    if isinstance(model, Classifier) and options.get("num_classes", model.num_classes) != model.num_classes:
        model.reset_classifier(cast(int, options["num_classes"]))
    return model


def model_constructor(name: str) -> Constructor:
    """What was registered under ``name``. Raises ``PDEConvError`` if nothing was; near matches are named."""
    if not isinstance(name, str) or name not in _constructors:
        near = get_close_matches(str(name), _constructors, n=3) or list_models()
        raise PDEConvError(f"There is no model {name!r}; near matches: {', '.join(near)}. list_models() names all.")
    return _constructors[name]
