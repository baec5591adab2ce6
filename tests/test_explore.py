"""The page works without a server or a network, shows what the network does, and is reached by one command."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn

import pdeconv.__main__
from pdeconv import PDEConvError, create_model
from pdeconv.analysis import follow
from pdeconv.subject import subject_of
from pdeconv.training.command_line import run_program
from pdeconv.viz import explorer_page, write_explorer

CLASSES = ("<!--PROGRAM-->", "</script><script>alert(1)</script>", "<!--<script>")


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return create_model("adr_classifier", widths=(4, 6), depths=(1, 1), num_classes=3).eval()


@pytest.fixture
def picture(tmp_path) -> Path:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def content(page: str):
    found = re.search(r'<script type="application/json" id="content">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def command(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        run_program("python -m pdeconv", lambda: pdeconv.__main__.main([str(argument) for argument in arguments]))
    return ended.value.code or 0  # pyright: ignore[reportReturnType]


def test_each_leg_starts_and_ends_as_in_the_network(model):
    image = torch.rand(1, 3, 16, 16)
    legs = follow(model, image)
    with torch.no_grad():
        logits = model(image)
        first = model.stages[0][0](model.stem(image))
    assert [leg.name for leg in legs] == ["stages.0.0", "stages.1.1"]
    for leg in legs:
        assert torch.allclose(leg.answers[-1], logits, atol=1e-6) and not torch.allclose(leg.answers[0], logits)
        assert len(leg.times) == len(leg.states) == len(leg.answers)
        assert {field.name for field in leg.fields} >= {"Diffusion.diffusivity", "Advection.velocity"}
    assert torch.allclose(legs[0].states[-1], first)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())


def test_many_steps_are_thinned_out():
    denoiser = create_model("adr_denoiser")
    (leg,) = follow(denoiser, torch.rand(1, 1, 16, 16), most_times=4)
    assert len(leg.states) == 4 and leg.times[0] == 0 and leg.times[-1] == 8


def test_the_page_holds_everything_and_asks_for_nothing(model):
    page = explorer_page(model, torch.rand(1, 3, 16, 16), classes=CLASSES, title="a <b> & c")
    assert "<title>a &lt;b> &amp; c</title>" in page and "<!--" not in page
    assert page.count("</script>") == 2 and "alert(1)</" not in page  # a name of a class ends no script
    assert (
        not re.search(r"""(src|href)=["'](?!data:)""", page)
        and "@import" not in page
        and "http" not in re.sub(r"http-equiv|http://www.w3.org/2000/svg", "", page)
    )
    found = content(page)
    assert len(found["blocks"]) == 2 and found["blocks"][0]["answers"][0]["classes"][0][0] in CLASSES
    block = found["blocks"][0]
    assert block["equation"].startswith("u_t = ∇·(κ(u)∇u)") and block["verdict"] == "stable" and block["width"] == 16
    assert len(block["channels"]) == len(block["low"]) == 4
    assert len(page) < 300_000


def test_the_page_of_32_channels_is_small(tmp_path):
    torch.manual_seed(0)
    wide = create_model("adr_classifier", widths=(32,), depths=(2,), steps=4)
    path = write_explorer(tmp_path / "new" / "page.html", wide, torch.rand(1, 3, 32, 32))
    assert path.stat().st_size < 10e6
    assert [file.name for file in path.parent.iterdir()] == ["page.html"]


def test_values_come_back_from_the_sheet(model):
    import base64
    import io

    image = torch.rand(1, 3, 16, 16)
    block = content(explorer_page(model, image))["blocks"][1]
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(block["sheet"].partition(",")[2]))), dtype=float)
    leg = follow(model, image)[1]
    height, width = block["height"], block["width"]
    for t, state in enumerate(leg.states):
        for c, channel in enumerate(block["channels"]):
            tile = sheet[t * height : (t + 1) * height, c * width : (c + 1) * width]
            low, high = block["low"][c], block["high"][c]
            assert np.allclose(low + (high - low) * tile / 255, state[0, channel], atol=(high - low) / 500)


def test_what_cannot_be_explored_says_why(model, tmp_path):
    with pytest.raises(PDEConvError, match="one image"):
        explorer_page(model, torch.rand(3, 16, 16))
    with pytest.raises(PDEConvError, match="3 classes, but 2"):
        explorer_page(model, torch.rand(1, 3, 16, 16), classes=("a", "b"))
    with pytest.raises(PDEConvError, match="Evolve"):
        write_explorer(tmp_path / "page.html", nn.Conv2d(3, 3, 3), torch.rand(1, 3, 16, 16))
    assert not list(tmp_path.iterdir())


def test_one_command_each(picture, tmp_path, capsys):
    page, figure = tmp_path / "page.html", tmp_path / "kernels.png"
    assert command("explore", "multiscale_denoiser_small", picture, "-o", page) == 0
    assert len(content(page.read_text())["blocks"]) == 1
    assert command("report", "multiscale_denoiser_small", picture) == 0
    assert command("decompose", "multiscale_denoiser_small", "--figure", figure) == 0
    assert figure.stat().st_size > 5000 and "carries most in" in capsys.readouterr().out


def test_a_network_of_torchvision_with_weights_of_a_file(picture, tmp_path):
    page, name = tmp_path / "page.html", "mobilenet_v3_small"
    torch.save(torchvision.models.get_model(name, num_classes=3).state_dict(), tmp_path / "w.pth")
    assert command("explore", f"torchvision:{name}", picture, "-o", page, "--weights", tmp_path / "w.pth") == 0
    blocks = content(page.read_text())["blocks"]
    assert len(blocks) >= 3 and len(blocks[0]["answers"][0]["classes"]) == 3


SLIPS = {
    "no network": (("explore", "nothing", "{picture}"), "no folder 'nothing'"),
    "no picture": (("explore", "multiscale_denoiser_small", "gone.png"), "gone.png"),
    "no such model": (("report", "torchvision:resnet19", "{picture}"), "no classifier 'resnet19'"),
    "no weights": (("report", "torchvision:resnet18", "{picture}", "--weights", "gone.pth"), "no file 'gone.pth'"),
    "weights of a picture": (
        ("report", "torchvision:resnet18", "{picture}", "--weights", "{picture}"),
        "no state dictionary",
    ),
    "weights for another": (("decompose", "multiscale_denoiser_small", "--weights", "x.pth"), "torchvision"),
    "no page": (("explore", "multiscale_denoiser_small", "{picture}", "-o", "page.png"), ".html"),
    "no figure": (("decompose", "multiscale_denoiser_small", "--figure", "a.txt"), ".svg"),
    "too much noise": (("explore", "multiscale_denoiser_small", "{picture}", "--sigma", "300"), "0 to 255"),
    "a typo": (("explore", "multiscale_denoiser_small", "{picture}", "--sigme", "3"), "sigma"),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_is_one_line(slip, picture, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments, said = SLIPS[slip]
    assert command(*(argument.format(picture=picture) for argument in arguments)) != 0
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and not list(tmp_path.glob("*.html"))


def test_a_page_is_not_overwritten_unasked(picture, tmp_path, capsys):
    page = tmp_path / "page.html"
    page.write_text("mine")
    assert command("explore", "multiscale_denoiser_small", picture, "-o", page) != 0
    assert page.read_text() == "mine" and "--overwrite" in capsys.readouterr().err
    assert command("explore", "multiscale_denoiser_small", picture, "-o", page, "--overwrite", "true") == 0
    assert page.read_text() != "mine"


def test_a_denoiser_is_shown_noise_of_the_level_asked_for():
    clean = torch.full((3, 40, 60), 0.5)
    example, shown = subject_of("multiscale_denoiser_small", sigma=20).prepare(clean)
    assert example.shape == (1, 1, 128, 128) and shown.shape == (1, 128, 128)
    assert float(example.std()) == pytest.approx(20 / 255, rel=0.03)


BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="module")
def opened(model, tmp_path_factory):
    """The page in a browser, what it asked for, and what went wrong."""
    sync_api = pytest.importorskip("playwright.sync_api")
    if BROWSER is None:
        pytest.skip("no Chromium")
    path = tmp_path_factory.mktemp("page") / "page.html"
    torch.manual_seed(0)
    write_explorer(path, model, torch.rand(1, 3, 16, 16), classes=CLASSES)
    with sync_api.sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=BROWSER, args=FLAGS)
        page = browser.new_context(viewport={"width": 1200, "height": 900}).new_page()
        errors: list[str] = []
        asked: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri())
        page.wait_for_selector("body[data-ready]")
        yield page, path, errors, asked
        browser.close()


def drawn(page) -> str:
    return page.evaluate("document.getElementById('large').toDataURL()")


def test_the_slider_changes_the_picture(opened):
    page, _, errors, _ = opened
    page.locator("#moment").fill("0")
    before, where = drawn(page), page.inner_text("#where")
    page.locator("#moment").press("ArrowRight")
    assert drawn(page) != before and page.inner_text("#where") != where
    assert page.get_attribute("#moment", "aria-valuetext") == page.inner_text("#where")
    assert page.inner_text("#said").startswith(page.inner_text("#where"))
    assert not errors


def test_play_goes_through_all_moments_and_stops(opened):
    page, _, errors, _ = opened
    page.locator("#moment").fill("3")
    page.click("#play")
    assert page.inner_text("#play") == "Pause"
    page.wait_for_selector('#play[aria-pressed="false"]', timeout=20_000)
    assert page.input_value("#moment") == page.get_attribute("#moment", "max") and not errors


def test_a_click_shows_the_history_of_a_pixel(opened):
    page, _, errors, _ = opened
    page.locator("#moment").fill("0")
    page.locator("#large").click(position={"x": 5, "y": 5})
    said = page.get_attribute("#history", "aria-label")
    assert said.startswith("Pixel in row 0, column 0")
    page.locator("#large").press("ArrowDown")
    assert page.get_attribute("#history", "aria-label").startswith("Pixel in row 1, column 0") and not errors


def test_channels_are_chosen_by_keyboard(opened):
    page, _, errors, _ = opened
    page.locator("#grid").focus()
    before = page.inner_text("#zoom-title")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#zoom-title") != before
    assert page.locator('[aria-selected="true"]').count() == 1 and not errors


def test_no_request_leaves_the_page(opened):
    _, path, errors, asked = opened
    assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()] and not errors


def test_it_fits_a_phone(opened):
    page, _, errors, _ = opened
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360 and not errors
    page.set_viewport_size({"width": 1200, "height": 900})
