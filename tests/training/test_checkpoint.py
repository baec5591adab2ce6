"""Checkpoints on disk."""

import shutil

import pytest
import torch

from pdeconv.training.checkpoint import (
    Checkpoint,
    CheckpointError,
    digest,
    newest_checkpoint,
    point_best,
    prune_checkpoints,
    read_checkpoint,
    steps_present,
    tidy_checkpoints,
    write_checkpoint,
)


def content(step: int) -> Checkpoint:
    generator = torch.Generator().manual_seed(step)
    weights = {
        "weight": torch.randn(2, 3, 4, 4, generator=generator).to(memory_format=torch.channels_last),
        "half": torch.ones(3, dtype=torch.bfloat16),
        "count": torch.tensor(step),
        "empty": torch.zeros(0, 2),
    }
    training = {"step": step, "optimizer": {"state": {"weight": {"step": torch.tensor(1.0)}}}, "pair": (1, None, "x")}
    return Checkpoint(weights, {"weight": weights["weight"] * 2}, training)


def test_what_is_written_is_read(tmp_path):
    folder = write_checkpoint(tmp_path, content(12))
    assert folder.name == "step_00000012"
    read = read_checkpoint(folder)
    assert whole_digest(read) == whole_digest(content(12))
    assert read.step == 12 and read.weights is read.ema
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_tied_weights_are_written(tmp_path):
    shared = torch.ones(3)
    folder = write_checkpoint(tmp_path, Checkpoint({"a": shared, "b": shared}, None, {"step": 1}))
    assert read_checkpoint(folder).model.keys() == {"a", "b"}


FILES = ["model.safetensors", "ema.safetensors", "training.pt", "manifest.json"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("left", [None, 0, 0.5, 0.99])
def test_a_file_that_is_cut_or_gone_is_noticed(name, left, tmp_path):
    write_checkpoint(tmp_path, content(1))
    damaged = write_checkpoint(tmp_path, content(2)) / name
    data = damaged.read_bytes()
    if left is None:
        damaged.unlink()
    else:
        damaged.write_bytes(data[: int(left * len(data))])
    with pytest.raises(CheckpointError, match=f"damaged: {name}"):
        read_checkpoint(damaged.parent)
    found, warnings = newest_checkpoint(tmp_path)
    assert found is not None and found.step == 1
    assert len(warnings) == 1 and "falling back" in warnings[0]


@pytest.mark.parametrize("name", FILES)
def test_no_flipped_bit_changes_what_is_read(name, tmp_path):
    folder = write_checkpoint(tmp_path, content(1))
    sound, noticed = (folder / name).read_bytes(), 0
    expected = whole_digest(read_checkpoint(folder))
    places = range(0, len(sound), max(1, len(sound) // 60))
    for place in places:
        data = bytearray(sound)
        data[place] ^= 1 << (place % 8)
        (folder / name).write_bytes(data)
        try:
            assert whole_digest(read_checkpoint(folder)) == expected  # it fell where it harms nothing
        except CheckpointError:
            noticed += 1
    assert noticed > len(places) // 5


def whole_digest(read: Checkpoint) -> str:
    return digest([read.model, read.ema, read.training])


def test_a_file_that_runs_code_is_refused(tmp_path):
    folder = write_checkpoint(tmp_path, content(1))

    class Evil:
        def __reduce__(self):
            return (print, ("gotcha",))

    torch.save({"step": 1, "evil": Evil()}, folder / "training.pt")
    with pytest.raises(CheckpointError, match=r"training\.pt"):
        read_checkpoint(folder)


def test_the_newest_two_and_the_best_are_kept(tmp_path):
    for step in (1, 2, 3, 4, 5):
        write_checkpoint(tmp_path, content(step))
        if step == 2:
            point_best(tmp_path, step)
        prune_checkpoints(tmp_path, 2 if step >= 2 else None)
    assert steps_present(tmp_path) == [2, 4, 5]
    assert read_checkpoint(tmp_path / "best").step == 2
    point_best(tmp_path, 5)
    assert read_checkpoint(tmp_path / "best").step == 5


def test_best_takes_the_place_of_a_copied_folder(tmp_path):
    """`cp -rL` and archives turn the link into a folder."""
    shutil.copytree(write_checkpoint(tmp_path, content(1)), tmp_path / "best")
    write_checkpoint(tmp_path, content(2))
    point_best(tmp_path, 2)
    assert read_checkpoint(tmp_path / "best").step == 2


def test_what_a_killed_run_left_is_tidied(tmp_path):
    for step in (1, 2, 3):
        write_checkpoint(tmp_path, content(step))
    shutil.copytree(tmp_path / "step_00000003", tmp_path / ".writing-step_00000004")
    (tmp_path / "step_00000003" / "training.pt").write_bytes(b"")
    assert steps_present(tmp_path) == [1, 2, 3]
    tidy_checkpoints(tmp_path, step=2, best_step=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "best",
        "damaged_step_00000003",
        "step_00000001",
        "step_00000002",
    ]


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        read_checkpoint(tmp_path / "nowhere")
    assert newest_checkpoint(tmp_path) == (None, [])
