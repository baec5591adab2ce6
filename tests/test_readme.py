"""The code in the README runs, and says what the README says it says."""

import re
from pathlib import Path

import pytest
import torch

import evaluate
import train
from pdeconv import StabilityError
from pdeconv.errors import PDEConvError

README = (Path(__file__).parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMANDS = re.findall(r"^(?:python|torchrun) [^#\n]*", README, re.MULTILINE)


def test_the_drop_in_example():
    names: dict = {}
    exec(BLOCKS[0].replace('weights="DEFAULT"', "weights=None"), names)
    names["net"](torch.rand(2, 3, 32, 32)).sum().backward()
    assert len(names["net"].layer1) == 3
    image = torch.rand(2, 3, 32, 32)
    before = names["net"].eval()(image)
    exec(BLOCKS[1], names)
    assert torch.equal(names["net"](image), before) and names["report"].blocks


def test_the_equations():
    code, refused, own = re.match(r"(.*?)(Evolve\(Heun[^\n]*\n)# (.*)", BLOCKS[2], re.DOTALL).groups()  # pyright: ignore
    names: dict = {}
    exec(code, names)
    assert names["smooth"](torch.rand(1, 1, 8, 8)).shape == (1, 1, 8, 8)
    assert names["carry"](torch.rand(1, 16, 8, 8)).shape == (1, 16, 8, 8)
    message, _, own = own.partition("\n")
    with pytest.raises(StabilityError) as raised:
        exec(refused, names)
    assert str(raised.value).startswith(message.removeprefix("StabilityError: ").removesuffix(", …"))
    exec(own, names)
    damped = names["Evolve"](names["Euler"](names["Damping"]()), 1.0)(torch.ones(1, 1, 4, 4))
    assert damped.mean() < 0.2


def test_the_files_that_it_names_are_there():
    root = Path(__file__).parents[1]
    for name in re.findall(r"\]\((docs/[^)]+)\)|(configs/[\w/]+\.yaml)", README):
        assert (root / next(filter(None, name))).exists(), name


def test_no_page_waits_for_a_figure():
    root = Path(__file__).parents[1]
    for page in (root / "README.md", root / "CHANGELOG.md", *(root / "docs").glob("*.md")):
        assert "@@" not in page.read_text(), page.name


def test_the_commands_are_understood(tmp_path, monkeypatch):
    """Each stops where it should: at data or a run that is not there, never at its own arguments."""
    monkeypatch.chdir(Path(__file__).parents[1])
    monkeypatch.setattr("train.train", lambda config: seen.append(config.run) or 0)
    assert len(COMMANDS) >= 5
    seen: list[str] = []
    for command in COMMANDS:
        program, _, rest = (
            command.removeprefix("torchrun --nproc_per_node 2 -- ").removeprefix("python ").partition(" ")
        )
        arguments = rest.replace("runs/cifar10/config.yaml", "configs/classify/cifar10.yaml").split()
        if program == "train.py":
            train.main(arguments)
        elif program == "evaluate.py":
            with pytest.raises(PDEConvError, match=r"no checkpoint at 'runs/(multiscale_small|radar)'"):
                evaluate.main(arguments)
    assert seen == ["runs/moving_digits", "runs/cifar10", "runs/multiscale_small", "runs/cifar10", "runs/cifar10"]
