"""A flow, learned
===============

A velocity v(x) of u_t = −v·∇u, learned from two pictures by gradient descent through the time steps.

What to see: the flow that is learned (orange) lies on the true one (blue), and carries the cup to where it was seen.
"""

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure
from skimage import data, transform

from pdeconv import Advection, Evolve, Fixed, FixedVelocity, Grid, SemiLagrangian, VelocityField

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--output", type=Path, default=Path("pictures"), help="folder to write to")
parser.add_argument("--size", type=int, default=160, help="pixels along each side")
output, size = vars(parser.parse_args()).values()

before = torch.tensor(transform.resize(data.coffee()[:, 110:510], (size, size))).float().movedim(2, 0)[None]
y, x = torch.meshgrid(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size), indexing="ij")
bump = 0.2 * size * torch.exp(-2.5 * (x**2 + y**2)) * (1 - x**2) * (1 - y**2)
true, learned = FixedVelocity(bump * torch.stack((x, -y))[:, None]), VelocityField((10, 10), ceiling=size / 8)
flow, learned_flow = (Evolve(SemiLagrangian(Advection(v)), duration=1.0, control=Fixed(3)) for v in (true, learned))
after, optimizer = flow(before), torch.optim.Adam(learned.parameters(), lr=0.03)
for _ in range(150):
    optimizer.zero_grad()
    (learned_flow(before) - after).square().mean().backward()
    optimizer.step()
figure = Figure(figsize=(6.6, 7.0), layout="constrained")
pictures = {"before": before, "after": after, "before, carried by the learned flow": learned_flow(before).detach()}
pictures["flow: true (blue), learned (orange)"] = 0.7 + 0.3 * before
for axes, (title, picture) in zip(figure.subplots(2, 2).flat, pictures.items(), strict=True):
    axes.imshow(picture[0].movedim(0, 2).clamp(0, 1), extent=(-0.5, 9.5, 9.5, -0.5))
    axes.set(title=title, xticks=(), yticks=())
for velocity, color, width in ((true, "C0", 0.013), (learned, "C1", 0.005)):
    down, right = velocity(torch.zeros(1, 1, 10, 10), Grid())[0, :, 0].detach()  # 10 × 10 arrows
    axes.quiver(right, down, color=color, angles="xy", scale_units="xy", scale=size / 20, width=width)
output.mkdir(parents=True, exist_ok=True)
figure.savefig(output / "learned_flow.png", dpi=100)
