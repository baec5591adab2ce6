"""Remove noise from a picture, or from all pictures in a folder.

python -m pdeconv denoise noisy.png clean.png
python -m pdeconv denoise pictures/ cleaned/ --sigma 15
"""

import logging
import os
import sys
from collections.abc import Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from torch import nn

from pdeconv.denoising import SYMMETRIES, denoise, pretrained_denoiser, takes_level, tile_size
from pdeconv.errors import PDEConvError
from pdeconv.noise_level import estimate_noise_level
from pdeconv.picture_files import WRITABLE, Picture, format_of, read_picture, write_picture
from pdeconv.tiles import tile_count
from pdeconv.training.command_line import parse
from pdeconv.training.image_files import EXTENSIONS, list_images

PROGRAM = "python -m pdeconv denoise"


@dataclass
class DenoiseConfig:
    """What to denoise, and how."""

    input: str
    """a picture, or a folder of pictures, searched recursively"""
    output: str
    """where to write: a file, whose ending chooses the format, or a folder; another format than the picture's keeps its
    orientation, resolution, ICC profile and XMP where it can, and EXIF except to or from TIFF, but no other tags"""
    sigma: float | None = None
    """standard deviation of the noise in 8-bit units (25 is strong); left out: estimated for each picture"""
    tile: int | None = None
    """pixels along the sides of the tiles that large pictures are done in; smaller ones need less memory"""
    model: str | None = None
    """folder of a run or a checkpoint of train.py, to use in place of the network that comes with pdeconv"""
    self_ensemble: bool = False
    """average over the eight turns and flips of a picture: a little better, at eight times the time"""
    overwrite: bool = False
    """replace files that exist, and the input itself if the output names it"""

    def __post_init__(self) -> None:
        if self.sigma is not None and not 0 <= self.sigma <= 255:
            raise PDEConvError(f"sigma: expected 0 to 255, in 8-bit units, got {self.sigma:g}")
        if self.tile is not None and self.tile < 1:
            raise PDEConvError(f"tile: expected 1 or more pixels, got {self.tile}")


def main(argv: Sequence[str]) -> int:
    """Denoise as the command line says; 1 if a picture could not be."""
    usage = "INPUT OUTPUT [--sigma S] [--KEY VALUE ...]"
    settings = parse(DenoiseConfig, argv, PROGRAM, usage, str(__doc__).splitlines()[0], positional=True)
    Image.MAX_IMAGE_PIXELS = None  # a large scan is no attack
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what it cannot read is said by an error, once
    pairs = paired_paths(Path(settings.input), settings.output)
    own = None if settings.model is None else trained_denoiser(Path(settings.model))
    display, failed = _Display(len(pairs)), 0
    with display:
        for source, target in pairs:
            try:
                display.say(denoise_file(source, target, settings, own, display))
            except (PDEConvError, OSError, MemoryError, RuntimeError) as error:
                if isinstance(error, RuntimeError) and not _is_out_of_memory(error):
                    raise
                failed += 1
                display.complain(_in_words(source, error))
            display.advance()
    return 1 if failed else 0


def paired_paths(source: Path, output: str) -> list[tuple[Path, Path]]:
    """(input, output) for every picture.

    Raises:
        PDEConvError: the input is not there, or holds no picture; the output does not fit; or two pictures would be
            written to one file, or one over another that is still to be read.
    """
    target = Path(output)
    if source.is_dir():
        if target.exists() and not target.is_dir():
            raise PDEConvError(f"output: {output!r} is a file, but the input is a folder; give a folder")
        inside = target.resolve() != source.resolve()
        pictures = [path for path in list_images(source) if not (inside and _is_below(path, target))]
        if not pictures:
            raise PDEConvError(f"expected images in {source} beside those in {target}, found none")
        return _checked_apart([(path, _writable(target / path.relative_to(source))) for path in pictures])
    if not source.exists():
        raise PDEConvError(f"input: no file or folder at {str(source)!r}")
    if target.is_dir() or output.endswith(("/", "\\")):
        return [(source, _writable(target / source.name))]
    if target.suffix.lower() not in WRITABLE:
        raise PDEConvError(
            f"output: expected a file with one of the endings {' '.join(WRITABLE)}, or a folder (that exists, or with "
            f"a / at its end), got {output!r}"
        )
    return [(source, target)]


def _checked_apart(pairs: list[tuple[Path, Path]]) -> list[tuple[Path, Path]]:
    """``pairs``, no picture of which is written over another, or over the input of another."""
    taken = {source.resolve(): source for source, _ in pairs}
    for source, target in pairs:
        other = taken.setdefault(target.resolve(), source)
        if other != source:
            if target.resolve() == other.resolve():
                raise PDEConvError(
                    f"{source} would be written over {other}, which is to be denoised too; rename one of them, or give "
                    "another output folder"
                )
            raise PDEConvError(f"{other} and {source} would both be written to {target}; rename one of them")
    return pairs


def _is_below(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def _writable(path: Path) -> Path:
    """``path``, as a PNG if its own format has too few colours."""
    ending = path.suffix.lower()
    return path.with_suffix(".png") if ending in EXTENSIONS and ending not in WRITABLE else path


def denoise_file(
    source: Path, target: Path, settings: DenoiseConfig, own: nn.Module | None, display: "_Display"
) -> str:
    """Denoise one picture; returns what was done, in words."""
    format_of(target)
    if target.exists() and not settings.overwrite:
        raise PDEConvError(f"{target} exists already; --overwrite replaces it")
    _check_folder(target)
    picture = read_picture(source)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = pretrained_denoiser(device) if own is None else own
    sigma, known = settings.sigma, "as given"
    if sigma is None and takes_level(model):
        sigma, known = estimated_level(picture), "estimated"
    tile = tile_size(model) if settings.tile is None else settings.tile
    times = SYMMETRIES if settings.self_ensemble else 1
    with display.tiles(model, source.name, picture.pixels.shape[:2], tile, times):
        pixels = denoise(
            picture.pixels,
            None if sigma is None else sigma * picture.peak / 255,
            channel_axis=-1,
            data_range=picture.peak,
            model=model,
            tile=tile,
            self_ensemble=settings.self_ensemble,
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PDEConvError(f"cannot make the folder {target.parent}: {error.strerror}") from error
    write_picture(target, picture, pixels)
    return f"{source} → {target}" + ("" if sigma is None else f"   σ {sigma:.1f} {known}")


def _check_folder(target: Path) -> None:
    """Raise ``PDEConvError``, before the work, if ``target`` could not be written."""
    if target.is_dir():
        raise PDEConvError(f"{target} is a folder; give another name for the picture")
    there = next(folder for folder in target.absolute().parents if folder.exists())
    if not there.is_dir():
        raise PDEConvError(f"cannot write {target}: {there} is a file, where a folder is needed")
    if not os.access(there, os.W_OK):
        raise PDEConvError(f"cannot write {target}: you may not write to the folder {there}")


def estimated_level(picture: Picture) -> float:
    """The noise of a picture in 8-bit units."""
    pixels, gain = picture.pixels.astype(np.float32), 1.0
    if picture.format == "JPEG" and pixels.shape[2] == 3:  # it keeps little of the colours' noise; judge by the rest
        luma = np.array([[0.299], [0.587], [0.114]], np.float32)
        pixels, gain = pixels @ luma, float(np.linalg.norm(luma))
    level = estimate_noise_level(torch.from_numpy(pixels).permute(2, 0, 1)[None])
    return 255 / (picture.peak * gain) * float(level)


def trained_denoiser(folder: Path) -> nn.Module:
    """The network of a run of train.py, with the average of its weights where there is one."""
    from pdeconv.training.checkpoint import find_checkpoint
    from pdeconv.training.network import network_of

    checkpoint = find_checkpoint(folder)
    task = checkpoint.training["config"]["task"]
    if task != "denoising":
        raise PDEConvError(f"model: the network in {str(folder)!r} was trained for {task}, not for denoising")
    model = network_of(checkpoint)
    model.in_channels = getattr(model, "in_channels", checkpoint.training["channels"])
    return model.to("cuda" if torch.cuda.is_available() else "cpu")


def _is_out_of_memory(error: Exception) -> bool:
    """PyTorch names its own error on a GPU only."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def _in_words(source: Path, error: Exception) -> str:
    if _is_out_of_memory(error):
        return f"{source}: not enough memory; give a smaller --tile, such as 256"
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror + (f": {error.filename}" if error.filename else "")
    return text if source.name in text else f"{source}: {text}"


class _Display:
    """A line for each picture; on a terminal bars of the pictures, and of the tiles of a large one."""

    def __init__(self, pictures: int) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._console = Console(highlight=False, soft_wrap=True)
        self._bars = Progress(*columns, console=self._console, transient=True, disable=not self._console.is_terminal)
        self._pictures: TaskID = self._bars.add_task("pictures", total=pictures, visible=pictures > 1)

    def __enter__(self) -> "_Display":
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def say(self, text: str) -> None:
        self._console.print(text, markup=False)

    def complain(self, text: str) -> None:
        print(f"{PROGRAM}: {' '.join(text.split())}", file=sys.stderr, flush=True)

    def advance(self) -> None:
        self._bars.advance(self._pictures)

    @contextmanager
    def tiles(self, model: nn.Module, name: str, size: tuple[int, ...], tile: int | None, times: int):
        """Count the calls of ``model``, so many times one for each tile."""
        tiles = times if tile is None else times * tile_count(size, tile, getattr(model, "multiple", 1))
        bar = self._bars.add_task(name, total=tiles, visible=tiles > 1)
        with model.register_forward_hook(lambda *_: self._bars.advance(bar)) if tiles > 1 else nullcontext():
            yield
        self._bars.remove_task(bar)
