"""What a network is made of: its kernels as derivatives, and the Courant numbers of its blocks."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from pdeconv.analysis.decomposition import SHARES, Decomposition, decompose_kernel
from pdeconv.analysis.report import Report
from pdeconv.errors import PDEConvError
from pdeconv.viz.style import FAINT, INK, QUIET, montage, styled

COLORS = {"mixes": "#b5bac2", "carries": "#0072b2", "blurs": "#009e73", "sharpens": "#d55e00", "higher": "#cc79a7"}
VERDICTS = {"stable": "#009e73", "unproven": "#e69f00", "unstable": "#d55e00"}


@styled
def decomposition_figure(decomposition: Decomposition, title: str = "") -> Figure:
    """A bar for each layer that looks beyond a pixel: how much it mixes, carries, blurs, sharpens, and does else.

    Args:
        decomposition: What ``pdeconv.analysis.decompose`` returns.
        title: Over all.
    """
    layers = decomposition.spatial.layers
    if not layers:
        raise PDEConvError("decomposition_figure needs a kernel of more than one tap, but all layers are pointwise.")
    figure = Figure(figsize=(8.6, 0.26 * len(layers) + 1.1), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(layers))
    start = np.zeros(len(layers))
    for share in SHARES:
        widths = np.array([100 * getattr(layer, share) for layer in layers])
        axes.barh(places, widths, left=start, color=COLORS[share], label=share, height=0.75)
        start += widths
    axes.set_yticks(places, [layer.name or "(the model)" for layer in layers], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("share of the response, %")
    axes.tick_params(which="both", length=0)
    axes.spines[["left", "bottom"]].set_visible(False)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=len(SHARES), frameon=False)
    if title:
        axes.set_title(title, fontweight="bold", pad=10)
    return figure


@styled
def kernel_figure(kernel: Tensor, title: str = "") -> Figure:
    """One kernel as the sum of its parts: reaction, advection, diffusion and all the rest.

    Args:
        kernel: (H, W), taps of one input to one output channel.
        title: Over all.
    """
    if kernel.dim() != 2:
        raise PDEConvError(f"kernel_figure needs one kernel (H, W), but got a shape of {tuple(kernel.shape)}.")
    parts = decompose_kernel(kernel[None, None])
    shown = {"kernel": parts.total, "= reaction": parts.reaction, "+ advection": parts.advection}
    shown |= {"+ diffusion": parts.diffusion, "+ higher": parts.higher}
    largest = max(float(part.abs().max()) for part in shown.values()) or 1.0
    figure = montage(5 * 1.7, 2.0, title)
    for axes, (name, part) in zip(figure.subplots(1, 5), shown.items(), strict=True):
        values = part[0, 0].numpy()
        axes.imshow(values, cmap="RdBu_r", vmin=-largest, vmax=largest)
        for (row, column), value in np.ndenumerate(values):
            if values.size <= 25:
                tone = "white" if abs(value) > 0.6 * largest else INK
                axes.text(column, row, f"{value:.2g}", ha="center", va="center", fontsize=6, color=tone)
        axes.set_title(name, pad=5)
        axes.set_xticks([])
        axes.set_yticks([])
    return figure


@styled
def courant_figure(report: Report, title: str = "") -> Figure:
    """dt over its proven limit for each block, and a mark where nothing is proven: green, amber or red.

    Args:
        report: What ``pdeconv.report`` returns.
        title: Over all.
    """
    blocks = report.blocks
    figure = Figure(figsize=(8.6, 0.3 * len(blocks) + 1.2), layout="constrained")
    axes = figure.subplots()
    for place, block in enumerate(blocks):
        color = VERDICTS[block.verdict]
        ratio = None if block.dt is None or not block.limit > 0 else block.dt / block.limit
        if ratio is not None and math.isfinite(ratio):
            axes.barh(place, min(ratio, 2.0), color=color, height=0.6)
            said = f"dt = {ratio:.2f} × limit"
        else:
            axes.plot([0.03], [place], marker="o", color=color, markersize=7)
            said = "dt by the state" if block.dt is None else f"unproven; gain {block.gain:.2f}"
        axes.text(max(0.04, min(ratio or 0.0, 2.0)) + 0.04, place, said, va="center", fontsize=8, color=QUIET)
    axes.axvline(1, color=QUIET, linewidth=1, linestyle="--")
    axes.set_yticks(range(len(blocks)), [block.name for block in blocks], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 2.2)
    axes.set_xlabel("dt / proven limit")
    axes.grid(axis="x", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", length=0)
    axes.set_title(title or f"{report.model}: {report.verdict}", fontweight="bold", pad=10)
    return figure
