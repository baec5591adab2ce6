"""Reading and writing image files: any of the usual formats to and from tensors of values in [0, 1]."""

import gzip
import warnings
from pathlib import Path
from typing import IO, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from pdeconv.errors import PDEConvError
from pdeconv.image_square import in_color

_GZIPPED = (".pgm.gz", ".ppm.gz", ".pbm.gz", ".pnm.gz")
EXTENSIONS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".ppm", ".pgm", ".pbm", ".pnm")
_EIGHT_BIT = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")
_CHANNELS = {"gray": 1, "rgb": 3}


def channels_of(color: str) -> int:
    """1 for "gray", 3 for "rgb"."""
    if color not in _CHANNELS:
        raise PDEConvError(f'expected the colour "gray" or "rgb", got {color!r}')
    return _CHANNELS[color]


def list_images(folder: str | Path) -> list[Path]:
    """All image files below a folder, searched recursively, in the order of their paths. Hidden files are left out."""
    folder = Path(folder)
    if not folder.is_dir():
        raise PDEConvError(f"expected a folder of images at {folder}, which is not there; give the path of one")
    paths = [
        path
        for path in folder.rglob("*")
        if _ending(path) in (*EXTENSIONS, *_GZIPPED)
        and not any(p.startswith(".") for p in path.relative_to(folder).parts)
    ]
    if not paths:
        raise PDEConvError(f"expected images in {folder}, found none; known endings are {' '.join(EXTENSIONS)}")
    return sorted(paths, key=lambda path: path.relative_to(folder).as_posix())


def _ending(path: Path) -> str:
    """The ending in small letters; of a gzipped Netpbm file .pgm.gz and the like."""
    return "".join(path.suffixes[-2:]).lower() if path.suffix.lower() == ".gz" else path.suffix.lower()


def _opened(path: Path) -> IO[bytes]:
    """The bytes of a file, unpacked if it is gzipped."""
    return cast(IO[bytes], gzip.open(path)) if path.suffix.lower() == ".gz" else path.open("rb")


def image_size(path: str | Path) -> tuple[int, int]:
    """(height, width) of an image file, from its header where the format allows."""
    path = Path(path)
    try:
        with _opened(path) as file, Image.open(file) as image:
            width, height = image.size
            turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
        return (width, height) if turned else (height, width)
    except Exception:
        _, height, width = read_image(path, "gray").shape
        return height, width


def read_image(path: str | Path, color: str, no_data: int | None = None) -> Tensor:
    """Read an image file as float32 (C, H, W) with values in [0, 1]; C is 1 for "gray" and 3 for "rgb".

    Integers are divided by the largest value of their type (255, 65535, …); a floating-point TIFF must lie in [0, 1]
    already. Transparent pixels are laid over white, palettes looked up, camera rotation undone, and only the first
    frame of several is read. Gray is 0.2125 R + 0.7154 G + 0.0721 B, as in scikit-image; gray images become RGB by
    repetition. Gzipped Netpbm files are unpacked.

    Args:
        path: of the file.
        color: "gray" or "rgb".
        no_data: the number that the file holds where nothing was measured, which becomes NaN.

    Raises:
        PDEConvError: the file is missing, broken, or outside the range; the message names it.
    """
    channels = channels_of(color)
    try:
        stored = _decode(Path(path))
        stored = stored[..., None] if stored.ndim == 2 else stored
        colours = stored[..., : 1 if stored.shape[-1] < 3 else 3]
        missing = np.zeros((1, 1, 1), bool) if no_data is None else (colours == no_data).all(-1, keepdims=True)
        values = np.where(missing, np.float32("nan"), _unit_range(np.where(missing, stored.dtype.type(0), stored)))
    except FileNotFoundError as error:
        raise PDEConvError(f"expected an image at {path}, which is not there") from error
    except IsADirectoryError as error:
        raise PDEConvError(f"expected an image file, {path} is a folder; give one of the files in it") from error
    except PDEConvError as error:
        raise PDEConvError(f"cannot read the image {path}: {error}") from error
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise PDEConvError(f"cannot read the image {path}: {reason}; repair or remove the file") from error
    image = torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))
    return in_color(image, channels)


def write_image(path: str | Path, image: Tensor) -> None:
    """Write (H, W), (1, H, W) or (3, H, W) with values in [0, 1] as an 8-bit image; the ending chooses the format.

    Values outside [0, 1] are clipped, as a file of bytes holds nothing else.
    """
    path = Path(path)
    if path.suffix.lower() not in EXTENSIONS:
        raise PDEConvError(f"cannot write the image {path}: expected one of the endings {' '.join(EXTENSIONS)}")
    shape = tuple(image.shape)
    if image.ndim == 2:
        image = image[None]
    if image.ndim != 3 or image.shape[0] not in (1, 3):
        raise PDEConvError(f"cannot write the image {path}: expected (H, W), (1, H, W) or (3, H, W), got {shape}")
    values = (image.detach().float().cpu().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values[..., 0] if values.shape[2] == 1 else values).save(path)


def _decode(path: Path) -> NDArray:
    """The stored values, (H, W) or (H, W, C)."""
    if path.suffix.lower() == ".gz":
        with _opened(path) as file, Image.open(file) as image:
            return _decode_eight_bit(image) if image.mode in _EIGHT_BIT else _decode_deep(image)
    if path.suffix.lower() == ".png":
        values = decode_deep_png(path)
        if values is not None:
            return values
    try:
        with Image.open(path) as image:
            if image.format == "TIFF":
                bits = image.getexif().get(258, 8)
                if image.mode not in _EIGHT_BIT or max(bits if isinstance(bits, tuple) else (bits,)) > 8:
                    return _decode_deep_tiff(path, image)
            return _decode_eight_bit(image) if image.mode in _EIGHT_BIT else _decode_deep(image)
    except UnidentifiedImageError:
        if path.suffix.lower() not in (".tif", ".tiff"):
            raise
        return decode_tiff(path)


def _decode_eight_bit(image: Image.Image) -> NDArray:
    transparent = image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info
    gray = image.mode in ("1", "L", "LA", "La")
    image = image.convert(
        {(True, False): "L", (True, True): "LA", (False, False): "RGB"}.get((gray, transparent), "RGBA")
    )
    return np.asarray(ImageOps.exif_transpose(image))


def _decode_deep(image: Image.Image) -> NDArray:
    """Gray images of more than 8 bits. Pillow holds 16-bit ones in the mode I;16 or, in some versions, I."""
    values = np.asarray(image)
    return values.astype(np.uint16) if image.mode.startswith("I") else values


def decode_deep_png(path: Path) -> NDArray | None:
    """A 16-bit PNG with colour or opacity, which Pillow would cut down to 8 bits; None for any other.

    Without torchvision's decoder Pillow's 8 bits have to do.
    """
    with path.open("rb") as file:
        header = file.read(26)
    depth_and_type = header[24:26]
    if header[:8] != b"\x89PNG\r\n\x1a\n" or len(depth_and_type) < 2 or depth_and_type[0] != 16:
        return None
    if depth_and_type[1] == 0:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a later torchvision may lack the decoder
        try:
            from torchvision.io import ImageReadMode, decode_image
        except ImportError:
            return None
        image = decode_image(str(path), mode=ImageReadMode.UNCHANGED)
    return image.permute(1, 2, 0).numpy()


def _decode_deep_tiff(path: Path, image: Image.Image) -> NDArray:
    """A TIFF of more than 8 bits, which Pillow would cut down to 8 if it has colour."""
    try:
        return decode_tiff(path)
    except ValueError:  # a compression that tifffile alone does not undo; Pillow may
        if image.mode in _EIGHT_BIT:
            raise
        return _decode_deep(image)


def decode_tiff(path: Path) -> NDArray:
    import tifffile

    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        values, axes = page.asarray(), page.axes
        if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE and values.dtype.kind == "u":
            values = np.iinfo(values.dtype).max - values
    if axes in ("SYX", "CYX", "ZYX"):
        values = values.transpose(1, 2, 0)
    return values


def _unit_range(values: NDArray) -> NDArray[np.float32]:
    """(H, W, C) with values in [0, 1], by the range of the stored type."""
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim != 3 or 0 in values.shape:
        raise PDEConvError(f"expected an image of height × width × channels, got the shape {values.shape}")
    if values.dtype == np.bool_:
        return values.astype(np.float32)
    if values.dtype.kind == "u":
        return (values / np.float64(np.iinfo(values.dtype).max)).astype(np.float32)
    if values.dtype.kind != "f":
        raise PDEConvError(f"values of the type {values.dtype} have no range of their own; save it as uint8 or uint16")
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 1):  # written so that NaN fails as well
        raise PDEConvError(f"floating-point values must lie in [0, 1], these span [{low:g}, {high:g}]; rescale them")
    return values.astype(np.float32)
