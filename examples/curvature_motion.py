"""A horse becomes a point
=======================

Motion by mean curvature, ``u_t = |∇u| ∇·(∇u/|∇u|)``: a horse's outline moves inwards at its curvature.

What to see: the legs go first, then it is round, then a point; and its area falls at the rate 2π, whatever the shape.
"""

import argparse
from pathlib import Path

import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from scipy.ndimage import binary_fill_holes, distance_transform_edt
from skimage import data, transform

from pdeconv import Euler, Evolve, MeanCurvatureMotion, Measured

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--output", type=Path, default=Path("pictures"), help="folder to write to")
parser.add_argument("--size", type=int, default=120, help="pixels from top to bottom")
output, size = vars(parser.parse_args()).values()

horse = binary_fill_holes(transform.resize(1.0 - data.horse(), (size, size * 6 // 5)) > 0.5)
signed_distance = torch.tensor(distance_transform_edt(horse) - distance_transform_edt(~horse)).float()[None, None]
evolve = Evolve(Euler(MeanCurvatureMotion()), 1.1 * horse.sum() / (2 * torch.pi), Measured(0.9, max_steps=100_000))
movie = evolve.trajectory(signed_distance)
times, areas = movie.times.flatten(), torch.stack([(u > 0).sum() for u in movie.states])
end = float(times[areas > 0].max())

figure = Figure(figsize=(9.6, 3.7), layout="constrained")
outlines, plot = figure.subplots(1, 2, width_ratios=(1.3, 1))
plot.plot((0, end), (2 * torch.pi * end, 0), color="0.7")
for share in torch.linspace(0, 0.98, 22) ** 1.6:
    i, color = int(torch.searchsorted(times, share * end)), colormaps["plasma"](0.92 * float(share))
    outlines.contour(movie.states[i][0, 0].flip(0), [0], colors=[color])
    plot.plot(times[i], areas[i], "o", color=color)
outlines.set(title="outline", aspect="equal", xticks=(), yticks=())
plot.set(title="area, and a line of slope −2π", xlabel="time", ylabel="pixels")
output.mkdir(parents=True, exist_ok=True)
figure.savefig(output / "curvature_motion.png", dpi=100)
