"""Two processes train as one does: over gloo on the CPU, here."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from toy_run import run_toy, start_pair, wait_for

from pdeconv.training.checkpoint import read_checkpoint, steps_present
from pdeconv.training.metrics_log import read_metrics

PLAIN = ("--model.name", "toy_plain")  # batch normalisation sees half a batch on each process of the CPU


def assert_same_to_rounding(one: Path, two: Path) -> None:
    first, second = (read_metrics(run / "metrics.jsonl") for run in (one, two))
    assert len(first) == len(second) == 6
    for a, b in zip(first, second, strict=True):
        for key in a.keys() - {"kind", "seconds", "images_per_s"}:
            assert a[key] == pytest.approx(b[key], rel=1e-5), (key, a, b)
    alone, pair = (read_checkpoint(run / "checkpoints" / "best") for run in (one, two))
    assert alone.weights.keys() == pair.weights.keys()
    for name, weight in alone.weights.items():
        torch.testing.assert_close(weight, pair.weights[name], rtol=1e-4, atol=1e-6)


def test_torchrun_gives_the_same_metrics_as_one_process(tmp_path):
    program = Path(__file__).with_name("toy_run.py")
    # As the README has it: the -- keeps torchrun from reading --run as its own.
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "--"]
    command = [*launch, str(program), "--run", str(tmp_path / "two"), *PLAIN]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "on 2 x cpu" in done.stdout and done.stdout.count("to open:") == 1
    assert run_toy(tmp_path / "one", *PLAIN).status == 0
    assert_same_to_rounding(tmp_path / "one", tmp_path / "two")


def test_a_process_without_test_images(tmp_path):
    outcomes = [run.outcome() for run in start_pair(tmp_path / "two", *PLAIN, TOY_TESTS="1")]
    assert [outcome.status for outcome in outcomes] == [0, 0], outcomes
    assert run_toy(tmp_path / "one", *PLAIN, TOY_TESTS="1").status == 0
    assert_same_to_rounding(tmp_path / "one", tmp_path / "two")


def test_two_killed_processes_resume_bit_identical(tmp_path):
    options = ("--checkpoint_every", "3", "--resume", "auto")
    assert [run.outcome().status for run in start_pair(tmp_path / "whole", *options)] == [0, 0]
    first, second = start_pair(tmp_path / "killed", *options, kill=60)
    assert first.outcome().status == -signal.SIGKILL
    second.process.kill()
    second.outcome()
    assert [run.outcome().status for run in start_pair(tmp_path / "killed", *options)] == [0, 0]
    for name in ("step_00000012", "step_00000015"):
        one, two = (read_checkpoint(tmp_path / run / "checkpoints" / name) for run in ("whole", "killed"))
        assert one.model.keys() == two.model.keys()
        assert all(torch.equal(one.model[key], two.model[key]) for key in one.model)


def test_a_signal_to_one_process_stops_both(tmp_path):
    pair = start_pair(tmp_path / "run", "--epochs", "4000")
    wait_for(lambda: steps_present(tmp_path / "run" / "checkpoints"))
    pair[1].signal(signal.SIGTERM)
    assert [run.outcome().status for run in pair] == [143, 143]
    assert "--resume auto" in pair[0].outcome().text and not pair[1].outcome().text


def test_a_batch_size_that_does_not_divide(tmp_path):
    outcomes = [run.outcome() for run in start_pair(tmp_path / "run", "--batch_size", "7")]
    assert [outcome.status for outcome in outcomes] == [2, 2]
    assert outcomes[0].text == "train.py: batch_size 7 does not divide by 2 processes\n"
