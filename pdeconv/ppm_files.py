"""Colour PPM files of 16 bits, of which Pillow reads and writes 8."""

from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL.ImageFile import ImageFile

from pdeconv.errors import PDEConvError


def read_deep_ppm(path: Path, image: ImageFile) -> NDArray[np.uint16] | None:
    """(H, W, 3) of a file that Pillow has opened; None of one of 8 bits.

    Raises:
        PDEConvError: it is of plain text, or ends in the middle.
    """
    decoder, _, start, args = image.tile[0]
    peak = args[1] if isinstance(args, tuple) and isinstance(args[1], int) else 255
    if peak <= 255:
        return None
    if decoder != "ppm":
        raise PDEConvError("it is a PPM of plain text of more than 8 bits; convert it to a binary one, or to PNG")
    width, height = image.size
    values = np.fromfile(path, ">u2", 3 * width * height, offset=start)
    if values.size < 3 * width * height:
        raise PDEConvError("it ends in the middle")
    return np.rint(values.reshape(height, width, 3).clip(max=peak) * (65535 / peak)).astype(np.uint16)


def write_deep_ppm(file: BinaryIO, pixels: NDArray[np.uint16]) -> None:
    """Write (H, W, 3)."""
    height, width, _ = pixels.shape
    file.write(b"P6\n%d %d\n65535\n" % (width, height))
    file.write(pixels.astype(">u2").tobytes())
