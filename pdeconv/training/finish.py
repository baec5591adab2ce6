"""The end of a run: the best weights measured once more, pictures, a table, and the list of what to open."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from pdeconv.training.checkpoint import read_checkpoint, step_folder
from pdeconv.training.config import TrainConfig
from pdeconv.training.data import Data
from pdeconv.training.evaluation import evaluate
from pdeconv.training.metrics_log import read_metrics
from pdeconv.training.network import build_network
from pdeconv.training.progress import Display, table
from pdeconv.training.sharpness import draw_sharpness
from pdeconv.training.state import Position, load_weights
from pdeconv.training.tasks import Task


def finish_run(
    config: TrainConfig,
    accelerator: Accelerator,
    data: Data,
    task: Task,
    model: nn.Module,
    network: nn.Module,
    position: Position,
    display: Display,
) -> None:
    """Evaluate the best weights of a run, and write and show its results.

    Args:
        model: the model as it was trained, wrapped for several processes.
        network: what is evaluated of it: the same without the wrapper where that is possible.
    """
    from pdeconv.viz import curves_figure  # matplotlib is not needed before

    folder = Path(config.run)
    best_step = position.step if position.best_step is None else position.best_step
    weights = read_checkpoint(step_folder(folder / "checkpoints", best_step)).weights
    load_weights(model, weights)
    metrics, summary = evaluate(task, network, data.test, accelerator, config.batch_size)
    metrics.compute()  # on every process; later calls on the first one find the result and need no other
    if not accelerator.is_main_process:
        return
    lone = build_network(config.model, data.channels, data.classes).to(accelerator.device).eval()
    lone.load_state_dict(weights)
    display.say("drawing pictures")
    with torch.no_grad():
        pictures = task.pictures(lone, data, metrics, folder / "pictures", accelerator.device)
        report = task.report(lone, data, accelerator.device)
    records = read_metrics(folder / "metrics.jsonl")
    curves_figure(records, task.headline).savefig(folder / "curves.png")
    lines = [record for record in records if record["kind"] == "train"]
    seconds = sum(line["seconds"] for line in lines)
    speed = sum(line["images_per_s"] * line["seconds"] for line in lines) / max(seconds, 1e-9)
    rows = [(name, f"{value:.4f}") for name, value in summary.items()]
    rows += [
        ("best epoch by this test", f"{best_step * config.epochs // max(position.step, 1)} of {config.epochs}"),
        (f"{task.headline} after the last epoch", _last_tested(records, task.headline)),
        ("parameters", f"{sum(parameter.numel() for parameter in lone.parameters()):,}"),
        ("training throughput", f"{speed:,.0f} images/s on {accelerator.num_processes} x {accelerator.device.type}"),
        ("training time", f"{seconds:.0f} s, without evaluation"),
    ]
    display.show(table(f"{config.model.name} on {config.data.name}", rows))
    if report is not None:
        display.show(report)
    display.say("to open:")
    best = folder / "checkpoints" / "best"
    files = [
        *pictures,
        *draw_sharpness(folder),
        folder / "curves.png",
        folder / "metrics.jsonl",
        folder / "config.yaml",
    ]
    for path in [*files, best if best.exists() else step_folder(folder / "checkpoints", best_step)]:
        display.say(f"  {path}")


def _last_tested(records: Sequence[Mapping[str, Any]], headline: str) -> str:
    """The headline of the last evaluation: unlike the best one, it was not chosen by looking at the test set."""
    tested = [record[headline] for record in records if record["kind"] == "test"]
    return "none" if not tested or tested[-1] is None else f"{tested[-1]:.4f}"
