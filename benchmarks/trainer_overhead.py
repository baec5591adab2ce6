"""The share of a training run's time outside forward, backward and optimizer: ``train.py`` beside a bare loop.

python benchmarks/trainer_overhead.py [--runs 3] [--cifar_steps 16] [--patches 160]

Both train the same model on the same batches: ``train.py`` makes, augments and watches them; the bare loop has them
ready. Two runs, CIFAR-10's shapes (random pixels, 32 x 32 x 3, batch 128, crops and flips) and the quick start's
denoiser, each in alternation with its bare loop, in fresh processes; seconds of the steps alone, minimum over the runs.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
CIFAR = ["--config", str(ROOT / "configs/classify/cifar10_adr.yaml"), "--epochs", "1", "--channels_last", "false"]
QUICKSTART = [
    "--config",
    str(ROOT / "configs/quickstart_denoise.yaml"),
    "--epochs",
    "1",
    "--denoising.compare",
    "false",
]


def synthetic(samples: int):
    """A stand-in for CIFAR-10 with random pixels, as ``load_data`` gives the real set."""
    from pdeconv.training.data import Data
    from pdeconv.training.labelled_images import LabelledImages, ShiftAndFlip
    from pdeconv.training.torchvision_sets import SETS

    pixels = torch.randint(0, 256, (samples, 3, 32, 32), dtype=torch.uint8)
    labels, statistics = torch.randint(0, 10, (samples,)), SETS["cifar10"].statistics
    train = LabelledImages(pixels, labels, 255.0, statistics, change=ShiftAndFlip(flip=True))
    test = LabelledImages(pixels[:8], labels[:8], 255.0, statistics)
    return Data(lambda: train, test, 3, tuple("abcdefghij"))


def trainer_seconds(arguments: list[str], samples: int | None, folder: Path) -> float:
    """Seconds of the steps of one epoch of ``train.py``, as its metrics.jsonl tells them."""
    sys.path.insert(0, str(ROOT))
    import train

    if samples is not None:
        data = synthetic(samples)
        train.load_data = lambda *_: data
    train.finish_run = lambda *_: None  # pictures and the comparison are not steps
    train.main([*arguments, "--run", str(folder)])
    return json.loads((folder / "metrics.jsonl").read_text().splitlines()[0])["seconds"]


def bare_seconds(arguments: list[str], samples: int | None) -> float:
    """Seconds of forward, backward and optimizer over the same batches, made beforehand."""
    from pdeconv.allocator import keep_freed_memory
    from pdeconv.training.config import parse_config
    from pdeconv.training.data import load_data
    from pdeconv.training.network import build_network
    from pdeconv.training.optimization import build_optimizer
    from pdeconv.training.sampling import Batches
    from pdeconv.training.tasks import create_task

    config = parse_config([*arguments, "--run", "none"])
    keep_freed_memory()
    data = load_data(config.data, config.task, config.seed) if samples is None else synthetic(samples)
    batches = Batches(len(data.train), config.batch_size, config.seed)
    ready = list(data.train.iterate(batches.epoch(0)))
    torch.manual_seed(config.seed)
    network = build_network(config.model, data.channels, data.classes).train()
    task, optimizer = create_task(config, data), build_optimizer(network, config.optimizer)
    start = time.perf_counter()
    for step, (inputs, targets) in enumerate(ready):
        task.loss(network, inputs, targets, seed=batches.loss_seed(step)).backward()
        if config.optimizer.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(network.parameters(), config.optimizer.clip_norm)
        optimizer.step()
        optimizer.zero_grad()
    return time.perf_counter() - start


def child(kind: str, arguments: list[str], samples: int | None, folder: Path) -> float:
    """Run one of the two in a fresh process."""
    call = f"trainer_seconds({arguments!r}, {samples!r}, Path({str(folder)!r}))"
    call = call if kind == "trainer" else f"bare_seconds({arguments!r}, {samples!r})"
    program = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\nfrom pathlib import Path\n"
    program += f"from trainer_overhead import *\nprint()\nprint({call})"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return float(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="pairs of runs")
    parser.add_argument("--cifar_steps", type=int, default=16, help="steps of batch 128")
    parser.add_argument("--patches", type=int, default=160, help="patches of the denoiser, batch 8")
    given = parser.parse_args()
    quickstart = [*QUICKSTART, "--data.patches_per_epoch", str(given.patches)]
    cases = {"CIFAR-10's shapes": (CIFAR, 128 * given.cifar_steps), "quick-start denoiser": (quickstart, None)}
    with tempfile.TemporaryDirectory() as temporary:
        for name, (arguments, samples) in cases.items():
            seconds: dict[str, list[float]] = {"bare": [], "trainer": []}
            for run in range(given.runs):
                for kind in seconds if run % 2 == 0 else reversed(seconds):
                    folder = Path(temporary) / f"{name.split()[0]}{run}"
                    seconds[kind].append(child(kind, arguments, samples, folder))
            bare, trainer = min(seconds["bare"]), min(seconds["trainer"])
            print(
                f"{name:22} bare {bare:6.2f} s, trainer {trainer:6.2f} s: {1 - bare / trainer:6.1%} outside", flush=True
            )


if __name__ == "__main__":
    main()
