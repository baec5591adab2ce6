"""Picture files as a photographer keeps them: what is not changed is written back, depth, opacity and metadata."""

import io
import os
import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from pdeconv.errors import PDEConvError
from pdeconv.png_files import Chunk, made_png_chunks, read_png_chunks, write_png
from pdeconv.ppm_files import read_deep_ppm, write_deep_ppm
from pdeconv.tiff_files import made_tiff_options, read_tiff_options, write_tiff, xmp_of
from pdeconv.training.durable import sync_file
from pdeconv.training.image_files import decode_deep_png, decode_tiff

WRITABLE = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".ppm", ".pgm", ".pnm")
JPEG_QUALITY = 95
_OPAQUE_ONLY = ("JPEG", "BMP", "PPM")
_GRAY = ("1", "L", "LA", "La", "I;16", "I;16B", "I;16L", "I", "F")
_COLOUR = ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX")
_ORIENTATION = 0x0112
_EXIF = b"Exif\0\0"
_JPEG_XMP = 65504  # bytes of a segment


@dataclass(frozen=True)
class Picture:
    """What a picture file holds.

    Attributes:
        pixels: (H, W, 1 | 3), uint8, uint16 or floating point, as stored: not turned by the EXIF orientation.
        opacity: (H, W, 1) of the same type, or None; the pixels are not multiplied by it, unless ``premultiplied``.
        format: "PNG", "JPEG", …, as Pillow names it.
    """

    pixels: NDArray
    opacity: NDArray | None
    format: str
    exif: bytes = b""
    orientation: int = 1
    profile: bytes = b""
    xmp: bytes = b""
    dpi: tuple[float, float] | None = None
    png_chunks: list[Chunk] = field(default_factory=list)
    tiff_options: dict[str, Any] = field(default_factory=dict)
    pillow_options: dict[str, Any] = field(default_factory=dict)

    @property
    def exif_to_write(self) -> bytes:
        """The EXIF block, or one that says how to turn the picture, where another kind of tag said so.

        Also that a TIFF is not to be turned, as its XMP may say otherwise.
        """
        if self.exif or (self.orientation == 1 and not (self.xmp and self.format == "TIFF")):
            return self.exif
        block = Image.Exif()
        block[_ORIENTATION] = self.orientation
        return block.tobytes()

    @property
    def premultiplied(self) -> bool:
        """Whether the pixels are multiplied by the opacity, as a TIFF may say."""
        return 1 in (self.tiff_options.get("extrasamples") or ())

    @property
    def peak(self) -> int:
        """The value that means white."""
        return 1 if self.pixels.dtype.kind == "f" else int(np.iinfo(self.pixels.dtype).max)


def read_picture(path: Path) -> Picture:
    """Read a picture with all that :func:`write_picture` can keep of it. Palettes are looked up.

    Written in its own format it keeps its metadata: the chunks and tags that are known to stay true. In another one it
    keeps the ICC profile, the resolution, the orientation and XMP, as far as that format can hold them, and EXIF except
    to or from TIFF; a comment, and other texts and tags of a PNG or TIFF, such as its description, are lost.

    Raises:
        PDEConvError: the file is missing, broken, or of a kind that cannot be kept; the message names it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of a file that is damaged a little; damaged more it raises
            return _read(path)
    except FileNotFoundError as error:
        raise PDEConvError(f"expected an image at {path}, which is not there") from error
    except PDEConvError as error:
        raise PDEConvError(f"cannot read the image {path}: {error}") from error
    except MemoryError:
        raise
    except (LookupError, TypeError, AttributeError) as error:  # whose messages say nothing of the file
        raise PDEConvError(f"cannot read the image {path}: it is damaged, or of an unknown kind") from error
    except Exception as error:  # a damaged file makes its reader raise almost anything
        raise PDEConvError(f"cannot read the image {path}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _read(path: Path) -> Picture:
    with path.open("rb") as file:  # of a path, Pillow 13 maps some TIFFs to memory, wrongly if they are to be turned
        return _read_opened(path, file)


def _read_opened(path: Path, file: BinaryIO) -> Picture:
    try:
        opened = Image.open(file)
    except UnidentifiedImageError:
        if path.suffix.lower() not in (".tif", ".tiff"):
            raise PDEConvError("it is no image, or of an unknown format") from None
        pixels, opacity = _parted(decode_tiff(path))  # Pillow knows fewer kinds of TIFF
        options = read_tiff_options(path)
        turn = next((tag[3] for tag in options["extratags"] if tag[0] == _ORIENTATION), 1)
        kept = {"profile": options["iccprofile"] or b"", "xmp": xmp_of(options)}
        return Picture(pixels, opacity, "TIFF", orientation=turn, tiff_options=options, **kept)
    with opened as image:
        kind = image.format or ""
        frames = getattr(image, "n_frames", 1)
        if frames > 1 and kind not in ("MPO", "TIFF"):  # the further pictures of a camera's MPO are previews
            raise PDEConvError(f"it is an animation of {frames} frames; split it into files of one")
        stored_orientation = _orientation(image)
        pixels, opacity = _parted(_values(path, image))
        orientation = _orientation(image)
        tiff_options = read_tiff_options(path) if kind == "TIFF" else {}
        if tiff_options and orientation != stored_orientation:  # Pillow has turned it, as it does some TIFFs
            others = [tag for tag in tiff_options["extratags"] if tag[0] != _ORIENTATION]
            tiff_options["extratags"] = [*others, (_ORIENTATION, 3, 1, 1, True)]  # said, as XMP may say otherwise
        dpi = image.info.get("dpi")
        return Picture(
            pixels,
            opacity,
            "JPEG" if kind == "MPO" else kind,
            exif=image.info.get("exif", b""),
            orientation=orientation,
            profile=image.info.get("icc_profile") or b"",
            xmp=xmp_of(tiff_options) if tiff_options else image.info.get("xmp") or b"",
            dpi=(float(dpi[0]), float(dpi[1])) if dpi and min(dpi) > 0 else None,
            png_chunks=read_png_chunks(path) if kind == "PNG" else [],
            tiff_options=tiff_options,
            pillow_options=_pillow_options(path, image),
        )


def _orientation(image: Image.Image) -> int:
    try:
        value = int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # a broken EXIF block, which is copied as it is
        return 1
    return value if 1 <= value <= 8 else 1


def _values(path: Path, image: ImageFile) -> NDArray:
    """(H, W) or (H, W, C), the last of 2 or 4 channels opacity."""
    if image.format == "PNG":
        deep = decode_deep_png(path)
        if deep is not None:
            return deep
    if image.format == "TIFF":
        bits = image.getexif().get(258, 8)
        deep = max(bits if isinstance(bits, tuple) else (bits,)) > 8
        if deep or image.mode in ("L", "LA", "La", "RGB", "RGBA"):
            try:
                return decode_tiff(path)
            except (ValueError, ImportError):  # a compression that tifffile alone does not undo; Pillow may, but it
                # cuts deep colours down, and divides by the opacity
                if (deep and image.mode not in _GRAY) or 1 in np.atleast_1d(image.getexif().get(338, 0)):
                    raise PDEConvError("it is compressed in a way that needs the package imagecodecs") from None
    if image.format == "PPM" and image.mode == "RGB":
        deep = read_deep_ppm(path, image)
        if deep is not None:
            return deep
    if image.mode not in _GRAY + _COLOUR:
        raise PDEConvError(f"its colours are {image.mode}; convert it to RGB or gray first")
    key = image.info.get("transparency")
    if image.mode in ("I", "I;16", "I;16B", "I;16L", "F"):
        values = np.asarray(image)
        values = values if image.mode == "F" else values.astype(np.uint16)
        if isinstance(key, int):
            values = np.stack((values, np.where(values == key, 0, 65535).astype(np.uint16)), axis=-1)
        return values
    transparent = image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or key is not None
    gray = image.mode in _GRAY
    return np.asarray(image.convert(("LA" if transparent else "L") if gray else "RGBA" if transparent else "RGB"))


def _parted(values: NDArray) -> tuple[NDArray, NDArray | None]:
    """Pixels and opacity."""
    values = values[..., None] if values.ndim == 2 else values
    if values.ndim != 3 or values.shape[2] > 4 or 0 in values.shape:
        raise PDEConvError(f"expected height × width × up to 4 channels, got the shape {values.shape}")
    if values.dtype == np.bool_:
        values = values.astype(np.uint8) * np.uint8(255)
    if values.dtype.newbyteorder("=") not in (np.uint8, np.uint16, np.float16, np.float32, np.float64):
        raise PDEConvError(f"values of the type {values.dtype} have no range of their own; save it as uint8 or uint16")
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    colours = 1 if values.shape[2] < 3 else 3
    pixels = values[..., :colours]
    if pixels.dtype.kind == "f":
        low, high = float(pixels.min()), float(pixels.max())
        if not (low >= -1 and high <= 2):  # noise may leave [0, 1]; written so that NaN fails as well
            raise PDEConvError(
                f"floating-point values should lie around [0, 1], these span [{low:g}, {high:g}]; rescale them"
            )
    return pixels, values[..., colours:] if values.shape[2] > colours else None


def _pillow_options(path: Path, image: Image.Image) -> dict[str, Any]:
    """What Pillow needs to write a file like this one."""
    options: dict[str, Any] = {}
    if image.format in ("JPEG", "MPO"):
        from PIL.JpegImagePlugin import get_sampling

        sampling = get_sampling(image)
        options = {"subsampling": sampling} if sampling >= 0 else {}
        options["progressive"] = bool(image.info.get("progressive"))
        if "comment" in image.info:
            options["comment"] = image.info["comment"]
    if image.format == "WEBP":
        options["lossless"] = _is_lossless_webp(path)
    return options


def _is_lossless_webp(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(12)  # RIFF, a length, WEBP
        while len(head := file.read(8)) == 8:
            name, length = struct.unpack("<4sI", head)
            if name in (b"VP8 ", b"VP8L"):
                return name == b"VP8L"
            file.seek(16 if name == b"ANMF" else length + length % 2, 1)  # of an only frame, within it
    return False


def format_of(path: Path) -> str:
    """The format that the ending of a file to write names.

    Raises:
        PDEConvError: it is not one of those that can be written.
    """
    ending = path.suffix.lower()
    if ending not in WRITABLE:
        raise PDEConvError(f"cannot write the image {path}: expected one of the endings {' '.join(WRITABLE)}")
    return {".jpg": "JPEG", ".tif": "TIFF"}.get(ending, Image.registered_extensions()[ending])


def write_picture(path: Path, picture: Picture, pixels: NDArray) -> None:
    """Write ``picture`` with other ``pixels``, so that at every moment the file is whole or absent, or the old one.

    The ending decides the format. The depth is kept where the format can hold it; else it becomes 8 bits, and of
    floating-point values 16 in a PNG.

    Raises:
        PDEConvError: the ending is unknown, the format cannot hold the opacity or a picture of that size, or the disk
            does not take the file.
    """
    try:
        _write(path, picture, pixels)
    except (PDEConvError, MemoryError):
        raise
    except Exception as error:  # of the disk, or of an encoder, each of which has limits of its own
        reason = getattr(error, "strerror", None) or _first_line(error)
        raise PDEConvError(f"cannot write the image {path}: {reason}") from error


def _write(path: Path, picture: Picture, pixels: NDArray) -> None:
    kind = format_of(path)
    values = pixels if picture.opacity is None else np.concatenate((pixels, picture.opacity), axis=2)
    if picture.opacity is not None and kind in _OPAQUE_ONLY:
        raise PDEConvError(
            f"cannot write {path}: {kind} holds no opacity, which the image has; use .png, .tif or .webp"
        )
    if picture.premultiplied and kind != "TIFF":
        raise PDEConvError(
            f"cannot write {path}: the image is multiplied by its opacity, which {kind} cannot say; use .tif"
        )
    if kind == "PNG":
        values = _with_bits(values, 16 if values.dtype.kind == "f" else 8 * values.dtype.itemsize)
        chunks = picture.png_chunks or made_png_chunks(picture.exif_to_write, picture.profile, picture.dpi, picture.xmp)
        replace_file(path, lambda file: write_png(file, values, chunks))
    elif kind == "TIFF":
        options = picture.tiff_options or made_tiff_options(
            picture.profile, picture.dpi, picture.orientation, picture.xmp
        )
        replace_file(path, lambda file: write_tiff(file, values, options))
    else:
        deep = kind == "PPM" and values.dtype == np.uint16
        values = values if deep else _with_bits(values, 8)
        replace_file(path, lambda file: _write_by_pillow(file, kind, picture, values))


def _write_by_pillow(file: BinaryIO, kind: str, picture: Picture, values: NDArray) -> None:
    options = dict(picture.pillow_options) if kind == picture.format else {}
    if kind == "JPEG":
        options = {"quality": JPEG_QUALITY, "subsampling": 0} | options
    elif kind == "WEBP":
        options = {"quality": JPEG_QUALITY, "exact": True} | options
    dpi, exif = picture.dpi, picture.exif_to_write
    if exif:
        options["exif"] = exif if exif.startswith(_EXIF) else _EXIF + exif  # a WEBP has it without; a JPEG needs it
    if kind in ("BMP", "PPM") and picture.orientation != 1:  # they cannot say how to turn the picture
        values = _turned(values, picture.orientation)
        dpi = dpi[::-1] if dpi and picture.orientation >= 5 else dpi
    if values.dtype == np.uint16 and values.shape[2] == 3:
        write_deep_ppm(file, values)
        return
    if picture.xmp and not (kind == "JPEG" and len(picture.xmp) > _JPEG_XMP):
        options["xmp"] = picture.xmp
    options |= {"icc_profile": picture.profile} if picture.profile else {}
    options |= {"dpi": dpi} if dpi else {}
    encoded = io.BytesIO()  # Pillow closes, seeks or truncates some files that it writes
    Image.fromarray(values[..., 0] if values.shape[2] == 1 else values).save(encoded, kind, **options)
    file.write(encoded.getbuffer())


def _turned(values: NDArray, orientation: int) -> NDArray:
    """Pixels turned upright, as an EXIF orientation of 2 to 8 asks."""
    if orientation >= 5:
        values = values.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    return np.ascontiguousarray(values)


def _with_bits(values: NDArray, bits: int) -> NDArray:
    """``values`` as integers of 8 or 16 bits."""
    if values.dtype.kind == "u" and 8 * values.dtype.itemsize == bits:
        return values
    peak = 1.0 if values.dtype.kind == "f" else float(np.iinfo(values.dtype).max)
    scaled = np.rint(values.astype(np.float64).clip(0, peak) * ((2**bits - 1) / peak))
    return scaled.astype(np.uint8 if bits == 8 else np.uint16)


def replace_file(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Let ``write`` fill a hidden file beside ``path``, which takes its place when it is whole and on the disk."""
    temporary = path.with_name(f".{path.name}.writing")
    try:
        with temporary.open("wb") as file:
            write(file)
        sync_file(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
