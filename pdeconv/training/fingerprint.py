"""Telling one data set from another, so that a run is not continued on other images unnoticed."""

from typing import Any

import torch

from pdeconv.training.checkpoint import digest
from pdeconv.training.data import Data

SAMPLES = 8


def fingerprint(data: Data) -> dict[str, Any]:
    """Sizes of the training and the test set, and a digest of some training samples spread over the set."""
    count = len(data.train)
    places = torch.arange(min(SAMPLES, count)) * count // min(SAMPLES, count)
    samples = [data.train.batch(place[None], 0) for place in places] if count else []
    return {"train": count, "test": len(data.test), "samples": digest(samples)}
