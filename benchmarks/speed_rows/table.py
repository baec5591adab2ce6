"""The one table: as text while it is measured, and as Markdown."""

from __future__ import annotations

from collections.abc import Iterable

from .row import Outcome, Row

HEADER = ("row", "ours", "other", "ratio (quartiles)", "target", "")


def cells(row: Row, found: Outcome | str) -> tuple[str, ...]:
    """The cells of a row; ``found`` is a text where nothing was measured."""
    target = "" if row.target is None else str(row.target)
    if isinstance(found, str):
        return (row.name, "", "", "", target, found)
    spread = f"{found.ratio.median:.3g} ({found.ratio.low:.3g} to {found.ratio.high:.3g})"
    verdict = "" if row.target is None else "met" if row.target.met(found.ratio.median) else "missed"
    return (row.name, _amount(found.ours, found.unit), _amount(found.other, found.unit), spread, target, verdict)


def text_line(parts: Iterable[str]) -> str:
    widths = (50, 11, 11, 26, 7, 0)
    return "  ".join(f"{part:<{width}}" for part, width in zip(parts, widths, strict=True)).rstrip()


def legend(row: Row, found: Outcome | str) -> str:
    """What the row divides by what, and what it found besides."""
    note = found.note if isinstance(found, Outcome) else ""
    return f"{row.name}: {row.what}" + (f" [{note}]" if note else "")


def markdown(machine: list[str], results: list[tuple[Row, Outcome | str]]) -> str:
    lines = ["# Speed", "", *(f"- {line}" for line in machine), ""]
    lines += ["| " + " | ".join(HEADER) + " |", "|" + "---|" * len(HEADER)]
    lines += ["| " + " | ".join(cells(row, found)) + " |" for row, found in results]
    lines += ["", *(f"- {legend(row, found)}" for row, found in results), ""]
    return "\n".join(lines)


def _amount(value: float, unit: str) -> str:
    return f"{value:.3g} {unit}" if value < 1000 else f"{value:.0f} {unit}"
