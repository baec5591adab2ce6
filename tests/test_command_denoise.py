"""Law: a picture file comes back with other pixels, and with all else that it held."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import png_reader
import pytest
import tifffile
import torch
from denoisers import Blur
from PIL import Image, ImageCms, ImageOps, PngImagePlugin

import pdeconv.__main__
import pdeconv.denoise_files
from pdeconv.errors import PDEConvError
from pdeconv.picture_files import read_picture, replace_file, write_picture
from pdeconv.training.command_line import run_program

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    """In place of pretrained weights."""
    monkeypatch.setattr(pdeconv.denoise_files, "pretrained_denoiser", lambda device: Blur(1))


def run(*arguments: object) -> int:
    return pdeconv.__main__.main(["denoise", *map(str, arguments)])


def noisy(*more: int, dtype: type = np.uint8, size=(40, 30)) -> np.ndarray:
    peak = np.iinfo(dtype).max
    return np.random.default_rng(0).normal(0.5 * peak, 0.1 * peak, (*size, *more)).clip(0, peak).astype(dtype)


def denoised(before: np.ndarray, after: np.ndarray) -> bool:
    return before.shape == after.shape and before.dtype == after.dtype and after.std() < 0.8 * before.std()


def camera_exif() -> bytes:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Camera"
    exif.get_ifd(0x8769)[0x829A] = 0.01
    return exif.tobytes()


@pytest.mark.parametrize("kind", ["L", "RGB", "LA", "RGBA"])
def test_png_of_bytes(tmp_path: Path, kind: str) -> None:
    pixels = noisy(*(() if kind == "L" else (len(kind),)))
    text = PngImagePlugin.PngInfo()
    text.add_text("Author", "Ada")
    text.add_itxt("Title", "Überfahrt", zip=True)
    profile = PROFILE if "RGB" in kind else b"a gray profile"
    options = {"pnginfo": text, "icc_profile": profile, "exif": camera_exif(), "dpi": (300, 300)}
    Image.fromarray(pixels).save(tmp_path / "in.png", **options)
    assert run(tmp_path / "in.png", tmp_path / "out.png", "--sigma", 30) == 0
    with Image.open(tmp_path / "in.png") as before, Image.open(tmp_path / "out.png") as after:
        after.verify()
    with Image.open(tmp_path / "in.png") as before, Image.open(tmp_path / "out.png") as after:
        after.load()
        assert after.mode == kind and after.size == before.size
        assert after.info == before.info and after.text == before.text  # pyright: ignore
        assert after.getexif().get_ifd(0x8769) == before.getexif().get_ifd(0x8769)
        found = np.asarray(after)
    colours = pixels[..., :-1] if "A" in kind else pixels
    assert denoised(colours, found[..., :-1] if "A" in kind else found)
    if "A" in kind:
        assert np.array_equal(found[..., -1], pixels[..., -1])


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_of_sixteen_bits(tmp_path: Path, channels: int) -> None:
    pixels = noisy(channels, dtype=np.uint16, size=(300, 21))
    with (tmp_path / "in.png").open("wb") as file:
        pdeconv.picture_files.write_png(file, pixels, [(b"pHYs", bytes(8) + b"\1"), (b"tEXt", b"Author\0Ada")])
    assert np.array_equal(png_reader.read(tmp_path / "in.png"), pixels)
    assert run(tmp_path / "in.png", tmp_path / "out.png") == 0
    found = png_reader.read(tmp_path / "out.png")
    colours = 1 if channels < 3 else 3
    assert denoised(pixels[..., :colours], found[..., :colours])
    assert np.array_equal(found[..., colours:], pixels[..., colours:])
    assert np.unique(found[..., 0] % 257).size > 100  # not 8 bits stretched
    with Image.open(tmp_path / "out.png") as image:
        assert image.info["Author"] == "Ada"


def test_single_colour_transparency_and_few_bits(tmp_path: Path) -> None:
    pixels = noisy()
    Image.fromarray(pixels).save(tmp_path / "key.png", transparency=int(pixels[0, 0]))
    Image.fromarray(noisy(dtype=np.uint16)).save(tmp_path / "deep.png", transparency=int(noisy(dtype=np.uint16)[0, 0]))
    Image.fromarray(pixels > 128).save(tmp_path / "bits.png")
    Image.fromarray(pixels).quantize(16).save(tmp_path / "palette.png", transparency=3)
    assert run(tmp_path, tmp_path / "out", "--sigma", 20) == 0
    modes = {name: Image.open(tmp_path / "out" / f"{name}.png").mode for name in ("key", "bits", "palette")}
    assert modes == {"key": "LA", "bits": "L", "palette": "RGBA"}
    opacity = np.asarray(Image.open(tmp_path / "out" / "key.png"))[..., 1]
    assert np.array_equal(opacity == 0, pixels == pixels[0, 0])
    deep = png_reader.read(tmp_path / "out" / "deep.png")
    assert (
        deep.dtype == np.uint16 and deep.shape == (40, 30, 2) and deep[0, 0, 1] == 0 and deep[1:, :, 1].min() == 65535
    )


@pytest.mark.parametrize(("kind", "subsampling"), [("L", 0), ("RGB", 0), ("RGB", 2)])
def test_jpeg(tmp_path: Path, kind: str, subsampling: int) -> None:
    image = Image.fromarray(noisy(*((3,) if kind == "RGB" else ())))
    options = {"subsampling": subsampling, "progressive": True, "comment": "taken by hand"}
    image.save(tmp_path / "in.jpg", quality=90, exif=camera_exif(), icc_profile=PROFILE, dpi=(72, 72), **options)
    assert run(tmp_path / "in.jpg", tmp_path / "out.JPEG") == 0
    with Image.open(tmp_path / "in.jpg") as before, Image.open(tmp_path / "out.JPEG") as after:
        assert after.format == "JPEG" and after.mode == kind and after.size == before.size
        for key in ("exif", "icc_profile", "dpi", "comment", "progressive"):
            assert after.info[key] == before.info[key], key
        if kind == "RGB":
            assert after.layer == before.layer  # pyright: ignore  # sampling factors
        assert np.asarray(after.convert("L")).std() < 0.8 * np.asarray(before.convert("L")).std()
        assert ImageOps.exif_transpose(after).size == (40, 30)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_tiff(tmp_path: Path, dtype: type, channels: int) -> None:
    pixels = noisy(channels, dtype=np.uint16) / np.float64(65535)
    pixels = (pixels if dtype is np.float32 else np.rint(pixels * np.iinfo(dtype).max)).astype(dtype)
    tifffile.imwrite(
        tmp_path / "in.tif",
        pixels if channels > 1 else pixels[..., 0],
        photometric="rgb" if channels > 1 else "minisblack",
        extrasamples=["unassalpha"] if channels == 4 else None,
        description="of a cell",
        software="Microscope",
        iccprofile=PROFILE,
        resolution=(600, 600),
        resolutionunit=2,
        extratags=[(274, 3, 1, 6, True), (315, 2, 4, "Ada", True)],
        metadata=None,
    )
    assert run(tmp_path / "in.tif", tmp_path / "out.tif") == 0
    with tifffile.TiffFile(tmp_path / "in.tif") as one, tifffile.TiffFile(tmp_path / "out.tif") as other:
        before, after = one.pages.first, other.pages.first
        for code in (256, 257, 258, 262, 270, 274, 277, 282, 283, 296, 305, 315, 338, 339, 34675):
            assert (code in before.tags) == (code in after.tags), code
            assert code not in before.tags or before.tags[code].value == after.tags[code].value, code
        found = after.asarray().reshape(pixels.shape)
    assert denoised(pixels[..., :3], found[..., :3])
    assert np.array_equal(found[..., 3:], pixels[..., 3:])


def test_other_formats(tmp_path: Path) -> None:
    for ending in ("bmp", "ppm", "webp"):
        Image.fromarray(noisy(3)).save(tmp_path / f"a.{ending}", lossless=True)
    Image.fromarray(noisy(4)).save(tmp_path / "b.webp", lossless=True, icc_profile=PROFILE, exif=camera_exif())
    Image.fromarray(noisy(dtype=np.uint16)).save(tmp_path / "deep.pgm")
    Image.fromarray(noisy(3)).save(tmp_path / "c.gif")
    assert run(tmp_path, tmp_path / "out", "--sigma", 30) == 0
    for name in ("a.bmp", "a.ppm", "a.webp", "c.png"):
        assert denoised(noisy(3), np.asarray(Image.open(tmp_path / "out" / name))), name
    with Image.open(tmp_path / "out" / "b.webp") as image:
        assert np.array_equal(np.asarray(image)[..., 3], noisy(4)[..., 3])
        assert image.info["icc_profile"] == PROFILE and image.getexif()[0x010F] == "Camera"
    with Image.open(tmp_path / "out" / "deep.pgm") as image:
        assert denoised(noisy(dtype=np.uint16), np.asarray(image).astype(np.uint16))


def test_the_ending_chooses_another_format(tmp_path: Path) -> None:
    Image.fromarray(noisy(3)).save(tmp_path / "in.jpg", exif=camera_exif(), icc_profile=PROFILE, dpi=(72, 72))
    tifffile.imwrite(tmp_path / "in.tif", noisy(3, dtype=np.uint16), photometric="rgb")
    for name in ("out.png", "out.tif"):
        assert run(tmp_path / "in.jpg", tmp_path / name) == 0
        with Image.open(tmp_path / name) as image:
            assert image.info["icc_profile"] == PROFILE and image.getexif()[0x0112] == 6
            assert round(float(image.info["dpi"][0])) == 72
    assert run(tmp_path / "in.tif", tmp_path / "deep.png") == run(tmp_path / "in.tif", tmp_path / "flat.jpg") == 0
    assert png_reader.read(tmp_path / "deep.png").dtype == np.uint16
    assert np.asarray(Image.open(tmp_path / "flat.jpg")).dtype == np.uint8


def test_folders_keep_their_structure_and_go_on_after_bad_files(tmp_path: Path, capfd) -> None:
    for name in ("a.png", "trip/b.png", "trip/day 2/c.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noisy()).save(tmp_path / "in" / name)
    (tmp_path / "in" / "trip" / "bad.png").write_bytes(b"no picture")
    Image.fromarray(noisy(4)).convert("CMYK").save(tmp_path / "in" / "print.jpg")
    (tmp_path / "in" / "notes.txt").write_text("of the trip")
    out = tmp_path / "in" / "out"
    assert run(tmp_path / "in", out) == 1
    shown = capfd.readouterr()
    assert len(shown.err.splitlines()) == 2 and "bad.png: it is no image" in shown.err and "CMYK" in shown.err
    assert shown.out.count("estimated") == 3
    written = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert written == ["a.png", "trip/b.png", "trip/day 2/c.png"]
    times = [path.stat().st_mtime_ns for path in sorted(out.rglob("*.png"))]
    assert run(tmp_path / "in", out) == 1  # what is in out is no input
    assert capfd.readouterr().err.count("exists already; --overwrite replaces it") == 3
    assert times == [path.stat().st_mtime_ns for path in sorted(out.rglob("*.png"))]
    run(tmp_path / "in", out, "--overwrite")
    assert all(path.stat().st_mtime_ns > before for path, before in zip(sorted(out.rglob("*.png")), times, strict=True))


def test_pictures_that_would_share_a_file_are_refused(tmp_path: Path, monkeypatch) -> None:
    """A GIF is written as a PNG; that it keeps no picture apart is told before anything is written."""
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for name in ("a.png", "a.jpg", "b.gif"):  # each with an ending of its own
        Image.fromarray(noisy(3)).save(Path("in") / name)
    assert run("in", "out") == 0
    assert sorted(path.name for path in Path("out").iterdir()) == ["a.jpg", "a.png", "b.png"]
    Image.fromarray(noisy(3)).save("in/a.gif")
    with pytest.raises(PDEConvError, match=r"in/a\.gif and in/a\.png would both be written to other/a\.png"):
        run("in", "other")
    before = Path("in/a.png").read_bytes()
    with pytest.raises(PDEConvError, match=r"in/a\.gif would be written over in/a\.png"):
        run("in", "in", "--overwrite")
    assert Path("in/a.png").read_bytes() == before and not Path("other").exists()


def test_the_input_is_overwritten_only_when_told(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(noisy()).save(path)
    before = path.read_bytes()
    assert run(path, path) == run(path, tmp_path) == run(tmp_path, tmp_path) == 1
    assert path.read_bytes() == before
    assert run(path, path, "--overwrite") == 0
    assert denoised(noisy(), np.asarray(Image.open(path)))
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a process of its own")
def test_a_kill_in_the_middle_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def half(file) -> None:
        file.write(b"half")
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        replace_file(path, half)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert path.read_bytes() == b"old"
    replace_file(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new" and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(ZeroDivisionError):
        replace_file(path, lambda file: file.write(bytes(1 // 0)))
    assert path.read_bytes() == b"new" and len(list(tmp_path.iterdir())) == 1


def test_levels_and_tiles(tmp_path: Path, capsys, monkeypatch) -> None:
    model = Blur(1, coarse=True)
    monkeypatch.setattr(pdeconv.denoise_files, "pretrained_denoiser", lambda device: model)
    pixels = noisy(size=(70, 50))
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray(pixels.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    assert run(tmp_path / "a.png", tmp_path / "whole.png") == 0
    assert model.calls == 1
    shown = float(capsys.readouterr().out.split("σ")[1].split()[0])
    assert shown == pytest.approx(25.5, rel=0.1)
    assert run(tmp_path / "a.png", tmp_path / "tiled.png", "--tile", 30) == 0
    assert model.calls == 1 + 3 * 2
    assert run(tmp_path / "a.png", tmp_path / "turned.png", "--tile", 30, "--self_ensemble", "true") == 0
    assert model.calls == 7 + 8 * 3 * 2
    whole = np.asarray(Image.open(tmp_path / "whole.png")).astype(int)
    assert np.abs(np.asarray(Image.open(tmp_path / "tiled.png")) - whole).max() <= 1
    assert run(tmp_path / "deep.png", tmp_path / "same.png", "--sigma", shown) == 0
    assert np.abs(np.asarray(Image.open(tmp_path / "same.png")) / 257 - whole).max() <= 1
    assert run(tmp_path / "a.png", tmp_path / "kept.png", "--sigma", 0) == 0
    assert np.array_equal(np.asarray(Image.open(tmp_path / "kept.png")), pixels)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["missing.png", "out.png"], "no file or folder at 'missing.png'"),
        (["empty", "out"], "found none"),
        (["a.png", "out"], "with a / at its end"),
        (["a.png", "out.gif"], "endings"),
        (["full", "a.png"], "is a file, but the input is a folder"),
        (["a.png", "out.png", "--sigma", "-1"], "sigma: expected 0 to 255"),
        (["a.png", "out.png", "--sigma", "strong"], "sigma: expected a number"),
        (["a.png", "out.png", "--sigma", "nan"], "sigma: expected a number"),
        (["a.png", "out.png", "--sigma", ".nan"], "sigma: expected 0 to 255"),
        (["a.png", "out.png", "--sigma", "1e9"], "sigma: expected 0 to 255"),
        (["a.png", "out.png", "--tile", "0"], "tile: expected 1 or more"),
        (["a.png", "out.png", "--sgima", "3"], "did you mean 'sigma'"),
        (["a.png", "out.png", "--model", "nowhere"], "no checkpoint at 'nowhere'"),
        (["a.png"], "missing: output"),
        ([], "missing: input"),
        (["a.png", "b.png", "c.png"], "c.png"),
    ],
)
def test_slips_are_one_line(tmp_path: Path, monkeypatch, capsys, arguments, named) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("full").mkdir()
    for name in ("a.png", "full/a.png"):
        Image.fromarray(noisy()).save(name)
    with pytest.raises((SystemExit, PDEConvError)) as caught:
        run(*arguments)
    text = capsys.readouterr().err or str(caught.value)
    assert named in text and len(text.splitlines()) == 1


@pytest.mark.parametrize(
    ("output", "named"),
    [
        ("full/a.png", "exists already; --overwrite replaces it"),
        ("full", "exists already; --overwrite replaces it"),
        ("folder.png", "folder.png/a.png is a folder"),
        ("full/a.png/b.png", "full/a.png is a file, where a folder is needed"),
        pytest.param(
            "closed/a.png",
            "you may not write to the folder",
            marks=pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere"),
        ),
    ],
)
def test_what_cannot_be_written_is_told_before_the_work(tmp_path: Path, monkeypatch, capfd, output, named) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("full", "folder.png/a.png", "closed"):
        Path(folder).mkdir(parents=True)
    Path("closed").chmod(0o500)
    for name in ("a.png", "full/a.png"):
        Image.fromarray(noisy()).save(name)
    monkeypatch.setattr(pdeconv.denoise_files, "read_picture", lambda path: pytest.fail("it was read"))
    overwrite = ["--overwrite"] if "is a folder" in named else []
    assert run("a.png", output, *overwrite) == 1
    shown = capfd.readouterr()
    assert named in shown.err and len(shown.err.splitlines()) == 1 and not shown.out


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_damaged_files_are_one_line(tmp_path: Path, capfd, ending) -> None:
    """Without the warnings of the packages that read them."""
    path = tmp_path / f"a.{ending}"
    Image.fromarray(noisy(size=(1, 1))).save(path)
    assert run(path, tmp_path / f"one.{ending}") == 0
    Image.fromarray(noisy()).save(path, **({"compression": "tiff_lzw"} if ending == "tif" else {}))
    whole = path.read_bytes()
    for content in (b"", b"a text", whole[: len(whole) // 2]):
        path.write_bytes(content)
        capfd.readouterr()
        assert run(path, tmp_path / f"out.{ending}") == 1
        shown = capfd.readouterr()
        assert f"cannot read the image {path}" in shown.err and len(shown.err.splitlines()) == 1 and not shown.out
    assert not (tmp_path / f"out.{ending}").exists()


def test_an_interrupted_run_leaves_whole_files(tmp_path: Path, monkeypatch, capfd) -> None:
    for name in ("a.png", "b.png"):
        Image.fromarray(noisy()).save(tmp_path / name)
    sync = pdeconv.picture_files.sync_file

    def interrupted(path: Path) -> None:
        sync(path)
        if "b.png" in path.name:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(pdeconv.picture_files, "sync_file", interrupted)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        with pytest.raises(SystemExit) as caught:
            run_program("python -m pdeconv", lambda: run(tmp_path, tmp_path / "out"))
    finally:
        signal.signal(signal.SIGINT, handler)
    assert caught.value.code == 130
    assert capfd.readouterr().err == "python -m pdeconv: interrupted\n"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]
    assert denoised(noisy(), np.asarray(Image.open(tmp_path / "out" / "a.png")))


@pytest.mark.parametrize("error", [RuntimeError, torch.OutOfMemoryError, MemoryError])
def test_a_run_goes_on_where_memory_does_not_suffice(tmp_path: Path, monkeypatch, capfd, error) -> None:
    """On a CPU, too, of which PyTorch says so by a plain RuntimeError; any other of those is a slip of ours."""
    for name in ("a.png", "b.png"):
        Image.fromarray(noisy()).save(tmp_path / name)
    plain, calls = pdeconv.denoise_files.denoise, []

    def first_fails(*arguments, **options):
        calls.append(1)
        if len(calls) == 1:
            raise error(text)
        return plain(*arguments, **options)

    monkeypatch.setattr(pdeconv.denoise_files, "denoise", first_fails)
    text = "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to ..."
    assert run(tmp_path, tmp_path / "out", "--sigma", 30) == 1
    assert capfd.readouterr().err.endswith("a.png: not enough memory; give a smaller --tile, such as 256\n")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.png"]
    text = "mat1 and mat2 shapes cannot be multiplied"
    if error is RuntimeError:
        calls.clear()
        with pytest.raises(RuntimeError, match="mat1"):
            run(tmp_path, tmp_path / "other", "--sigma", 30)


def test_what_pytorch_says_of_memory_on_a_cpu() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert pdeconv.denoise_files._is_out_of_memory(caught.value)


def test_help_names_every_option(capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        run("--help")
    shown = capsys.readouterr().out
    assert not caught.value.code
    assert all(
        name in shown for name in ("input", "output", "--sigma", "--tile", "--model", "--self_ensemble", "--overwrite")
    )
    assert "XMP" in shown and "EXIF except to or from TIFF" in " ".join(shown.split())
    assert pdeconv.__main__.main(["--help"]) == 0 and "denoise" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("write", "named"),
    [
        (
            lambda path: Image.new("RGB", (9, 9)).save(
                path, "GIF", save_all=True, append_images=[Image.new("L", (9, 9), 9)]
            ),
            "animation of 2",
        ),
        (lambda path: tifffile.imwrite(path, np.zeros((3, 9, 9), np.uint8), photometric="minisblack"), "3 pages"),
        (lambda path: tifffile.imwrite(path, np.full((9, 9), np.nan, np.float32)), "nan"),
        (lambda path: tifffile.imwrite(path, np.full((9, 9), 900, np.float32)), "rescale"),
        (lambda path: tifffile.imwrite(path, np.zeros((9, 9), np.int32)), "int32"),
        (lambda path: path.write_bytes(b""), "not a TIFF"),
        (lambda path: path.mkdir(), "directory"),
    ],
)
def test_what_cannot_be_kept_is_named(tmp_path: Path, write, named) -> None:
    path = tmp_path / "a.tif"
    write(path)
    with pytest.raises(PDEConvError, match=rf"a\.tif.*(?i:{named})"):
        read_picture(path)


def test_opacity_needs_a_format_for_it(tmp_path: Path) -> None:
    Image.fromarray(noisy(4)).save(tmp_path / "a.png")
    picture = read_picture(tmp_path / "a.png")
    with pytest.raises(PDEConvError, match="holds no opacity"):
        write_picture(tmp_path / "a.jpg", picture, picture.pixels)


def test_a_trained_network_in_place_of_the_shipped_one(tmp_path: Path) -> None:
    import train

    Image.fromarray(noisy(3)).save(tmp_path / "a.png")
    for part, size in (("train", (32, 32)), ("test", (16, 16))):
        (tmp_path / part).mkdir()
        Image.fromarray(noisy(size=size)).save(tmp_path / part / "a.png")
    keys = {
        "task": "denoising",
        "data.name": "images",
        "data.train": tmp_path / "train",
        "data.test": tmp_path / "test",
    }
    keys |= {"data.patch_size": 16, "data.patches_per_epoch": 2, "batch_size": 2, "epochs": 1}
    keys |= {"model.name": "reaction_diffusion_denoiser", "run": tmp_path / "run"}
    train.main([f"--{key}={value}" for key, value in keys.items()])
    assert run(tmp_path / "a.png", tmp_path / "out.png", "--model", tmp_path / "run") == 0
    assert denoised(noisy(3), np.asarray(Image.open(tmp_path / "out.png")))


def test_as_a_program(tmp_path: Path) -> None:
    def program(*arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "pdeconv", *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}, capture_output=True
        )

    typed = program("denois")
    assert typed.returncode == 2 and b"did you mean 'denoise'?" in typed.stderr
    assert len(typed.stderr.splitlines()) == 1
