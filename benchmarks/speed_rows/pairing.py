"""Things measured in alternation, so that what the machine does meanwhile hits all of them alike."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Call = Callable[[], object]


@dataclass(frozen=True)
class Summary:
    """The median of several figures, and their quartiles."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Patience:
    """How long to measure: at least ``fewest`` rounds, then until ``seconds`` are over or ``most`` rounds are done.

    A sample is as many calls as last ``shortest`` seconds, so that the clock's own cost does not show.
    """

    seconds: float = 8.0
    fewest: int = 5
    most: int = 31
    shortest: float = 0.005


def summarise(figures: Sequence[float]) -> Summary:
    """Median and quartiles; of a single figure, that figure."""
    if len(figures) == 1:
        return Summary(*figures * 3)
    low, median, high = statistics.quantiles(figures, n=4, method="inclusive")
    return Summary(median, low, high)


def ratio(numerator: Sequence[float], denominator: Sequence[float]) -> Summary:
    """Of the ratios pair by pair, not of the ratio of medians: a slow moment slows both of a pair."""
    return summarise([a / b for a, b in zip(numerator, denominator, strict=True)])


def alternate(
    calls: Sequence[Call], patience: Patience, clock: Callable[[], float] = time.perf_counter
) -> list[list[float]]:
    """Seconds per call of each of ``calls``, a figure a round: A B A B …, after warming up.

    The first call of each compiles and allocates, the second says how many calls a sample needs. The garbage collector
    rests while the clock runs; it is run between warming up and measuring.
    """
    repeats = []
    for call in calls:
        call()
        seconds = _sample(call, 1, clock)
        repeats.append(max(1, math.ceil(patience.shortest / seconds)) if seconds > 0 else 1)
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        figures: list[list[float]] = [[] for _ in calls]
        start = clock()
        for done in range(patience.most):
            if done >= patience.fewest and clock() - start >= patience.seconds:
                break
            for call, count, found in zip(calls, repeats, figures, strict=True):
                found.append(_sample(call, count, clock))
    finally:
        if enabled:
            gc.enable()
    return figures


def _sample(call: Call, count: int, clock: Callable[[], float]) -> float:
    start = clock()
    for _ in range(count):
        call()
    return (clock() - start) / count
