"""The table of a report: methods by images."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

NAMED = 4  # more images than this have no column of their own


def comparison_table(
    rows: Mapping[str, Sequence[tuple[float, float]]],
    names: Sequence[str],
    title: str,
    available: int,
    caption: str,
    second: str = "{:.3f}",
) -> "Table":
    """Two scores of each method on each image, and their means over the images.

    Args:
        rows: scores of the images by method; that of "this model" is set in bold.
        names: of the images.
        title: what the scores are; which images is added.
        available: test images that there are.
        caption: a note below.
        second: format of the second score; the first is in dB.
    """
    from rich import box
    from rich.table import Table

    extent = f"the first {len(names)} of {available} test images" if available > len(names) else "the test images"
    table = Table(
        title=f"{title}, on {extent}", caption=caption, box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True
    )
    own_columns = names if len(names) <= NAMED else ()
    for heading in ("", *own_columns, "mean"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for name, scores in rows.items():
        mean = tuple(sum(values) / len(scores) for values in zip(*scores, strict=True))
        cells = [f"{one:.2f} / {second.format(two)}" for one, two in (*scores[: len(own_columns)], mean)]
        table.add_row(name, *cells, style="bold" if name == "this model" else "")
    return table
