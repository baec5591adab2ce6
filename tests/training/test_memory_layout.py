"""channels_last: auto is measured when a run begins, and kept by what continues it."""

import yaml
from test_resume import EVERY, assert_same_run
from toy_run import run_toy


def test_a_measured_layout_is_kept(tmp_path):
    run, plain = tmp_path / "run", tmp_path / "plain"
    assert run_toy(run, *EVERY, "--channels_last", "auto", kill=60).status < 0
    chosen = yaml.safe_load((run / "config.yaml").read_text())["channels_last"]
    assert isinstance(chosen, bool)
    outcome = run_toy(run, *EVERY, "--channels_last", "auto")
    assert outcome.status == 0, outcome.text
    assert "ms contiguous" not in outcome.text  # not measured again
    assert run_toy(plain, *EVERY, "--channels_last", str(chosen).lower()).status == 0
    assert_same_run(plain, run)  # measuring leaves no trace in the weights or the random numbers


def test_the_outcome_is_told(tmp_path):
    outcome = run_toy(tmp_path / "run", "--channels_last", "auto", "--epochs", "1")
    assert outcome.status == 0, outcome.text
    assert "ms channels_last" in outcome.text and "ms contiguous" in outcome.text
