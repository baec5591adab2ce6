"""metrics.jsonl: one JSON object for each epoch of training and for each evaluation."""

import json
import math
import os
from pathlib import Path
from typing import Any

from pdeconv.errors import PDEConvError
from pdeconv.training.durable import replace_text


class MetricsLog:
    """Appends to ``metrics.jsonl`` (and to TensorBoard files), starting with what was known at ``step``.

    Lines of later steps, left by a run that was killed after its last checkpoint, are dropped: the file reads as that
    of one uninterrupted run.
    """

    def __init__(self, folder: Path, step: int, tensorboard: bool) -> None:
        self.path = folder / "metrics.jsonl"
        kept = [line for line in read_metrics(self.path) if line["step"] <= step]
        if step or self.path.exists():
            replace_text(self.path, "".join(json.dumps(line) + "\n" for line in kept))
        self._writer = _summary_writer(folder / "tensorboard", step) if tensorboard else None

    def append(self, kind: str, step: int, epoch: int, values: dict[str, float]) -> None:
        """Add a line and wait until it is on the disk. ``kind`` is "train" or "test"."""
        line: dict[str, Any] = {"kind": kind, "step": step, "epoch": epoch}
        line |= {name: value if math.isfinite(value) else None for name, value in values.items()}
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(f"{kind}/{name}", value, step)
            self._writer.flush()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a ``metrics.jsonl``; one that was cut off by a crash is left out."""
    lines = []
    for text in path.read_text().splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            continue
    return lines


def _summary_writer(folder: Path, step: int):
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise PDEConvError("tensorboard: true needs the package tensorboard: pip install tensorboard") from error
    return SummaryWriter(str(folder), purge_step=step + 1)
