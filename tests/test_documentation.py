"""The pages of the documentation: their code runs and says what they say, and none is forgotten."""

import doctest
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

import pdeconv
import pdeconv.analysis
import pdeconv.viz

DOCS = Path(__file__).parents[1] / "docs"
FENCES = re.compile(r"^```(python|pycon)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NEEDS = {
    "denoising": {"noisy": np.random.default_rng(0).random((24, 24)), "photo": np.zeros((16, 16, 3), np.uint8)},
    "classification": {"image": np.zeros((40, 32, 3), np.uint8), "stack": np.zeros((2, 40, 32, 3))},
    "loss_is_nan": {},
    "own_term": {},
    "schemes": {},
    "stability_report": {},
    "theory": {},
    "train_on_images": {},
}


@pytest.mark.parametrize("page", NEEDS)
def test_the_code_of_a_page_runs_and_says_what_it_says(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = dict(NEEDS[page])
    if page == "loss_is_nan":  # the batch that a run has kept
        (tmp_path / "runs/mine/nonfinite").mkdir(parents=True)
        kept = {"inputs": torch.rand(2, 3, 4, 4), "indices": torch.arange(2)}
        torch.save(kept, tmp_path / "runs/mine/nonfinite/step_00001240.pt")
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    blocks = FENCES.findall((DOCS / f"{page}.md").read_text())
    assert blocks
    for number, (kind, code) in enumerate(blocks):
        if kind == "python":
            exec(code, names)
        else:
            told: list[str] = []
            test = doctest.DocTestParser().get_doctest(code, names, f"{page}, block {number}", None, 0)
            runner.run(test, out=told.append, clear_globs=False)
            names.update(test.globs)
            assert not told, "".join(told)


def test_every_page_with_code_is_run():
    """Those of drop_in.md by tests/training/test_drop_in.py; look_inside.md has commands and names only."""
    with_code = {page.stem for page in DOCS.glob("*.md") if FENCES.search(page.read_text())}
    assert with_code - {"drop_in"} == set(NEEDS)


def test_every_page_is_listed():
    lists = "\n".join((DOCS / f"{page}.md").read_text() for page in ("index", "guides", "measured"))
    listed = set(re.findall(r"^(\w+)$", lists, re.MULTILINE))
    assert {page.stem for page in DOCS.glob("*.md")} - {"index", "gallery"} <= listed  # gallery/index has its own list


def test_the_api_page_lists_every_public_name_once():
    listed = Counter[str]()
    page = (DOCS / "api.md").read_text()
    for module, names in re.findall(r"currentmodule:: (\S+)\n.*?:nosignatures:\n\n(.*?)```", page, re.DOTALL):
        listed.update(f"{module}.{name}" for name in names.split())
    public = {f"pdeconv.{name}" for name in pdeconv.__all__} - {"pdeconv.Report"}  # listed as pdeconv.analysis.Report
    public |= {f"pdeconv.viz.{name}" for name in pdeconv.viz.__all__}
    public |= {f"pdeconv.analysis.{name}" for name in set(pdeconv.analysis.__all__) - {"report", "FUNCTIONALS"}}
    assert set(listed) == public and max(listed.values()) == 1
