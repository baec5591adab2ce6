"""The probe measures the sharpness of the loss, and leaves training as it was."""

import json
from types import SimpleNamespace

import pytest
import torch
from accelerate.utils import DistributedType
from torch import nn
from toy_run import ToySource, run_toy

from pdeconv.errors import PDEConvError
from pdeconv.training.sharpness import SharpnessProbe, lone_copy
from pdeconv.viz import sharpness_figure


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def probe_of(every, network, kind=DistributedType.NO, main=True):
    accelerator = SimpleNamespace(device=torch.device("cpu"), is_main_process=main, distributed_type=kind)
    task = SimpleNamespace(loss=lambda model, inputs, targets, seed: 3 * (model(inputs) - targets).square().mean())
    return SharpnessProbe(SimpleNamespace(sharpness_every=every), task, network, accelerator)  # pyright: ignore


def test_it_is_the_largest_eigenvalue_of_the_hessian():
    """L = 3·mean((w·x − y)²): L'' = 6·mean(x²)."""
    network, source = nn.Conv2d(1, 1, 1, bias=False), ToySource(torch.rand(10, 1, 4, 4))
    found = probe_of(2, network).measured(1, source, rate=0.5)["sharpness"]
    inputs, _ = source.batch(torch.arange(10), 0)
    assert found["sharpness"] == pytest.approx(6 * float(inputs.square().mean()), rel=1e-4)
    assert found["limit"] == 4 and found["seconds"] > 0


def test_it_measures_when_it_is_due_and_by_the_first_process_alone():
    network, source = nn.Conv2d(1, 1, 1), ToySource(torch.rand(10, 1, 4, 4))
    assert [bool(probe_of(3, network).measured(epoch, source, 0.1)) for epoch in range(6)] == [False, False, True] * 2
    assert not probe_of(None, network).measured(0, source, 0.1)
    assert not probe_of(1, network, main=False).measured(0, source, 0.1)
    with pytest.raises(PDEConvError, match="FSDP"):
        probe_of(1, network, DistributedType.FSDP)


def test_training_goes_on_as_if_nobody_had_looked(tmp_path):
    """Weights and statistics to the last bit, with dropout and batch normalisation; the figure is drawn."""
    whole, looked = tmp_path / "whole", tmp_path / "looked"
    assert run_toy(whole).status == 0 and run_toy(looked, "--sharpness_every", "1").status == 0
    tests = [[line for line in lines(folder) if line["kind"] == "test"] for folder in (whole, looked)]
    assert tests[0] == tests[1]
    found = [line for line in lines(looked) if line["kind"] == "sharpness"]
    assert [line["epoch"] for line in found] == [1, 2, 3] and all(line["sharpness"] > 0 for line in found)
    assert (looked / "sharpness.png").stat().st_size > 5000 and not (whole / "sharpness.png").exists()


def test_the_copy_is_of_one_process_and_full_precision():
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.SyncBatchNorm(2))
    network.forward = lambda x: x.bfloat16()  # as accelerate sets it on the instance
    copied = lone_copy(network)
    assert not isinstance(copied[1], nn.SyncBatchNorm) and type(network[1]) is nn.SyncBatchNorm
    assert torch.equal(copied[1].running_var, network[1].running_var)
    assert copied(torch.rand(2, 1, 2, 2)).dtype == torch.float32


def test_what_cannot_be_measured_does_not_end_the_training():
    class Root(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.zeros(1))

        def forward(self, x):
            return x + self.w.abs().sqrt()  # no derivative at 0

    found = probe_of(1, Root()).measured(0, ToySource(torch.rand(4, 1, 2, 2)), 0.1)
    assert found["sharpness"]["sharpness"] != found["sharpness"]["sharpness"]  # NaN
    hard = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Hardsigmoid())
    assert "sharpness" in probe_of(1, hard).measured(0, ToySource(torch.rand(4, 1, 2, 2)), 0.1)


def test_without_measurements_there_is_nothing_to_draw():
    with pytest.raises(PDEConvError, match="sharpness_every=1"):
        sharpness_figure([{"kind": "train", "epoch": 1, "loss": 1.0}])
