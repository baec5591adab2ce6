"""Telling one data set from another, so that a run is not continued on other images unnoticed."""

from typing import Any

import torch

from pdeconv.training.checkpoint import digest
from pdeconv.training.data import Data, Source

SAMPLES = 8


def fingerprint(data: Data) -> dict[str, Any]:
    """Sizes of the training and the test set, and a digest of some samples of each, spread over the set."""
    sets = {"train": data.train, "test": data.test}
    return {name: {"count": len(source), "samples": _samples(source)} for name, source in sets.items()}


def _samples(source: Source) -> str:
    count = len(source)
    places = torch.arange(min(SAMPLES, count)) * count // max(1, min(SAMPLES, count))
    return digest([source.batch(place[None], 0) for place in places])
