"""Feature maps of a classifier's stages, as dense prediction takes them: in the manner of timm."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from torch import Tensor, nn

from pdeconv.errors import PDEConvError

if TYPE_CHECKING:
    from pdeconv.models.classifier import Classifier

Indices = int | Sequence[int] | None


class FeatureInfo(list[dict[str, int | str]]):
    """``num_chs``, ``reduction`` and ``module`` of each stage.

    Args:
        channels: Channels of each stage.
        reductions: Image size / size of its features, of each stage.
        modules: Names of the stages; by default stages.0 and so on.

    Example:
        >>> FeatureInfo((32, 64), (2, 4)).channels(), FeatureInfo((32, 64), (2, 4))[1]
        ([32, 64], {'num_chs': 64, 'reduction': 4, 'module': 'stages.1'})
    """

    def __init__(
        self, channels: Sequence[int], reductions: Sequence[int], modules: Sequence[str] | None = None
    ) -> None:
        names = [f"stages.{index}" for index in range(len(channels))] if modules is None else modules
        rows = zip(channels, reductions, names, strict=True)
        super().__init__({"num_chs": width, "reduction": reduction, "module": name} for width, reduction, name in rows)

    def channels(self) -> list[int]:
        """Channels of each."""
        return [int(row["num_chs"]) for row in self]

    def reduction(self) -> list[int]:
        """Image size / size of the features, of each."""
        return [int(row["reduction"]) for row in self]

    def module_name(self) -> list[str]:
        """Names of the modules that give them."""
        return [str(row["module"]) for row in self]

    def chosen(self, indices: Sequence[int]) -> FeatureInfo:
        """Of some stages alone."""
        channels, reductions, names = self.channels(), self.reduction(), self.module_name()
        return FeatureInfo(
            [channels[index] for index in indices],
            [reductions[index] for index in indices],
            [names[index] for index in indices],
        )

    def __reduce__(self) -> tuple[type, tuple[list[int], list[int], list[str]]]:
        return FeatureInfo, (self.channels(), self.reduction(), self.module_name())


class FeatureMaps(nn.Module):
    """The features of some stages of a classifier, as a list: what ``features_only=True`` makes.

    Args:
        model: The classifier, of which the head goes, and the stages after those wanted: every weight is of use.
        out_indices: The stages, as in ``forward_intermediates``.

    Attributes:
        feature_info: Of these stages.
    """

    def __init__(self, model: Classifier, out_indices: Indices = None) -> None:
        super().__init__()
        self.model, self.out_indices = model, tuple(model.prune_intermediate_layers(out_indices))
        self.feature_info = model.feature_info.chosen(self.out_indices)

    def forward(self, image: Tensor) -> list[Tensor]:
        found = self.model.forward_intermediates(
            image, self.out_indices, norm=True, stop_early=True, intermediates_only=True
        )
        return cast(list[Tensor], found)

    def extra_repr(self) -> str:
        return f"out_indices={self.out_indices}"


def chosen_stages(indices: Indices, count: int) -> tuple[int, ...]:
    """The stages that ``indices`` name, of ``count``, as numbers from 0. Raises ``PDEConvError`` for one beyond."""
    if indices is None:
        return tuple(range(count))
    try:
        if isinstance(indices, Sequence):
            numbers = [operator.index(index) for index in indices]
        else:
            numbers = list(range(-operator.index(indices), 0))
    except TypeError:
        numbers = []
    if isinstance(indices, bool) or not numbers or not all(-count <= number < count for number in numbers):
        raise PDEConvError(
            f"The model has {count} stages: choose numbers from {-count} to {count - 1}, such as (0, {count - 1}), or "
            f"how many of the last ones, but got {indices!r}."
        )
    return tuple(number % count for number in numbers)
