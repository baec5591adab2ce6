"""One epoch of the CIFAR-10 classifier from its configuration: throughput and first figure.

python benchmarks/one_epoch.py --cifar10 FOLDER_OF_cifar-10-batches-py
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path


def one_epoch(folder: Path, *arguments: str) -> dict:
    """Train for one epoch; the records of metrics.jsonl, merged."""
    subprocess.run([sys.executable, "train.py", *arguments, "--epochs", "1", "--run", str(folder)], check=True)
    merged: dict = {}
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        merged |= json.loads(line)
    return merged


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", required=True, help="folder")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "cifar10"
        record = one_epoch(folder, "--config", "configs/classify/cifar10_adr.yaml", "--data.root", given.cifar10)
    print(f"CIFAR-10 {record['images_per_s']:7.0f} images/s   top-1 {record['top1']:.2f} %")


if __name__ == "__main__":
    main()
