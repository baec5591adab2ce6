"""Learned functions of a value: how a reaction drives it, and how an influence weighs a response."""

from __future__ import annotations

import torch
from matplotlib.figure import Figure

from pdeconv.errors import checked_count, checked_type
from pdeconv.influence import Influence
from pdeconv.terms import Reaction
from pdeconv.viz.style import ACCENT, FAINT, QUIET, styled

SAMPLES = 201


@styled
def reaction_figure(
    term: Reaction, channels: int, low: float = -1.5, high: float = 1.5, most: int = 8, title: str = ""
) -> Figure:
    """How fast a reaction changes a value, u_t over u, a line for each channel; where it crosses 0 the value rests.

    Filled dots are equilibria that attract, open ones repel. Of a law that couples channels, the others are at 0.

    Args:
        term: The reaction.
        channels: Of its state.
        low: Least value.
        high: Greatest value.
        most: Channels to show at most.
        title: Over all.
    """
    checked_type("reaction_figure", term, Reaction, "give a Reaction term")
    channels = checked_count("reaction_figure", "channels", channels)
    like = next(iter(term.parameters()), torch.zeros(()))
    values = torch.linspace(low, high, SAMPLES, device=like.device, dtype=like.dtype)
    places = values.float().cpu()
    figure = Figure(figsize=(5.2, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.axhline(0, color=QUIET, linewidth=0.8)
    for channel in range(min(channels, most)):
        state = values.new_zeros(SAMPLES, channels, 1)
        state[:, channel, 0] = values
        with torch.no_grad():
            speed = term(state)(state)[:, channel, 0].float().cpu()
        axes.plot(places, speed, color=ACCENT, alpha=1.0 if channel == 0 else 0.4, linewidth=1.4)
        for place, attracts in zero_crossings(places, speed) if channel == 0 else ():
            face = ACCENT if attracts else "white"
            axes.plot([place], [0], marker="o", markersize=6, color=ACCENT, markerfacecolor=face)
    _finish(figure, axes, "u", "u_t", title or f"Reaction, u_t = {term.equation}")
    return figure


@styled
def influence_figure(influence: Influence, features: int, reach: float = 3.0, most: int = 8, title: str = "") -> Figure:
    """A pointwise influence function φ(z) and its slope g(z) = φ(z)/z, a line for each feature.

    Args:
        influence: φ.
        features: Number of features F.
        reach: Greatest |z|.
        most: Features to show at most.
        title: Over all.
    """
    checked_type("influence_figure", influence, Influence, "give for example TanhInfluence()")
    features = checked_count("influence_figure", "features", features)
    like = next(iter(influence.parameters()), torch.zeros(()))
    z = torch.linspace(-reach, reach, SAMPLES, device=like.device, dtype=like.dtype)
    with torch.no_grad():
        slope = influence(z.expand(1, features, SAMPLES))[0].float().cpu()
    z = z.float().cpu()
    figure = Figure(figsize=(8.6, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for feature in range(min(features, most)):
        left.plot(z, slope[feature] * z, color=ACCENT, alpha=0.6, linewidth=1.2)
        right.plot(z, slope[feature], color=ACCENT, alpha=0.6, linewidth=1.2)
    _finish(figure, left, "z", "φ(z)", title or "Influence φ(z)")
    _finish(figure, right, "z", "g(z)", "Its slope g(z) = φ(z)/z")
    return figure


def zero_crossings(places: torch.Tensor, values: torch.Tensor) -> list[tuple[float, bool]]:
    """Where a sampled function is 0, and whether it falls there.

    Example:
        >>> x = torch.linspace(-1.5, 1.5, 4)
        >>> zero_crossings(x, -x)
        [(0.0, True)]
    """
    found = []
    for left in range(len(places) - 1):
        a, b = float(values[left]), float(values[left + 1])
        if a == 0 and left > 0 and float(values[left - 1]) != 0:
            found.append((float(places[left]), float(values[left - 1]) > b))
        elif a * b < 0:
            found.append((float(places[left] + (places[left + 1] - places[left]) * a / (a - b)), a > b))
    return found


def _finish(figure: Figure, axes, across: str, up: str, title: str) -> None:
    axes.set_title(title, fontweight="bold", pad=10)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.grid(color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", length=0)
