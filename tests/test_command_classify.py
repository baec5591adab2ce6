"""Law: whatever a picture file holds, the command names a class of the network, or says in one line why not."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import pdeconv.__main__
from pdeconv import PDEConvError, classify, create_model, list_models
from pdeconv.classifying import ImageClassifier, about_classifier, list_classifiers, pretrained_classifier
from pdeconv.image_square import middle, normalised, prepared_image, resized_square
from pdeconv.models import pretrained
from pdeconv.training.command_line import run_program

NAME, CLASSES = "parabolic_classifier", ("black", "white", "[bold]other", *(f"class {n}" for n in range(3, 10)))
STATISTICS = ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


@pytest.fixture(autouse=True)
def weights(monkeypatch, tmp_path_factory) -> Path:
    """Weights of a network that tells dark pictures from bright ones, in place of those of the package."""
    folder = tmp_path_factory.mktemp("weights")
    monkeypatch.setattr(pretrained, "_folder", lambda: folder)
    monkeypatch.setattr("pdeconv.classifying.PRETRAINED", NAME)
    pretrained_classifier.cache_clear()
    ship(folder, NAME, about_classifier(CLASSES, 8, STATISTICS))
    yield folder
    pretrained_classifier.cache_clear()


def ship(folder: Path, name: str, about: dict[str, str]) -> None:
    torch.manual_seed(0)
    model = create_model(name, in_channels=3)
    with torch.no_grad():
        for key, weight in model.named_parameters():
            # The features shall grow with the brightness, which diffusion by a kernel without bound would not let them.
            weight.copy_(torch.zeros_like(weight) if key.endswith("term.weight") else weight.abs())
        model.head.weight.zero_()
        model.head.bias.zero_()
        model.eval()
        dark, bright = (
            model.forward_head(model.forward_features(torch.full((1, 3, 8, 8), float(v))), True) for v in (-2, 2)
        )
        direction = (bright - dark)[0]
        model.head.weight[1], model.head.weight[0] = direction, -direction
        middle = float((dark + bright)[0] @ direction / 2)
        model.head.bias[1], model.head.bias[0] = -middle, middle
        model.head.bias[2:] = -1e3
    save_file(
        {key: value.contiguous() for key, value in model.state_dict().items()},
        folder / f"{name}.rgb.safetensors",
        about,
    )


def run(*arguments: object) -> int:
    return pdeconv.__main__.main(["classify", *map(str, arguments)])


def picture(path: Path, value: float, size=(9, 7), channels: int = 3, dtype: type = np.uint8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((*size, channels), round(value * np.iinfo(dtype).max), dtype)
    if channels in (2, 4):
        pixels[..., -1] = np.iinfo(dtype).max
    if dtype is np.uint16 and channels > 1:
        from pdeconv.png_files import write_png

        with path.open("wb") as file:
            write_png(file, pixels, [])
    else:
        Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(path)
    return path


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (8, 8), (40, 3)])
def test_any_depth_colour_and_size(tmp_path: Path, capsys, dtype, channels, size) -> None:
    for name, value in (("dark", 0.1), ("bright", 0.9)):
        picture(tmp_path / f"{name}.png", value, size, channels, dtype)
    assert run(tmp_path / "dark.png", tmp_path / "bright.png", "--top", 1) == 0
    dark, bright = capsys.readouterr().out.splitlines()
    assert dark.startswith(f"{tmp_path / 'dark.png'}: black ") and ": white " in bright


def test_other_formats(tmp_path: Path, capsys) -> None:
    for ending in ("jpg", "bmp", "webp", "gif", "tif", "ppm"):
        picture(tmp_path / "in" / f"a.{ending}", 0.9)
    assert run(tmp_path / "in", "--top", "1") == 0
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 6 and all(": white " in line for line in shown)


def test_the_orientation_that_a_camera_notes_counts(tmp_path: Path, monkeypatch) -> None:
    seen = []
    monkeypatch.setattr(ImageClassifier, "likeliest", lambda self, image, top: seen.append(image) or [("a", 1.0)])
    upright = Image.fromarray(np.linspace(0, 255, 30 * 90).reshape(30, 90).astype(np.uint8))
    exif = upright.getexif()
    exif[0x0112] = 6  # turn it by a quarter to see it upright
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    upright.save(tmp_path / "upright.png"), turned.save(tmp_path / "lost.png")
    turned.save(tmp_path / "turned.png", exif=exif)
    assert run(*(tmp_path / f"{name}.png" for name in ("upright", "turned", "lost"))) == 0
    assert torch.equal(seen[0], seen[1]) and seen[2].shape != seen[0].shape


def test_the_function_sees_what_the_command_sees(tmp_path: Path, capsys) -> None:
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (30, 20, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert run(tmp_path / "a.png", "--json", "--top", "2") == 0
    line = json.loads(capsys.readouterr().out)
    assert line["picture"] == str(tmp_path / "a.png")
    known = [(entry["class"], pytest.approx(entry["probability"], abs=1e-5)) for entry in line["classes"]]
    assert classify(pixels, channel_axis=-1, top=2) == known
    assert classify(torch.from_numpy(pixels).permute(2, 0, 1) / 255, channel_axis=0, model=NAME, top=2) == known
    stack = np.stack([pixels, pixels[::-1], np.full_like(pixels, 255)])
    found = classify(stack, channel_axis=-1)
    assert len(found) == 3 and found[0][:2] == known and found[2][0][0] == "white" and len(found[0]) == 5
    assert classify(np.full((5, 4), 0.95), top=99)[0][0] == "white"
    assert sum(value for _, value in classify(pixels, channel_axis=-1, top=10)) == pytest.approx(1, abs=1e-5)


def test_json_and_plain_lines_are_for_programs(tmp_path: Path, capsys) -> None:
    two = picture(tmp_path / "ü.png", 0.8)
    for flag in ("--json", "--json=true"):
        assert run(flag, two, two) == 0
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [line["picture"] for line in lines] == [str(two)] * 2 and len(lines[0]["classes"]) == 3
    assert run("--json", "false", two) == 0 and capsys.readouterr().out.startswith(f"{two}: ")
    assert run("--top=1", "--", two) == 0 and capsys.readouterr().out.count("%") == 1


def test_a_terminal_gets_a_table(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "500")
    run(picture(tmp_path / "[red]a.png", 0.8), "--top", "10")
    shown = capsys.readouterr().out
    assert "[red]a.png" in shown and "white" in shown and "[bold]other" in shown and "probability" in shown


def test_bad_files_are_one_line_each_and_the_others_go_on(tmp_path: Path, capfd) -> None:
    picture(tmp_path / "a.png", 0.9)
    whole = picture(tmp_path / "c.png", 0.9, (64, 64)).read_bytes()
    (tmp_path / "b.png").write_text("a text")
    (tmp_path / "c.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "d.png").write_bytes(b"")
    assert run(tmp_path) == 1
    shown = capfd.readouterr()
    assert len(shown.out.splitlines()) == 1 and ": white " in shown.out
    lines = shown.err.splitlines()
    assert len(lines) == 3 and all(
        line.startswith("python -m pdeconv classify: cannot read the image") for line in lines
    )
    assert [f"{name}.png" in line for name, line in zip("bcd", lines, strict=True)] == [True] * 3


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "missing: a picture"),
        (["missing.png"], "no file or folder at 'missing.png'"),
        (["a.png", "missing.png"], "no file or folder at 'missing.png'"),
        (["empty"], "found none"),
        (["a.png", "--top", "0"], "top: expected 1 or more, got 0"),
        (["a.png", "--top", "many"], "top: expected a whole number, got 'many'"),
        (["a.png", "--tpo", "3"], "did you mean 'top'?"),
        (["a.png", "--model", "parabolic_clasifier"], "near matches: parabolic_classifier"),
        (["a.png", "--model", "resnet_classifier"], "'resnet_classifier' come with pdeconv; there are those of: parab"),
        (["a.png", "--model", "multiscale_denoiser"], "there are those of: parabolic_classifier"),
        (["a.png", "--run", "nowhere"], "no checkpoint at 'nowhere'"),
        (["a.png", "--run", "r", "--model", "m"], "model and run: give one of them"),
        (["a.png", "--source", "m.py"], "source: is of the model of a run; give run too"),
    ],
)
def test_slips_are_one_line_and_status_2(tmp_path: Path, monkeypatch, capsys, arguments, named) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    picture(Path("a.png"), 0.5)
    with pytest.raises(SystemExit) as caught:
        run_program("python -m pdeconv", lambda: run(*arguments))
    shown = capsys.readouterr()
    assert caught.value.code == 2 and not shown.out and named in shown.err and len(shown.err.splitlines()) == 1


def test_weights_without_the_names_of_classes_are_none(weights: Path) -> None:
    ship(weights, "resnet_classifier", {"model": "resnet_classifier"})
    assert list_classifiers() == [NAME]
    with pytest.raises(PDEConvError, match=f"there are those of: {NAME}"):
        pretrained_classifier("resnet_classifier")
    (weights / f"{NAME}.rgb.safetensors").unlink()
    with pytest.raises(PDEConvError, match="none yet; train one"):
        pretrained_classifier()


def test_slips_of_the_function() -> None:
    image = np.zeros((9, 8, 3))
    for given, options, named in (
        (image, {}, r"give channel_axis=-1"),
        (torch.zeros(3, 9, 8), {}, r"give channel_axis=0"),
        (np.zeros((2, 2, 9, 8)), {}, r"image or a stack"),
        (image + 2, {"channel_axis": -1}, r"values from 0 to 1, .* span \[2, 2\]"),
        (image * np.nan, {"channel_axis": -1}, "finite"),
        (np.zeros((9, 8, 5)), {"channel_axis": -1}, "1 to 4 channels, got 5"),
        (image, {"channel_axis": -1, "top": 0}, "top"),
        ([1, 2], {}, "NumPy array or a tensor"),
    ):
        with pytest.raises(PDEConvError, match=named):
            classify(given, **options)


def test_a_network_of_ones_own_keeps_its_mode() -> None:
    network = create_model(NAME, in_channels=1, num_classes=2).train()
    network.stem.eval()  # frozen
    modes = [part.training for part in network.modules()]
    own = ImageClassifier(network, ("a", "b"), 16, ((0.5,), (0.25,)), margin=True)
    found = classify(torch.rand(2, 30, 20), model=own)
    assert len(found) == 2 and {name for name, _ in found[0]} == {"a", "b"}
    network.bfloat16()
    assert len(classify(torch.rand(30, 20), model=own)) == 2
    network.head.forward = lambda u: 1 / 0
    with pytest.raises(ZeroDivisionError):
        classify(torch.rand(30, 20), model=own)
    assert modes == [part.training for part in network.modules()]


def test_a_trained_run_and_its_shipped_weights_agree(tmp_path: Path, weights: Path, capsys, monkeypatch) -> None:
    """benchmarks/ship_weights.py puts into the file what the command needs."""
    root = Path(__file__).parents[1]
    command = [sys.executable, "train.py", "--task", "classification", "--data.name", "digits", "--model.name", NAME]
    command += ["--epochs", "1", "--data.train_images", "100", "--batch_size", "50", "--run", str(tmp_path / "run")]
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    path = picture(tmp_path / "a.png", 0.3, (20, 30))
    assert run(path, "--run", tmp_path / "run", "--json") == 0
    own = json.loads(capsys.readouterr().out)
    assert all(entry["class"] in "0123456789" for entry in own["classes"])
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    import ship_weights

    monkeypatch.setattr(sys, "argv", ["ship_weights.py", str(tmp_path / "run"), NAME])
    monkeypatch.setattr(ship_weights.pdeconv.weights, "__file__", str(weights / "__init__.py"))
    ship_weights.main()
    (weights / f"{NAME}.rgb.safetensors").unlink()
    capsys.readouterr()
    assert run(path, "--json") == 0 and json.loads(capsys.readouterr().out) == own
    with pytest.raises(PDEConvError, match="there is no file"):
        run(path, "--run", tmp_path / "run", "--source", tmp_path / "none.py")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    with pytest.raises(PDEConvError, match="no checkpoint"):
        run(path, "--run", tmp_path / "run")


def test_help_names_every_option(capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        run("--help")
    shown = capsys.readouterr().out
    assert not caught.value.code and all(
        name in shown for name in ("--top", "--model", "--run", "--source", "--json", "IMAGE")
    )
    assert pdeconv.__main__.main(["--help"]) == 0 and "classify" in capsys.readouterr().out
    assert NAME in list_models()


def test_a_margin_is_cut_off() -> None:
    image = torch.rand(3, 40, 52)
    with_margin = prepared_image(image, 16, STATISTICS, margin=True)
    assert torch.equal(with_margin, normalised(middle(resized_square(image, 18)[None], 16), 1.0, STATISTICS))
    assert not torch.allclose(with_margin, prepared_image(image, 16, STATISTICS), atol=0.1)


def test_the_weights_that_come_with_the_package_know_a_cat(monkeypatch):
    """scikit-image's picture of Chelsea the cat, by the weights themselves and by their names."""
    from importlib.resources import files

    from skimage import data

    monkeypatch.setattr(pretrained, "_folder", lambda: files("pdeconv.weights"))
    pretrained_classifier.cache_clear()
    assert {"adr_residual_classifier", "parabolic_classifier"} <= set(list_classifiers())
    for name in list_classifiers():
        assert classify(data.chelsea(), channel_axis=-1, model=name, top=1)[0][0] == "cat"
        size = files("pdeconv.weights").joinpath(f"{name}.rgb.safetensors")
        assert len(size.read_bytes()) <= 1_000_000 and "Limits" in pretrained.model_card(name, 3)
    pretrained_classifier.cache_clear()
