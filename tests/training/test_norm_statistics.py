"""The statistics of batch normalisation, taken anew, are those of the images to come, and nothing else changes."""

import copy
from types import SimpleNamespace

import torch
from torch import nn
from toy_run import ToySource

from pdeconv.training.levels import Resized
from pdeconv.training.norm_statistics import BATCHES, NormStatistics
from pdeconv.training.sampling import Batches


def test_they_are_means_over_the_first_batches():
    norm = nn.BatchNorm2d(1, momentum=0.3)
    network = nn.Sequential(norm, nn.Dropout(0.5), nn.BatchNorm2d(1, track_running_stats=False)).eval()
    with torch.no_grad():
        norm.running_mean.fill_(7.0)
        norm.num_batches_tracked.fill_(5)
    source = Resized(ToySource(torch.rand(200, 1, 8, 8)), 0.5)
    batches = Batches(200, 5, 0, 0, 1)
    seen = []

    def loss(network, inputs, targets, seed, first):
        assert network.training and not torch.is_grad_enabled() and first == batches.first
        seen.append((inputs, seed))
        return network(inputs).sum()

    task, accelerator = SimpleNamespace(loss=loss), SimpleNamespace(device=torch.device("cpu"), num_processes=1)
    statistics = NormStatistics(task, network, source, batches, accelerator, 5)  # pyright: ignore
    weights, random = copy.deepcopy(dict(network.named_parameters())), torch.get_rng_state()
    statistics.estimate(source, epoch=2)
    expected = [source.batch(*pair)[0] for pair in batches.epoch(2)][:BATCHES]
    assert len(seen) == BATCHES < batches.per_epoch and len({seed for _, seed in seen}) == BATCHES
    assert all(torch.equal(inputs, other) for (inputs, _), other in zip(seen, expected, strict=True))
    torch.testing.assert_close(norm.running_mean, torch.stack([images.mean((0, 2, 3)) for images in expected]).mean(0))
    torch.testing.assert_close(norm.running_var, torch.stack([images.var((0, 2, 3)) for images in expected]).mean(0))
    assert norm.momentum == 0.3 and norm.num_batches_tracked == 5 and not network.training
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(weight, weights[name]) for name, weight in network.named_parameters())
