"""Gaps that close
===============

Coherence-enhancing diffusion, u_t = ∇·(D(u)∇u): D lets u flow along stripes, 1000 times less across them.

What to see: the ridges of a noisy, scratched fingerprint flow along themselves, until the scratches have closed.
"""

import argparse
from pathlib import Path

import torch

from pdeconv import AnisotropicDiffusion, CoherenceEnhancing, Euler, Evolve, Fixed, Trajectory
from pdeconv.viz import evolution_figure

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--output", type=Path, default=Path("pictures"), help="folder to write to")
parser.add_argument("--size", type=int, default=192, help="pixels along each side")
output, size = vars(parser.parse_args()).values()

torch.manual_seed(4)
line = torch.arange(size) - size / 2
y, x = torch.meshgrid(line, line, indexing="ij")
phase = 2 * torch.pi / 8 * torch.hypot(x + 0.002 * y.square(), 0.6 * y + 6)
for i, (row, column) in enumerate((torch.rand(14, 2) - 0.5) * size):
    phase = phase + (-1) ** i * torch.atan2(y - row, x - column)  # around a turn of the phase a ridge ends or forks
ridges = 0.5 - 0.4 * phase.cos()
for angle, offset in zip(torch.rand(6) * torch.pi, (torch.rand(6) - 0.5) * 0.6 * size, strict=True):
    ridges[(x * angle.cos() + y * angle.sin() - offset).abs() < 1.6] = 1.0
finger = torch.hypot(x / 0.43, y / 0.49) < size
print_ = torch.where(finger, ridges + 0.25 * torch.randn_like(ridges), 1.0)[None, None]

tensor = CoherenceEnhancing(channels=1, contrast=0.04, noise_scale=1.0, integration_scale=5.0, condition=1000.0)
evolve = Evolve(Euler(AnisotropicDiffusion(tensor)), duration=24.0, control=Fixed(108))
with torch.no_grad():
    trajectory = evolve.trajectory(print_)
shown = [0, 9, 36, 108]
some = Trajectory(trajectory.times[shown], tuple(trajectory.states[i] for i in shown))
figure = evolution_figure(some, as_picture=True, title="Coherence-enhancing diffusion")
output.mkdir(parents=True, exist_ok=True)
figure.savefig(output / "coherence_enhancement.png", dpi=110)
