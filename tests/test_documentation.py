"""The pages of the documentation: their code runs and says what they say, and none is forgotten."""

import doctest
import re
import shlex
from collections import Counter
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_run import run_toy

import evaluate
import pdeconv
import pdeconv.__main__
import pdeconv.analysis
import pdeconv.viz
import train
from pdeconv.training.command_line import parse

DOCS = Path(__file__).parents[1] / "docs"
FENCES = re.compile(r"^```(python|pycon)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMANDS = [
    command
    for page in sorted(DOCS.glob("*.md"))
    for command in re.findall(r"^python (?!-c)[^\n]*", page.read_text(), re.MULTILINE)
]
NEEDS = {
    "find_equations": {},
    "forecasting": {},
    "denoising": {"noisy": np.random.default_rng(0).random((24, 24)), "photo": np.zeros((16, 16, 3), np.uint8)},
    "classification": {"image": np.zeros((40, 32, 3), np.uint8), "stack": np.zeros((2, 40, 32, 3))},
    "loss_is_nan": {},
    "own_term": {},
    "schemes": {},
    "stability_report": {},
    "theory": {},
    "train_on_images": {},
    "volumes_and_signals": {},
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


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_understood(command, monkeypatch):
    """It stops where its arguments have been read."""
    monkeypatch.chdir(DOCS.parent)
    program, *arguments = shlex.split(command.replace("NAME.yaml", "gradient_flow.yaml"), comments=True)[1:]
    if ">" in arguments:
        arguments = arguments[: arguments.index(">")]
    if program == "train.py":
        monkeypatch.setattr("train.train", lambda config: 0)
        assert train.main(arguments) == 0
    elif program.startswith("examples/"):
        assert (DOCS.parent / program).exists()
    else:
        module = evaluate if program == "evaluate.py" else import_module(pdeconv.__main__.COMMANDS[arguments.pop(1)])
        arguments = arguments[1:] if program == "-m" else arguments

        def read(*given, **named):
            parse(*given, **named)
            raise InterruptedError

        monkeypatch.setattr(module, "parse", read)
        with pytest.raises(InterruptedError):
            module.main(arguments)


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.stem)
def test_the_files_that_a_page_links_to_are_there(page):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        made = target == "gallery/index.rst"  # by Sphinx
        assert made or "://" in target or (DOCS / target).exists(), target


def test_what_a_run_leaves_is_what_the_page_says(tmp_path):
    table = (DOCS / "train_on_images.md").read_text().partition("What a run leaves behind")[2].partition("\n\nAn ")[0]
    named = set(re.findall(r"^\| `([\w.]+)/?`", table, re.MULTILINE))
    named |= set(re.findall(r"^\| `[\w.]+/?`, `([\w.]+)/?`", table, re.MULTILINE))
    assert run_toy(tmp_path / "run", "--sharpness_every", "1").status == 0
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert named - left <= {"nonfinite", "explore.html", "pictures"}  # which the toy does not draw
    assert left <= named | {"toy.yaml"} and (tmp_path / "run" / "checkpoints" / "best").exists()


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
