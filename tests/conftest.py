"""What every test shares: the programs and the catalogue on the path, and one seed."""

import sys
from pathlib import Path

import pytest
import torch
from hypothesis import settings

here = Path(__file__).parent
for folder in (here.parent, here, here / "training"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

settings.register_profile("pdeconv", max_examples=25, deadline=None, derandomize=True)
settings.load_profile("pdeconv")


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)
