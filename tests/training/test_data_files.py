"""Image files of every format, and the sources made of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from pdeconv.errors import PDEConvError
from pdeconv.training.data import classifier_input, load_data
from pdeconv.training.data_config import DataConfig
from pdeconv.training.image_files import list_images, read_image, write_image


def noise_pixels(height: int, width: int, *more: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, *more), dtype=np.uint8)


def test_gray_and_rgb_bytes_are_divided_by_255(tmp_path: Path) -> None:
    gray, rgb = noise_pixels(5, 7), noise_pixels(5, 7, 3)
    Image.fromarray(gray).save(tmp_path / "gray.png")
    Image.fromarray(rgb).save(tmp_path / "rgb.png")
    assert np.allclose(read_image(tmp_path / "gray.png", "gray")[0].numpy(), gray / 255, atol=1e-7)
    assert np.allclose(read_image(tmp_path / "rgb.png", "rgb").permute(1, 2, 0).numpy(), rgb / 255, atol=1e-7)
    luma = rgb / 255 @ np.array([0.2125, 0.7154, 0.0721])
    assert np.allclose(read_image(tmp_path / "rgb.png", "gray")[0].numpy(), luma, atol=1e-6)
    assert torch.equal(read_image(tmp_path / "gray.png", "rgb")[2], read_image(tmp_path / "gray.png", "gray")[0])


def test_transparent_pixels_are_laid_over_white(tmp_path: Path) -> None:
    pixels = np.array([[[0, 0, 0, 0], [0, 0, 0, 255]], [[255, 0, 0, 51], [255, 255, 255, 255]]], dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "rgba.png")
    Image.fromarray(pixels[..., [0, 3]]).save(tmp_path / "la.png")
    rgba = read_image(tmp_path / "rgba.png", "rgb")
    assert rgba[:, 0, 0].tolist() == [1, 1, 1]
    assert rgba[:, 0, 1].tolist() == [0, 0, 0]
    assert rgba[:, 1, 0].tolist() == pytest.approx([1, 0.8, 0.8])
    assert read_image(tmp_path / "la.png", "gray")[0].tolist() == [[1, 0], [1, 1]]


def test_palettes_are_looked_up_and_single_bits_read(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1], [2, 1]], dtype=np.uint8), mode="P")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.save(tmp_path / "palette.png")
    image.save(tmp_path / "hole.png", transparency=1)
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "bits.png")
    assert read_image(tmp_path / "palette.png", "rgb").argmax(0).tolist() == [[0, 1], [2, 1]]
    assert read_image(tmp_path / "hole.png", "rgb")[:, 0, 1].tolist() == [1, 1, 1]
    assert read_image(tmp_path / "bits.png", "gray").tolist() == [[[1, 0]]]


def test_sixteen_bits_keep_their_precision(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (4, 6), dtype=np.uint16)
    color = np.random.default_rng(1).integers(0, 65536, (4, 6, 3), dtype=np.uint16)
    Image.fromarray(pixels).save(tmp_path / "gray.png")
    tifffile.imwrite(tmp_path / "gray.tif", pixels)
    tifffile.imwrite(tmp_path / "color.tif", color, photometric="rgb")
    Image.fromarray(pixels).save(tmp_path / "packed.tif", compression="tiff_lzw")
    for name in ("gray.png", "gray.tif", "packed.tif"):
        assert np.allclose(read_image(tmp_path / name, "gray")[0].numpy(), pixels / 65535, atol=1e-7)
    assert np.allclose(read_image(tmp_path / "color.tif", "rgb").permute(1, 2, 0).numpy(), color / 65535, atol=1e-7)


def test_sixteen_bit_colour_png_keeps_its_precision(tmp_path: Path) -> None:
    import struct
    import zlib

    values = np.array([[[1, 257, 65535], [300, 0, 40000]]], dtype=">u2")

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    body = zlib.compress(b"\x00" + values.tobytes())
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    (tmp_path / "deep.png").write_bytes(png)
    read = read_image(tmp_path / "deep.png", "rgb").permute(1, 2, 0).numpy()
    assert np.allclose(read, values.astype(float) / 65535, atol=1e-7)


def test_floating_point_tiff_must_lie_between_0_and_1(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((4, 5)).astype(np.float32)
    tifffile.imwrite(tmp_path / "good.tif", values)
    tifffile.imwrite(tmp_path / "planes.tif", np.stack([values] * 3), photometric="rgb", planarconfig="separate")
    tifffile.imwrite(tmp_path / "large.tif", values * 255)
    tifffile.imwrite(tmp_path / "holes.tif", np.full((4, 5), np.nan, dtype=np.float32))
    assert np.allclose(read_image(tmp_path / "good.tif", "gray")[0].numpy(), values)
    assert np.allclose(read_image(tmp_path / "planes.tif", "rgb")[1].numpy(), values)
    for name in ("large.tif", "holes.tif"):
        with pytest.raises(PDEConvError, match=rf"{name}.*must lie in \[0, 1\]"):
            read_image(tmp_path / name, "gray")


def test_one_pixel_and_other_formats(tmp_path: Path) -> None:
    Image.fromarray(np.array([[51]], dtype=np.uint8)).save(tmp_path / "one.png")
    assert read_image(tmp_path / "one.png", "rgb").flatten().tolist() == pytest.approx([0.2] * 3)
    rgb = np.full((8, 8, 3), 128, dtype=np.uint8)
    for ending in ("jpg", "bmp", "webp", "ppm", "gif"):
        Image.fromarray(rgb).save(tmp_path / f"flat.{ending}")
        assert read_image(tmp_path / f"flat.{ending}", "gray").mean().item() == pytest.approx(128 / 255, abs=0.01)
    Image.new("CMYK", (3, 3), (0, 0, 0, 255)).save(tmp_path / "print.jpg")
    assert read_image(tmp_path / "print.jpg", "rgb").max() < 0.05


def test_camera_rotation_is_undone(tmp_path: Path) -> None:
    image = Image.fromarray(noise_pixels(4, 9))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.png", exif=exif)
    assert read_image(tmp_path / "turned.png", "gray").shape == (1, 9, 4)


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(PDEConvError, match="is a folder; give one of the files"):
        read_image(tmp_path, "gray")
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    Image.fromarray(noise_pixels(64, 64)).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:500])
    (tmp_path / "cut.tif").write_bytes(b"II*\x00rubbish")
    for name in ("broken.png", "cut.png", "cut.tif", "missing.png"):
        with pytest.raises(PDEConvError, match=name):
            read_image(tmp_path / name, "gray")
    with pytest.raises(PDEConvError, match='"gray" or "rgb"'):
        read_image(tmp_path / "whole.png", "grey")


def test_written_images_read_back(tmp_path: Path) -> None:
    image = torch.rand(3, 5, 6).mul(255).round() / 255
    write_image(tmp_path / "new" / "image.png", image)
    assert torch.allclose(read_image(tmp_path / "new" / "image.png", "rgb"), image, atol=1e-6)
    write_image(tmp_path / "gray.png", torch.tensor([[-1.0, 2.0]]))
    assert read_image(tmp_path / "gray.png", "gray").tolist() == [[[0, 1]]]
    with pytest.raises(PDEConvError, match="endings"):
        write_image(tmp_path / "image.xyz", image)
    with pytest.raises(PDEConvError, match=r"got \(2, 5, 6\)"):
        write_image(tmp_path / "image.png", image[:2])


def test_images_are_listed_recursively_without_hidden_ones(tmp_path: Path) -> None:
    for name in ("b/a.PNG", "a.png", ".hidden/c.png", "empty/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.relative_to(tmp_path).as_posix() for path in list_images(tmp_path)] == ["a.png", "b/a.PNG"]
    with pytest.raises(PDEConvError, match="not there"):
        list_images(tmp_path / "nowhere")
    with pytest.raises(PDEConvError, match="found none"):
        list_images(tmp_path / "empty")


def image_config(folder: Path, **changes) -> DataConfig:
    settings = {"train": str(folder / "train"), "test": str(folder / "test"), "patch_size": 16, "patches_per_epoch": 20}
    return DataConfig("images", **(settings | changes))


@pytest.fixture
def picture_folders(tmp_path: Path) -> Path:
    """Pictures of mixed sizes and formats, one smaller than a patch, one of a single pixel."""
    for part, sizes in (("train", [(40, 30), (5, 50), (20, 20), (1, 1)]), ("test", [(9, 12), (12, 9)])):
        (tmp_path / part).mkdir()
        for number, (height, width) in enumerate(sizes):
            channels = ((), (3,), (4,))[number % 3]
            Image.fromarray(noise_pixels(height, width, *channels, seed=number)).save(tmp_path / part / f"{number}.png")
    return tmp_path


@pytest.mark.parametrize("color", ["gray", "rgb"])
def test_pictures_from_disk_equal_those_in_memory(picture_folders: Path, color: str) -> None:
    held = load_data(image_config(picture_folders, color=color), "denoising", 0)
    read = load_data(image_config(picture_folders, color=color, memory_gib=0.0), "denoising", 0)
    assert held.train.in_memory and not read.train.in_memory and not read.test.in_memory
    assert held.channels == (1 if color == "gray" else 3)
    indices = torch.arange(20)
    patches, target = held.train.batch(indices, 3)
    assert patches.shape == (20, held.channels, 16, 16) and torch.equal(patches, target)
    assert torch.equal(patches, read.train.batch(indices, 3)[0])
    assert not held.test.same_size and not read.test.same_size
    for index in range(2):
        one = torch.tensor([index])
        assert torch.equal(held.test.batch(one, 0)[0], read.test.batch(one, 0)[0])
    assert held.test.names == ("0", "1")
    with pytest.raises(PDEConvError, match="one index at a time"):
        held.test.batch(torch.arange(2), 0)


def test_worker_processes_give_the_same_batches_in_order(picture_folders: Path) -> None:
    config = image_config(picture_folders, memory_gib=0.0, workers=2)
    source = load_data(config, "denoising", 0).train
    batches = [(torch.arange(4) + 4 * k, k) for k in range(4)]
    before = torch.get_rng_state()
    made = [batch[0] for batch in source.iterate(iter(batches))]
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(one, source.batch(*which)[0]) for one, which in zip(made, batches, strict=True))


def test_measuring_needs_no_training_pictures(picture_folders: Path) -> None:
    for gone in (None, str(picture_folders / "gone")):
        data = load_data(image_config(picture_folders, train=gone), "denoising", 0)
        assert len(data.test) == 2
        with pytest.raises(PDEConvError, match=r"--data\.train FOLDER|gone"):
            _ = data.train


def test_a_bad_picture_in_a_worker_process_is_one_line(picture_folders: Path) -> None:
    config = image_config(picture_folders, memory_gib=0.0, workers=1)
    source = load_data(config, "denoising", 0).train
    for path in source.pixels:  # pyright: ignore[reportAttributeAccessIssue]
        path.write_bytes(b"bad")
    with pytest.raises(PDEConvError, match=r"^cannot read the image [^\n]*$"):
        list(source.iterate(iter([(torch.arange(4), 0)])))


def test_mistakes_in_picture_folders_are_explained(picture_folders: Path) -> None:
    with pytest.raises(PDEConvError, match=r"--data\.train FOLDER"):
        load_data(DataConfig("images", train="x"), "denoising", 0)
    overlapping = load_data(image_config(picture_folders, test=str(picture_folders)), "denoising", 0)
    with pytest.raises(PDEConvError, match="training images too"):
        _ = overlapping.train
    with pytest.raises(PDEConvError, match="patch_size"):
        load_data(image_config(picture_folders, patch_size=0), "denoising", 0)
    (picture_folders / "test" / "bad.png").write_bytes(b"bad")
    with pytest.raises(PDEConvError, match=r"bad\.png"):
        load_data(image_config(picture_folders), "denoising", 0)


@pytest.fixture
def class_folders(tmp_path: Path) -> Path:
    for part in ("train", "val"):
        for label, name in enumerate(("cats", "dogs")):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(3):
                pixels = noise_pixels(20 + number, 30, 3, seed=number) // 4 + 150 * label
                Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / part / name / f"{number}.png")
    return tmp_path


def test_class_folders(class_folders: Path) -> None:
    config = DataConfig("image_folder", root=str(class_folders), image_size=16)
    held = load_data(config, "classification", 0)
    read = load_data(replace(config, memory_gib=0.0), "classification", 0)
    assert held.classes == ("cats", "dogs") and held.channels == 3
    assert held.train.in_memory and not read.train.in_memory
    for source, other in ((held.train, read.train), (held.test, read.test)):
        images, labels = source.batch(torch.arange(6), 1)
        assert images.shape == (6, 3, 16, 16) and labels.tolist() == [0, 0, 0, 1, 1, 1]
        assert torch.equal(images, other.batch(torch.arange(6), 1)[0])
    parts = [held.train.batch(part, 1)[0] for part in (torch.arange(2), torch.arange(2, 6))]
    assert torch.allclose(torch.cat(parts), held.train.batch(torch.arange(6), 1)[0], atol=1e-6)
    assert not torch.equal(held.train.batch(torch.arange(6), 2)[0], held.train.batch(torch.arange(6), 1)[0])
    assert torch.equal(held.test.batch(torch.arange(6), 2)[0], held.test.batch(torch.arange(6), 1)[0])


def test_one_file_is_prepared_as_the_test_set_is(class_folders: Path) -> None:
    config = DataConfig("image_folder", root=str(class_folders), image_size=16)
    tested = load_data(config, "classification", 0).test.batch(torch.tensor([4]), 0)[0]
    alone = classifier_input(config, read_image(class_folders / "val/dogs/1.png", "rgb"))
    assert torch.allclose(alone, tested, atol=0.02)  # the set is held in bytes
    assert classifier_input(DataConfig("digits"), torch.rand(3, 40, 30)).shape == (1, 1, 8, 8)
    assert classifier_input(DataConfig("cifar10"), torch.rand(3, 20, 20)).shape == (1, 3, 32, 32)


def test_mistakes_in_class_folders_are_explained(class_folders: Path, tmp_path: Path) -> None:
    def load(root: Path | None) -> None:
        load_data(
            DataConfig("image_folder", root=None if root is None else str(root), image_size=16), "classification", 0
        ).load_train()

    with pytest.raises(PDEConvError, match=r"--data\.root"):
        load(None)
    with pytest.raises(PDEConvError, match=r"there is no folder .*train"):
        load(class_folders / "train")
    (class_folders / "val" / "birds").mkdir()
    with pytest.raises(PDEConvError, match=r"class birds .* not in .*cats, dogs"):
        load(class_folders)
    (class_folders / "val" / "birds").rmdir()
    (class_folders / "train" / "dogs" / "bad.png").write_bytes(b"bad")
    with pytest.raises(PDEConvError, match=r"bad\.png"):
        load(class_folders)
    (tmp_path / "flat" / "train").mkdir(parents=True)
    with pytest.raises(PDEConvError, match="no class folder"):
        load(tmp_path / "flat")
