"""Reads PNG files without interlacing in the plainest way, to check those that pdeconv writes."""

import struct
import zlib
from pathlib import Path

import numpy as np

CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}


def read(path: Path) -> np.ndarray:
    """(H, W, C)."""
    content, place, packed = path.read_bytes(), 8, b""
    width = height = depth = kind = 0
    while place < len(content):
        length, name = struct.unpack(">I4s", content[place : place + 8])
        data = content[place + 8 : place + 8 + length]
        assert struct.unpack(">I", content[place + 8 + length : place + 12 + length])[0] == zlib.crc32(name + data)
        place += 12 + length
        if name == b"IHDR":
            width, height, depth, kind = struct.unpack(">IIBB", data[:10])
        elif name == b"IDAT":
            packed += data
    step = CHANNELS[kind] * depth // 8
    lines = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(height, 1 + step * width)
    above, rows = bytes(step * width), []
    for line in lines:
        row = bytearray(line[1:].tobytes())
        for i in range(len(row)):
            left, corner = (row[i - step], above[i - step]) if i >= step else (0, 0)
            predicted = (0, left, above[i], (left + above[i]) // 2, paeth(left, above[i], corner))[line[0]]
            row[i] = (row[i] + predicted) % 256
        above = bytes(row)
        rows.append(above)
    values = np.frombuffer(b"".join(rows), ">u2" if depth == 16 else np.uint8)
    return values.reshape(height, width, -1).astype(np.uint16 if depth == 16 else np.uint8)


def paeth(left: int, up: int, corner: int) -> int:
    """The neighbour nearest to left + up − corner; of equally near ones the first."""
    return min((left, up, corner), key=lambda value: abs(left + up - corner - value))
