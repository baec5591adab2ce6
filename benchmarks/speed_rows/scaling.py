"""Cost against size, channels, batch, steps and depth: the exponent p of cost ∝ size^p, fitted on logarithms."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from pdeconv import Constant, Diffusion, Euler, Evolve, Exact, Exponential, Fixed, Heun, PerChannel, Step

from .blocks import one_step_block
from .machine import cache_bytes
from .pairing import Call, alternate, summarise
from .row import Outcome, Row, Setting, at_most
from .steps import forward, forward_backward

EQUATIONS: dict[str, Callable[[int], Step]] = {
    "perona_malik": lambda channels: Euler(Diffusion(Exponential(channels))),
    "linear_diffusion": lambda channels: Euler(Diffusion(PerChannel(channels))),
    "dct_heat": lambda channels: Exact(Diffusion(Constant(1.0))),
}


@dataclass(frozen=True)
class Curve:
    """Seconds at each of ``values`` of what ``varies``, and from which index on they were fitted."""

    name: str
    varies: str
    values: tuple[float, ...]
    seconds: tuple[float, ...]
    fitted_from: int


curves: list[Curve] = []  # of this run, for the plot


def exponent(values: Sequence[float], seconds: Sequence[float]) -> float:
    """The slope of log(seconds) over log(values), by least squares."""
    x, y = [math.log(value) for value in values], [math.log(second) for second in seconds]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    spread = sum((a - mean_x) ** 2 for a in x)
    return sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / spread


def _fit(name: str, varies: str, values: Sequence[int], calls: Sequence[Call], start: int, setting: Setting) -> Outcome:
    figures = alternate(calls, setting.patience)
    medians = tuple(summarise(seconds).median for seconds in figures)
    curves.append(Curve(name, varies, tuple(values), medians, start))
    rounds = zip(*figures[start:], strict=True)
    found = summarise([exponent(values[start:], seconds) for seconds in rounds])
    return Outcome(1e3 * medians[start], 1e3 * medians[-1], "ms", found, f"fitted from {values[start]} to {values[-1]}")


def _evolving(name: str, shape: tuple[int, ...], steps: int) -> Call:
    step = EQUATIONS[name](shape[1])
    duration = 1.0 if math.isinf(step.guaranteed_limit) else 0.9 * step.guaranteed_limit * steps
    return forward(Evolve(step, duration, Fixed(steps)), torch.rand(shape))


def _beyond_cache(shapes: Sequence[tuple[int, ...]], setting: Setting) -> int:
    """The first shape of which the state before and after does not fit into the largest cache."""
    fits = [8 * math.prod(shape) < cache_bytes() for shape in shapes]
    return 0 if setting.quick else min(sum(fits), len(shapes) - 2)


def _shapes(varies: str, quick: bool) -> tuple[list[int], list[tuple[int, ...]]]:
    if varies == "pixels":
        sides = [16, 32, 64] if quick else [64, 128, 256, 512, 1024, 2048, 2896, 4096]
        return [side**2 for side in sides], [(1, 1, side, side) for side in sides]
    counts, side = ([2, 4, 8], 16) if quick else ([2, 4, 8, 16, 32, 64], 512)
    return counts, [(1, n, side, side) if varies == "channels" else (n, 1, side, side) for n in counts]


def _over_shapes(name: str, varies: str, setting: Setting) -> Outcome:
    values, shapes = _shapes(varies, setting.quick)
    calls = [_evolving(name, shape, 1) for shape in shapes]
    return _fit(name, varies, values, calls, _beyond_cache(shapes, setting), setting)


def _over_steps(name: str, setting: Setting) -> Outcome:
    values, side = ([1, 2, 4], 16) if setting.quick else ([4, 8, 16, 32], 1024)
    return _fit(name, "steps", values, [_evolving(name, (1, 1, side, side), n) for n in values], 0, setting)


def _over_depth(setting: Setting) -> Outcome:
    values, shape = ([1, 2, 4], (1, 4, 8, 8)) if setting.quick else ([1, 2, 4, 8, 16], (16, 32, 64, 64))
    calls = []
    for depth in values:
        network = nn.Sequential(*(one_step_block(Heun, shape[1]) for _ in range(depth)))
        calls.append(forward_backward(network, torch.rand(shape), list(network.parameters())))
    return _fit("pde_blocks", "depth", values, calls, 0, setting)


def draw(path: str) -> None:
    """The curves of this run, seconds over what varies, both logarithmic; dashes grow linearly."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import NullFormatter

    kinds = list(dict.fromkeys(curve.varies for curve in curves))
    figure, panels = pyplot.subplots(
        1, len(kinds), figsize=(3.2 * len(kinds), 3.2), squeeze=False, layout="constrained"
    )
    for panel, varies in zip(panels[0], kinds, strict=True):
        for curve in (curve for curve in curves if curve.varies == varies):
            label = curve.name.replace("_", " ")
            (line,) = panel.loglog(curve.values, [1e3 * second for second in curve.seconds], "o-", ms=3, label=label)
            last, end = curve.values[-1], 1e3 * curve.seconds[-1]
            fitted = curve.values[curve.fitted_from :]
            panel.loglog(fitted, [end * value / last for value in fitted], "--", color=line.get_color(), lw=0.8)
        panel.set_xlabel(varies)
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.yaxis.set_minor_formatter(NullFormatter())
        panel.legend(fontsize=7)
    panels[0][0].set_ylabel("ms")
    figure.suptitle("Cost (dashed: linear, over the fitted range)", fontsize=9)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def rows() -> list[Row]:
    found, dense = [], "; fast Fourier transforms, N log N, so 1.15 is what is stated"
    for varies in ("pixels", "channels", "batch"):
        for name in EQUATIONS:
            special = name == "dct_heat" and varies == "pixels"
            what = {"pixels": "64² to 4096²", "channels": "2 to 64 of 512²", "batch": "2 to 64 of 512²"}[varies]
            line = (
                f"exponent of ms over {varies}, {what}, fitted where the states before and after exceed the largest "
                "cache; the columns are the first and the last ms of the fit" + (dense if special else "")
            )
            target = at_most(1.15 if special else 1.05)
            found.append(Row(f"scaling/{varies}/{name}", line, partial(_over_shapes, name, varies), target))
    columns = "the columns are the first and the last ms"
    for name in ("perona_malik", "linear_diffusion"):
        line = f"exponent of ms over 4 to 32 steps of 1024², one state's size throughout; {columns}"
        found.append(Row(f"scaling/steps/{name}", line, partial(_over_steps, name), at_most(1.05)))
    line = f"exponent of ms over 1 to 16 PDEBlocks of a Heun step, forward and backward, (16, 32, 64, 64); {columns}"
    found.append(Row("scaling/depth/pde_blocks", line, _over_depth, at_most(1.05)))
    return found
