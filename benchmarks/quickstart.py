"""Quality and wall time of the quick start, ``make train`` after installation, over several seeds.

python benchmarks/quickstart.py [--seeds 3]
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CONFIGS = {
    "denoise": ("configs/quickstart_denoise.yaml", ("psnr", "ssim")),
    "digits": ("configs/quickstart_digits.yaml", ("top1",)),
}


def run(config: str, seed: int, folder: Path) -> tuple[float, dict]:
    """Wall time of one training run and the last test record of its metrics."""
    command = [sys.executable, "train.py", "--config", config, "--seed", str(seed), "--run", str(folder)]
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    took = time.perf_counter() - start
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return took, [record for record in records if record["kind"] == "test"][-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    seeds = range(parser.parse_args().seeds)
    print(f"{platform.machine()}, {os.cpu_count()} cores, seeds {list(seeds)}")
    total = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for name, (config, metrics) in CONFIGS.items():
            results = [run(config, seed, Path(folder) / f"{name}{seed}") for seed in seeds]
            times = [took for took, _ in results]
            total += statistics.median(times)
            print(
                f"{name:8} wall time   median {statistics.median(times):.0f} s  ({min(times):.0f} to {max(times):.0f})"
            )
            for metric in metrics:
                values = [record[metric] for _, record in results]
                mean = statistics.mean(values)
                print(f"{name:8} {metric:11} mean {mean:.3f}  ({min(values):.3f} to {max(values):.3f})")
    print(f"both     wall time   {total:.0f} s, the sum of the medians")


if __name__ == "__main__":
    main()
