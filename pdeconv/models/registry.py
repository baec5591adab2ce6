"""The registry of models: create, list and register by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import TypeVar, cast

from torch import nn

from pdeconv.errors import PDEConvError
from pdeconv.models.pretrained import load_pretrained

Constructor = Callable[..., nn.Module]
_C = TypeVar("_C", bound=Constructor)
_constructors: dict[str, Constructor] = {}


def register_model(name: str) -> Callable[[_C], _C]:
    """Register a constructor under ``name``, for :func:`create_model`.

    Raises:
        PDEConvError: If the name is taken.

    Example:
        >>> @register_model("identity_denoiser_example")
        ... def identity(in_channels: int = 1) -> nn.Module:
        ...     return nn.Identity()
        >>> create_model("identity_denoiser_example")
        Identity()
    """

    def register(constructor: _C) -> _C:
        if name in _constructors:
            raise PDEConvError(f"A model named {name!r} is registered already; choose another name.")
        _constructors[name] = constructor
        return constructor

    return register


def list_models(pattern: str = "*") -> list[str]:
    """Names of the registered models that match a wildcard pattern, sorted.

    Example:
        >>> list_models("*classifier")
        ['adr_classifier', 'parabolic_classifier']
    """
    return sorted(name for name in _constructors if fnmatchcase(name, pattern))


def model_options(name: str) -> tuple[str, ...]:
    """The options that the model called ``name`` takes."""
    return tuple(inspect.signature(model_constructor(name)).parameters)


def create_model(name: str, pretrained: bool = False, **options: object) -> nn.Module:
    """Create the model called ``name``.

    Args:
        name: One of :func:`list_models`.
        pretrained: Whether with the weights that come with the package, for the default options, besides
            ``in_channels``; nothing is downloaded. :func:`list_pretrained` lists them.
        options: What its constructor takes; see :func:`model_options`.

    Raises:
        PDEConvError: If there is no such model, or it takes no such option; near matches are named. If there are no
            such weights.

    Example:
        >>> model = create_model("reaction_diffusion_denoiser", in_channels=1)
    """
    constructor = model_constructor(name)
    known = model_options(name)
    for option in options:
        if option not in known:
            near = get_close_matches(option, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise PDEConvError(f"{name} takes no option {option!r}{hint} It takes: {', '.join(known)}.")
    model = constructor(**options)
    if pretrained:
        channels = options.get("in_channels", inspect.signature(constructor).parameters["in_channels"].default)
        load_pretrained(model, name, cast(int, channels))
    return model


def model_constructor(name: str) -> Constructor:
    """What was registered under ``name``. Raises ``PDEConvError`` if nothing was; near matches are named."""
    if name not in _constructors:
        near = get_close_matches(name, _constructors, n=3) or list_models()
        raise PDEConvError(f"There is no model {name!r}; near matches: {', '.join(near)}. list_models() names all.")
    return _constructors[name]
