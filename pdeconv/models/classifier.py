"""The skeleton of every classifier: a stem, stages of blocks, a head, and the features in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from pdeconv.errors import PDEConvError, checked_count, checked_whole
from pdeconv.evolve import Evolve, Trajectory
from pdeconv.layers_by_dims import check_axes, checked_dims
from pdeconv.models.feature_info import FeatureInfo, Indices, chosen_stages

Layer = Callable[..., nn.Module]


class Classifier(nn.Module):
    """image → stem → stages → mean over the image → logits; the features of each stage in the manner of timm.

    A stage is a transition from the width before it, then its blocks. Images may have any size: nothing but the mean
    at the end sees all of it. With ``dims=1`` they are signals (B, C, L), with ``dims=3`` volumes (B, C, D, H, W).

    Args:
        in_channels: Channels of the image.
        num_classes: Number of classes.
        widths: Channels of each stage.
        depths: Blocks of each stage.
        stem: Of the stem, called with (channels before, channels after).
        transition: Of a transition, called with (channels before, channels after); it halves the resolution.
        block: Of a block, called with (channels, number of the stage).
        stem_width: Channels that the stem gives; by default those of the first stage, which then has no transition.
        last: Normalisation and activation of the features of the last stage, called with the number of channels.
        dims: Number of spatial axes of the image.

    Attributes:
        feature_info: Channels, reduction and module of each stage.
        num_features: Channels of the last.

    Raises:
        PDEConvError: If a number is not a whole one of at least 1, or widths and depths differ in length; if an image
            has another number of axes.
    """

    _version = 1
    feature_info: FeatureInfo

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        widths: Sequence[int],
        depths: Sequence[int],
        *,
        stem: Layer,
        transition: Layer,
        block: Layer,
        stem_width: int | None = None,
        last: Layer | None = None,
        dims: int = 2,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self.dims = checked_dims(name, dims)
        in_channels = checked_count(name, "in_channels", in_channels)
        widths, depths = checked_counts(name, "widths", widths), checked_counts(name, "depths", depths, zero_too=True)
        if len(widths) != len(depths):
            raise PDEConvError(
                f"{name} needs as many widths as depths, one a stage, but got widths={widths} and depths={depths}."
            )
        first = widths[0] if stem_width is None else checked_count(name, "stem_width", stem_width)
        self.stem, self.stages, reductions = stem(in_channels, first), nn.ModuleList(), []
        for stage, (before, after) in enumerate(pairwise((first, *widths))):
            enters = [] if stage == 0 and stem_width is None else [transition(before, after)]
            self.stages.append(nn.Sequential(*enters, *(block(after, stage) for _ in range(depths[stage]))))
            reductions.append((reductions[-1] if reductions else 1) * (2 if enters else 1))
        self.last = nn.Identity() if last is None else last(widths[-1])
        self.num_features = widths[-1]
        self.feature_info = FeatureInfo(widths, reductions)
        self.reset_classifier(num_classes)

    def forward(self, image: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(image))

    def forward_features(self, image: Tensor) -> Tensor:
        """The features before the head, (B, num_features, *S)."""
        u = self.entered(image)
        for stage in self.stages:
            u = stage(u)
        return self.last(self.as_map(u))

    def entered(self, image: Tensor) -> Tensor:
        """What the stem makes of an image of the right number of axes."""
        check_axes(type(self).__name__, image, self.dims)
        return self.stem(image)

    def as_map(self, u: Tensor) -> Tensor:
        """The features (B, C, *S) of the state between stages, of the last one those that ``last`` takes."""
        return u

    def forward_head(self, u: Tensor, pre_logits: bool = False) -> Tensor:
        """The logits of features; or their mean over the image, which the last linear map takes."""
        mean = u.mean(tuple(range(2, 2 + self.dims)))
        return mean if pre_logits else self.head(mean)

    def forward_intermediates(
        self,
        image: Tensor,
        indices: Indices = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """The features before the head, and those after the stages that ``indices`` name.

        Args:
            image: (B, in_channels, *S).
            indices: Numbers of stages, negative ones from the end; or how many of the last ones; None for all.
            norm: Whether ``last`` acts on the features of the last stage.
            stop_early: Leave out the stages after those that are wanted; only with ``intermediates_only``.
            output_fmt: "NCHW", the only one: channels come first, whatever the number of axes.
            intermediates_only: Return the list alone.
        """
        if output_fmt != "NCHW":
            raise PDEConvError(f'forward_intermediates gives "NCHW" alone, but got output_fmt={output_fmt!r}.')
        if stop_early and not intermediates_only:
            raise PDEConvError("stop_early=True leaves no final features; give intermediates_only=True too.")
        wanted = chosen_stages(indices, len(self.stages))
        stages = self.stages[: max(wanted) + 1] if stop_early else self.stages
        maps, u, end = {}, self.entered(image), len(self.stages) - 1
        for index, stage in enumerate(stages):
            u = stage(u)
            if index in wanted or (index == end and not intermediates_only):
                maps[index] = self.as_map(u)
        normed = norm and end in wanted
        if intermediates_only and not normed:
            return [maps[index] for index in wanted]
        final = self.last(maps[end])  # once: it may keep statistics
        intermediates = [final if normed and index == end else maps[index] for index in wanted]
        return intermediates if intermediates_only else (final, intermediates)

    def get_classifier(self) -> nn.Module:
        """The last linear map."""
        return self.head

    def reset_classifier(self, num_classes: int) -> None:
        """Begin with a new head; with 0 classes, the model gives the mean features."""
        if num_classes == 0 and not isinstance(num_classes, bool):
            self.num_classes, self.head = 0, nn.Identity()
            return
        self.num_classes = checked_count(type(self).__name__, "num_classes", num_classes)
        like = next(self.parameters(), torch.empty(0))
        self.head = nn.Linear(self.num_features, self.num_classes, device=like.device, dtype=like.dtype)

    def prune_intermediate_layers(
        self, indices: Indices = None, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Remove what the features of some stages do not need; returns the numbers of these stages.

        Args:
            indices: The stages, as in ``forward_intermediates``; those after them go, and ``last`` with them.
            prune_norm: Whether ``last`` goes even if the last stage stays.
            prune_head: Whether the head goes; if not, and the features are others, it begins anew.
        """
        wanted = chosen_stages(indices, len(self.stages))
        kept = range(max(wanted) + 1)
        fewer = len(kept) < len(self.stages)
        self.stages, self.feature_info = self.stages[: len(kept)], self.feature_info.chosen(kept)
        self.num_features = self.feature_info.channels()[-1]
        if prune_norm or fewer:
            self.last = nn.Identity()
        if prune_head or fewer:
            self.reset_classifier(0 if prune_head else self.num_classes)
        return list(wanted)

    def trajectory(self, image: Tensor) -> Trajectory:
        """The features as they evolve; time goes on from block to block, and stands still in a transition.

        Of a block that is more than an evolution, such as one with an activation at its end, the states before and
        after; it takes the time of the evolutions in it.
        """
        times, states, start, u = [], [], torch.zeros((), device=image.device), self.entered(image)
        for module in (part for stage in self.stages for part in _parts(stage)):
            before, durations = u, [part.duration for part in module.modules() if isinstance(part, Evolve)]
            if isinstance(module, Evolve):
                evolution = module.trajectory(u)
                times.append(start + evolution.times)
                states.extend(evolution.states)
                start, u = times[-1][-1], evolution.states[-1]
                continue
            u = module(u)
            if durations:
                times.append(start + start.new_tensor([0.0, sum(durations)]))
                states.extend((before, u))
                start = times[-1][-1]
        if not states:
            return Trajectory(start[None], (u,))
        return Trajectory(torch.cat(times), tuple(states))


def _parts(module: nn.Module) -> Iterator[nn.Module]:
    """The modules that act one after the other, those of sequences within too."""
    if isinstance(module, nn.Sequential):
        for part in module:
            yield from _parts(part)
    else:
        yield module


def checked_counts(owner: str, name: str, values: object, zero_too: bool = False) -> tuple[int, ...]:
    """``values`` as a tuple. Raises ``PDEConvError`` unless they are whole numbers of at least 1 (or 0), if any."""
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        raise PDEConvError(f"{owner} needs a number for each stage as {name}, such as (32, 64), but got {values!r}.")
    return tuple((checked_whole if zero_too else checked_count)(owner, name, value) for value in values)
