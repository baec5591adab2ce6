"""Checkpoints on disk: a folder each, whole or absent, read back before an older one goes.

``checkpoints/step_00000120/`` holds ``model.safetensors``, ``ema.safetensors`` where an average is kept,
``training.pt`` (tensors and primitives, loaded with ``weights_only=True``) and ``manifest.json`` (a digest of each).
``checkpoints/best`` is a link to the best of these folders.
"""

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from pdeconv.errors import PDEConvError
from pdeconv.training.durable import sync_file, sync_folder

FORMAT = 2
KEPT = 2
TEMPORARY = ".writing-"
REPLACED = ".replaced-"


class CheckpointError(PDEConvError):
    """A checkpoint is missing, incomplete, or not what was written."""

    exit_status = 2


class FormatError(PDEConvError):
    """A checkpoint is sound, but of another version's format."""

    exit_status = 2


@dataclass(frozen=True)
class Checkpoint:
    """The content of a checkpoint: weights by name, their running average, and the state of the training."""

    model: dict[str, Tensor]
    ema: dict[str, Tensor] | None
    training: dict[str, Any]

    @property
    def step(self) -> int:
        return self.training["step"]

    @property
    def weights(self) -> dict[str, Tensor]:
        """The weights to use: the running average where there is one."""
        return self.model if self.ema is None else self.ema


def digest(value: Any) -> str:
    """A hash of nested dictionaries, lists, tensors and primitives that tells any two contents apart."""
    state = hashlib.sha256()
    _feed(state, value)
    return state.hexdigest()


def _feed(state: "hashlib._Hash", value: Any) -> None:
    if isinstance(value, Tensor):
        plain = value.detach().cpu().contiguous()
        state.update(f"tensor {plain.dtype} {tuple(plain.shape)} ".encode())
        if plain.numel():
            state.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    elif isinstance(value, dict):
        state.update(f"dict {len(value)} ".encode())
        for key in sorted(value, key=repr):
            _feed(state, key)
            _feed(state, value[key])
    elif isinstance(value, list | tuple):
        state.update(f"list {len(value)} ".encode())
        for part in value:
            _feed(state, part)
    else:
        state.update(f"{type(value).__name__} {value!r} ".encode())


def step_folder(checkpoints: Path, step: int) -> Path:
    return checkpoints / f"step_{step:08d}"


def steps_present(checkpoints: Path) -> list[int]:
    """Steps of the checkpoints in a folder, the oldest first; unfinished ones are not among them."""
    names = [path.name for path in checkpoints.glob("step_*") if path.is_dir()]
    return sorted(int(name.removeprefix("step_")) for name in names if name.removeprefix("step_").isdigit())


def write_checkpoint(checkpoints: Path, content: Checkpoint) -> Path:
    """Write a checkpoint, make it durable, and read it back; at every moment the folder is whole or absent.

    Raises:
        CheckpointError: what is read back differs from what was written.
    """
    checkpoints.mkdir(parents=True, exist_ok=True)
    final = step_folder(checkpoints, content.step)
    temporary = checkpoints / f"{TEMPORARY}{final.name}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    save_file(_storable(content.model), temporary / "model.safetensors", metadata={"format": "pt"})
    if content.ema is not None:
        save_file(_storable(content.ema), temporary / "ema.safetensors", metadata={"format": "pt"})
    torch.save(content.training, temporary / "training.pt")
    manifest = {"format": FORMAT, "step": content.step, "digests": _digests(content)}
    (temporary / "manifest.json").write_text(json.dumps(manifest | {"digest": digest(manifest)}, indent=1))
    for path in temporary.iterdir():
        sync_file(path)
    sync_folder(temporary)
    if final.exists():  # a damaged one, left from before the resume
        os.replace(final, checkpoints / f"{REPLACED}{final.name}")
    os.replace(temporary, final)
    sync_folder(checkpoints)
    shutil.rmtree(checkpoints / f"{REPLACED}{final.name}", ignore_errors=True)
    read_checkpoint(final)
    return final


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint and compare it with its digests.

    Raises:
        CheckpointError: it is missing, incomplete or damaged; names the file.
    """
    if not folder.is_dir():
        raise CheckpointError(f"no checkpoint at {str(folder)!r}")
    name = "manifest.json"
    try:
        manifest = json.loads((folder / name).read_text())
        if manifest.pop("digest") != digest(manifest):
            raise CheckpointError(f"the checkpoint {folder} is damaged: {name} is not what was written")
        if manifest["format"] != FORMAT:
            raise FormatError(
                f"the checkpoint {folder} has format {manifest['format']}, and this version reads {FORMAT}: continue "
                "it with the version that wrote it, or start another --run"
            )
        name = "model.safetensors"
        model = load_file(folder / name)
        name = "ema.safetensors"
        ema = load_file(folder / name) if "ema" in manifest["digests"] else None
        name = "training.pt"
        training = torch.load(folder / name, map_location="cpu", weights_only=True)
        content = Checkpoint(model, ema, training)
        for part, received in _digests(content).items():
            if manifest["digests"][part] != received:
                raise CheckpointError(f"the checkpoint {folder} is damaged: the {part} differs from what was written")
    except (CheckpointError, FormatError):
        raise
    except Exception as error:  # a damaged file makes its reader raise almost anything
        raise CheckpointError(f"the checkpoint {folder} is damaged: {name}: {error}") from error
    return content


def newest_checkpoint(checkpoints: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint that is sound, and a warning for each newer one that is damaged; None where none is.

    Raises:
        CheckpointError: there are some, and none is sound: what is left of them is not to be written over.
        FormatError: the newest is of another version.
    """
    warnings = []
    for step in reversed(steps_present(checkpoints)):
        try:
            return read_checkpoint(step_folder(checkpoints, step)), warnings
        except CheckpointError as error:
            warnings.append(f"{error}; falling back to the one before")
    if warnings:
        raise CheckpointError(f"no checkpoint in {checkpoints} can be read: {warnings[0]}; start another --run")
    return None, warnings


def find_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint in a folder; of the folder of a run the best one, else the newest."""
    if not path.is_dir():
        raise PDEConvError(f"no checkpoint at {str(path)!r}; give the folder of a run, such as runs/NAME")
    if (path / "manifest.json").exists():
        return read_checkpoint(path)
    checkpoints = path if path.name == "checkpoints" else path / "checkpoints"
    if (checkpoints / "best").exists():
        return read_checkpoint(checkpoints / "best")
    newest, _ = newest_checkpoint(checkpoints)
    if newest is None:
        raise PDEConvError(f"no checkpoint in {str(path)!r}; give the folder of a run, such as runs/NAME")
    return newest


def point_best(checkpoints: Path, step: int) -> None:
    """Make ``best`` lead to the checkpoint of ``step``, atomically."""
    best, temporary = checkpoints / "best", checkpoints / f"{TEMPORARY}best"
    if best.is_dir() and not best.is_symlink():  # a copy of a run may hold a folder in place of the link
        os.replace(best, checkpoints / f"{REPLACED}best")
        shutil.rmtree(checkpoints / f"{REPLACED}best", ignore_errors=True)
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(step_folder(checkpoints, step).name, target_is_directory=True)
    os.replace(temporary, best)
    sync_folder(checkpoints)


def prune_checkpoints(checkpoints: Path, best_step: int | None) -> None:
    """Delete all but the newest checkpoints and the best one."""
    kept = set(steps_present(checkpoints)[-KEPT:]) | {best_step}
    for step in steps_present(checkpoints):
        if step not in kept:
            gone = checkpoints / f"{REPLACED}{step_folder(checkpoints, step).name}"
            os.replace(step_folder(checkpoints, step), gone)
            shutil.rmtree(gone)


def tidy_checkpoints(checkpoints: Path, step: int, best_step: int | None) -> None:
    """Finish what a killed run left half done, before it continues from the checkpoint of ``step``.

    Newer checkpoints can only be damaged ones: they are renamed ``damaged_step_…``, out of the way of new ones.
    """
    for path in [*checkpoints.glob(f"{TEMPORARY}*"), *checkpoints.glob(f"{REPLACED}*")]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    for newer in steps_present(checkpoints):
        if newer > step:
            aside = checkpoints / f"damaged_{step_folder(checkpoints, newer).name}"
            shutil.rmtree(aside, ignore_errors=True)
            os.replace(step_folder(checkpoints, newer), aside)
    if best_step is not None:
        point_best(checkpoints, best_step)
    prune_checkpoints(checkpoints, best_step)


def _digests(content: Checkpoint) -> dict[str, str]:
    parts = {"model": digest(content.model), "training": digest(content.training)}
    return parts if content.ema is None else parts | {"ema": digest(content.ema)}


def _storable(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous().clone() for name, value in weights.items()}
