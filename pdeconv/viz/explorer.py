"""A page to look into a network: one HTML file, which needs no server and no network."""

from __future__ import annotations

import base64
import io
import json
import math
import os
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from pdeconv.analysis.decomposition import SHARES
from pdeconv.analysis.passage import Leg, follow
from pdeconv.analysis.report import report
from pdeconv.analysis.verdict import BlockStability
from pdeconv.errors import PDEConvError

MAP = "cividis"  # one scale for colour-blind and other readers
MOST_CHANNELS, MOST_VALUES, MOST_SIDE = 64, 1_500_000, 96


def explorer_page(
    model: nn.Module,
    example: Tensor,
    picture: Tensor | None = None,
    classes: Sequence[str] | None = None,
    title: str = "",
) -> str:
    """The text of the page for one input: all feature maps in depth and time, equations, stability and answers.

    Args:
        model: A network that ``pdeconv.report`` and ``pdeconv.analysis.follow`` take.
        example: (1, C, H, W), what the network takes.
        picture: (1 | 3, H, W) in [0, 1], the input as a person sees it; by default the example, from its lowest to its
            highest value.
        classes: Names of the classes, where the network answers with logits; None where with an image.
        title: Over all; by default the class of the model.

    Raises:
        PDEConvError: If the states are no images, or ``classes`` are fewer than the logits.
    """
    if example.dim() != 4:
        raise PDEConvError(f"The page needs one image (1, C, H, W), but got a shape of {tuple(example.shape)}.")
    legs, found = follow(model, example), report(model, example)
    flat = [leg.name for leg in legs if leg.states[0].dim() != 4]
    if flat:
        raise PDEConvError(f"The page shows states (B, C, H, W), but those of {flat[0]} have other axes.")
    blocks = {block.name: block for block in found.blocks}
    layers = () if found.decomposition is None else found.decomposition.spatial.layers
    content = {
        "title": title or found.model,
        "model": found.model,
        "parameters": found.parameters,
        "verdict": found.verdict,
        "input": _picture_uri(_spread(example[0]) if picture is None else picture),
        "colors": base64.b64encode(_color_table().tobytes()).decode(),
        "blocks": [_block(leg, blocks[leg.name or "(the model)"], classes) for leg in legs],
        "layers": [{"name": x.name, "kind": x.kind, **{s: round(getattr(x, s), 4) for s in SHARES}} for x in layers],
    }
    return _filled(content)


def write_explorer(path: str | os.PathLike[str], *args: Any, **options: Any) -> Path:
    """Write the page of :func:`explorer_page`, whose arguments follow the path; a folder that is missing is made."""
    path, text = Path(path), explorer_page(*args, **options)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _filled(content: dict[str, Any]) -> str:
    """The page with its style, its program and its content in one text."""
    folder = files("pdeconv.viz").joinpath("page")
    page, style, program = (folder.joinpath(name).read_text("utf-8") for name in ("page.html", "page.css", "page.js"))
    data = json.dumps(content, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")  # no tag within it
    title = content["title"].replace("&", "&amp;").replace("<", "&lt;")
    page = page.replace("<!--TITLE-->", title)
    for mark, text in {"STYLE": style, "CONTENT": data, "PROGRAM": program}.items():
        page = page.replace(f"<!--{mark}-->", text, 1)
    return page


def _block(leg: Leg, block: BlockStability, classes: Sequence[str] | None) -> dict[str, Any]:
    channels, states = _chosen(leg)
    low, high = states.amin((0, 2, 3)), states.amax((0, 2, 3))
    scaled = (states - low[:, None, None]) / (high - low).clamp(min=1e-12)[:, None, None]
    times, count, height, width = scaled.shape
    sheet = (scaled * 255).round().byte().permute(0, 2, 1, 3).reshape(times * height, count * width)
    return {
        "name": block.name,
        "equation": block.equation,
        "scheme": block.scheme,
        "steps": block.steps,
        "dt": _finite(block.dt),
        "limit": _finite(block.limit) if block.limit > 0 else None,
        "courant": _finite(block.courant),
        "proven": block.limit > 0,
        "keeps": block.keeps,
        "gain": _finite(block.gain),
        "growth": _finite(block.growth),
        "verdict": block.verdict,
        "reason": block.reason,
        "remedy": block.remedy,
        "times": [round(float(time), 5) for time in leg.times],
        "channels": channels,
        "allChannels": leg.states[0].shape[1],
        "height": height,
        "width": width,
        "fullHeight": leg.states[0].shape[2],
        "fullWidth": leg.states[0].shape[3],
        "low": [_finite(float(value)) for value in low],
        "high": [_finite(float(value)) for value in high],
        "sheet": _png_uri(Image.fromarray(sheet.numpy())),
        "fields": [
            {"name": f.name, "lowest": _finite(f.lowest), "mean": _finite(f.mean), "highest": _finite(f.highest)}
            for f in leg.fields
        ],
        "answers": [_answer(answer, classes) for answer in leg.answers],
    }


def _chosen(leg: Leg) -> tuple[list[int], Tensor]:
    """The channels to show, those that vary most, and their states (T, C, H, W), made smaller if they are large."""
    states = torch.cat([state.detach().float().cpu() for state in leg.states]).nan_to_num()
    liveliest = states.var(dim=(0, 2, 3), correction=0).argsort(descending=True)[:MOST_CHANNELS]
    channels = sorted(liveliest.tolist())
    states = states[:, channels]
    height, width = states.shape[2:]
    scale = min(1.0, MOST_SIDE / max(height, width), math.sqrt(MOST_VALUES / states.numel()))
    if scale < 1:
        size = max(1, round(height * scale)), max(1, round(width * scale))
        states = F.interpolate(states, size=size, mode="area")
    return channels, states


def _answer(answer: Tensor, classes: Sequence[str] | None) -> dict[str, Any]:
    """The likeliest classes, or an image."""
    if answer.dim() == 2:
        probabilities = answer[0].float().nan_to_num().softmax(0).cpu()
        names = [str(n) for n in range(len(probabilities))] if classes is None else list(classes)
        if len(names) != len(probabilities):
            raise PDEConvError(f"The network has {len(probabilities)} classes, but {len(names)} names came.")
        best = probabilities.topk(min(5, len(names)))
        return {"classes": [[names[int(i)], round(float(p), 4)] for p, i in zip(*best, strict=True)]}
    if answer.dim() == 4 and answer.shape[1] in (1, 3):
        return {"image": _picture_uri(answer[0])}
    return {}


def _spread(image: Tensor) -> Tensor:
    """The first channels of an image, from its lowest to its highest value."""
    image = image.detach().float().cpu()
    image = image[:3] if image.shape[0] >= 3 else image[:1]
    return (image - image.min()) / (image.max() - image.min()).clamp(min=1e-12)


def _picture_uri(picture: Tensor) -> str:
    """(1 | 3, H, W) in [0, 1]; at most 256 pixels a side."""
    picture = picture.detach().float().cpu().clamp(0, 1)
    scale = 256 / max(picture.shape[-2:])
    if scale < 1:
        size = [max(1, round(n * scale)) for n in picture.shape[-2:]]
        picture = F.interpolate(picture[None], size=size, mode="area")[0]
    pixels = (picture * 255).round().byte().permute(1, 2, 0).numpy()
    return _png_uri(Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels))


def _png_uri(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _color_table() -> NDArray:
    """(256, 3) bytes."""
    return (np.asarray(matplotlib.colormaps[MAP](np.arange(256)))[:, :3] * 255).round().astype(np.uint8)


def _finite(value: float | None) -> float | None:
    """JSON knows no infinity."""
    return None if value is None or not math.isfinite(value) else float(value)
