"""Patterns from a few seeds
=========================

Gray–Scott, u_t = 0.16 Δu − uv² + F(1 − u), v_t = 0.08 Δv + uv² − (F + k)v: v grows on the food u.

What to see: the same few seeds become spots that divide, corals, worms or holes, as the feed F and the kill k decide.
"""

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure

from pdeconv import Constant, Diffusion, Euler, Evolve, Fixed, FixedCoefficient, GrayScott, Grid, Reaction

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--output", type=Path, default=Path("pictures"), help="folder to write to")
parser.add_argument("--size", type=int, default=128, help="cells along each side")
parser.add_argument("--duration", type=int, default=6000, help="time to run")
output, size, duration = vars(parser.parse_args()).values()

kinds = {"spots": (0.0367, 0.0649), "coral": (0.0545, 0.062), "worms": (0.058, 0.065), "holes": (0.039, 0.058)}
spread = Diffusion(FixedCoefficient(torch.tensor([0.16, 0.08])), Grid(boundary="periodic"))
torch.manual_seed(0)
seeds = torch.rand(1, 1, size, size) < 16 / size**2
v = 0.25 * torch.nn.functional.max_pool2d(seeds.float(), kernel_size=7, stride=1, padding=3)

figure = Figure(figsize=(8.8, 7.2), layout="constrained")
for column, (kind, (feed, kill)) in zip(figure.subplots(3, 4).T, kinds.items(), strict=True):
    equation = spread + Reaction(GrayScott(Constant(feed), Constant(kill)))
    state, time = torch.cat((1 - 2 * v, v), dim=1), 0
    for axes, until in zip(column, (duration // 12, duration // 4, duration), strict=True):
        control = Fixed(until - time, unchecked=True)  # dt = 1, though v has no ceiling: it stays below 0.5
        with torch.no_grad():
            state, time = Evolve(Euler(equation), until - time, control)(state), until
        axes.imshow(state[0, 1], cmap="magma", vmin=0, vmax=0.4, interpolation="bicubic")
        axes.set(title=f"{kind}, t = {time}", xticks=(), yticks=())
output.mkdir(parents=True, exist_ok=True)
figure.savefig(output / "gray_scott.png", dpi=100)
