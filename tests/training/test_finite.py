"""A loss that is not finite stops a run with what is needed to find out why."""

import pytest
import torch
from torch import nn
from toy_run import run_toy, start_pair

from pdeconv.training.checkpoint import read_checkpoint, steps_present
from pdeconv.training.config import OptimizerConfig
from pdeconv.training.finite import FiniteGuard, first_non_finite
from pdeconv.training.optimization import build_optimizer


@pytest.mark.parametrize("processes", [1, 2])
def test_a_bad_sample_is_saved_and_the_layer_named(processes, tmp_path):
    options = ("--batch_size", "4", "--checkpoint_every", "1", "--log_every", "1000")
    if processes == 1:
        outcome = run_toy(tmp_path / "run", *options, TOY_BAD_SAMPLE="3")
        outcomes = [outcome]
    else:
        outcomes = [run.outcome() for run in start_pair(tmp_path / "run", *options, TOY_BAD_SAMPLE="3")]
    assert [outcome.status for outcome in outcomes] == [1] * processes
    text = next(outcome.text for outcome in outcomes if "the batch is in" in outcome.text)
    error = text.splitlines()[-1]
    assert "the output of first (Conv2d) is not finite; its input was not finite already" in error
    assert "Traceback" not in text
    (saved,) = (tmp_path / "run" / "nonfinite").iterdir()
    batch = torch.load(saved, weights_only=True)
    assert 3 in batch["indices"] and not batch["inputs"].isfinite().all()
    checkpoints = tmp_path / "run" / "checkpoints"
    good = steps_present(checkpoints)
    assert batch["step"] == (good[-1] if good else 0)
    for step in good:
        weights = read_checkpoint(checkpoints / f"step_{step:08d}").model
        assert all(weight.isfinite().all() for weight in weights.values())


def test_the_step_is_found_between_two_looks(tmp_path):
    """The same step is named whether one looks at each or only at the end of the epoch, and its weights are kept."""
    messages = []
    for every in ("1", "1000"):
        outcome = run_toy(tmp_path / every, "--batch_size", "4", "--log_every", every, TOY_BAD_SAMPLE="3")
        messages.append(outcome.text.splitlines()[-1].split("; the batch is in")[0])
    assert messages[0] == messages[1] and "weights" not in messages[0]


def test_weights_that_the_last_update_spoils_are_not_saved(tmp_path):
    options = ("--epochs", "1", "--batch_size", "40", "--optimizer.lr", "1e30", "--optimizer.weight_decay", "1e30")
    outcome = run_toy(tmp_path / "run", *options, "--optimizer.schedule", "constant")
    assert outcome.status == 1 and "the weights are not finite after step 1: " in outcome.text.splitlines()[-1]
    assert "a smaller optimizer.lr or optimizer.clip_norm 1.0" in outcome.text and "Traceback" not in outcome.text
    assert not steps_present(tmp_path / "run" / "checkpoints")


def test_a_test_without_a_result_is_no_success(tmp_path):
    options = ("--epochs", "1", "--batch_size", "40", "--optimizer.name", "sgd", "--optimizer.lr", "1e30")
    outcome = run_toy(tmp_path / "run", *options, "--optimizer.schedule", "constant")
    assert outcome.status == 1 and "output is not finite on the test set after step 1" in outcome.text.splitlines()[-1]
    assert "to open" not in outcome.text and "Traceback" not in outcome.text


def test_an_unstable_step_is_its_own_message(tmp_path):
    outcome = run_toy(tmp_path / "run", TOY_UNSTABLE="1")
    assert outcome.status == 1
    assert outcome.text.splitlines()[-1].startswith("train.py: unstable step: dt=0.40 exceeds")


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_the_optimizer_holds_still_from_the_first_bad_loss(name):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
    optimizer = build_optimizer(model, OptimizerConfig(name=name, weight_decay=0.1))
    guard = FiniteGuard(optimizer, torch.device("cpu"))
    seen = []
    for step in range(4):
        kept = [parameter.detach().clone() for parameter in model.parameters()]
        loss = model(torch.ones(2, 3)).square().mean() * (float("nan") if step == 2 else 1.0)
        optimizer.zero_grad()
        loss.backward()
        guard.watch(loss, None)
        optimizer.step()
        seen.append(any(not torch.equal(*pair) for pair in zip(kept, model.parameters(), strict=True)))
    assert seen == [True, True, False, False]


def test_naming_what_went_wrong():
    last = nn.Linear(2, 1)
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), last)
    good = torch.ones(1, 2)
    with torch.no_grad():
        last.weight[0, 0] = float("nan")
    found = first_non_finite(model, lambda: model(good).sum())
    assert found == "the output of 2 (Linear) is not finite; its own weights are not finite"
    with torch.no_grad():
        last.weight.fill_(1.0)
    found = first_non_finite(model, lambda: (model(good).sum() * 0).sqrt())
    assert "gradient of 0.weight is not" in found
    assert "the loss itself" in first_non_finite(model, lambda: model(good).sum() / 0)
