"""Denoising or inpainting, before and after."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from pdeconv.errors import PDEConvError
from pdeconv.viz.style import ACCENT, as_pixels, montage, show_picture, styled


@dataclass(frozen=True)
class BeforeAfter:
    """One image in three states, each (C, H, W) with values around [0, 1], and what to call the states.

    Args:
        name: of the image.
        clean: without noise.
        noisy: what the network got.
        denoised: what it made of it.
        noisy_label: written above the noisy picture, "noisy, 20.2 dB" say.
        denoised_label: written above the denoised picture.
        result: written above the whole picture, after its name.
    """

    name: str
    clean: Tensor
    noisy: Tensor
    denoised: Tensor
    noisy_label: str = "noisy"
    denoised_label: str = "denoised"
    result: str = "denoised"


@styled
def before_after_figure(images: Sequence[BeforeAfter], title: str = "", window: int = 112) -> Figure:
    """Each image in a row: the whole of it denoised, and its busiest square enlarged, clean, noisy and denoised.

    Args:
        images: one for each row.
        title: over all.
        window: side of the enlarged square in pixels.
    """
    if not images:
        raise PDEConvError("expected at least one image to show, got none")
    shapes = [image.clean.shape[-2:] for image in images]
    widest = max(width / height for height, width in shapes)
    ratios = [widest, 1, 1, 1]
    side = 2.7
    figure = montage(side * sum(ratios) + 0.4, (side + 0.34) * len(images) + 0.1, title)
    grid = figure.subplots(len(images), 4, squeeze=False, width_ratios=ratios)
    for row, image in zip(grid, images, strict=True):
        top, left, size = busiest_square(image.clean, window)
        inside = (slice(None), slice(top, top + size), slice(left, left + size))
        show_picture(row[0], as_pixels(image.denoised), f"{image.name}, {image.result}", smooth=True)
        row[0].add_patch(Rectangle((left - 0.5, top - 0.5), size, size, fill=False, edgecolor="white", linewidth=2.4))
        row[0].add_patch(Rectangle((left - 0.5, top - 0.5), size, size, fill=False, edgecolor=ACCENT, linewidth=1.2))
        show_picture(row[1], as_pixels(image.clean[inside]), "clean")
        show_picture(row[2], as_pixels(image.noisy[inside]), image.noisy_label)
        show_picture(row[3], as_pixels(image.denoised[inside]), image.denoised_label)
    return figure


def busiest_square(image: Tensor, window: int) -> tuple[int, int, int]:
    """Top row, left column and side of the square of an image (C, H, W) with the most edges."""
    height, width = image.shape[-2:]
    size = min(window, height, width)
    gray = image.detach().float().cpu().mean(0)[None, None]
    gray = F.avg_pool2d(gray, 5, stride=1, padding=2, count_include_pad=False) if min(height, width) > 5 else gray
    energy = F.pad(gray.diff(dim=2).abs(), (0, 0, 0, 1)) + F.pad(gray.diff(dim=3).abs(), (0, 1))
    total = F.avg_pool2d(energy.clamp(max=0.1).square(), size, stride=1)[0, 0]
    place = int(total.argmax())
    return place // total.shape[1], place % total.shape[1], size
