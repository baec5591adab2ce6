"""A lens
======

The wave equation, u_t = v, v_t = ∇·(c²∇u), with c² = 1 in air and 0.4 in a lens of glass.

What to see: the lens holds the flat wave up where it is thick; so the wave bends, runs into a focus and out again.
"""

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure

from pdeconv import CFL, Evolve, FixedCoefficient, Leapfrog, Wave

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--output", type=Path, default=Path("pictures"), help="folder to write to")
parser.add_argument("--size", type=int, default=200, help="cells from top to bottom")
output, size = vars(parser.parse_args()).values()

y, x = torch.meshgrid(torch.arange(size) / size - 0.5, torch.arange(3 * size // 2) / size, indexing="ij")
lens = torch.maximum((x - 0.15).hypot(y), (x - 0.85).hypot(y)) < 0.46
glass = FixedCoefficient(torch.where(lens, 0.4, 1.0)[None, None])
u = torch.exp(-((x - 0.2) / 0.05).square()) * torch.cos(2 * torch.pi * (x - 0.2) / 0.06)
state = torch.stack((u, -torch.gradient(u, dim=1)[0]))[None]  # v = −∂u/∂x: all of it runs to the right
movie = Evolve(Leapfrog(Wave(glass)), duration=1.1 * size, control=CFL(0.9)).trajectory(state)
figure = Figure(figsize=(9, 4.4), layout="constrained")
for axes, share in zip(figure.subplots(2, 3).flat, (0, 0.32, 0.5, 0.64, 0.8, 1), strict=True):
    i = int(share * (len(movie.states) - 1))
    axes.imshow(movie.states[i][0, 0], cmap="RdBu_r", vmin=-1.2, vmax=1.2)
    axes.contourf(lens, [0.5, 1.5], colors=["#00000022"])
    axes.set(title=f"t = {movie.times[i]:.0f}", xticks=(), yticks=())
output.mkdir(parents=True, exist_ok=True)
figure.savefig(output / "wave.png", dpi=100)
