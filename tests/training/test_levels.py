"""Multilevel training: a level is a function of the epoch, and no kill, second process or compiler changes it."""

import signal
from types import SimpleNamespace

import pytest
import torch
from test_resume import assert_same_run
from torch import nn
from toy_run import ToySource, run_toy, start_pair

from pdeconv import (
    CFL,
    Adaptive,
    Advection,
    Diffusion,
    DormandPrince,
    Euler,
    Evolve,
    Fixed,
    Heun,
    PDEConvError,
    PerChannel,
    PerChannelVelocity,
    Residual,
    StabilityError,
    TimeVarying,
    create_model,
    refine_time,
)
from pdeconv.refine import Coarsening
from pdeconv.training.config import LevelsConfig, TrainConfig
from pdeconv.training.data_config import DataConfig
from pdeconv.training.levels import Levels, Resized, shrunk
from pdeconv.training.metrics_log import read_metrics
from pdeconv.training.model_config import ModelConfig

LEVELS = ("--levels.share", "[0.4, 0.6]", "--levels.image_scale", "[0.5, 1]")
TIMED = ("--model.name", "toy_evolving", "--levels.time_scale", "[0.5, 1]", *LEVELS)


def config(epochs: int, **levels) -> TrainConfig:
    model, data = ModelConfig("m"), DataConfig("digits")
    return TrainConfig("classification", model, data, "runs/x", epochs=epochs, levels=LevelsConfig(**levels))


def test_a_level_is_a_function_of_the_epoch():
    levels = Levels(config(10, share=[0.25, 0.25, 0.5]), nn.Identity(), per_epoch=3)
    assert [levels.at(epoch) for epoch in range(11)] == [0, 0, 0, 1, 1, 2, 2, 2, 2, 2, 2]
    assert [epoch for epoch in range(11) if levels.begins(epoch)] == [3, 5]
    assert levels.mark(0) == {"level": 1} and levels.mark(5) == {}
    alone = Levels(config(4), nn.Identity(), per_epoch=3)
    assert {alone.at(epoch) for epoch in range(5)} == {0} and not any(map(alone.begins, range(5)))
    assert alone.mark(0) == alone.shown(0) == {}


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ({"share": [0.5, 0.4]}, r"levels\.share: expected shares that sum to 1 \(not 0\.9\)"),
        ({"share": [1.5, -0.5]}, r"levels\.share: expected shares of more than 0"),
        ({"image_scale": [1.0]}, r"levels\.image_scale: expected none without levels\.share"),
        ({"share": [0.5, 0.5], "image_scale": [1.0]}, r"levels\.image_scale: expected as many as the 2 shares"),
        ({"share": [0.5, 0.5], "time_scale": [0.5, 0.5]}, "the last of them 1"),
        ({"share": [0.5, 0.5], "time_scale": [0.0, 1.0]}, "scales above 0"),
        ({"share": [0.5, 0.5], "image_scale": [2.0, 1.0]}, "that do not fall"),
        ({"share": [0.01, 0.99]}, "at least one of the 10 epochs each"),
    ],
)
def test_slips_in_levels(levels, expected):
    with pytest.raises(PDEConvError, match=expected):
        config(10, **levels)


def test_levels_and_greedy_training_exclude_each_other(tmp_path):
    given = ("--model.name", "toy_stages", "--optimizer.greedy", "0.5", *LEVELS)
    outcome = run_toy(tmp_path / "run", *given)
    assert outcome.status == 2 and "optimizer.greedy: expected 0 beside levels" in outcome.text


def test_images_are_means_over_areas():
    images = torch.arange(32.0).view(1, 2, 4, 4)
    assert torch.equal(shrunk(images, 0.5)[0, 0], torch.tensor([[2.5, 4.5], [10.5, 12.5]]))
    assert torch.equal(shrunk(images, 0.25).flatten(), images.mean((2, 3)).flatten())
    assert shrunk(images, 0.01).shape == (1, 2, 1, 1) and shrunk(images, 0.9) is images
    assert shrunk(torch.rand(1, 1, 9, 5), 0.5).shape == (1, 1, 4, 2)
    source = Resized(ToySource(torch.rand(6, 1, 4, 4)), 0.5)
    inputs, targets = source.batch(torch.arange(3), 0)
    assert inputs.shape == targets.shape == (3, 1, 2, 2) and len(source) == 6 and source.same_size
    assert torch.equal(inputs, next(iter(source.iterate([(torch.arange(3), 0)])))[0])


def test_a_coarse_network_keeps_its_tensors_and_comes_back_exactly():
    """Also by a scale whose inverse is no number of the machine; and what it was before does not matter."""
    terms = Diffusion(PerChannel(2)) + Advection(PerChannelVelocity(2))
    net = nn.Sequential(Evolve(Heun(terms), 1.0, Fixed(24)), Evolve(Heun(Diffusion(PerChannel(2))), 1.0, CFL(0.9)))
    u, weights = torch.rand(1, 2, 9, 9), [id(weight) for weight in net.parameters()]
    whole, shown = net(u), repr(net)
    coarsening = Coarsening(net)
    coarsening.set(time=0.5, space=0.3)
    coarse = repr(net)
    assert net[0].steps == 12 and net[0].step.term.grid.spacings == (1 / 0.3, 1 / 0.3)
    coarsening.set(time=0.25, space=0.7)
    coarsening.set(time=0.5, space=0.3)
    assert repr(net) == coarse
    coarsening.set()
    assert repr(net) == shown and torch.equal(net(u), whole) and [id(weight) for weight in net.parameters()] == weights


def test_fewer_steps_are_what_refine_time_undoes():
    net = Evolve(Heun(TimeVarying(Diffusion(PerChannel(2)), points=3)), 1.0, Fixed(32))
    u = torch.rand(1, 2, 6, 6)
    fine = net(u)
    Coarsening(net).set(time=0.25)
    assert net.steps == 8 and torch.equal(refine_time(net, 4)(u), fine)


def test_an_evolution_with_kernels_keeps_its_spacing():
    """Its terms share one grid, so all of them do; another evolution of the network does not care."""
    branch = Residual(nn.Conv2d(2, 2, 3, padding=1))
    net = nn.Sequential(
        Evolve(Euler(branch + Diffusion(PerChannel(2))), 1.0, Fixed(4, unchecked=True)),
        Evolve(Heun(Diffusion(PerChannel(2))), 1.0, Fixed(4)),
    )
    Coarsening(net).set(space=0.5)
    assert net[0].step.term.grid.spacing == 1.0 and net[1].step.term.grid.spacings == (2.0, 2.0)


def test_an_evolution_within_another_keeps_its_steps():
    """The heat conduction of a block is an exact flow over the whole of its time, in every step of the block."""
    net = create_model("heat_classifier", widths=(8, 8), depths=(1, 1), steps=4)
    inner = [part.heat for part in net.modules() if hasattr(part, "heat")]
    outer = [part for part in net.modules() if isinstance(part, Evolve) and part not in inner]
    Coarsening(net).set(time=0.5, space=0.5)
    assert [evolve.steps for evolve in outer] == [2, 2] and [evolve.steps for evolve in inner] == [1, 1]
    assert net(torch.rand(2, 3, 8, 8)).shape == (2, 10)


def test_what_cannot_be_coarser_is_said_and_leaves_the_network_as_it_was():
    diffusion = Diffusion(PerChannel(1, ceiling=0.5))
    net = nn.Sequential(Evolve(Heun(diffusion), 1.0, Fixed(6)), Evolve(Heun(diffusion), 1.0, Fixed(5)))
    shown, coarsening = repr(net), Coarsening(net)
    with pytest.raises(PDEConvError, match=r"the Evolve '1' takes Fixed\(n=5.*, of which 0\.5 times as many"):
        coarsening.set(time=0.5)
    assert repr(net) == shown
    with pytest.raises(StabilityError, match="exceeds the limit"):
        Coarsening(net[0]).set(time=1 / 6)
    assert repr(net) == shown
    coarsening.set(space=0.5)
    assert net[1].step.term.grid.spacings == (2.0, 2.0), "once, though two evolutions have it"
    with pytest.raises(PDEConvError, match="no Evolve of Fixed steps"):
        Coarsening(nn.Identity()).set(time=0.5)
    adaptive = Evolve(DormandPrince(Diffusion(PerChannel(1))), 1.0, Adaptive())
    with pytest.raises(PDEConvError, match="no Evolve of Fixed steps"):
        Coarsening(adaptive).set(time=0.5)
    with pytest.raises(PDEConvError, match=r"levels: level 1, steps x 0\.5: the Evolve '1' takes"):
        Levels(config(4, share=[0.5, 0.5], time_scale=[0.5, 1.0]), net, 3)


def test_a_compiled_network_follows_its_levels():
    torch.compiler.reset()
    net = nn.Sequential(Evolve(Heun(Diffusion(PerChannel(2))), 1.0, Fixed(4)))
    compiled, coarsening = torch.compile(net, backend="eager", fullgraph=True), Coarsening(net)
    for time, space in ((0.5, 0.5), (1.0, 0.5), (1.0, 1.0), (0.5, 0.5)):
        coarsening.set(time, space)
        u = torch.rand(1, 2, round(8 * space), round(8 * space))
        torch.testing.assert_close(compiled(u), net(u))
    torch.compiler.reset()


def test_each_level_is_compiled_for_its_own_size():
    """As in a run that resumes there, and however many levels there are."""
    torch.compiler.reset()
    graphs = []

    def backend(graph, _):
        graphs.append([node.meta["example_value"] for node in graph.graph.find_nodes(op="placeholder")])
        return graph.forward

    net = nn.Sequential(Evolve(Heun(Diffusion(PerChannel(1, ceiling=0.1))), 1.0, Fixed(4)))
    scales = {"share": [0.25] * 4, "image_scale": [0.25, 0.5, 0.75, 1.0], "time_scale": [0.5, 0.5, 1.0, 1.0]}
    levels = Levels(config(4, **scales), net, per_epoch=3)
    net.compile(backend=backend)
    statistics = SimpleNamespace(estimate=lambda source, epoch: None, source=None)
    for epoch, (size, steps) in enumerate(((2, 2), (4, 2), (6, 4), (8, 4))):
        levels.enter(epoch, 3 * epoch, statistics)  # pyright: ignore
        net(torch.rand(1, 1, size, size))
        images = [value.shape for value in graphs[-1] if isinstance(value, torch.Tensor) and value.dim() == 4]
        assert len(graphs) == epoch + 1 and net[0].steps == steps
        assert images and all(type(side) is int for shape in images for side in shape), "not of any size"
    torch.compiler.reset()


def test_a_run_says_what_a_refinement_changed(tmp_path):
    assert run_toy(tmp_path / "run", "--evaluate_every", "3", *TIMED).status == 0
    lines = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [(line["kind"], line["epoch"]) for line in lines] == [
        ("train", 1),
        ("refinement", 1),
        ("test", 1),
        ("train", 2),
        ("train", 3),
        ("test", 3),
    ]
    assert [line.get("level") for line in lines] == [1, 2, 1, None, None, None]
    assert lines[1]["psnr_before"] == lines[2]["psnr"] != lines[1]["psnr_after"]
    best = (tmp_path / "run" / "checkpoints" / "best").resolve().name
    assert best == "step_00000015", "a result on a coarse level is of another network"


def test_a_killed_multilevel_run_ends_bit_identical(tmp_path):
    every = ("--checkpoint_every", "1", "--resume", "auto", *TIMED)
    assert run_toy(tmp_path / "whole", *every).status == 0
    kill = 20
    while (outcome := run_toy(tmp_path / "killed", *every, kill=kill)).status == -signal.SIGKILL:
        kill += 15
    assert outcome.status == 0, outcome.text
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


def test_killed_while_a_refinement_is_measured(tmp_path):
    """The level before is tested again, and the statistics of normalisation are taken again."""
    options = ("--resume", "auto", *TIMED)
    whole = run_toy(tmp_path / "whole", *options)
    assert whole.status == 0, whole.text
    moments = whole.moments
    tested, logged = moments.index("update"), moments.index("append")
    for kill in (tested + 2, logged, logged + 1):
        run = tmp_path / f"kill_{kill}"
        assert run_toy(run, *options, kill=kill).status == -signal.SIGKILL
        assert run_toy(run, *options).status == 0
        assert_same_run(tmp_path / "whole", run)


def test_two_processes_train_on_levels_as_one_does(tmp_path):
    given = ("--model.name", "toy_plain", *LEVELS)
    outcomes = [run.outcome() for run in start_pair(tmp_path / "two", *given)]
    assert [outcome.status for outcome in outcomes] == [0, 0], outcomes[0].text
    assert run_toy(tmp_path / "one", *given).status == 0
    one, two = (read_metrics(tmp_path / run / "metrics.jsonl") for run in ("one", "two"))
    assert len(one) == len(two) == 7
    for a, b in zip(one, two, strict=True):
        for key in a.keys() - {"kind", "seconds", "images_per_s"}:
            assert a[key] == pytest.approx(b[key], rel=1e-4), (key, a, b)


@pytest.mark.parametrize("more", [("--ema", "null", "--channels_last", "true"), ("--checkpoint_every", "2")])
def test_two_processes_with_normalisation_have_one_statistic(tmp_path, more):
    outcomes = [run.outcome() for run in start_pair(tmp_path / "two", *TIMED, *more)]
    assert [outcome.status for outcome in outcomes] == [0, 0], outcomes[0].text
    line = read_metrics(tmp_path / "two" / "metrics.jsonl")[1]
    assert line["kind"] == "refinement" and line["psnr_after"] > 0


def test_a_bad_batch_of_a_coarse_level_is_found(tmp_path):
    outcome = run_toy(tmp_path / "run", *TIMED, TOY_BAD_SAMPLE="3")
    assert outcome.status == 1 and "is not finite" in outcome.text and "the batch is in" in outcome.text
    batch = torch.load(next((tmp_path / "run" / "nonfinite").iterdir()))
    assert batch["inputs"].shape[-1] == 3


def test_classifiers_run_on_coarse_levels():
    for name in ("parabolic_classifier", "second_order_classifier", "resnet_classifier"):
        net = create_model(name, in_channels=1, num_classes=3, steps=2).eval()
        u = torch.rand(1, 1, 16, 16)
        with torch.no_grad():
            whole, coarsening = net(u), Coarsening(net)
            coarsening.set(time=0.5, space=0.5)
            assert net(u[..., :8, :8]).shape == (1, 3) and not torch.equal(net(u), whole)
            coarsening.set()
            assert torch.equal(net(u), whole)
