"""A tiny training run for the tests of the engine, in processes of their own that can be killed at any moment.

The processes are forked from a server that has imported torch already, so each starts at once.
"""

import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
import matplotlib.figure  # noqa: E402, F401  (imported by the server, once for all)
import torchmetrics  # noqa: E402

import train  # noqa: E402
from pdeconv import Diffusion, Euler, Evolve, Fixed, PerChannel, TimeVarying  # noqa: E402
from pdeconv.errors import StabilityError  # noqa: E402
from pdeconv.training import checkpoint, durable, finish, metrics_log  # noqa: E402
from pdeconv.training.command_line import run_program  # noqa: E402
from pdeconv.training.data import Data  # noqa: E402

ARGUMENTS = ["--task", "denoising", "--model.name", "toy", "--data.name", "photographs", "--epochs", "3"]
ARGUMENTS += ["--batch_size", "8", "--ema", "0.9", "--log_every", "2", "--optimizer.lr", "0.01"]


class ToyNet(nn.Module):
    """Batch normalisation and dropout, so that buffers and random states matter."""

    def __init__(self, plain: bool = False) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.Identity() if plain else nn.BatchNorm2d(4)
        self.drop = nn.Identity() if plain else nn.Dropout(0.2)
        self.last = nn.Conv2d(4, 1, 3, padding=1)
        self.scale = nn.Parameter(torch.ones(1))  # FSDP takes no scalars

    def forward(self, x: Tensor) -> Tensor:
        if "TOY_UNSTABLE" in os.environ:
            raise StabilityError("dt=0.40 exceeds the limit 0.25 of Euler(Diffusion); use more steps")
        return x + self.scale * self.last(self.drop(torch.relu(self.norm(self.first(x)))))


class ToyStages(nn.Module):
    """Two stages, and a tensor that both have a part of."""

    stages = 2

    def __init__(self) -> None:
        super().__init__()
        self.steps = nn.ModuleList(nn.Conv2d(1, 1, 3, padding=1) for _ in range(self.stages))
        self.scale = nn.Parameter(torch.ones(self.stages))

    def forward(self, x: Tensor, stages: int | None = None) -> Tensor:
        for number, step in enumerate(self.steps[:stages], start=1):  # pyright: ignore
            x = x.detach() if number == stages else x
            x = x + self.scale[number - 1] * step(x)
        return x


class ToyEvolving(ToyNet):
    """Four time steps of a diffusion whose weights vary in time, too: a coarse level uses some of them."""

    def __init__(self) -> None:
        super().__init__()
        diffusion = TimeVarying(Diffusion(PerChannel(1, ceiling=0.5)), points=5)
        self.evolve = Evolve(Euler(diffusion), 1.0, Fixed(4))

    def forward(self, x: Tensor) -> Tensor:
        return self.evolve(super().forward(x))


@dataclass
class ToySource:
    images: Tensor
    in_memory = same_size = True
    names = ()

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices, seed):
        chosen = self.images[indices]
        return chosen, chosen

    def iterate(self, batches):
        for indices, seed in batches:
            yield self.batch(indices, seed)


class ToyTask:
    headline = "psnr"
    tested = 0

    def loss(self, model, inputs, targets, seed, first=0):
        noise = torch.stack([_noise(seed + first + place, inputs) for place in range(len(inputs))])
        loss = (model(inputs + noise) - targets).square().mean()
        return loss

    def metrics(self):
        return torchmetrics.MetricCollection({"psnr": torchmetrics.MeanMetric(), "again": torchmetrics.MeanMetric()})

    def update(self, metrics, model, inputs, targets, index):
        noise = torch.stack([_noise(index + place, inputs) for place in range(len(inputs))])
        if "TOY_SLOW_TEST" in os.environ and self.tested == 2:
            time.sleep(float(os.environ["TOY_SLOW_TEST"]))
        self.tested += 1
        errors = (model(inputs + noise) - targets).square().flatten(1).mean(1)
        metrics.update(-10 * errors.log10())

    def summary(self, metrics):
        return {name: float(value) for name, value in metrics.compute().items()}

    def pictures(self, model, data, metrics, folder, device):
        return []

    def report(self, model, data, device):
        return None


def _noise(seed: int, images: Tensor) -> Tensor:
    return torch.randn(1, *images.shape[2:], generator=torch.Generator().manual_seed(seed % 2**60)) * 0.3


def toy_data(config, task, seed):
    images = torch.rand(47, 1, 6, 6, generator=torch.Generator().manual_seed(5))
    if "TOY_BAD_SAMPLE" in os.environ:
        images[int(os.environ["TOY_BAD_SAMPLE"])] = float("inf")
    test = ToySource(images[40 : 40 + int(os.environ.get("TOY_TESTS", "7"))])
    return Data(lambda: ToySource(images[: int(os.environ.get("TOY_TRAINING", "40"))]), test, 1, None)


def toy_network(config, channels, classes):
    if config.name == "toy_stages":
        return ToyStages()
    if config.name == "toy_evolving":
        return ToyEvolving()
    return ToyNet(plain=config.name == "toy_plain")


def install() -> None:
    """Make train.py train the toy."""
    train.load_data, train.create_task = toy_data, lambda config, data: ToyTask()  # type: ignore[assignment]
    train.build_network = finish.build_network = toy_network


MOMENTS: list[str] = []


def kill_at(moment: int | None) -> None:
    """Kill this process at the ``moment``-th of the instants at which something is computed or written."""
    watched = [
        (ToyTask, "loss"),
        (ToyTask, "update"),
        (checkpoint, "save_file"),
        (checkpoint, "sync_file"),
        (checkpoint, "sync_folder"),
        (checkpoint, "read_checkpoint"),
        (checkpoint.os, "replace"),
        (checkpoint.shutil, "rmtree"),
        (durable, "sync_file"),
        (metrics_log.MetricsLog, "append"),
        (torch, "save"),
    ]
    for owner, name in watched:
        setattr(owner, name, _counted(getattr(owner, name), name, moment))


def _counted(function, name, moment):
    def counted(*arguments, **options):
        MOMENTS.append(name)
        if len(MOMENTS) == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)

    return counted


def _child(arguments, output, moment, environment, count):
    descriptor = os.open(output, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.environ |= environment
    torch.set_num_threads(1)
    install()
    kill_at(moment)
    try:
        run_program("train.py", lambda: train.main(arguments))
    finally:
        Path(count).write_text("\n".join(MOMENTS))
        sys.stdout.flush()
        sys.stderr.flush()


@dataclass
class Outcome:
    """How a run ended. A negative status is the signal that killed it."""

    status: int
    text: str
    moments: list[str]


class ToyRun:
    """The toy training in a process of its own."""

    def __init__(self, folder: Path, *arguments: str, kill: int | None = None, **environment: str) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["toy_run"])
        os.environ["PYTHONPATH"] = str(Path(__file__).parent)  # where the server finds it
        name = f"{folder.name}.{environment.get('RANK', '0')}"
        self.output, self.count = folder.parent / f"{name}.log", folder.parent / f"{name}.moments"
        given = [*ARGUMENTS, "--run", str(folder), *arguments]
        passed = (given, str(self.output), kill, environment, str(self.count))
        self.process = context.Process(target=_child, args=passed)
        self.process.start()

    def signal(self, number: int) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def outcome(self) -> Outcome:
        """Wait for the end."""
        self.process.join(60)
        if self.process.exitcode is None:
            self.process.kill()
            raise AssertionError(f"the run hangs: {self.output.read_text()}")
        moments = self.count.read_text().split("\n") if self.count.exists() else []
        return Outcome(self.process.exitcode, self.output.read_text(), moments)


def run_toy(folder: Path, *arguments: str, kill: int | None = None, **environment: str) -> Outcome:
    """Train the toy to its end, or until it is killed at an instant."""
    return ToyRun(folder, *arguments, kill=kill, **environment).outcome()


def start_pair(folder: Path, *arguments: str, kill: int | None = None, **environment: str) -> list[ToyRun]:
    """Two processes that train together; ``kill`` is for the first, so that the second must be ended."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": port} | environment
    shared["OMP_NUM_THREADS"] = "1"
    return [
        ToyRun(folder, *arguments, kill=kill if rank == "0" else None, RANK=rank, LOCAL_RANK=rank, **shared)
        for rank in ("0", "1")
    ]


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)


if __name__ == "__main__":  # as a program of its own, for torchrun
    torch.set_num_threads(1)
    install()
    run_program("train.py", lambda: train.main([*ARGUMENTS, *sys.argv[1:]]))
