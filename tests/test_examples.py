"""Every example is short, runs, and draws one picture that shows something; the gallery shows them all."""

import ast
import runpy
import sys
from pathlib import Path

import pytest

matplotlib_image = pytest.importorskip("matplotlib.image")
pytest.importorskip("skimage")

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "examples").glob("*.py"))
BRIEFLY = {"gray_scott": ("--duration", "36"), "zalesak": ("--size", "12"), "learned_flow": ("--size", "16")}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_an_example_draws_a_picture(script, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "new" / "folder"
    size = BRIEFLY.get(script.stem, ("--size", "32"))
    monkeypatch.setattr(sys, "argv", [script.name, *size, "--output", str(folder)])
    runpy.run_path(str(script), run_name="__main__")
    assert [file.name for file in folder.iterdir()] == [f"{script.stem}.png"]
    picture = matplotlib_image.imread(folder / f"{script.stem}.png")[..., :3]
    height, width, _ = picture.shape
    assert min(height, width) >= 250
    assert 0.5 < width / height < 4
    assert picture.std() > 0.05  # neither blank nor white with a title only
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_an_example_is_short_and_says_what_to_see(script):
    text = script.read_text()
    docstring = ast.get_docstring(ast.parse(text)) or ""
    assert len(text.splitlines()) - len(docstring.splitlines()) <= 40
    title, underline, *_ = docstring.splitlines()
    assert underline == "=" * len(title)  # Sphinx makes it the title of a page
    assert "_t = " in docstring and "\n\nWhat to see: " in docstring


def test_the_gallery_shows_every_example_in_small_files():
    page = (ROOT / "docs" / "gallery.md").read_text()
    assert len(SCRIPTS) == 8
    sizes = []
    for script in SCRIPTS:
        assert f"(images/gallery/{script.stem}.png)" in page and f"(../examples/{script.name})" in page
        sizes.append((ROOT / "docs" / "images" / "gallery" / f"{script.stem}.png").stat().st_size)
    assert max(sizes) <= 150_000 and sum(sizes) <= 1_000_000
