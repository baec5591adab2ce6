"""One epoch of the CIFAR-10 classifier and of the Train400 denoiser from their configs: throughput and first figures.

The denoiser is that of Chen and Pock's equation, told the noise level; configs/denoise/ has better ones.

python benchmarks/one_epoch.py --cifar10 FOLDER_OF_cifar-10-batches-py --train400 FOLDER --set12 FOLDER --bsd68 FOLDER
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
    for name in ("cifar10", "train400", "set12", "bsd68"):
        parser.add_argument(f"--{name}", help="folder; left out, it is not measured")
    given = parser.parse_args()
    lines = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if given.cifar10:
            record = one_epoch(folder / "cifar10", "--config", "configs/cifar10.yaml", "--data.root", given.cifar10)
            lines.append(f"CIFAR-10            {record['images_per_s']:7.0f} images/s   top-1 {record['top1']:.2f} %")
        for name, test in (("Set12", given.set12), ("BSD68", given.bsd68)):
            if given.train400 and test:
                data = ("--data.train", given.train400, "--data.test", test)
                record = one_epoch(folder / name, "--config", "configs/denoise/reaction_diffusion.yaml", *data)
                speed, psnr, ssim = record["images_per_s"], record["psnr_25"], record["ssim_25"]
                lines.append(
                    f"Train400 → {name}    {speed:7.0f} patches/s  PSNR {psnr:.2f} dB, SSIM {ssim:.4f}, σ = 25"
                )
    print("\n".join(lines) or "nothing to measure: name at least one folder (--help)")


if __name__ == "__main__":
    main()
