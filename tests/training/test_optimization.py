"""The optimiser, the learning rate and which samples come when."""

import pytest
import torch
from torch import nn

from pdeconv.errors import PDEConvError
from pdeconv.training.config import OptimizerConfig
from pdeconv.training.optimization import WeightAverage, build_optimizer, learning_rate
from pdeconv.training.sampling import Batches


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.norm = nn.BatchNorm2d(2)
        self.diffusivity = nn.Parameter(torch.ones(2))
        self.duration = nn.Parameter(torch.ones(()))


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_only_tensors_of_two_or_more_dimensions_decay(name):
    net = Net()
    optimizer = build_optimizer(net, OptimizerConfig(name=name, weight_decay=0.3))
    decaying, other = optimizer.param_groups
    assert decaying["weight_decay"] == 0.3 and [id(p) for p in decaying["params"]] == [id(net.conv.weight)]
    assert other["weight_decay"] == 0.0 and len(other["params"]) == 5
    assert name == "adamw" or (optimizer.defaults["nesterov"] and optimizer.defaults["momentum"] == 0.9)


def test_a_model_without_parameters_is_refused():
    with pytest.raises(PDEConvError, match="no parameters to train"):
        build_optimizer(nn.ReLU(), OptimizerConfig())


def test_one_cycle_is_that_of_torch():
    config = OptimizerConfig(lr=0.5, schedule="one_cycle", warmup=0.25)
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.5)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.5, total_steps=400, pct_start=0.25)
    for step in range(400):
        assert learning_rate(config, step, 400) == pytest.approx(optimizer.param_groups[0]["lr"], abs=0.01)
        optimizer.step()
        if step < 399:
            schedule.step()


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "constant"])
@pytest.mark.parametrize("total", [1, 2, 3, 10])
def test_the_rate_is_positive_and_never_above_its_largest(schedule, total):
    for warmup in (0.0, 0.3, 0.9):
        config = OptimizerConfig(lr=2.0, schedule=schedule, warmup=warmup)
        rates = [learning_rate(config, step, total) for step in range(total)]
        assert all(0 < rate <= 2.0 for rate in rates)


def test_cosine_and_constant():
    cosine = [learning_rate(OptimizerConfig(lr=1.0, schedule="cosine", warmup=0.1), step, 100) for step in range(100)]
    assert cosine[0] == pytest.approx(0.1) and cosine[10] == 1.0 and cosine[55] == pytest.approx(0.5)
    assert cosine[10:] == sorted(cosine[10:], reverse=True) and cosine[-1] < 1e-3
    assert learning_rate(OptimizerConfig(lr=1.0, schedule="constant"), 99, 100) == 1.0


def test_the_average_follows_the_weights():
    net = nn.Linear(1, 1, bias=False)
    average = WeightAverage(net, 0.5)
    expected = net.weight.item()
    for step in range(1, 4):
        with torch.no_grad():
            net.weight.fill_(float(step))
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    with average.applied():
        assert net.weight.item() == pytest.approx(expected)
    assert net.weight.item() == 3.0


def test_statistics_of_batch_normalisation_are_averaged_with_the_weights():
    norm = nn.BatchNorm1d(1, momentum=1.0)  # the running mean is that of the last batch
    mean = norm.running_mean
    assert mean is not None
    average = WeightAverage(norm, 0.5)
    expected = 0.0
    for step in range(1, 4):
        norm(step + torch.tensor([[-1.0], [1.0]]))
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    with average.applied():
        assert mean.item() == pytest.approx(expected)
        mean.fill_(7.0)  # taken anew for the averaged weights
    assert mean.item() == 3.0
    with average.applied():
        assert mean.item() == 7.0


def test_batches_split_over_processes_are_those_of_one():
    alone = list(Batches(50, 8, seed=3).epoch(2))
    pair = [list(Batches(50, 8, 3, process, 2).epoch(2)) for process in range(2)]
    assert len(alone) == Batches(50, 8, seed=3).per_epoch == 6
    for whole, left, right in zip(alone, *pair, strict=True):
        assert torch.equal(whole[0], torch.cat((left[0], right[0]))) and whole[1] == left[1] == right[1]
    assert torch.cat([indices for indices, _ in alone]).unique().numel() == 48


def test_batches_go_on_from_the_middle_and_differ_between_epochs_and_seeds():
    batches = Batches(50, 8, seed=3)
    assert torch.equal(list(batches.epoch(1))[4][0], next(batches.epoch(1, start=4))[0])
    assert torch.equal(batches.at_step(6 + 4)[0], next(batches.epoch(1, start=4))[0])
    first = [next(b.epoch(e))[0].tolist() for b, e in ((batches, 0), (batches, 1), (Batches(50, 8, seed=4), 0))]
    assert first[0] != first[1] and first[0] != first[2]
    assert batches.loss_seed(0) != batches.loss_seed(1) != next(batches.epoch(1))[1]


def test_a_batch_larger_than_the_epoch_is_refused():
    with pytest.raises(PDEConvError, match="batch_size 64 exceeds the 50 training samples"):
        Batches(50, 64, seed=0)
