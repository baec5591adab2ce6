"""Multilevel training against plain training: one model, one recipe, wall time to equal accuracy, several seeds.

python benchmarks/multilevel.py --root FOLDER_OF_CIFAR-10 --runs FOLDER [--epochs 15] [--seeds 3] [--shorter 12 9]
    [--widths 8 16 32 --depths 1 2 2]

Both are runs of train.py of as many epochs, by the recipe of ``--config``. One sees images and takes time steps of the
full scales throughout; the other has levels, from ``--share``, ``--image_scale`` and ``--time_scale``. ``--shorter``
adds plain runs of fewer epochs, whose schedule ends with them: a plain run may get as far in the time of the levels.
Seconds are of training, and of entering a level (in which the statistics of batch normalisation are taken anew),
without tests. The equal accuracy of a seed is the lower one, after the last epoch, of its plain run and its run with
levels; the time is that of the first test at full scale that reaches it. Time it on an idle machine;
``--jobs 2`` takes two runs at once, each with its share of the cores: times are then comparable but for the noise.

Runs are kept in ``--runs``: an interrupted benchmark goes on where it stopped. A smoke test:
``--images 200 --epochs 2 --seeds 1``.

References:
    E. Haber, L. Ruthotto, E. Holtham, S.-H. Jun. Learning across scales: multiscale methods for convolution neural
    networks. AAAI 2018.
    B. Chang, L. Meng, E. Haber, F. Tung, D. Begert. Multi-level residual networks from dynamical systems view. ICLR
    2018.
"""

import argparse
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from contenders import Contender, trained

from pdeconv.training.metrics_log import read_metrics


def seconds_until(lines: list[dict[str, Any]], accuracy: float) -> float:
    """Seconds of training until a test at full scale first has an accuracy."""
    seconds = 0.0
    for line in lines:
        seconds += line.get("seconds", 0.0)
        if line["kind"] == "test" and "level" not in line and line["top1"] >= accuracy:
            return seconds
    return float("nan")


def last_accuracy(lines: list[dict[str, Any]]) -> float:
    """After the last epoch."""
    return [line["top1"] for line in lines if line["kind"] == "test"][-1]


def spread(values: Iterable[float], digits: int = 2) -> str:
    """The mean, and the range."""
    known = list(values)
    return f"{statistics.mean(known):.{digits}f} ({min(known):.{digits}f} to {max(known):.{digits}f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="folder that holds cifar-10-batches-py")
    parser.add_argument("--runs", required=True, help="folder of the runs")
    parser.add_argument("--config", default="configs/classify/cifar10.yaml", help="the recipe")
    parser.add_argument("--model", default="parabolic_classifier")
    parser.add_argument("--steps", type=int, default=2, help="time steps of each evolution at full scale")
    parser.add_argument("--widths", type=int, nargs="+", help="of the model; left out: its own")
    parser.add_argument("--depths", type=int, nargs="+", help="of the model; left out: its own")
    parser.add_argument("--share", type=float, nargs="+", default=[0.5, 0.5], help="shares of the epochs")
    parser.add_argument("--image_scale", type=float, nargs="+", default=[0.5, 1.0])
    parser.add_argument("--time_scale", type=float, nargs="+", default=[0.5, 1.0])
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--shorter", type=int, nargs="*", default=[], help="epochs of further plain runs")
    parser.add_argument("--precision", default="no", help="as of train.py")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1, help="runs at once")
    parser.add_argument("--images", type=int, help="training images; left out: all 50,000")
    options = parser.parse_args()
    if options.jobs < 1:
        parser.error(f"--jobs: expected 1 or more, got {options.jobs}")
    common = {"model.name": options.model, "model.steps": options.steps, "data.root": options.root, "evaluate_every": 1}
    common |= {"precision": options.precision}
    optional = {"model.widths": options.widths, "model.depths": options.depths, "data.train_images": options.images}
    common |= {key: value for key, value in optional.items() if value is not None}
    levels = {f"levels.{key}": getattr(options, key) for key in ("share", "image_scale", "time_scale")}
    contenders = [
        Contender("plain", options.config, {"epochs": options.epochs}),
        Contender("levels", options.config, levels | {"epochs": options.epochs}),
        *(Contender(f"plain, {epochs} epochs", options.config, {"epochs": epochs}) for epochs in options.shorter),
    ]
    runs_of = trained(contenders, Path(options.runs), options.seeds, common, options.jobs)
    results = {name: [read_metrics(run / "metrics.jsonl") for run in runs] for name, runs in runs_of.items()}
    pairs = zip(results["plain"], results["levels"], strict=True)
    equal = [min(map(last_accuracy, pair)) for pair in pairs]
    print(f"\n{options.model}, {options.epochs} epochs, {options.seeds} seeds: mean (least to most)\n")
    print("| run | accuracy, % | seconds | seconds to equal accuracy | before → just after each refinement, % |")
    print("|---|---|---|---|---|")
    for name, runs in results.items():
        until = [seconds_until(lines, accuracy) for lines, accuracy in zip(runs, equal, strict=True)]
        reached = [seconds for seconds in until if seconds == seconds]
        total = spread((sum(line.get("seconds", 0.0) for line in lines) for lines in runs), 0)
        cells = [name, spread(map(last_accuracy, runs)), total]
        missed = f", {len(until) - len(reached)} of {len(until)} never" if len(reached) < len(until) else ""
        cells.append((spread(reached, 0) if reached else "–") + missed)
        refined = zip(*([line for line in lines if line["kind"] == "refinement"] for lines in runs), strict=True)
        means = [[statistics.mean(x[f"top1_{when}"] for x in each) for when in ("before", "after")] for each in refined]
        cells.append("; ".join(f"{before:.2f} → {after:.2f}" for before, after in means) or "–")
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
