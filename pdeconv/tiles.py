"""Filtering images of any size tile by tile, each with a halo as wide as the filter reaches: the result is the same."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pdeconv.errors import PDEConvError, checked_count, checked_type, checked_whole
from pdeconv.evolve import Evolve
from pdeconv.grid import check_state
from pdeconv.terms import Term


def evolve_in_tiles(evolve: Evolve, u: Tensor, tile: int | Sequence[int] = 1024, out: Tensor | None = None) -> Tensor:
    """``evolve(u)`` without gradients, tile by tile: needs the memory of the input, the result and one tile.

    Each tile is evolved with a halo of ``evolve.steps · evolve.step.radius`` cells, clipped at the image's edges or
    wrapped around them, which is cut off again: what happens at a cut edge does not get farther than that. The result
    is therefore ``evolve(u)``: bit for bit where arithmetic is +, −, ·, / and √, and to rounding where it is a
    library's convolution, or an exponential.

    The tiles go to the device of the weights; ``u`` and ``out`` may lie elsewhere.

    Args:
        evolve: With a control of static dt, ``Fixed`` or ``CFL``, and a step of finite ``radius``.
        u: State (B, C, *S) on 1 to 3 axes.
        tile: Cells of a tile along each axis, without the halo. One that is short beside the halo costs time.
        out: Where to write, of the shape of ``u`` and not its memory; a ``numpy.memmap`` by ``torch.from_numpy``, too.

    Returns:
        The state at the duration, ``out`` if given.

    Raises:
        PDEConvError: If dt depends on the state, a part of the step depends on the whole image (a solve, a spectral or
            nonlocal term, a coefficient with a value per cell) or does not declare its ``radius``, or ``tile`` or
            ``out`` does not fit.

    Example:
        >>> from pdeconv import CFL, Diffusion, Euler, PeronaMalik
        >>> denoise = Evolve(Euler(Diffusion(PeronaMalik(channels=1))), duration=2.0, control=CFL(0.9))
        >>> u = torch.rand(1, 1, 100, 70)
        >>> torch.equal(evolve_in_tiles(denoise, u, tile=32), denoise(u))
        True
    """
    halo = _checked_halo(evolve)
    wraps = any(term.grid.boundary == "periodic" for term in _terms(evolve) if term.grid is not None)
    device = next((part.device for part in itertools.chain(evolve.parameters(), evolve.buffers())), None)
    return _apply("evolve_in_tiles", evolve, u, tile, halo, 1, out, wraps, device)


def apply_in_tiles(
    function: Callable[[Tensor], Tensor],
    u: Tensor,
    tile: int | Sequence[int] = 1024,
    halo: int = 0,
    multiple: int = 1,
    out: Tensor | None = None,
    *,
    wraps: bool = False,
    device: torch.device | None = None,
) -> Tensor:
    """``function(u)`` without gradients, tile by tile: needs the memory of the input, the result and one tile.

    For a function in which no cell influences another one farther than ``halo`` away. Each tile gets a halo, clipped
    at the image's edges or wrapped around them, which is cut off again; so the result is ``function(u)``, to rounding.

    Args:
        function: From (B, C, *S) to (B, C', *S).
        u: (B, C, *S) on 1 to 3 axes.
        tile: Cells of a tile along each axis, without the halo; rounded up to whole multiples of ``multiple``.
        halo: How far the function reaches, in cells; rounded up in the same way.
        multiple: Every tile, with its halo, starts at a multiple of this many cells, and is as long unless it ends
            with the image: the period of a function with coarse grids, 2ˡ for l halvings.
        out: Where to write, (B, C', *S), and not the memory of ``u``; a ``numpy.memmap`` by ``torch.from_numpy``, too.
        wraps: Whether the function sees the image as periodic.
        device: Where tiles go; by default they stay where ``u`` is.

    Returns:
        The result, ``out`` if given; else on the device of ``u``.

    Raises:
        PDEConvError: If ``tile``, ``halo``, ``multiple`` or ``out`` does not fit, or the function changes the size.

    Example:
        >>> blur = torch.nn.AvgPool2d(5, stride=1, padding=2, count_include_pad=False)
        >>> u = torch.rand(1, 3, 100, 70)
        >>> torch.allclose(apply_in_tiles(blur, u, tile=32, halo=2), blur(u))
        True
    """
    owner = "apply_in_tiles"
    halo, multiple = checked_whole(owner, "halo", halo), checked_count(owner, "multiple", multiple)
    if wraps and any(cells % multiple for cells in u.shape[2:]):
        raise PDEConvError(
            f"{owner} needs a periodic image whose sizes are multiples of {multiple}, but got {tuple(u.shape)}."
        )
    return _apply(owner, function, u, tile, halo, multiple, out, wraps, device)


def tile_count(shape: Sequence[int], tile: int | Sequence[int], multiple: int = 1) -> int:
    """In how many tiles :func:`apply_in_tiles` does an image of the spatial ``shape``.

    Example:
        >>> tile_count((100, 70), tile=30, multiple=8)
        12
    """
    sizes = _checked_sizes("tile_count", tile, len(shape), checked_count("tile_count", "multiple", multiple))
    return math.prod(math.ceil(cells / size) for cells, size in zip(shape, sizes, strict=True))


def _apply(
    owner: str,
    function: Callable[[Tensor], Tensor],
    u: Tensor,
    tile: int | Sequence[int],
    halo: int,
    multiple: int,
    out: Tensor | None,
    wraps: bool,
    device: torch.device | None,
) -> Tensor:
    check_state(u)
    sizes = _checked_sizes(owner, tile, u.dim() - 2, multiple)
    halo = math.ceil(halo / multiple) * multiple
    if out is not None:
        _check_memory(owner, out, u)
    lines = [list(_spans(cells, size, halo, wraps)) for cells, size in zip(u.shape[2:], sizes, strict=True)]
    with torch.no_grad():
        result = None
        for spans in itertools.product(*lines):
            part = function(_extended(u, spans, device or u.device))
            result = _checked_out(owner, out, u, part, spans) if result is None else result
            _write(part, spans, result)
            del part  # nothing of one tile outlives it
    assert result is not None  # check_state: every axis has a cell, and so a first tile
    return result


class _Span(NamedTuple):
    """A tile along an axis: its cells start … stop − 1, and with its halo low … high − 1, wrapped beyond the ends."""

    start: int
    stop: int
    low: int
    high: int

    def pieces(self, cells: int) -> Iterator[tuple[int, int, int]]:
        """(first cell in the image, first cell in the tile, number of cells) of what lies in one piece in the image."""
        at = self.low
        while at < self.high:
            source = at % cells
            count = min(cells - source, self.high - at)
            yield source, at - self.low, count
            at += count


def _spans(cells: int, size: int, halo: int, wraps: bool) -> Iterator[_Span]:
    for start in range(0, cells, size):
        stop = min(start + size, cells)
        low, high = start - halo, stop + halo
        if not wraps:
            low, high = max(low, 0), min(high, cells)
        elif high - low >= cells:  # the axis wraps by itself
            low, high = 0, cells
        yield _Span(start, stop, low, high)


def _extended(u: Tensor, spans: tuple[_Span, ...], device: torch.device) -> Tensor:
    """A tile with its halo, copied from ``u``."""
    part = u.new_empty((*u.shape[:2], *(span.high - span.low for span in spans)), device=device)
    for pieces in itertools.product(*(span.pieces(u.shape[axis]) for axis, span in enumerate(spans, start=2))):
        source, target = u, part
        for axis, (first, place, count) in enumerate(pieces, start=2):
            source, target = source.narrow(axis, first, count), target.narrow(axis, place, count)
        target.copy_(source)
    return part


def _write(part: Tensor, spans: tuple[_Span, ...], out: Tensor) -> None:
    """A tile without its halo, copied to its place."""
    for axis, span in enumerate(spans, start=2):
        part = part.narrow(axis, span.start - span.low, span.stop - span.start)
        out = out.narrow(axis, span.start, span.stop - span.start)
    out.copy_(part)


def _terms(evolve: Evolve) -> list[Term]:
    return [module for module in evolve.step.modules() if isinstance(module, Term)]


def _checked_halo(evolve: Evolve) -> int:
    checked_type("evolve_in_tiles", evolve, Evolve, "give for example Evolve(Euler(term), duration)")
    if not evolve.control.static:
        raise PDEConvError(
            f"evolve_in_tiles needs a dt that does not depend on the state, Fixed or CFL, but got {evolve.control}; "
            "the tiles of an image would differ in time."
        )
    if math.isinf(evolve.step.radius):
        parts = ", ".join(dict.fromkeys(_unbounded(evolve.step)))
        raise PDEConvError(
            f"evolve_in_tiles needs a step of finite radius, but in {evolve.step.name} {parts} depends on the whole "
            "image, or does not declare its radius; use explicit steps such as Heun and terms of finite stencils, "
            "declare the radius of a term of your own, or evolve the whole image."
        )
    return evolve.steps * math.ceil(evolve.step.radius)


def _unbounded(module: nn.Module) -> list[str]:
    """The innermost parts of infinite radius."""
    within = [name for child in module.children() for name in _unbounded(child)]
    if not within and math.isinf(getattr(module, "radius", 0)):
        return [type(module).__name__]
    return within


def _checked_sizes(owner: str, tile: int | Sequence[int], axes: int, multiple: int) -> list[int]:
    sizes = list(tile) if isinstance(tile, Sequence) else [tile] * axes
    if len(sizes) != axes:
        raise PDEConvError(
            f"{owner} needs one size of a tile, or {axes}, one for each axis of the state, but got tile={tile}."
        )
    return [math.ceil(checked_count(owner, "tile", size) / multiple) * multiple for size in sizes]


def _check_memory(owner: str, out: Tensor, u: Tensor) -> None:
    checked_type(owner, out, Tensor, "give out=torch.empty_like(u), or leave it out")
    (low, high), (lowest, highest) = _addresses(u), _addresses(out)
    if u.device == out.device and low < highest and lowest < high:
        raise PDEConvError(
            f"{owner} cannot write into its input, which later tiles still need, but out shares the memory of "
            "u; give out=torch.empty_like(u)."
        )


def _addresses(u: Tensor) -> tuple[int, int]:
    """Of the first byte, and past the last one."""
    cells = 0 if u.numel() == 0 else 1 + sum((n - 1) * step for n, step in zip(u.shape, u.stride(), strict=True))
    return u.data_ptr(), u.data_ptr() + cells * u.element_size()


def _checked_out(owner: str, out: Tensor | None, u: Tensor, part: Tensor, spans: tuple[_Span, ...]) -> Tensor:
    """``out``, or memory for the result, of which ``part`` is the first tile."""
    expected = (len(u), *(span.high - span.low for span in spans))
    if part.dim() != u.dim() or (len(part), *part.shape[2:]) != expected:
        raise PDEConvError(
            f"{owner} needs a function that keeps the batch and the size, but {expected[1:]} cells of {expected[0]} "
            f"became {tuple(part.shape)}."
        )
    shape = (len(u), part.shape[1], *u.shape[2:])
    if out is None:
        return u.new_empty(shape, dtype=part.dtype)
    if out.shape != shape or out.dtype != part.dtype:
        raise PDEConvError(
            f"{owner} writes {shape} of {part.dtype}, but out has {tuple(out.shape)} of {out.dtype}; leave it out, or "
            "give memory of that shape and type."
        )
    return out
