"""Which network a run trains."""

from dataclasses import dataclass, field, fields
from typing import Any, Literal

from pdeconv.errors import PDEConvError
from pdeconv.models.registry import OWN_OPTIONS


@dataclass
class ModelConfig:
    """The network. An option that is left out keeps the default of the model; one that it lacks is an error."""

    name: str
    """name of a registered model; pdeconv.list_models() lists them"""
    source: str | None = None
    """your own Python file, or module, that registers the model: @pdeconv.register_model(name)"""
    channels: int | None = None
    """width of the network"""
    depth: int | None = None
    """number of blocks"""
    widths: list[int] | None = None
    """channels of each stage of a classifier, such as [32, 64]"""
    depths: list[int] | None = None
    """blocks of each stage of a classifier, such as [1, 2]"""
    stem_width: int | None = None
    """channels before the first stage of a classifier"""
    steps: int | None = None
    """time steps of each evolution"""
    kernel_size: int | None = None
    """side of the learned kernels in pixels"""
    centres: int | None = None
    """Gaussians of each influence function of a reaction–diffusion denoiser"""
    expansion: int | None = None
    """width within a block, in multiples of the network's"""
    memory: Literal["store", "checkpoint", "reversible"] | None = None
    """what backward needs of the steps is kept, computed again, or undone (docs/memory.md); with checkpoint, batch
    normalisation counts a batch each time that a step is computed"""
    dims: int | None = None
    """spatial axes of the data: 1 for signals, 2 for images (the default), 3 for volumes"""
    layers: int | None = None
    """layers of a frame that a forecaster carries, each by a velocity of its own"""
    patch: int | None = None
    """side in pixels of the patches into which a forecaster divides a frame"""
    speed: float | None = None
    """largest velocity of a forecaster in pixels a frame, along each axis"""
    reaction: bool | None = None
    """whether the equation of a forecaster has a reaction beside advection"""
    options: dict[str, Any] = field(default_factory=dict)
    """options of the model that have no key of their own here, by name, such as {window: 7}"""

    def __post_init__(self) -> None:
        for name in self.options:
            if name in _with_a_key():
                raise PDEConvError(f"model.options: {name!r} has a key of its own; expected model.{name}")
            if name in OWN_OPTIONS:
                raise PDEConvError(f"model.options: {name} is of pdeconv.create_model, not of a model; leave it out")
            if name in ("in_channels", "num_classes"):
                raise PDEConvError(f"model.options: {name} comes from the data and cannot be given")
            if name in ("norm_layer", "act_layer"):
                raise PDEConvError(f"model.options: {name} is a layer; give it in a model of your own, as model.source")

    def given(self) -> dict[str, Any]:
        """The options that were given, with a key of their own or without."""
        return {name: value for name in _with_a_key() if (value := getattr(self, name)) is not None} | self.options


def _with_a_key() -> list[str]:
    return [option.name for option in fields(ModelConfig) if option.name not in ("name", "source", "options")]
