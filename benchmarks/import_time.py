"""How much longer ``import pdeconv`` takes than ``import torch``: whole processes in alternation, median and spread.

python benchmarks/import_time.py [--runs 10]
"""

import argparse
import statistics
import subprocess
import sys
import time


def seconds(statement: str) -> float:
    """Wall time of a fresh interpreter that runs ``statement``."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10, help="pairs of runs")
    runs = parser.parse_args().runs
    seconds("import torch, pdeconv")  # warms the file cache
    pairs = [(seconds("import torch"), seconds("import torch, pdeconv")) for _ in range(runs)]
    extra = [with_pdeconv - alone for alone, with_pdeconv in pairs]
    print(f"import torch                 {statistics.median(alone for alone, _ in pairs):.3f} s")
    print(f"import pdeconv on top of it  {statistics.median(extra):.3f} s  ({min(extra):.3f} to {max(extra):.3f})")


if __name__ == "__main__":
    main()
