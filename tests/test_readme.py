"""The code in the README runs, and says what the README says it says."""

import re
from pathlib import Path

import pytest
import torch

from pdeconv import StabilityError

README = (Path(__file__).parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_drop_in_example():
    names: dict = {}
    exec(BLOCKS[0].replace('weights="DEFAULT"', "weights=None"), names)
    names["net"](torch.rand(2, 3, 32, 32)).sum().backward()
    assert len(names["net"].layer1) == 3


def test_the_equations():
    code, refused, own = re.match(r"(.*?)(Evolve\(Heun[^\n]*\n)# (.*)", BLOCKS[1], re.DOTALL).groups()  # pyright: ignore
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
    for name in re.findall(r"\]\((docs/[^)]+)\)|(configs/\w+\.yaml)", README):
        assert (root / next(filter(None, name))).exists(), name
