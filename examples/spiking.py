"""Neurons that look
=================

Leaky integrate-and-fire, u_t = s (I − u), until u ≥ 1: then a spike, and u = 0. The current I is a photograph.

What to see: the brighter a pixel, the more often it fires, and the darkest never: the number of spikes is a photograph.
"""

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure
from skimage import data, transform

from pdeconv import Constant, LeakyIntegrateAndFire

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--output", type=Path, default=Path("pictures"), help="folder to write to")
parser.add_argument("--size", type=int, default=128, help="neurons along each side")
output, size = vars(parser.parse_args()).values()

photo = torch.tensor(transform.resize(data.camera()[20:300, 90:370], (size, size))).float()
neurons, current = LeakyIntegrateAndFire(Constant(0.05)), 0.8 + 1.6 * photo[None, None]
frames = [(torch.zeros_like(current), torch.zeros_like(current))]
for _ in range(160):
    frames.append(neurons.advance(frames[-1][1], current))
spikes, membrane = (torch.cat(part)[1:, 0] for part in zip(*frames, strict=True))

figure = Figure(figsize=(7.6, 7.9), layout="constrained")
axes, line = figure.subplots(2, 2).flat, size // 2
for place, picture in enumerate((photo, spikes.sum(0), 1 - spikes[:, line])):
    axes[place].imshow(picture, cmap="gray", aspect="auto", interpolation="nearest")
axes[0].axhline(line, color="white", linewidth=1)
for height, (place, color) in enumerate(zip((0.36, 0.52, 0.93), ("C0", "C1", "C2"), strict=True)):
    axes[0].plot(int(place * size), line, "o", color=color, markeredgecolor="white")
    axes[3].plot(membrane[:, line, int(place * size)] + 1.2 * height, color=color)
titles = ("current", "number of spikes", "spikes on the line, time downwards", "membrane at the dots, over time")
for panel, title in zip(axes, titles, strict=True):
    panel.set(title=title, xticks=(), yticks=())
output.mkdir(parents=True, exist_ok=True)
figure.savefig(output / "spiking.png", dpi=100)
