"""Draws the animation of README and the pictures of docs/theory.md: ``python docs/draw_pictures.py``."""

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from skimage import data, transform
from torch import Tensor

from pdeconv import (
    Advection,
    BackwardEuler,
    Bistable,
    ClampedCubicInterpolation,
    Constant,
    CrankNicolson,
    Diffusion,
    Euler,
    Evolve,
    Exact,
    Fixed,
    FixedVelocity,
    Grid,
    Heun,
    Logistic,
    PeronaMalik,
    Reaction,
    SemiLagrangian,
    Step,
    Trajectory,
)
from pdeconv.analysis import amplification, frequencies
from pdeconv.viz import animate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "images", help="folder to write to")
    parser.add_argument("--size", type=int, default=192, help="pixels along each side of a photograph")
    given = parser.parse_args()
    folder, photo = given.output / "theory", photograph(given.size)
    folder.mkdir(parents=True, exist_ok=True)
    evolved = evolve_all(photo)
    animate(labelled(evolved), given.output / "equations.webp", zoom=1, seconds=5.0)
    figures = {"equations": equations(evolved), "depth": depth(), "limit": limit(photo), "waves": waves()}
    for name, figure in figures.items():
        figure.savefig(folder / f"{name}.png", dpi=80)


def photograph(size: int) -> Tensor:
    """A cat, (1, 3, size, size) in [0, 1]."""
    return torch.tensor(transform.resize(data.chelsea()[:, 80:380], (size, size))).float().movedim(2, 0)[None]


def whirl(size: int) -> FixedVelocity:
    """Once around the centre in about 40 units of time, and slower outside."""
    y, x = torch.meshgrid(*2 * [torch.linspace(-1, 1, size)], indexing="ij")
    angle = 2 * math.pi / 40 * torch.exp(-2 * (x**2 + y**2)) * size / 2
    return FixedVelocity(torch.stack((x * angle, -y * angle))[:, None])


def evolve_all(photo: Tensor) -> dict[str, Trajectory]:
    """The photograph under each kind of equation, in 40 steps; reaction acts on 2u − 1 in [−1, 1]."""
    edges, carry = PeronaMalik(channels=3, contrast=0.03), Advection(whirl(photo.shape[-1]))
    kinds: dict[str, tuple[Step, float]] = {
        "Diffusion blurs\n$u_t = \\Delta u$": (Heun(Diffusion(Constant(1.0))), 10.0),
        "or stops at edges\n$u_t = \\nabla\\cdot(\\kappa(u)\\nabla u)$": (Heun(Diffusion(edges)), 10.0),
        "Advection carries\n$u_t = -v\\cdot\\nabla u$": (SemiLagrangian(carry, ClampedCubicInterpolation()), 20.0),
        "Reaction decides\n$u_t = \\kappa\\Delta u + s\\,u(1 - u^2)$": (
            Heun(Diffusion(Constant(0.3)) + Reaction(Bistable(Constant(0.4)))),
            10.0,
        ),
    }
    with torch.no_grad():
        found = {}
        for title, (step, duration) in kinds.items():
            reacts = title.startswith("Reaction")
            trajectory = Evolve(step, duration, Fixed(40)).trajectory(2 * photo - 1 if reacts else photo)
            states = tuple((state + 1) / 2 for state in trajectory.states) if reacts else trajectory.states
            found[title] = Trajectory(trajectory.times / duration, states)
    return found


def labelled(evolved: dict[str, Trajectory]) -> Trajectory:
    """All side by side, below their titles."""
    first, *_ = evolved.values()
    height, width = first.states[0].shape[-2:]
    gap = max(2, width // 40)
    figure = Figure(figsize=(len(evolved) * (width + gap) / 100, 0.45 * width / 192), dpi=100, facecolor="white")
    for place, title in enumerate(evolved):
        figure.text((place + 0.5) / len(evolved), 0.5, title, ha="center", va="center", fontsize=10.5 * width / 192)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    band = torch.tensor(np.asarray(canvas.buffer_rgba())[..., :3].copy()).movedim(2, 0)[None].float() / 255
    space = torch.ones(1, 3, height, gap)
    sheets = []
    for states in zip(*(trajectory.states for trajectory in evolved.values()), strict=True):
        row = torch.cat([part for state in states for part in (state, space)], dim=3)
        sheets.append(torch.cat((band[..., : row.shape[3]], row), dim=2))
    return Trajectory(first.times, tuple(sheets))


def equations(evolved: dict[str, Trajectory]) -> Figure:
    """The photograph before and after each equation."""
    figure = Figure(figsize=(11, 2.55), layout="constrained")
    axes = figure.subplots(1, len(evolved) + 1)
    first = next(iter(evolved.values())).states[0]
    pictures = {"A photograph\n$u(0)$": first} | {title: found.states[-1] for title, found in evolved.items()}
    for panel, (title, state) in zip(axes, pictures.items(), strict=True):
        panel.imshow(state[0].clamp(0, 1).movedim(0, 2))
        panel.set(xticks=(), yticks=())
        panel.set_title(title, fontsize=11)
    return figure


def depth() -> Figure:
    """Logistic growth by 4, 8 and 32 Euler steps beside its solution: deeper is finer in time."""
    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    axes = figure.subplots()
    start = torch.full((1, 1, 1, 1), 0.05)
    for steps, color in ((4, "C1"), (8, "C2"), (32, "C0")):
        reached = Evolve(Euler(Reaction(Logistic(Constant(1.0)))), 8.0, Fixed(steps, unchecked=True)).trajectory(start)
        values = [state.item() for state in reached.states]
        axes.plot(reached.times, values, "o-", color=color, markersize=4, label=f"{steps} residual blocks")
    times = torch.linspace(0, 8, 200)
    axes.plot(times, 0.05 / (0.05 + 0.95 * torch.exp(-times)), color="0.2", linestyle="--", label="the equation")
    axes.set(xlabel="time, which is depth", ylabel="u", title="$u_t = u(1 - u)$ by $u^+ = u + dt\\,f(u)$")
    axes.legend(frameon=False)
    return figure


def limit(photo: Tensor) -> Figure:
    """Heat, 60 Euler steps below, at and above the limit of 1/rate = 1/4."""
    figure = Figure(figsize=(9, 2.9), layout="constrained")
    axes = figure.subplots(1, 4)
    gray = photo.mean(1, keepdim=True)
    gray = gray + 1e-3 * torch.randn(gray.shape, generator=torch.Generator().manual_seed(0))
    for panel, dt in zip(axes, (None, 0.20, 0.25, 0.27), strict=True):
        heat = Euler(Diffusion(Constant(1.0)))
        state = gray if dt is None else Evolve(heat, 60 * dt, Fixed(60, unchecked=True))(gray)
        panel.imshow(state[0, 0].clamp(0, 1), cmap="gray", vmin=0, vmax=1)
        told = "before" if dt is None else f"dt = {dt:.2f}" + (", the limit" if dt == 0.25 else "")
        panel.set(xticks=(), yticks=(), title=told, xlabel=f"{state.min():.2g} to {state.max():.2g}")
    return figure


def waves() -> Figure:
    """What one step makes of a wave, for the steps of heat, beside the equation: 1-D, κdt/dx² = 1/2 and 2."""
    figure = Figure(figsize=(8.4, 3.4), layout="constrained")
    heat, cells = Diffusion(Constant(1.0), Grid(dims=1)), 64
    angles, kept = frequencies((cells,))[0], slice(0, cells // 2)
    for panel, dt in zip(figure.subplots(1, 2, sharey=True), (0.5, 2.0), strict=True):
        panel.axhspan(-1, 1, color="0.94")
        for step in (Euler(heat), CrankNicolson(heat), BackwardEuler(heat), Exact(heat)):
            factor = amplification(step, dt, (cells,))[:, 0, 0].real
            panel.plot(angles[kept], factor[kept], label=type(step).__name__)
        panel.set(title=f"dt = {dt:g}", xlabel="radians a cell: smooth to fine", ylim=(-2.2, 1.15))
    figure.axes[0].legend(frameon=False, loc="lower left")
    figure.axes[0].set_ylabel("factor in one step")
    return figure


if __name__ == "__main__":
    main()
