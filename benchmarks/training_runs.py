"""Runs of train.py that a benchmark asks for: kept in folders, continued where they stopped, not repeated."""

import copy
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
import yaml
from torch import nn

from pdeconv.conversion_report import count_multiply_adds
from pdeconv.errors import PDEConvError
from pdeconv.training.checkpoint import newest_checkpoint
from pdeconv.training.config import parse_config
from pdeconv.training.metrics_log import read_metrics
from pdeconv.training.network import network_of
from pdeconv.training.run_folder import find_start


def train(folder: Path, config: str, keys: Mapping[str, object], threads: int | None = None) -> None:
    """``python train.py --config CONFIG --run FOLDER --KEY VALUE …``, unless the run has come to its end.

    On so many ``threads``, or as many as torch takes. A run in the folder that was configured otherwise, such as with
    other epochs, ends the program: its figures are not those that are asked for.
    """
    arguments = remaining(folder, config, keys)
    if arguments is None:
        return
    environment = None if threads is None else os.environ | {"OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "train.py", *arguments]
    if subprocess.run(command, stdout=subprocess.DEVNULL, env=environment).returncode:
        raise SystemExit(f"{folder}: train.py did not come to its end")


def remaining(folder: Path, config: str, keys: Mapping[str, object]) -> list[str] | None:
    """What to give ``train.py`` for a run to come to its end; None for one that has. As of ``train``."""
    arguments = ["--config", config, "--run", str(folder), "--resume", "auto", *as_arguments(keys)]
    if not is_finished(folder):
        return arguments
    try:
        find_start(parse_config(arguments))
    except PDEConvError as error:
        raise SystemExit(f"{folder}: {error}") from error
    return None


def as_arguments(keys: Mapping[str, object]) -> list[str]:
    """``--KEY VALUE …``, as ``train.py`` takes them."""
    return [text for key, value in keys.items() for text in (f"--{key}", str(value))]


def is_finished(folder: Path) -> bool:
    """Whether the last epoch of a run has been tested."""
    if not (folder / "config.yaml").exists():
        return False
    epochs = yaml.safe_load((folder / "config.yaml").read_text())["epochs"]
    return any(line["kind"] == "test" and line["epoch"] == epochs for line in read_metrics(folder / "metrics.jsonl"))


def last_test(folder: Path) -> dict[str, float]:
    """The test figures after the last epoch: not the best, which the test images would have chosen."""
    return [line for line in read_metrics(folder / "metrics.jsonl") if line["kind"] == "test"][-1]


def training_seconds(folder: Path) -> float:
    """Wall time of the training alone, without tests."""
    return sum(line["seconds"] for line in read_metrics(folder / "metrics.jsonl") if line["kind"] == "train")


def multiply_adds(model: nn.Module, shape: tuple[int, int, int]) -> int:
    """Of convolutions and matrix products, for one more image: what is computed once a pass, such as bounds of kernels,
    is left out. In float64, in which no native kernel hides its operations.
    """
    wide = copy.deepcopy(model).double()
    fewer, more = (count_multiply_adds(wide, torch.rand(count, *shape).double())[""] for count in (1, 2))
    return more - fewer


def last_network(run: Path, steps: int | None = None) -> nn.Module:
    """The network after the last epoch, not the best, which the test would have chosen; ``steps`` as of network_of."""
    newest, _ = newest_checkpoint(run / "checkpoints")
    assert newest is not None
    return network_of(newest, steps=steps)
