"""The network of a configuration, and the weights that it begins with."""

import pytest
import torch
from torch import nn
from toy_run import run_toy

from pdeconv import PDEConvError, create_model, register_model
from pdeconv.models import registry
from pdeconv.models.spiking_classifier import Neurons
from pdeconv.training.checkpoint import read_checkpoint
from pdeconv.training.model_config import ModelConfig
from pdeconv.training.network import begin_with, build_network


def test_begins_with_weights_that_come_with_the_package():
    network = create_model("multiscale_denoiser", channels=20, steps=2)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    note = begin_with(network, "multiscale_denoiser_small", channels=1)
    known = create_model("multiscale_denoiser_small", pretrained=True).state_dict()
    assert note == "cycles.0 from multiscale_denoiser_small; cycles.1 at the start"
    for key, value in network.state_dict().items():
        assert torch.equal(value, known.get(key, before[key])), key


@pytest.mark.parametrize("steps", [(1, 2), (2, 1), (3, 2)])
def test_begins_with_a_network_of_other_steps(steps, monkeypatch):
    """The statistics of batch normalisation are those of the nearest times."""
    before, after = (create_model("parabolic_classifier", widths=(4, 6), depths=(1, 1), steps=count) for count in steps)
    before.train()(torch.rand(8, 3, 8, 8))
    monkeypatch.setattr("pdeconv.training.network.weights_of", lambda *_: before.state_dict())
    assert "at the start" not in begin_with(after, "before", channels=3)
    for weight, other in zip(before.parameters(), after.parameters(), strict=True):
        assert torch.equal(weight, other)
    expected = create_model("parabolic_classifier", widths=(4, 6), depths=(1, 1), steps=steps[1])
    expected.load_state_dict(before.state_dict())
    assert all(torch.equal(value, expected.state_dict()[key]) for key, value in after.state_dict().items())


def test_a_part_is_copied_as_a_whole_or_not_at_all():
    """K alone would fit, without the network that sees g in its responses."""
    network = create_model("multiscale_denoiser", channels=8)
    with pytest.raises(PDEConvError, match="no part of 'multiscale_denoiser_small'"):
        begin_with(network, "multiscale_denoiser_small", channels=1)


def test_what_cannot_be_fetched_is_said(monkeypatch):
    monkeypatch.setattr(registry, "_constructors", dict(registry._constructors))

    @register_model("far_away")
    def far_away(in_channels: int = 1) -> nn.Module:
        raise ConnectionError("no route to the weights")

    with pytest.raises(PDEConvError, match=r"model: far_away needs something that .* no route to the weights"):
        build_network(ModelConfig("far_away"), 1, None)


def test_slips():
    with pytest.raises(PDEConvError, match="no part of 'multiscale_denoiser_small' has the weights of one of ADRDen"):
        begin_with(create_model("adr_denoiser"), "multiscale_denoiser_small", channels=1)
    with pytest.raises(PDEConvError, match="did you mean 'multiscale_denoiser_small'"):
        begin_with(create_model("adr_denoiser"), "multiscale_denoiser_smal", channels=1)
    with pytest.raises(PDEConvError, match=r"\(in_channels=1\)"):
        begin_with(create_model("multiscale_denoiser", in_channels=3), "multiscale_denoiser_small", channels=3)
    with pytest.raises(PDEConvError, match=r"unknown model\.name 'adr_denoisr'"):
        build_network(ModelConfig("adr_denoisr"), 1, None)


def test_options_that_have_no_key_of_their_own():
    options = {"leak": 0.25, "threshold": 0.3}
    network = build_network(ModelConfig("spiking_classifier", widths=[8], depths=[1], options=options), 1, ("a", "b"))
    expected = create_model("spiking_classifier", in_channels=1, num_classes=2, widths=[8], depths=[1], **options)
    neurons = [[part for part in net.modules() if isinstance(part, Neurons)] for net in (network, expected)]
    assert [repr(part) for part in neurons[0]] == [repr(part) for part in neurons[1]] and neurons[0]
    for bad, expected in (
        ({"leek": 1}, "no option 'leek'; did you mean 'leak'"),
        ({"norm_layer": "BatchNorm2d"}, r"model\.options: norm_layer is a layer"),
        ({"num_classes": 3}, r"model\.options: num_classes comes from the data"),
        ({"leak": "much"}, "leak"),
    ):
        with pytest.raises(PDEConvError, match=expected):
            build_network(ModelConfig("spiking_classifier", options=bad), 1, ("a", "b"))


def test_what_a_model_cannot_be_built_with_is_told(monkeypatch):
    """A model of the user's own need not check its options; an error that options did not cause stays what it is."""
    monkeypatch.setattr(registry, "_constructors", dict(registry._constructors))

    @register_model("careless")
    def careless(in_channels: int = 1, num_classes: int = 2, steps: int = 1, **options) -> nn.Module:
        return nn.Linear(6 // options.get("shares", steps), num_classes)

    assert build_network(ModelConfig("careless", options={"shares": 3}), 1, ("a",)).in_features == 2
    for shares in ("two", 0):
        with pytest.raises(PDEConvError, match=r"model\.options: careless cannot be built with \{'shares': "):
            build_network(ModelConfig("careless", options={"shares": shares}), 1, ("a",))
    with pytest.raises(ZeroDivisionError):
        build_network(ModelConfig("careless", steps=0), 1, ("a",))


def test_a_run_begins_with_another(tmp_path):
    """With no step to speak of it ends with the weights of the other."""
    first, second = tmp_path / "first", tmp_path / "second"
    assert run_toy(first, "--epochs", "1").status == 0
    given = ("--epochs", "1", "--seed", "7", "--optimizer.lr", "1e-9", "--begin_with", str(first))
    run = run_toy(second, *given)
    assert run.status == 0, run
    known, found = (read_checkpoint(folder / "checkpoints" / "best") for folder in (first, second))
    for key, value in found.weights.items():
        if "norm.running" not in key and "num_batches" not in key:
            assert torch.allclose(value, known.weights[key], atol=1e-6), key
