"""Peak memory of one training step on volumes against their side, for each ``memory`` of a model, on the CPU.

Of forward and backward of one volume of one channel; the weights and the volume are there before, and so do not count;
see ``speed_rows/peak_memory.py``. Group normalisation, as blocks that are computed again need.

python benchmarks/memory_of_volumes.py [--sides 32 64] [--steps 8]
"""

import argparse
import os

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler is talkative; before torch is imported

import torch
from speed_rows.peak_memory import peak_bytes
from torch import nn

from pdeconv import create_model
from pdeconv.models.layers import default_norm

SMALL = dict(widths=(16, 32), depths=(1, 1), norm_layer=default_norm)
CLASSIFIERS = {
    "adr_residual_classifier": [("store", dict(stem_width=8, widths=(16, 32), depths=(1, 2), norm_layer=default_norm))],
    "hamiltonian_classifier": [
        (memory, SMALL | dict(memory=memory)) for memory in ("store", "checkpoint", "reversible")
    ],
    "ode_classifier": [(memory, SMALL | dict(stem_width=8, memory=memory)) for memory in ("store", "checkpoint")],
}
DENOISERS = {
    "reaction_diffusion_denoiser": dict(kernel_size=3, steps=2),
    "multiscale_denoiser": dict(channels=16, depth=2),
    "adr_denoiser": dict(channels=4, steps=4),
}


class Told(nn.Module):
    """A denoiser that is told the noise level."""

    def __init__(self, denoiser: nn.Module) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(self, noisy: torch.Tensor) -> torch.Tensor:
        return self.denoiser(noisy, 0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="+", default=[32, 64], help="cells along each of three axes")
    parser.add_argument("--steps", type=int, default=8, help="time steps of a block of the models with a memory")
    options = parser.parse_args()
    rows = []
    for name, cases in CLASSIFIERS.items():
        for memory, given in cases:
            steps = {} if name == "adr_residual_classifier" else dict(steps=options.steps)
            rows.append((name, memory, create_model(name, in_channels=1, dims=3, **given, **steps)))
    for name, given in DENOISERS.items():
        rows.append((name, "store", Told(create_model(name, dims=3, **given))))
    print("| model | memory | " + " | ".join(f"{side}³, MiB" for side in options.sides) + " |", flush=True)
    print("|:--|:--|" + "--:|" * len(options.sides), flush=True)
    for name, memory, model in rows:
        peaks = [peak_bytes(model, torch.rand(1, 1, side, side, side)) / 2**20 for side in options.sides]
        print(f"| `{name}` | {memory} | " + " | ".join(f"{peak:.0f}" for peak in peaks) + " |", flush=True)


if __name__ == "__main__":
    main()
