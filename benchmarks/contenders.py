"""What the benchmarks of training compare: configurations with other keys, each trained from several seeds."""

import os
import statistics
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn
from training_runs import as_arguments, last_test, multiply_adds, train, training_seconds

from pdeconv.training.config import parse_config
from pdeconv.training.network import build_network


@dataclass(frozen=True)
class Contender:
    """A configuration with other keys, as ``train.py`` takes them."""

    title: str
    config: str
    keys: Mapping[str, object] = field(default_factory=dict)

    def run(self, folder: Path, seed: int, keys: Mapping[str, object], threads: int | None = None) -> Path:
        """Its run in ``folder`` of one seed, by ``keys`` besides its own, trained to its end."""
        run = folder / f"{self.title.replace(' ', '_').replace(',', '')}_{seed}"
        train(run, self.config, {**self.keys, **keys, "seed": seed}, threads)
        return run

    def network(self, channels: int) -> nn.Module:
        """The network at its start, of ten classes."""
        config = parse_config(["--config", self.config, *as_arguments(self.keys)])
        return build_network(config.model, channels, [str(number) for number in range(10)])

    def size(self, shape: tuple[int, int, int]) -> tuple[int, int]:
        """Parameters, and multiply-adds for one more image of ``shape``."""
        network = self.network(shape[0])
        return sum(weight.numel() for weight in network.parameters()), multiply_adds(network, shape)

    def row(self, runs: list[Path], shape: tuple[int, int, int]) -> str:
        """Size, cost, accuracy after the last epoch and time of training."""
        parameters, cost = self.size(shape)
        found = [last_test(run)["top1"] for run in runs]
        minutes = statistics.mean(training_seconds(run) for run in runs) / 60
        return (
            f"{self.title:26} {parameters:8,} parameters  {cost / 1e6:6.2f} M multiply-adds  "
            f"{statistics.mean(found):.2f} ({min(found):.2f} to {max(found):.2f})  {minutes:.1f} min"
        )


def trained(
    contenders: Sequence[Contender], folder: Path, seeds: int, keys: Mapping[str, object], jobs: int = 1
) -> dict[str, list[Path]]:
    """The runs in ``folder`` of each contender, by its title: one a seed, trained to their end.

    Args:
        contenders: What is trained, with keys of its own.
        folder: Of the runs.
        seeds: Runs of each contender.
        keys: Of all runs.
        jobs: Runs at once, each with its share of the cores: sooner done, but their times are then worth less.

    Seed by seed, so that a machine that slows down slows all contenders.
    """
    threads = None if jobs == 1 else max(1, (os.cpu_count() or 1) // jobs)
    pairs = [(contender, seed) for seed in range(seeds) for contender in contenders]
    runs: dict[str, list[Path]] = {contender.title: [] for contender in contenders}
    with ThreadPoolExecutor(jobs) as pool:
        done = pool.map(lambda pair: pair[0].run(folder, pair[1], keys, threads), pairs)
        for (contender, _), run in zip(pairs, done, strict=True):
            runs[contender.title].append(run)
    return runs
