"""Law: a picture file written again, in its own or in another format, shows the same picture, turned the same way."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

import pdeconv.picture_files
from pdeconv.errors import PDEConvError
from pdeconv.picture_files import read_picture, write_picture

FORMATS = ("png", "jpg", "tif", "webp", "bmp", "ppm")


def drawing(channels: int = 3) -> np.ndarray:
    """Different in every corner, and smooth, so that a JPEG keeps it."""
    y, x = np.mgrid[:40, :24]
    planes = (x * 4 + y, 255 - x * 5 - y, x * y / 4, 255 - x * y / 8)
    return np.stack(planes[:channels], axis=-1).clip(0, 255).astype(np.uint8)


def random(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape).astype(dtype)


def shown(path: Path) -> np.ndarray:
    """As a viewer turns it. Of a path, Pillow maps some TIFFs to memory, wrongly if they are to be turned."""
    with path.open("rb") as file, Image.open(file) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB")).astype(int)


def again(source: Path, target: Path) -> Path:
    picture = read_picture(source)
    write_picture(target, picture, picture.pixels)
    return target


def save(path: Path, image: Image.Image, **options: object) -> None:
    """Losslessly, or nearly."""
    own = {".jpg": {"quality": 95, "subsampling": 0}, ".webp": {"lossless": True}}
    image.save(path, **own.get(path.suffix, {}) | options)


def tiff(pixels: np.ndarray, **options: object) -> Callable[[Path], None]:
    """Writes one, contiguous, to a path."""
    return lambda path: tifffile.imwrite(path, pixels, planarconfig="contig", metadata=None, **options)


# Orientation.

SOURCES = {
    "png": ("png", {}),
    "jpeg": ("jpg", {}),
    "webp": ("webp", {}),
    "tiff": ("tif", {}),
    "tiff that Pillow decodes": ("tif", {"compression": "tiff_lzw"}),  # and turns
    "tiff of a jpeg": ("tif", {"compression": "jpeg"}),
    "tiff of a palette": ("tif", {"palette": True}),
    "gray tiff": ("tif", {"gray": True}),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("source", SOURCES)
def test_it_is_turned_the_same_way(tmp_path: Path, source: str, orientation: int) -> None:
    ending, options = SOURCES[source]
    image = Image.fromarray(drawing())
    image = image.quantize(64, dither=Image.Dither.NONE) if "palette" in options else image
    image = image.convert("L") if "gray" in options else image
    exif = Image.Exif()
    exif[0x0112] = orientation
    compression = {key: value for key, value in options.items() if key == "compression"}
    save(tmp_path / f"in.{ending}", image, exif=exif, **compression)
    before = shown(tmp_path / f"in.{ending}")
    assert before.shape == ((24, 40, 3) if orientation >= 5 else (40, 24, 3))
    for target in FORMATS:
        after = shown(again(tmp_path / f"in.{ending}", tmp_path / f"out.{target}"))
        assert after.shape == before.shape, target
        assert np.abs(after - before).mean() < 4, target


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_xmp_does_not_turn_it_again(tmp_path: Path, compression: str | None) -> None:
    tags = {274: 6, 700: b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'}
    Image.fromarray(drawing()).save(tmp_path / "in.tif", compression=compression, tiffinfo=tags)
    before = shown(tmp_path / "in.tif")
    for target in FORMATS:
        after = shown(again(tmp_path / "in.tif", tmp_path / f"out.{target}"))
        assert after.shape == before.shape == (24, 40, 3) and np.abs(after - before).mean() < 4, target


def test_a_deep_tiff_that_pillow_cannot_read_is_turned(tmp_path: Path) -> None:
    pixels = random(40, 24, 3, dtype=np.uint16)
    tiff(pixels.astype(np.float32) / 65535, photometric="rgb", extratags=[(274, 3, 1, 6, True)])(tmp_path / "in.tif")
    with pytest.raises(OSError, match="cannot identify"):
        Image.open(tmp_path / "in.tif")
    with Image.open(again(tmp_path / "in.tif", tmp_path / "out.png")) as image:
        assert image.getexif()[0x0112] == 6 and image.size == (24, 40)


# Opacity and colours of TIFFs.


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("extra", ["assocalpha", "unassalpha"])
@pytest.mark.parametrize("channels", [2, 4])
def test_the_kind_of_opacity_is_kept(tmp_path: Path, channels: int, extra: str, dtype: type) -> None:
    pixels = random(9, 8, channels, dtype=dtype)
    photometric = "rgb" if channels == 4 else "minisblack"
    tiff(pixels, photometric=photometric, extrasamples=[extra])(tmp_path / "in.tif")
    with tifffile.TiffFile(again(tmp_path / "in.tif", tmp_path / "out.tif")) as file:
        page = file.pages.first
        assert [kind.name for kind in page.extrasamples] == [extra.upper()]
        assert np.array_equal(page.asarray(), pixels)
    for ending in ("png", "webp"):
        if extra == "assocalpha":
            with pytest.raises(PDEConvError, match=r"multiplied by its opacity.*use \.tif"):
                again(tmp_path / "in.tif", tmp_path / f"out.{ending}")
            assert not (tmp_path / f"out.{ending}").exists()
        else:
            again(tmp_path / "in.tif", tmp_path / f"out.{ending}")
    with pytest.raises(PDEConvError, match="holds no opacity"):
        again(tmp_path / "in.tif", tmp_path / "out.jpg")


@pytest.mark.skipif(find_spec("imagecodecs") is not None, reason="which decodes it")
def test_pixels_that_a_decoder_would_divide_by_their_opacity_are_refused(tmp_path: Path) -> None:
    """Pillow does, and would have them written as if they were still multiplied."""
    path = tmp_path / "a.tif"
    Image.fromarray(random(9, 9, 4)).save(path, compression="tiff_lzw")
    head = b"\x52\x01\x03\x00\x01\x00\x00\x00"  # the tag 338, of one short
    assert path.read_bytes().count(head + b"\2") == 1
    path.write_bytes(path.read_bytes().replace(head + b"\2", head + b"\1"))
    with pytest.raises(PDEConvError, match="needs the package imagecodecs"):
        read_picture(path)


@pytest.mark.parametrize("colours", [2, 4, 64])
def test_palettes_are_looked_up(tmp_path: Path, colours: int) -> None:
    image = Image.fromarray(drawing()).quantize(colours)
    image.save(tmp_path / "in.tif")
    for target in ("out.tif", "out.png"):
        with Image.open(again(tmp_path / "in.tif", tmp_path / target)) as after:
            assert np.array_equal(np.asarray(after), np.asarray(image.convert("RGB")))


def without_extra_samples(path: Path) -> None:
    """Four channels, of which the file says three."""
    tiff(random(9, 9, 4), photometric="rgb", extrasamples=["unassalpha"])(path)
    path.write_bytes(path.read_bytes().replace(b"\x52\x01\x03\x00", b"\xe8\xfd\x03\x00", 1))  # another tag than 338


MANY = random(3, 65536, dtype=np.uint16)


@pytest.mark.parametrize(
    ("write", "named"),
    [
        (tiff(random(9, 9, 4), photometric="separated"), "colours are CMYK; convert it to RGB"),
        (tiff(random(9, 9, 4, dtype=np.uint16), photometric="separated"), "colours are SEPARATED; convert it to RGB"),
        (tiff(random(9, 9, 3, dtype=np.uint16), photometric="cielab"), "colours are CIELAB; convert it to RGB"),
        (tiff(random(9, 9, 4), photometric="rgb", extrasamples=["unspecified"]), "neither colour nor opacity"),
        (tiff(random(9, 9, 2), photometric="minisblack", extrasamples=["unspecified"]), "neither colour nor opacity"),
        (without_extra_samples, "neither colour nor opacity"),
        (tiff(random(9, 9, 5), photometric="rgb", extrasamples=["unassalpha", "unspecified"]), "up to 4 channels"),
        (
            lambda path: tifffile.imwrite(path, random(9, 9, dtype=np.uint16), photometric="palette", colormap=MANY),
            "palette of more than 8 bits",
        ),
    ],
)
def test_colours_that_cannot_be_kept_are_refused(tmp_path: Path, write: Callable[[Path], None], named: str) -> None:
    write(tmp_path / "a.tif")
    with pytest.raises(PDEConvError, match=rf"a\.tif: .*{named}"):
        read_picture(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("tag", "value"), [(306, "2020:01:02 03:04:05"), (306, "in May 2020"), (315, "Zoë"), (33432, "© Zoë")]
)
def test_texts_of_a_tiff_are_kept_as_they_are(tmp_path: Path, tag: int, value: str) -> None:
    tiff(random(9, 9), photometric="minisblack", extratags=[(tag, 2, None, value.encode(), True)])(tmp_path / "in.tif")
    with tifffile.TiffFile(again(tmp_path / "in.tif", tmp_path / "out.tif")) as file:
        assert file.pages.first.tags[tag].value == value


# Damage.


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "bmp", "ppm", "tif", "deep.png", "lzw.tif"])
def test_a_part_of_a_file_is_no_picture(tmp_path: Path, ending: str, recwarn, capfd) -> None:
    path = tmp_path / f"a.{ending}"
    pixels = random(40, 24, 3) if ending != "deep.png" else random(40, 24, dtype=np.uint16)
    save(path, Image.fromarray(pixels), **({"compression": "tiff_lzw"} if ending == "lzw.tif" else {}))
    whole = path.read_bytes()
    read_picture(path)
    for length in (0, 1, 8, 30, len(whole) // 2):
        path.write_bytes(whole[:length])
        with pytest.raises(PDEConvError, match=rf"cannot read the image .*a\.{ending}: \D+") as caught:
            read_picture(path)
        assert len(str(caught.value).splitlines()) == 1
    assert not recwarn.list


@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "webp"])
def test_a_text_is_no_picture(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    path.write_text("of the trip")
    with pytest.raises(PDEConvError, match=r"no image|not a TIFF"):
        read_picture(path)


# Writing.


@pytest.mark.parametrize(("ending", "named"), [("webp", "16383"), ("jpg", "writing image file")])
def test_what_a_format_cannot_hold_is_refused(tmp_path: Path, ending: str, named: str) -> None:
    Image.fromarray(drawing()).save(tmp_path / "a.png")
    large = np.zeros((1, 70000, 3), np.uint8)
    with pytest.raises(PDEConvError, match=rf"cannot write the image .*out\.{ending}: .*{named}"):
        write_picture(tmp_path / f"out.{ending}", read_picture(tmp_path / "a.png"), large)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_what_stops_in_the_middle_leaves_nothing(tmp_path: Path, monkeypatch, stop) -> None:
    Image.fromarray(drawing()).save(tmp_path / "a.png")

    def stopping(path: Path) -> None:
        assert path.stat().st_size > 0
        raise stop

    monkeypatch.setattr(pdeconv.picture_files, "sync_file", stopping)
    with pytest.raises((KeyboardInterrupt, PDEConvError)) as caught:
        again(tmp_path / "a.png", tmp_path / "out.png")
    assert stop is KeyboardInterrupt or str(caught.value).endswith("out.png: No space left on device")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


# What else a file says.


def xmp(letters: int = 0) -> bytes:
    return b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a>' + b"x" * letters + b"</a></x:xmpmeta>"


@pytest.mark.parametrize("target", ["png", "jpg", "tif", "webp"])
@pytest.mark.parametrize("source", ["png", "jpg", "tif", "webp"])
def test_xmp_goes_with_the_picture(tmp_path: Path, source: str, target: str) -> None:
    first = tmp_path / "in.webp"
    Image.fromarray(drawing()).save(first, lossless=True, xmp=xmp())
    path = again(again(first, tmp_path / f"middle.{source}"), tmp_path / f"out.{target}")
    with Image.open(path) as image:
        image.load()
        assert image.info["xmp"] == xmp()


def test_a_deep_tiff_and_its_xmp(tmp_path: Path) -> None:
    values = random(8, 9, 3, dtype=np.uint16).astype(np.float32) / 65535
    tiff(values, photometric="rgb", extratags=[(700, 1, len(xmp()), xmp(), True)])(tmp_path / "in.tif")
    with Image.open(again(tmp_path / "in.tif", tmp_path / "out.png")) as image:
        assert image.info["xmp"] == xmp()


def test_xmp_that_a_jpeg_cannot_hold_is_left_out(tmp_path: Path) -> None:
    for more, kept in ((0, True), (1, False)):
        Image.fromarray(drawing()).save(tmp_path / "in.webp", xmp=xmp(65504 - len(xmp()) + more))
        with Image.open(again(tmp_path / "in.webp", tmp_path / "out.jpg")) as image:
            assert ("xmp" in image.info) == kept


@pytest.mark.parametrize("word", [b"VP8L", b"VP8 "])
@pytest.mark.parametrize("animated", [False, True])
@pytest.mark.parametrize("lossless", [False, True])
def test_a_webp_stays_lossless_or_not(tmp_path: Path, lossless: bool, animated: bool, word: bytes) -> None:
    """However long its profile is, and whatever that says."""
    profile = word * (1 << 15) + b"odd"
    options = {"lossless": lossless, "icc_profile": profile}
    if animated:  # of one frame
        path = tmp_path / "in.webp"
        still = tmp_path / "still.webp"
        Image.fromarray(drawing()).save(still, **options)
        path.write_bytes(in_a_frame(still.read_bytes()))
    else:
        Image.fromarray(drawing()).save(tmp_path / "in.webp", **options)
    with Image.open(tmp_path / "in.webp") as image:
        before = np.asarray(image.convert("RGB"))
    with Image.open(again(tmp_path / "in.webp", tmp_path / "out.webp")) as image:
        assert np.array_equal(np.asarray(image), before) == lossless and image.info["icc_profile"] == profile


def in_a_frame(still: bytes) -> bytes:
    """The picture of a WebP file as the only frame of an animation."""
    chunks, place = {}, 12
    while place < len(still):
        length = int.from_bytes(still[place + 4 : place + 8], "little")
        chunks[still[place : place + 4]] = still[place + 8 : place + 8 + length]
        place += 8 + length + length % 2

    def chunk(name: bytes, data: bytes) -> bytes:
        return name + len(data).to_bytes(4, "little") + data + b"\0" * (len(data) % 2)

    name = b"VP8L" if b"VP8L" in chunks else b"VP8 "
    header = bytearray(chunks[b"VP8X"])
    header[0] |= 2  # an animation
    size = header[4:10]
    frame = bytes(6) + size + bytes(4) + chunk(name, chunks[name])
    parts = (
        chunk(b"VP8X", bytes(header)),
        chunk(b"ICCP", chunks[b"ICCP"]),
        chunk(b"ANIM", bytes(6)),
        chunk(b"ANMF", frame),
    )
    body = b"WEBP" + b"".join(parts)
    return b"RIFF" + len(body).to_bytes(4, "little") + body


# Deep colours of a PPM.


def deep_ppm(path: Path, pixels: np.ndarray, peak: int) -> None:
    height, width, _ = pixels.shape
    path.write_bytes(b"P6\n# of a camera\n%d %d\n%d\n" % (width, height, peak) + pixels.astype(">u2").tobytes())


@pytest.mark.parametrize("peak", [65535, 4095, 256])
@pytest.mark.parametrize("target", ["ppm", "png", "tif"])
def test_a_ppm_of_sixteen_bits_keeps_them(tmp_path: Path, target: str, peak: int) -> None:
    pixels = np.random.default_rng(0).integers(0, peak + 1, (7, 5, 3)).astype(np.uint16)
    deep_ppm(tmp_path / "in.ppm", pixels, peak)
    picture = read_picture(again(tmp_path / "in.ppm", tmp_path / f"out.{target}"))
    assert picture.pixels.dtype == np.uint16 and picture.peak == 65535
    assert np.array_equal(picture.pixels, np.rint(pixels * (65535 / peak)))


def test_a_ppm_of_eight_bits_stays_such(tmp_path: Path) -> None:
    Image.fromarray(drawing()).save(tmp_path / "in.ppm")
    (tmp_path / "four.ppm").write_bytes(b"P6 1 1 15\n\x0f\x03\x00")
    assert np.array_equal(read_picture(again(tmp_path / "in.ppm", tmp_path / "out.ppm")).pixels, drawing())
    assert read_picture(tmp_path / "four.ppm").pixels.tolist() == [[[255, 51, 0]]]


def test_a_ppm_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    deep_ppm(tmp_path / "short.ppm", random(7, 5, 3, dtype=np.uint16)[:6], 65535)
    content = (tmp_path / "short.ppm").read_bytes()
    (tmp_path / "short.ppm").write_bytes(content[:-1])
    (tmp_path / "plain.ppm").write_text("P3 1 1 65535 1 2 3")
    for name, named in (("short", "ends in the middle"), ("plain", "convert it to a binary one")):
        with pytest.raises(PDEConvError, match=rf"{name}\.ppm: it .*{named}"):
            read_picture(tmp_path / f"{name}.ppm")
