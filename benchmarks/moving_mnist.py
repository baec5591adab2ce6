"""Moving MNIST, 10 frames to 10: the advection forecaster against a ConvLSTM of as many parameters, in the same time.

python benchmarks/moving_mnist.py --root FOLDER_OF_MNIST --runs FOLDER [--minutes 12] [--seeds 3]

Both are trained by configs/forecast/moving_mnist.yaml, with the same data, loss, optimizer, schedule and batch size,
for the same wall time. The two runs of a seed go side by side, on one core each; how many steps fill the time is
measured just before, side by side too. Figures are after the last step, on 1,000 test sequences: mean squared error of
a frame, summed over its 64 x 64 pixels as is the custom, and SSIM. The test sequences are made from MNIST's test
digits, and are not those of published tables. Runs are kept in ``--runs``: a benchmark that was interrupted goes on
where it stopped.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from training_runs import last_test, remaining, training_seconds

from pdeconv import create_model
from pdeconv.training.metrics_log import read_metrics

CONFIG, BATCH, PIXELS = "configs/forecast/moving_mnist.yaml", 16, 64 * 64
MODELS = ("advection_forecaster", "convlstm_forecaster")
TRIAL = 24  # steps that are timed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="folder that holds MNIST/raw")
    parser.add_argument("--runs", required=True, help="folder of the runs")
    parser.add_argument("--minutes", type=float, default=12.0, help="of training, for each run")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--test-sequences", type=int, default=1000)
    given = parser.parse_args()
    runs = Path(given.runs)
    shared = {"data.root": given.root, "data.test_sequences": given.test_sequences, "epochs": 1, "batch_size": BATCH}
    trial = {name: runs / f"trial_{name}" for name in MODELS}
    side_by_side(trial, shared, dict.fromkeys(MODELS, TRIAL), 0)
    steps = {}
    for name, folder in trial.items():
        speed = next(line for line in read_metrics(folder / "metrics.jsonl") if line["kind"] == "train")["images_per_s"]
        steps[name] = max(1, round(60 * given.minutes * speed / BATCH))
    print(f"{'':22}{'parameters':>12}{'steps':>7}{'minutes':>9}{'MSE':>8}{'SSIM':>8}   of the seeds")
    for seed in range(given.seeds):
        side_by_side({name: runs / f"{name}_{seed}" for name in MODELS}, shared, steps, seed)
    for name in MODELS:
        folders = [runs / f"{name}_{seed}" for seed in range(given.seeds)]
        tests = [last_test(folder) for folder in folders]
        errors, similar = ([test[key] * scale for test in tests] for key, scale in (("mse", PIXELS), ("ssim", 1)))
        minutes = sum(map(training_seconds, folders)) / len(folders) / 60
        parameters = sum(weight.numel() for weight in create_model(name).parameters())
        each = ", ".join(f"{error:.1f}/{ssim:.4f}" for error, ssim in zip(errors, similar, strict=True))
        means = sum(errors) / len(errors), sum(similar) / len(similar)
        print(f"{name:22}{parameters:12,}{steps[name]:7}{minutes:9.1f}{means[0]:8.1f}{means[1]:8.4f}   {each}")


def side_by_side(folders: dict[str, Path], shared: dict[str, object], steps: dict[str, int], seed: int) -> None:
    """Train one run of each model at once, each on one thread; those that have come to their end are left alone."""
    running = {}
    for name, folder in folders.items():
        keys = shared | {"model.name": name, "seed": seed, "data.sequences_per_epoch": BATCH * steps[name]}
        arguments = remaining(folder, CONFIG, keys)
        if arguments is not None:
            command, environment = [sys.executable, "train.py", *arguments], os.environ | {"OMP_NUM_THREADS": "1"}
            running[folder] = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    failed = [folder for folder, process in running.items() if process.wait()]
    if failed:
        raise SystemExit(f"{failed[0]}: train.py did not come to its end")


if __name__ == "__main__":
    main()
