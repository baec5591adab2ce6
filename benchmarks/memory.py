"""Peak memory of forward and backward against the number of steps, for each ``memory`` of ``Evolve``, on the CPU.

The weights and the input are there before, and so do not count; see ``speed_rows/peak_memory.py``.

python benchmarks/memory.py [--size 64] [--channels 16] [--batch 4]
"""

import argparse
import os

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler is talkative; before torch is imported

import torch
from speed_rows.peak_memory import peak_bytes
from torch import nn

from pdeconv import Evolve, Fixed, Momentum, Residual

STEPS = (8, 16, 32, 64, 128, 256)
MEMORIES = ("store", "checkpoint", "reversible")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=64, help="cells along each of two axes")
    parser.add_argument("--channels", type=int, default=16, help="channels of u; the state (u, v) has twice as many")
    parser.add_argument("--batch", type=int, default=4, help="images")
    options = parser.parse_args()
    torch.manual_seed(0)
    branch = nn.Sequential(nn.Conv2d(options.channels, options.channels, 3, padding=1), nn.Tanh())
    u = torch.rand(options.batch, 2 * options.channels, options.size, options.size)
    step, unit = Momentum(Residual(branch), retention=0.99), u.numel() * u.element_size()
    print(f"{step.name} on states {tuple(u.shape)}, float32, {unit / 2**20:.1f} MiB each; peak in MiB (in states)\n")
    print("| steps | " + " | ".join(MEMORIES) + " |")
    print("|---:|" + "---:|" * len(MEMORIES))
    peaks = {}
    for steps in STEPS:
        for memory in MEMORIES:
            evolve = Evolve(step, 1.0, Fixed(steps, unchecked=True), memory=memory)
            peaks[steps, memory] = peak_bytes(evolve, u)
        row = (peaks[steps, memory] for memory in MEMORIES)
        print(f"| {steps} | " + " | ".join(f"{peak / 2**20:.1f} ({peak / unit:.1f})" for peak in row) + " |")
    ratios = (peaks[STEPS[-1], memory] / peaks[STEPS[0], memory] for memory in MEMORIES)
    print(f"| {STEPS[-1]} : {STEPS[0]} | " + " | ".join(f"{ratio:.2f}" for ratio in ratios) + " |")


if __name__ == "__main__":
    main()
