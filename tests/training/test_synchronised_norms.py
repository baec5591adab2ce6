"""Batch normalisation over processes: torch's own layers, and nothing else, change; and they change back."""

import copy

import pytest
import torch
from torch import nn

from pdeconv import EnergyFlow, Euler, NetworkEnergy, StabilisedBlocks, create_model, replace_blocks
from pdeconv.models.resnet_classifier import ResNetClassifier
from pdeconv.training.synchronised_norms import synchronise_norms, without_synchronised_norms


class WithActivation(nn.BatchNorm2d):
    """As timm's BatchNormAct2d."""

    def forward(self, input):
        return super().forward(input).relu()


def synchronised(network: nn.Module) -> list[nn.Module]:
    return [part for part in network.modules() if isinstance(part, nn.SyncBatchNorm)]


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_there_and_back(dims):
    network = create_model("adr_residual_classifier", in_channels=1, widths=(4, 6), depths=(1, 1), dims=dims)
    u = torch.rand(2, 1, *(6,) * dims)
    network(u)  # which moves the running statistics
    network.eval()
    expected, weights = network(u), copy.deepcopy(network.state_dict())
    found = synchronise_norms(network)
    count = sum(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in found.modules())
    assert found is network and len(synchronised(network)) == count > 4
    assert torch.equal(without_synchronised_norms(network)(u), expected) and not synchronised(network)
    assert all(torch.equal(value, weights[key]) for key, value in network.state_dict().items())


def test_a_layer_that_does_more_stays():
    network = nn.Sequential(nn.BatchNorm2d(3), WithActivation(3), nn.GroupNorm(1, 3))
    assert [type(part) for part in synchronise_norms(network)] == [nn.SyncBatchNorm, WithActivation, nn.GroupNorm]
    stable = replace_blocks(ResNetClassifier(widths=(4,), depths=(1,)), StabilisedBlocks()).model.eval()
    u = torch.rand(1, 3, 8, 8)
    expected = stable(u)
    assert synchronised(synchronise_norms(stable)) and torch.equal(without_synchronised_norms(stable)(u), expected)


def test_a_layer_at_two_places_stays_one():
    norm = nn.BatchNorm1d(2)
    norm.weight.requires_grad_(False)
    network = synchronise_norms(nn.ModuleDict({"a": nn.Sequential(norm), "b": nn.Sequential(norm)}))
    assert network["a"][0] is network["b"][0] and isinstance(network["a"][0], nn.SyncBatchNorm)
    without_synchronised_norms(network)
    assert network["a"][0] is network["b"][0] and network["a"][0].weight is norm.weight and not synchronised(network)


def test_an_energy_keeps_its_own():
    energy = NetworkEnergy(nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Softplus()))
    assert not synchronised(synchronise_norms(nn.Sequential(Euler(EnergyFlow(energy)))))


def test_an_evolution_that_is_undone_keeps_its_own():
    options = {"widths": (4,), "depths": (1,), "steps": 2}
    counts = {}
    for memory in ("store", "reversible"):
        network = synchronise_norms(create_model("hamiltonian_classifier", memory=memory, **options))
        counts[memory] = len(synchronised(network)), len(synchronised(network.stages))
    assert counts["reversible"][1] == 0 < counts["reversible"][0] == counts["store"][0] - counts["store"][1]
