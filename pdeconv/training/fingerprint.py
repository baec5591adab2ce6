"""Telling one data set from another, so that a run is not continued on other images unnoticed."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from pdeconv.training.checkpoint import digest
from pdeconv.training.data import Data, Source
from pdeconv.training.data_config import DataConfig

SAMPLES = 8


def fingerprint(data: Data) -> dict[str, Any]:
    """Sizes of the training and the test set, and a digest of some samples of each, spread over the set.

    Besides, the statistics by which values were normalised, which an evaluation takes from here.
    """
    sets = {"train": data.train, "test": data.test}
    found: dict[str, Any] = {name: {"count": len(source), "samples": _samples(source)} for name, source in sets.items()}
    return found if data.statistics is None else found | {"statistics": data.statistics}


def with_statistics(config: DataConfig, known: Mapping[str, Any]) -> DataConfig:
    """A configuration whose values are normalised as those of the run were, of which ``known`` is the fingerprint."""
    if "statistics" not in known:
        return config
    offset, scale = known["statistics"]
    return replace(config, offset=list(offset), scale=list(scale))


def _samples(source: Source) -> str:
    count = len(source)
    places = torch.arange(min(SAMPLES, count)) * count // max(1, min(SAMPLES, count))
    return digest([source.batch(place[None], 0) for place in places])
