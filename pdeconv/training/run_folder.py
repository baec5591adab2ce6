"""The folder of a run: opened only when nothing in it would be lost, with its configuration beside its results."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import yaml

from pdeconv.errors import PDEConvError
from pdeconv.training.checkpoint import Checkpoint, newest_checkpoint, read_checkpoint, step_folder, steps_present
from pdeconv.training.config import TrainConfig
from pdeconv.training.data_config import DataConfig
from pdeconv.training.durable import replace_text
from pdeconv.training.model_config import ModelConfig

CONFIG_BEING_WRITTEN = ".config.yaml.writing"
FREE_ON_RESUME = {
    "run",
    "resume",
    "evaluate_every",
    "checkpoint_every",
    "sharpness_every",
    "log_every",
    "tensorboard",
    "keep_freed_memory",
    "model.source",
    "data.root",
    "data.train",
    "data.test",
    "data.download",
    "data.memory_gib",
    "data.workers",
    "denoising.compare",
    "inpainting.compare",
    "forecast.compare",
}
"""Keys that may differ between a run and its continuation: the weights do not depend on them."""
FREE_ON_BRANCH = FREE_ON_RESUME | {
    "epochs",
    "levels.share",
    "levels.image_scale",
    "levels.time_scale",
    "precision",
    "compile",
    "channels_last",
    "optimizer.lr",
    "optimizer.schedule",
    "optimizer.warmup",
    "optimizer.clip_norm",
    "optimizer.final_share",
    "optimizer.final_rate",
    "optimizer.greedy",
}
"""Keys that may differ in a run that branches off from a checkpoint of another."""


def as_plain(config: TrainConfig) -> dict[str, Any]:
    """The configuration as nested dictionaries, lists and primitives, every key present."""
    return _plain(dataclasses.asdict(config))


def find_start(config: TrainConfig) -> tuple[Checkpoint | None, list[str]]:
    """The checkpoint that a run continues from, or None for a new one; and warnings. Nothing is written.

    Raises:
        PDEConvError: the folder holds something already; or the run to continue was configured differently.
    """
    folder = Path(config.run)
    if folder.exists() and not folder.is_dir():
        raise PDEConvError(f"run: {config.run!r} is a file; give a folder with --run")
    present = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not (present.is_dir() and os.access(present, os.W_OK | os.X_OK)):
        raise PDEConvError(
            f"run: cannot create {config.run!r}, as {str(present)!r} takes no files; choose another --run"
        )
    occupied = folder.is_dir() and any(path.name != CONFIG_BEING_WRITTEN for path in folder.iterdir())
    if config.resume is None:
        if occupied:
            raise PDEConvError(
                f"the run folder {config.run!r} is not empty and is never overwritten: "
                "continue that run with --resume auto, or choose another --run"
            )
        return None, []
    if config.resume == "auto":
        return _find_newest(config, folder) if occupied else (None, [])
    return _find_given(config, folder, occupied), []


def _find_newest(config: TrainConfig, folder: Path) -> tuple[Checkpoint | None, list[str]]:
    saved = folder / "config.yaml"
    checkpoint, warnings = newest_checkpoint(folder / "checkpoints")
    if checkpoint is not None:
        _require_same(config, checkpoint.training["config"], FREE_ON_RESUME)
    elif saved.is_file():
        _require_same(config, yaml.safe_load(saved.read_text()), FREE_ON_RESUME)
    else:
        raise PDEConvError(f"{config.run!r} is not empty, and no run is in it to resume; choose another --run")
    return checkpoint, warnings


def _find_given(config: TrainConfig, folder: Path, occupied: bool) -> Checkpoint:
    path = Path(config.resume or "").resolve()
    if (path / "checkpoints").is_dir() or path.name == "checkpoints":
        run = path.parent if path.name == "checkpoints" else path
        raise PDEConvError(
            f"resume: {config.resume} is a whole run, not one checkpoint: continue it with "
            f"--config {run / 'config.yaml'} --resume auto, or branch off into another --run from a checkpoint"
        )
    checkpoint = read_checkpoint(path)
    own = path.parent == (folder / "checkpoints").resolve()
    if own:
        newest = steps_present(folder / "checkpoints")[-1]
        if checkpoint.step != newest:
            raise PDEConvError(
                f"the run {config.run!r} has a newer checkpoint, of step {newest}: continue with --resume auto, "
                "or branch off into another --run"
            )
    elif occupied:
        raise PDEConvError(f"the run folder {config.run!r} is not empty and is never overwritten: choose another --run")
    _require_same(config, checkpoint.training["config"], FREE_ON_RESUME if own else FREE_ON_BRANCH)
    return checkpoint


def _require_same(config: TrainConfig, saved: dict[str, Any], free: set[str]) -> None:
    if config.channels_last == "auto":  # was measured when the run began
        config.channels_last = saved["channels_last"]
    new, old = _flat(as_plain(config)), _flat(_plain(saved))
    plainest = TrainConfig(config.task, ModelConfig(config.model.name), DataConfig(config.data.name), config.run)
    old = _flat(as_plain(plainest)) | old  # a key that came later was at its default
    absent = object()  # which is not null
    differing = [key for key in sorted(new | old) if key not in free and new.get(key, absent) != old.get(key, absent)]
    if not differing:
        return
    was, now = ([repr(values[key]) if key in values else "not given" for key in differing] for values in (old, new))
    changes = ", ".join(f"{key} (was {a}, now {b})" for key, a, b in zip(differing, was, now, strict=True))
    if free == FREE_ON_RESUME and FREE_ON_BRANCH.issuperset(differing):
        advice = "give the old one, or branch off: --resume CHECKPOINT with another --run"
    else:
        advice = "give the old one, or start another --run"
    raise PDEConvError(f"cannot resume with another configuration: {changes}; {advice}")


def is_branch(config: TrainConfig, checkpoint: Checkpoint | None) -> bool:
    """Whether a run starts from a checkpoint that lies in the folder of another."""
    return checkpoint is not None and not step_folder(Path(config.run) / "checkpoints", checkpoint.step).exists()


def require_same_data(found: dict[str, Any], checkpoint: Checkpoint | None, config: TrainConfig) -> list[str]:
    """Compare the ``fingerprint`` of the data with that of a checkpoint; returns warnings.

    Raises:
        PDEConvError: the number of training samples differs, and with it the steps of an epoch; or the test images do,
            in the run of the checkpoint itself.
    """
    known = found if checkpoint is None else checkpoint.training["data"]
    if found["train"]["count"] != known["train"]["count"]:
        raise PDEConvError(
            f"cannot resume with other data: the checkpoint saw {known['train']['count']} training samples an epoch, "
            f"now there are {found['train']['count']}; give the old data, or start another --run"
        )
    if found["test"] != known["test"] and not is_branch(config, checkpoint):
        raise PDEConvError(
            "cannot resume with other test images, as results would not compare; give the old ones, or branch off: "
            "--resume CHECKPOINT with another --run"
        )
    return [] if found["train"] == known["train"] else ["the training images are not those that the checkpoint saw"]


def require_unfinished(config: TrainConfig, checkpoint: Checkpoint | None, total: int) -> None:
    """Refuse to branch off from the end of a finished run with nothing left to train."""
    if checkpoint is not None and checkpoint.step >= total and is_branch(config, checkpoint):
        raise PDEConvError(
            f"nothing to train: the checkpoint of step {checkpoint.step} is the end of {config.epochs} epochs; "
            "raise --epochs, or measure it with evaluate.py"
        )


def prepare_folder(config: TrainConfig) -> None:
    """Create the folder and save the configuration in it; what is there already stays as it is."""
    folder = Path(config.run)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "config.yaml").exists():  # comes first: it is what makes the folder a run's
        replace_text(folder / "config.yaml", yaml.safe_dump(as_plain(config), sort_keys=False))
    (folder / "checkpoints").mkdir(exist_ok=True)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value


def _flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    keys: dict[str, Any] = {}
    for name, value in content.items():
        keys |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return keys
