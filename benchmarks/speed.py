"""How fast: one table, each row a ratio of two things measured in alternation in this run, beside its target.

The machine's copy bandwidth and matrix rate come first. Let nothing else run meanwhile. The packages to compare with:
pip install "pdeconv[benchmark]"; rows whose package is missing say so.

python benchmarks/speed.py [--rows perona_malik step/allen_cahn …] [--markdown FILE] [--plot FILE] [--quick] [--list]
"""

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler is talkative; before torch is imported

import torch
from speed_rows import blocks, filters, implicit, machine, scaling, steps, table, training
from speed_rows.pairing import Patience
from speed_rows.row import Outcome, PeerMissingError, Row, Setting

from pdeconv import keep_freed_memory

FAMILIES = (filters, steps, blocks, implicit, training, scaling)


def selected(names: list[str] | None) -> list[Row]:
    """The rows of the given names, or within them: ``step`` selects ``step/allen_cahn/forward/eager``."""
    rows = [row for family in FAMILIES for row in family.rows()]
    if not names:
        return rows
    unknown = [name for name in names if not any(_within(row, name) for row in rows)]
    if unknown:
        sys.exit(f"no row is named {', '.join(unknown)}; --list names all")
    return [row for row in rows if any(_within(row, name) for name in names)]


def _within(row: Row, name: str) -> bool:
    return f"{row.name}/".startswith(f"{name.rstrip('/')}/")


def measured(row: Row, setting: Setting) -> Outcome | str:
    """What the row found, or why it found nothing: one row must not cost the others."""
    try:
        return row.measure(setting)
    except PeerMissingError as error:
        return f"skipped: {error}"
    except Exception as error:
        return f"failed: {type(error).__name__}: {str(error).splitlines()[0][:120] if str(error) else ''}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", metavar="NAME", help="names, or beginnings of names up to a slash")
    parser.add_argument("--list", action="store_true", help="name the rows and say what each divides by what")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there too")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw the scaling rows there (docs/images/scaling.png)"
    )
    parser.add_argument("--seconds", type=float, default=8.0, help="time to measure a row for, beyond 5 rounds")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: tests the script, the figures mean nothing")
    options = parser.parse_args()
    rows = selected(options.rows)
    if options.list:
        print("\n".join(f"{row.name}: {row.what}" + (f" ({row.target})" if row.target else "") for row in rows))
        return
    if options.quick:
        torch.set_num_threads(1)  # threads would cost more than such sizes do
        rows = [replace(row, target=None) for row in rows]
    patience = Patience(0.0, 3, 3, 0.0) if options.quick else Patience(options.seconds)
    setting = Setting(options.quick, patience)
    keep_freed_memory()  # for ours and theirs alike, as train.py does
    lines = machine.describe(setting)
    if options.quick:
        lines.insert(0, "quick: tiny sizes, the figures mean nothing")
    print("\n".join(lines), "", table.text_line(table.HEADER), sep="\n", flush=True)
    results = []
    for row in rows:
        found = measured(row, setting)
        results.append((row, found))
        print(table.text_line(table.cells(row, found)), flush=True)
        if options.markdown:  # after each row: a run that is interrupted keeps what it found
            options.markdown.write_text(table.markdown(lines, results))
    print("", *(table.legend(row, found) for row, found in results), sep="\n")
    if options.plot and scaling.curves:
        scaling.draw(str(options.plot))


if __name__ == "__main__":
    main()
