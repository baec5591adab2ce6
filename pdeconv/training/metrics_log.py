"""metrics.jsonl: one JSON object for each epoch of training and for each evaluation."""

import json
import math
import os
from pathlib import Path
from typing import Any

from pdeconv.errors import PDEConvError
from pdeconv.training.durable import replace_text


class MetricsLog:
    """Appends to ``metrics.jsonl`` (and to TensorBoard files), of which only the lines ``past`` are kept at first.

    Others, left by a run that was killed after its last checkpoint, go: the file reads as if it had not been.
    """

    def __init__(self, folder: Path, past: list[dict[str, Any]], tensorboard: bool) -> None:
        self.path = folder / "metrics.jsonl"
        if past or self.path.exists():
            replace_text(self.path, "".join(json.dumps(line) + "\n" for line in past))
        last = past[-1]["step"] if past else 0
        self._writer = _summary_writer(folder / "tensorboard", last) if tensorboard else None

    def append(self, step: int, epoch: int, lines: dict[str, dict[str, float]]) -> None:
        """Add the lines of an epoch by kind, "train" and "test", at once, and wait until they are on the disk."""
        text = ""
        for kind, values in lines.items():
            line: dict[str, Any] = {"kind": kind, "step": step, "epoch": epoch}
            line |= {name: value if math.isfinite(value) else None for name, value in values.items()}
            text += json.dumps(line) + "\n"
        with self.path.open("a") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if self._writer is not None:
            for kind, values in lines.items():
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
