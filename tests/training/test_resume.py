"""A run killed at any moment and resumed ends as if it had not been killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from toy_run import ToyRun, run_toy, wait_for

from pdeconv.training.checkpoint import digest, read_checkpoint, steps_present
from pdeconv.training.interrupt import InterruptError, noted_interrupts
from pdeconv.training.metrics_log import read_metrics

EVERY = ("--checkpoint_every", "3", "--resume", "auto")
TIMED = {"seconds", "images_per_s"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run that nobody killed, and the instants at which it could have been."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    outcome = run_toy(folder, *EVERY)
    assert outcome.status == 0, outcome.text
    return folder, outcome.moments


def assert_same_run(one: Path, other: Path) -> None:
    assert steps_present(one / "checkpoints") == steps_present(other / "checkpoints")
    for step in (path.name for path in (one / "checkpoints").glob("step_*")):
        for name in ("model.safetensors", "ema.safetensors"):
            first, second = (load_file(run / "checkpoints" / step / name) for run in (one, other))
            assert first.keys() == second.keys()
            assert all(torch.equal(first[key], second[key]) for key in first), (step, name)
    best = [(run / "checkpoints" / "best").resolve().name for run in (one, other)]
    assert best[0] == best[1]
    assert without_times(one) == without_times(other)
    assert not [path for path in (other / "checkpoints").iterdir() if path.name.startswith(".")]


def without_times(run: Path) -> list[dict]:
    lines = read_metrics(run / "metrics.jsonl")
    return [{key: value for key, value in line.items() if key not in TIMED} for line in lines]


def test_a_run_repeats_bit_for_bit(whole, tmp_path):
    assert run_toy(tmp_path / "run", *EVERY).status == 0
    assert_same_run(whole[0], tmp_path / "run")


def test_killed_at_any_moment_and_resumed_ends_bit_identical(whole, tmp_path):
    folder, moments = whole
    first_save = moments.index("save_file")
    later_save = moments.index("save_file", 3 * len(moments) // 4)
    kills = {2, moments.index("update") + 1, len(moments) - 1}
    kills |= set(range(first_save, first_save + 12, 4))  # within the first checkpoint
    kills |= set(range(later_save + 1, later_save + 22, 4))  # within one that takes an older one's place
    for kill in sorted(kill for kill in kills if kill <= len(moments)):
        run = tmp_path / f"kill_{kill}"
        assert run_toy(run, *EVERY, kill=kill).status == -signal.SIGKILL
        outcome = run_toy(run, *EVERY)
        assert outcome.status == 0, (kill, outcome.text)
        assert_same_run(folder, run)


def test_killed_again_and_again(whole, tmp_path):
    run, kills = tmp_path / "run", 0
    while (outcome := run_toy(run, *EVERY, kill=60)).status == -signal.SIGKILL:
        kills += 1
        assert kills < 20
    assert outcome.status == 0 and kills >= 2, outcome.text
    assert_same_run(whole[0], run)


def test_without_ema_and_with_sgd(tmp_path):
    options = ("--ema", "null", "--optimizer.name", "sgd", "--optimizer.clip_norm", "1", *EVERY)
    assert run_toy(tmp_path / "one", *options).status == 0
    assert run_toy(tmp_path / "two", *options, kill=50).status == -signal.SIGKILL
    assert run_toy(tmp_path / "two", *options).status == 0
    for step in steps_present(tmp_path / "one" / "checkpoints"):
        one, two = (read_checkpoint(tmp_path / run / "checkpoints" / f"step_{step:08d}") for run in ("one", "two"))
        assert one.ema is None and all(torch.equal(one.model[key], two.model[key]) for key in one.model)


def test_a_damaged_newest_checkpoint_is_passed_over(whole, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(whole[0], run, symlinks=True)
    damaged = run / "checkpoints" / "step_00000015" / "model.safetensors"
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    outcome = run_toy(run, *EVERY)
    assert outcome.status == 0 and "damaged" in outcome.text and "falling back" in outcome.text
    shutil.rmtree(run / "checkpoints" / "damaged_step_00000015")
    assert_same_run(whole[0], run)


def test_a_run_folder_is_never_overwritten(whole, tmp_path):
    outcome = run_toy(whole[0], "--checkpoint_every", "3")
    assert outcome.status == 2
    assert outcome.text.count("\n") == 1 and "--resume auto" in outcome.text and "--run" in outcome.text
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "letter.txt").write_text("mine")
    outcome = run_toy(foreign, *EVERY)
    assert outcome.status == 2 and "no run is in it" in outcome.text
    assert [path.name for path in foreign.iterdir()] == ["letter.txt"]


def test_another_configuration_is_refused(whole):
    outcome = run_toy(whole[0], *EVERY, "--optimizer.lr", "0.5", "--seed", "4", "--log_every", "5")
    assert outcome.status == 2 and outcome.text.count("\n") == 1
    assert "optimizer.lr (was 0.01, now 0.5), seed (was 0, now 4)" in outcome.text and "log_every" not in outcome.text


def test_branching_off_from_a_checkpoint(whole, tmp_path):
    older, newest = sorted((whole[0] / "checkpoints").glob("step_*"))[-2:]
    outcome = run_toy(whole[0], "--resume", str(older))
    assert outcome.status == 2 and "newer checkpoint" in outcome.text
    run = tmp_path / "branch"
    assert run_toy(run, "--resume", str(older)).status == 0
    weights, branched = (read_checkpoint(folder / "checkpoints" / newest.name).model for folder in (whole[0], run))
    assert all(torch.equal(weights[key], branched[key]) for key in weights)


def test_a_branch_may_learn_otherwise_and_longer(whole, tmp_path):
    """What the advice after a loss that is not finite asks for; and a finished run that goes on."""
    newest = max((whole[0] / "checkpoints").glob("step_*"))
    outcome = run_toy(tmp_path / "none", "--resume", str(newest))
    assert outcome.status == 2 and "raise --epochs" in outcome.text and not (tmp_path / "none").exists()
    run = tmp_path / "longer"
    options = ("--epochs", "4", "--optimizer.lr", "0.001", "--optimizer.clip_norm", "1")
    assert run_toy(run, "--resume", str(newest), *options).status == 0
    assert [line["epoch"] for line in read_metrics(run / "metrics.jsonl")] == [3, 3, 4, 4]
    assert steps_present(run / "checkpoints")[-1] == 20
    outcome = run_toy(tmp_path / "other", "--resume", str(newest), "--seed", "4")
    assert outcome.status == 2 and "seed (was 0, now 4)" in outcome.text


def test_a_branch_that_gets_worse_keeps_where_it_came_from(whole, tmp_path):
    newest = max((whole[0] / "checkpoints").glob("step_*"))
    options = ("--epochs", "6", "--optimizer.lr", "3", "--optimizer.schedule", "constant")
    outcome = run_toy(tmp_path / "worse", "--resume", str(newest), *options)
    assert outcome.status == 0, outcome.text
    results = {
        line["step"]: line["psnr"] for line in read_metrics(tmp_path / "worse" / "metrics.jsonl") if "psnr" in line
    }
    assert results[15] == max(results.values()) and len(results) == 4
    best = read_checkpoint(tmp_path / "worse" / "checkpoints" / "best")
    assert best.step == 15 and digest(best.model) == digest(read_checkpoint(newest).model)


def test_checkpoints_that_cannot_be_read_are_not_written_over(whole, tmp_path):
    for name, spoil in (("format", None), ("damaged", b"")):
        run = tmp_path / name
        shutil.copytree(whole[0], run, symlinks=True)
        for path in (run / "checkpoints").glob("step_*/manifest.json"):
            manifest = json.loads(path.read_text())
            manifest = {key: value for key, value in manifest.items() if key != "digest"} | {"format": 1}
            path.write_bytes(json.dumps(manifest | {"digest": digest(manifest)}).encode() if spoil is None else spoil)
        before = sorted(path.name for path in (run / "checkpoints").iterdir())
        outcome = run_toy(run, *EVERY)
        assert outcome.status == 2 and outcome.text.count("\n") == 1 and "start another --run" in outcome.text
        assert ("has format 1" in outcome.text) == (spoil is None)
        assert sorted(path.name for path in (run / "checkpoints").iterdir()) == before


def test_a_run_folder_is_no_checkpoint(whole, tmp_path):
    for path in (whole[0], whole[0] / "checkpoints"):
        outcome = run_toy(tmp_path / "run", "--resume", str(path))
        assert outcome.status == 2 and "is a whole run, not one checkpoint" in outcome.text


def test_other_data_is_noticed(whole, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(whole[0], run, symlinks=True)
    outcome = run_toy(run, *EVERY, TOY_TRAINING="39")
    assert outcome.status == 2 and "saw 40 training samples an epoch, now there are 39" in outcome.text
    outcome = run_toy(run, *EVERY, TOY_BAD_SAMPLE="5")
    assert outcome.status == 0 and "warning: the training images are not those" in outcome.text
    outcome = run_toy(run, *EVERY, TOY_TESTS="6")
    assert outcome.status == 2 and "other test images" in outcome.text


def test_a_run_that_cannot_be_written_is_refused_early(tmp_path):
    (tmp_path / "file").write_text("mine")
    outcome = run_toy(tmp_path / "run", "--run", str(tmp_path / "file" / "run"))
    assert outcome.status == 2 and "takes no files" in outcome.text and outcome.text.count("\n") == 1


def test_a_signal_while_the_last_epoch_is_measured(whole, tmp_path):
    """The epoch is saved before it is measured; the run stops at once, and measures when it goes on."""
    run = ToyRun(tmp_path / "run", "--resume", "auto", TOY_SLOW_TEST="20")
    wait_for(lambda: 15 in steps_present(tmp_path / "run" / "checkpoints"))
    time.sleep(0.3)
    run.signal(signal.SIGTERM)
    outcome = run.outcome()
    assert outcome.status == 143 and "saved at step 15 of 15" in outcome.text, outcome.text
    assert run_toy(tmp_path / "run", "--resume", "auto").status == 0
    assert without_times(tmp_path / "run") == without_times(whole[0])


def test_the_saved_configuration_reruns_as_it_is(whole, tmp_path):
    run = tmp_path / "again"
    assert run_toy(run, "--config", str(whole[0] / "config.yaml"), "--run", str(run)).status == 0
    assert without_times(run) == without_times(whole[0])


def test_a_signal_in_a_forked_worker_is_the_main_process_own_matter():
    with noted_interrupts() as interrupt, pytest.raises(InterruptError), interrupt.acting_at_once():
        child = os.fork()
        if not child:
            os.kill(os.getpid(), signal.SIGINT)
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        os.kill(os.getpid(), signal.SIGINT)
    assert interrupt.signal == signal.SIGINT and not issubclass(InterruptError, Exception)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_stops(number, tmp_path):
    run = ToyRun(tmp_path / "run", "--epochs", "4000")
    wait_for(lambda: steps_present(tmp_path / "run" / "checkpoints"))
    run.signal(number)
    outcome = run.outcome()
    assert outcome.status == 128 + number, outcome.text
    assert "--resume auto" in outcome.text.splitlines()[-1] and "Traceback" not in outcome.text
    saved = read_checkpoint(tmp_path / "run" / "checkpoints" / f"step_{steps_in(outcome.text):08d}")
    assert saved.training["config"]["epochs"] == 4000


def test_a_real_kill_from_outside(tmp_path):
    """SIGKILL of a program started by itself while it trains, wherever it happens to be."""
    arguments = ["--epochs", "60", "--checkpoint_every", "7", "--evaluate_every", "20", "--resume", "auto"]
    program = Path(__file__).with_name("toy_run.py")
    command = [sys.executable, str(program), "--run", str(tmp_path / "killed"), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: steps_present(tmp_path / "killed" / "checkpoints"))
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert steps_present(tmp_path / "killed" / "checkpoints")[-1] < 300
    assert run_toy(tmp_path / "killed", *arguments).status == 0
    assert run_toy(tmp_path / "whole", *arguments).status == 0
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


def steps_in(text: str) -> int:
    return int(text.splitlines()[-1].split("saved at step ")[1].split()[0])


def test_metrics_lines_are_json(whole):
    lines = [json.loads(line) for line in (whole[0] / "metrics.jsonl").read_text().splitlines()]
    assert [line["kind"] for line in lines] == ["train", "test"] * 3
    assert {"loss", "lr", "images_per_s", "seconds", "step", "epoch"} <= lines[0].keys()
    assert (whole[0] / "curves.png").stat().st_size > 1000
