"""The tables in docs/ have a row for all that the catalogue lists, and say what the code says."""

import re
from pathlib import Path

import pytest
from catalogue import PARTITIONED, SCHEMES, STEPS, TERMS
from separable import REVERSIBLE
from states import CHANNELS
from test_discretisations import DISCRETISATIONS

from pdeconv import Constant, Decay, Diffusion, Grid, Reaction

DOCS = Path(__file__).parents[1] / "docs"


def table(page: str) -> list[list[str]]:
    """The cells of each row of the first table of ``page``, without its head."""
    lines = [line for line in (DOCS / page).read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_every_order_is_in_the_table_as_claimed():
    claimed: dict[str, set[str]] = {}
    for _, method, _, order, _ in table("orders.md"):
        claimed.setdefault(method, set()).add(order)
    for name in (*DISCRETISATIONS, *SCHEMES, *STEPS):
        assert claimed.get(name), name
    for name in set(STEPS) - {*PARTITIONED, "Exact", "SemiLagrangian", "Lie", "Strang"}:
        assert str(STEPS[name](Diffusion(Constant(1.0))).order) in claimed[name], name
    for name in PARTITIONED:
        assert claimed[name] == {str(STEPS[name](Reaction(Decay(CHANNELS))).order)}
    for name in REVERSIBLE:
        if name != "varying in time" and "Momentum" not in name:
            assert str(REVERSIBLE[name](Grid()).order) in claimed[name], name


def test_every_measured_order_is_near_the_claimed_one():
    for _, method, _, order, measured in table("orders.md"):
        if order == "exact":
            assert float(measured.removeprefix("error below ")) <= 1e-12
        for found in re.findall(r"\d\.\d\d", measured):
            assert float(found) == pytest.approx(int(order), abs=0.3), method


def test_every_term_and_step_has_its_compatibility():
    page, rows = (DOCS / "compatibility.md").read_text(encoding="utf-8"), table("compatibility.md")
    names = {kind: [cells[1] for cells in rows if cells[0] == kind] for kind in ("term", "step", "reversible step")}
    assert names == {"term": [*TERMS], "step": [*STEPS], "reversible step": [*REVERSIBLE]}
    for _, _, *cells in rows:
        for mark, number in (re.fullmatch(r"([✓✗—])(?: (\d+))?", cell).groups() for cell in cells):  # pyright: ignore
            assert mark == "✓" or number  # what does not work says why
            assert number is None or f"\n{number}. " in page
