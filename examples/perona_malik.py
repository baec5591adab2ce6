"""Edges that stay
===============

Perona–Malik diffusion, u_t = ∇·(κ∇u) with ``κ = κ₀ / (1 + |∇u|²/λ²)``, beside heat, u_t = κ₀Δu.

What to see: both take the noise away; heat takes the man along, Perona and Malik's diffusion leaves him his edges.
"""

import argparse
from pathlib import Path

import torch
from skimage import data, transform

from pdeconv import Constant, Diffusion, Euler, Evolve, Fixed, PeronaMalik, Trajectory
from pdeconv.viz import evolution_figure

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--output", type=Path, default=Path("pictures"), help="folder to write to")
parser.add_argument("--size", type=int, default=180, help="pixels along each side")
output, size = vars(parser.parse_args()).values()

torch.manual_seed(0)
photo = torch.tensor(transform.resize(data.camera()[30:290, 100:360], (size, size))).float()
noisy = (photo + 0.07 * torch.randn_like(photo))[None, None]
trajectories = []
for diffusivity in (PeronaMalik(channels=1, contrast=0.05), Constant(0.9)):
    evolve = Evolve(Euler(Diffusion(diffusivity)), duration=12.0, control=Fixed(60))
    with torch.no_grad():
        trajectories.append(evolve.trajectory(noisy))

edges, heat = trajectories
shown = [0, 5, 20, 60]
pairs = tuple(torch.cat((edges.states[i], heat.states[i]), dim=2) for i in shown)
figure = evolution_figure(
    Trajectory(edges.times[shown], pairs), as_picture=True, title="Perona–Malik above, heat below"
)
output.mkdir(parents=True, exist_ok=True)
figure.savefig(output / "perona_malik.png", dpi=160)
