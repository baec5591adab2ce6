"""TIFF files of any depth, written whole with the tags that describe the picture rather than its storage."""

from pathlib import Path
from typing import Any, BinaryIO

from numpy.typing import NDArray

from pdeconv.errors import PDEConvError

KEPT = (271, 272, 274, 306, 315, 700, 33432, 33550, 33922, 34264, 34735, 34736, 34737, 42112, 42113)
"""Make, model, orientation, time, artist, XMP, copyright, and what GeoTIFF says of the place."""
_COLOURS, _OPACITY = (0, 1, 2, 3, 6), (1, 2)  # gray, gray inverted, RGB, palette, YCbCr; associated, or not
_DESCRIPTION, _RESOLUTION, _UNIT, _SOFTWARE, _XMP, _PROFILE = 270, (282, 283), 296, 305, 700, 34675


def read_tiff_options(path: Path) -> dict[str, Any]:
    """What :func:`write_tiff` needs for a file like this one.

    Raises:
        PDEConvError: it holds several pages, other than smaller copies of the first; colours that are neither gray nor
            RGB; or a channel that is not said to be opacity.
    """
    import tifffile

    with tifffile.TiffFile(path) as file:
        pages = sum(not page.is_reduced for page in file.pages)  # pyright: ignore[reportAttributeAccessIssue]
        if pages > 1:
            raise PDEConvError(f"it holds {pages} pages; split it into files of one")
        page = file.pages.first
        if page.photometric not in _COLOURS:
            name = getattr(page.photometric, "name", page.photometric)
            raise PDEConvError(f"its colours are {name}; convert it to RGB or gray first")
        if page.photometric == 3 and page.bitspersample > 8:
            raise PDEConvError("it has a palette of more than 8 bits; convert it to RGB first")
        more = page.samplesperpixel - (3 if page.photometric in (2, 6) else 1)
        if more != len(page.extrasamples) or any(extra not in _OPACITY for extra in page.extrasamples):
            raise PDEConvError("it has a channel that is neither colour nor opacity; leave it out, or call it opacity")
        tags = {tag.code: tag for tag in page.tags}
        value = {code: tag.value for code, tag in tags.items()}
        options: dict[str, Any] = {
            "compression": None if page.compression == 1 else "zlib",
            "description": _as_bytes(value.get(_DESCRIPTION)),
            "software": _as_bytes(value.get(_SOFTWARE)) or False,
            "extrasamples": page.extrasamples or None,  # pixels that were multiplied by their opacity stay so
            "iccprofile": value.get(_PROFILE),
            "extratags": [
                (code, tags[code].dtype, tags[code].count, _as_bytes(value[code]) or value[code], True)
                for code in KEPT
                if code in tags
            ],
        }
        if all(code in value for code in _RESOLUTION):
            options["resolution"] = tuple(value[code] for code in _RESOLUTION)
            options["resolutionunit"] = value.get(_UNIT, 2)
    return options


def made_tiff_options(
    profile: bytes, dpi: tuple[float, float] | None, orientation: int, xmp: bytes = b""
) -> dict[str, Any]:
    """Options that say what another format's ICC profile, resolution, EXIF orientation and XMP say."""
    options: dict[str, Any] = {"compression": "zlib", "iccprofile": profile or None, "software": False}
    if dpi:
        options |= {"resolution": dpi, "resolutionunit": 2}
    if orientation != 1 or xmp:  # which may say otherwise
        options["extratags"] = [(274, 3, 1, orientation, True)]
    if xmp:
        options["extratags"] = [*options["extratags"], (_XMP, 1, len(xmp), xmp, True)]
    return options


def xmp_of(options: dict[str, Any]) -> bytes:
    """What the options of :func:`read_tiff_options` hold of XMP."""
    value = next((tag[3] for tag in options["extratags"] if tag[0] == _XMP), b"")
    return value if isinstance(value, bytes) else b""


def write_tiff(file: BinaryIO, pixels: NDArray, options: dict[str, Any]) -> None:
    """Write (H, W, C), C = 1 to 4: gray or RGB, of which the second or fourth channel is opacity."""
    import tifffile

    channels = pixels.shape[2]
    opacity = options.get("extrasamples") or ["unassalpha"]
    options = options | {"extrasamples": opacity if channels in (2, 4) else None}
    tifffile.imwrite(
        file,
        pixels if channels > 1 else pixels[..., 0],
        photometric="rgb" if channels > 2 else "minisblack",
        planarconfig="contig" if channels > 1 else None,
        metadata=None,
        **options,
    )


def _as_bytes(text: object) -> bytes | None:
    return text.encode() if isinstance(text, str) and text else None
