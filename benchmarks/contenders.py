"""What the benchmarks of training compare: configurations with other keys, each trained from several seeds."""

import statistics
from collections.abc import Mapping
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

    def runs(self, folder: Path, seeds: int, keys: Mapping[str, object]) -> list[Path]:
        """Its runs in ``folder``, by ``keys`` besides its own, one a seed, trained to their end."""
        title = self.title.replace(" ", "_").replace(",", "")
        folders = [folder / f"{title}_{seed}" for seed in range(seeds)]
        for seed, run in enumerate(folders):
            train(run, self.config, {**self.keys, **keys, "seed": seed})
        return folders

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
