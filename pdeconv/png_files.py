"""PNG files of 8 and 16 bits, written whole with what the file said beside its pixels; no library keeps both."""

import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

SIGNATURE = b"\x89PNG\r\n\x1a\n"
KEPT = b"iCCP gAMA cHRM sRGB cICP mDCV cLLI pHYs eXIf tEXt zTXt iTXt tIME".split()
"""What stays true of an image whose values have changed a little."""
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # by channels: gray, with opacity, RGB, with opacity
_ROWS = 256  # filtered at once

Chunk = tuple[bytes, bytes]


def read_png_chunks(path: Path) -> list[Chunk]:
    """(name, data) of the chunks in ``KEPT``."""
    chunks = []
    with path.open("rb") as file:
        file.seek(len(SIGNATURE))
        while len(head := file.read(8)) == 8:
            length, name = struct.unpack(">I4s", head)
            if name in KEPT:
                chunks.append((name, file.read(length)))
                file.seek(4, 1)  # the checksum
            else:
                file.seek(length + 4, 1)
    return chunks


def made_png_chunks(exif: bytes, profile: bytes, dpi: tuple[float, float] | None, xmp: bytes = b"") -> list[Chunk]:
    """The chunks that say what another format's EXIF block, ICC profile, resolution and XMP say."""
    chunks = []
    if profile:
        chunks.append((b"iCCP", b"ICC profile\0\0" + zlib.compress(profile)))
    if exif:
        chunks.append((b"eXIf", exif.removeprefix(b"Exif\0\0")))
    if dpi:
        chunks.append((b"pHYs", struct.pack(">IIB", *(round(number / 0.0254) for number in dpi), 1)))
    if xmp:
        chunks.append((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp))  # not packed; of no language
    return chunks


def write_png(file: BinaryIO, pixels: NDArray, chunks: Iterable[Chunk]) -> None:
    """Write uint8 or uint16 (H, W, C), C = 1 to 4: gray or RGB, of which the second or fourth channel is opacity."""
    height, width, channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8 * pixels.itemsize, _COLOUR_TYPES[channels], 0, 0, 0)
    file.write(SIGNATURE)
    _write_chunk(file, b"IHDR", header)
    for name, data in chunks:
        _write_chunk(file, name, data)
    big = pixels.astype(pixels.dtype.newbyteorder(">"), copy=False)
    lines = np.ascontiguousarray(big).view(np.uint8).reshape(height, -1)
    packer = zlib.compressobj(6)
    above = np.zeros_like(lines[:1])
    for first in range(0, height, _ROWS):
        part = lines[first : first + _ROWS]
        packed = packer.compress(_filtered(part, above, channels * pixels.itemsize).tobytes())
        if packed:
            _write_chunk(file, b"IDAT", packed)
        above = part[-1:]
    _write_chunk(file, b"IDAT", packer.flush())
    _write_chunk(file, b"IEND", b"")


def _write_chunk(file: BinaryIO, name: bytes, data: bytes) -> None:
    file.write(struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)))


def _filtered(lines: NDArray[np.uint8], above: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    """Each line with the predictor that leaves least, as the specification advises (section 12.7)."""
    up = np.concatenate((above, lines[:-1]))
    left, corner = (np.pad(row, ((0, 0), (step, 0)))[:, :-step] for row in (lines, up))
    wide_left, wide_up, wide_corner = (row.astype(np.int16) for row in (left, up, corner))
    towards_left, towards_up = np.abs(wide_up - wide_corner), np.abs(wide_left - wide_corner)
    towards_corner = np.abs(wide_left + wide_up - 2 * wide_corner)
    paeth = np.where(
        (towards_left <= towards_up) & (towards_left <= towards_corner),
        left,
        np.where(towards_up <= towards_corner, up, corner),
    )
    mean = ((wide_left + wide_up) >> 1).astype(np.uint8)
    found = np.stack([lines, lines - left, lines - up, lines - mean, lines - paeth])
    best = np.abs(found.view(np.int8).astype(np.int16)).sum(2, dtype=np.int64).argmin(0)
    chosen = found[best, np.arange(len(lines))]
    return np.concatenate((best[:, None].astype(np.uint8), chosen), axis=1)
