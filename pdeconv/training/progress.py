"""What a person sees while a run goes on: a live bar on a terminal, plain lines elsewhere."""

import time
from collections.abc import Sequence

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

PLAIN_INTERVAL = 10.0  # seconds between plain lines within an epoch


class Display:
    """Shows the progress of a run; on any process but the first it shows nothing.

    Args:
        total: optimizer steps of the run.
        step: those already taken.
        visible: whether this process shows anything.
        bar: whether a terminal gets a live bar.
    """

    def __init__(self, total: int, step: int, visible: bool, bar: bool = True) -> None:
        self._console = Console(quiet=not visible, highlight=False, soft_wrap=True)
        self._total, self._first, self._began, self._shown = total, step, time.monotonic(), time.monotonic()
        self._bar: Progress | None = None
        if self._console.is_terminal and visible and bar:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=self._console)
            self._task = self._bar.add_task("", total=total, completed=step)
            self._bar.start()

    def update(self, step: int, values: dict[str, str], end_of_epoch: bool = False) -> None:
        """Show where the run is; ``values`` are names and texts such as {"loss": "0.123"}."""
        text = " · ".join(f"{name} {value}" for name, value in values.items())
        if self._bar is not None:
            self._bar.update(self._task, completed=step, description=text)
            if end_of_epoch:
                self._bar.console.print(text)
        elif end_of_epoch or time.monotonic() - self._shown > PLAIN_INTERVAL:
            self._shown = time.monotonic()
            self.say(f"{text} · step {step}/{self._total} · {self._left(step)} left")

    def say(self, *texts: str) -> None:
        """Print lines."""
        for text in texts:
            self._console.print(text, markup=False)

    def show(self, content: RenderableType) -> None:
        """Print a table."""
        self._console.print(content)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _left(self, step: int) -> str:
        taken = step - self._first
        if not taken:
            return "?"
        seconds = int((time.monotonic() - self._began) / taken * (self._total - step))
        return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def table(title: str, rows: Sequence[tuple[str, str]]) -> Table:
    """A table of names and values."""
    made = Table(title=title, show_header=False, title_justify="left")
    for name, value in rows:
        made.add_row(name, value)
    return made
