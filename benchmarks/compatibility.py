"""What every term and step of the catalogue can: a table of the outcomes of the tests, which are run for it.

Each column is a test function, each of its cases belongs to the row of a term (by Euler) or of a step. An expected
failure is a ✗ and its reason a note; a skipped case, that does not apply, a —.

python benchmarks/compatibility.py [--markdown docs/compatibility.md]
"""

import argparse
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from cases import ITS_OWN, each_step
from catalogue import STEPS, TERMS

COLUMNS = {
    "gradcheck": ("test_gradients.py::test_gradients",),
    "gradgradcheck": ("test_gradients.py::test_second_gradients",),
    "compile": ("test_compile.py::test_one_graph",),
    "export": ("test_compile.py::test_export_with_free_sizes",),
    "bf16 autocast": ("test_modules.py::test_autocast", "test_modules.py::test_autocast_of_steps"),
    "batch": ("test_batch_independence.py::test_alone_or_together",),
}
TITLE = "Compatibility"
PAGE = f"""\
# {TITLE}

Made by `python benchmarks/compatibility.py --markdown docs/compatibility.md` from the outcomes of the tests that it
runs, on the CPU. A term is tested with Euler, a step with terms that pass with Euler.

- gradcheck, gradgradcheck: first and second derivatives in the state, dt of each sample and every weight, in float64.
- compile: `torch.compile(fullgraph=True)`, values and gradients equal to those of eager mode.
- export: `torch.export` with free batch, height and width, run at another size.
- bf16 autocast: finite gradients, and values within 5 % of the largest of float32's.
- batch: a sample's result does not depend on its batch-mates, whatever the control.

✓ passes, ✗ does not, — does not apply; the numbers are those of the notes at the end.

"""


class Outcomes:
    """A plugin of pytest that notes each case's outcome, by the function, the term and the step."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, str, str], list[tuple[str, str]]] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Function) -> Generator:
        report = yield
        if report.when == "call" or report.skipped:
            case = item.callspec.params
            key = item.originalname, case.get("term_name", case.get("name")), case.get("step_name", "Euler")
            self.found.setdefault(key, []).append(self._outcome(report))
        return report

    @staticmethod
    def _outcome(report: pytest.TestReport) -> tuple[str, str]:
        if hasattr(report, "wasxfail"):
            return "✗", report.wasxfail.removeprefix("reason: ")
        if report.skipped:
            return "—", report.longrepr[2].removeprefix("Skipped: ")  # pyright: ignore
        return ("✓", dict(report.user_properties).get("note", "")) if report.passed else ("✗", "a failure")

    def cell(self, column: str, term: str | None, step: str) -> tuple[str, str]:
        """Mark and reason. ``term`` None: any with which Euler passes."""
        functions = [path.split("::")[1] for path in COLUMNS[column]]
        outcomes = [
            outcome
            for (function, of, by), outcomes in self.found.items()
            if function in functions and by == step and (of == term if term else self._passes(functions, of))
            for outcome in outcomes
        ]
        for mark in "✗✓—":
            for outcome in outcomes:
                if outcome[0] == mark:
                    return outcome
        raise SystemExit(f"No test of {column} for {term} by {step}.")

    def _passes(self, functions: list[str], term: str) -> bool:
        return all("✗" not in dict(self.found.get((function, term, "Euler"), [])) for function in functions)


def rows(outcomes: Outcomes) -> tuple[list[list[str]], list[str]]:
    """The cells of each row, and the notes."""
    notes: list[str] = []
    table = []
    kinds = [("term", name, name, "Euler") for name in TERMS] + [("step", name, None, name) for name in STEPS]
    kinds += [("reversible step", step, ITS_OWN, step) for term, step in each_step() if term == ITS_OWN]
    for kind, name, term, step in kinds:
        cells = [kind, name]
        for column in COLUMNS:
            mark, reason = outcomes.cell(column, term, step)
            if reason and reason not in notes:
                notes.append(reason)
            cells.append(f"{mark} {notes.index(reason) + 1}" if reason else mark)
        table.append(cells)
    return table, notes


def markdown(table: list[list[str]], notes: list[str]) -> str:
    head = ["", "", *COLUMNS]
    lines = ["| " + " | ".join(head) + " |", "|---|---|" + ":-:|" * len(COLUMNS)]
    lines += ["| " + " | ".join(cells) + " |" for cells in table]
    lines += ["", *(f"{number}. {note}." for number, note in enumerate(notes, 1))]
    return PAGE + "\n".join(lines).rstrip() + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--markdown", type=Path, help="write the table into this file too")
    options = parser.parse_args()
    outcomes = Outcomes()
    functions = [str(Path(__file__).parents[1] / "tests" / path) for paths in COLUMNS.values() for path in paths]
    failed = pytest.main(["-m", "", "-p", "no:cacheprovider", *functions], plugins=[outcomes])
    cells, notes = rows(outcomes)
    table = Table("", "", *COLUMNS, title=TITLE)
    for row in cells:
        table.add_row(*row)
    Console().print(table, *(f"{number}. {note}" for number, note in enumerate(notes, 1)), sep="\n")
    if failed:
        raise SystemExit("Tests failed: no table is written.")
    if options.markdown:
        options.markdown.write_text(markdown(cells, notes), encoding="utf-8")


if __name__ == "__main__":
    main()
