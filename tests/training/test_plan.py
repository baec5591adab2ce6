"""Greedy, then joint training, and the learning rate of each step: functions of the step number alone."""

import signal
from itertools import pairwise

import pytest
import torch
from test_distributed import assert_same_to_rounding
from test_resume import assert_same_run
from torch import nn
from toy_run import ToyNet, ToyStages, run_toy, start_pair

from pdeconv.errors import PDEConvError
from pdeconv.models import create_model
from pdeconv.training.config import OptimizerConfig
from pdeconv.training.optimization import build_optimizer, learning_rate
from pdeconv.training.plan import Plan, forget, plan_of

STAGED = ("--model.name", "toy_stages", "--optimizer.greedy", "0.6")


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "constant"])
def test_the_final_phase_is_long_low_and_reached_without_a_leap(schedule):
    config = OptimizerConfig(lr=2.0, schedule=schedule, final_share=0.3, final_rate=0.05)
    rates = [learning_rate(config, step, 1000) for step in range(1000)]
    assert rates[700:] == [0.1] * 300 and max(rates) == 2.0 and min(rates) >= 0.1 * (1 - 1e-9)
    if schedule != "constant":
        assert rates[699] == pytest.approx(0.1, rel=0.01) and max(abs(a - b) for a, b in pairwise(rates)) < 0.02
    without = OptimizerConfig(lr=2.0, schedule=schedule, final_rate=0.5)
    assert [learning_rate(without, step, 50) for step in range(50)] == [
        learning_rate(OptimizerConfig(lr=2.0, schedule=schedule), step, 50) for step in range(50)
    ]


def test_the_steps_are_shared_out_among_the_stages_and_each_phase_has_its_schedule():
    config = OptimizerConfig(lr=1.0, schedule="cosine", greedy=0.5)
    plan = Plan(config, 3, 61)
    found = [plan.at(step) for step in range(61)]
    assert [phase.stages for phase in found] == [1] * 10 + [2] * 10 + [3] * 10 + [None] * 31
    for phase, rate in zip(found, map(plan.rate, range(61)), strict=True):
        assert rate == learning_rate(config, phase.step, phase.steps)
    assert [step for step in range(61) if found[step].step == 0] == [0, 10, 20, 30]
    few = [Plan(OptimizerConfig(greedy=0.5), 3, 4).at(step) for step in range(4)]  # fewer steps than stages
    assert [phase.stages for phase in few] == [2, 3, None, None]


def test_without_greedy_training_every_step_is_joint():
    config = OptimizerConfig(lr=1.0)
    plan = plan_of(ToyNet(), config, 20)
    assert {plan.at(step).stages for step in range(20)} == {None}
    assert [plan.rate(step) for step in range(20)] == [learning_rate(config, step, 20) for step in range(20)]
    net = ToyNet()
    assert plan.at(3).part_of(net) is net


@pytest.mark.parametrize(
    "network", [ToyNet(), create_model("reaction_diffusion_denoiser", steps=1), create_model("adr_classifier")]
)
def test_a_model_without_stages_is_refused(network):
    with pytest.raises(PDEConvError, match=f"at least 2 stages .* but {type(network).__name__} has"):
        plan_of(network, OptimizerConfig(greedy=0.5), 10)


@pytest.mark.parametrize(("name", "options"), [("reaction_diffusion_denoiser", {}), ("multiscale_denoiser", {})])
def test_a_stage_learns_alone_and_all_together_are_the_model(name, options):
    model = create_model(name, steps=2, **options)
    image = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(model(image, 0.1), model(image, 0.1, stages=2))
        assert torch.equal(model(image, 0.1, stages=1), model.trajectory(image, 0.1).states[1])  # pyright: ignore[reportCallIssue]
    learning = []
    for stage in (1, 2):
        model.zero_grad()
        model(image, 0.1, stages=stage).square().mean().backward()
        learning.append({key for key, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0})
    assert learning[0] and learning[1] and learning[0] & learning[1] <= {"fidelity"}
    with pytest.raises(PDEConvError, match="has 2 stages, but got stages=3"):
        model(image, stages=3)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_earlier_and_later_stages_stay_exactly_as_they_are(name):
    torch.manual_seed(0)
    net, config = ToyStages(), OptimizerConfig(name=name, lr=0.1, weight_decay=0.3, greedy=0.8)
    optimizer, plan = build_optimizer(net, config), Plan(config, 2, 10)
    for step in range(8):
        before = [weight.clone() for weight in net.steps.parameters()], net.scale.detach().clone()
        plan.begin(step, optimizer)
        plan.at(step).part_of(net)(torch.ones(1, 1, 4, 4)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        stage = 0 if step < 4 else 1
        same = [torch.equal(old, new) for old, new in zip(before[0], net.steps.parameters(), strict=True)]
        assert same == [stage == 1] * 2 + [stage == 0] * 2
        assert (before[1] == net.scale).tolist() == [stage == 1, stage == 0]


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_an_optimiser_that_forgets_is_as_new(name):
    weights = []
    for used in (False, True):
        net = nn.Linear(3, 2)
        optimizer = build_optimizer(net, OptimizerConfig(name=name, lr=0.1, weight_decay=0.1))
        if used:
            net(torch.rand(1, 3)).sum().backward()
            optimizer.step()
            forget(optimizer)
        for step in range(4):
            if step == 0:
                nn.init.ones_(net.weight)
                nn.init.ones_(net.bias)
            optimizer.zero_grad()
            net(torch.arange(3.0)).square().sum().backward()
            optimizer.step()
        weights.append(net.weight.detach().clone())
    assert torch.equal(*weights)
    fresh = build_optimizer(net, OptimizerConfig(name=name, lr=0.1, weight_decay=0.1))
    forget(fresh)
    assert torch.equal(weights[1], net.weight) and len(fresh.state) == 2 and fresh.param_groups[0]["lr"] == 0.1


def test_a_greedy_run_killed_in_any_phase_ends_bit_identical(tmp_path):
    every = ("--checkpoint_every", "1", "--resume", "auto", *STAGED)  # so some checkpoint lies where a phase begins
    assert run_toy(tmp_path / "whole", *every).status == 0
    kill = 30
    while (outcome := run_toy(tmp_path / "killed", *every, kill=kill)).status == -signal.SIGKILL:
        kill += 7
    assert outcome.status == 0, outcome.text
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


def test_two_processes_train_greedily_as_one_does(tmp_path):
    outcomes = [run.outcome() for run in start_pair(tmp_path / "two", *STAGED)]
    assert [outcome.status for outcome in outcomes] == [0, 0], outcomes[0].text
    assert run_toy(tmp_path / "one", *STAGED).status == 0
    assert_same_to_rounding(tmp_path / "one", tmp_path / "two")


def test_a_compiled_model_computes_the_stages_that_it_is_asked_for():
    net = ToyStages()
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    x = torch.rand(1, 1, 5, 5)
    for stages in (1, 2, None):
        assert torch.equal(compiled(x, stages=stages), net(x, stages=stages))
    torch.compiler.reset()


def test_a_run_with_keys_that_came_later_goes_on(tmp_path):
    """A checkpoint of an older version lacks them: then they were at their defaults."""
    from pdeconv.training.config import parse_config
    from pdeconv.training.run_folder import FREE_ON_RESUME, _require_same, as_plain

    given = ["--task", "denoising", "--model.name", "m", "--data.name", "photographs", "--run", "r"]
    saved = as_plain(parse_config(given))
    del saved["optimizer"]["greedy"]
    _require_same(parse_config(given), saved, FREE_ON_RESUME)
    with pytest.raises(PDEConvError, match=r"optimizer.greedy \(was 0.0, now 0.5\)"):
        _require_same(parse_config([*given, "--optimizer.greedy", "0.5"]), saved, FREE_ON_RESUME)


def test_a_bad_batch_of_a_greedy_phase_is_found(tmp_path):
    outcome = run_toy(tmp_path / "run", *STAGED, TOY_BAD_SAMPLE="3")
    assert outcome.status == 1 and "is not finite" in outcome.text and "the batch is in" in outcome.text
