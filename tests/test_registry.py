"""Models and blocks by name, and what they answer to a slip."""

import pytest
import torch

from pdeconv import (
    CFL,
    Constant,
    Diffusion,
    Euler,
    Evolve,
    Grid,
    PDEBasicBlock,
    PDEBlock,
    PDEConvError,
    create_model,
    list_models,
    list_pretrained,
    model_card,
    register_model,
)
from pdeconv.models import pretrained
from pdeconv.models.registry import _constructors


def test_wildcards():
    """A pattern chooses among all; new models may join, those that are out stay."""
    every = list_models()
    assert every == sorted(set(every)) and list_models("nothing*") == []
    denoisers, classifiers = list_models("*denoiser"), list_models("*classifier")
    assert {"adr_classifier", "parabolic_classifier"} <= set(classifiers)
    assert {"adr_denoiser", "energy_flow_denoiser", "gradient_flow_denoiser", "multiscale_denoiser"} <= set(denoisers)
    assert {"multiscale_denoiser_small", "multiscale_denoiser_large"} <= set(list_models("multiscale_*_[sl]*"))
    assert "diffusion_inpainter" in list_models("*inpainter")
    for pattern in ("*denoiser", "*classifier", "multiscale*", "adr_?*"):
        first, last = pattern.split("*")[0].rstrip("?"), pattern.rpartition("*")[2]
        assert list_models(pattern) == [name for name in every if name.startswith(first) and name.endswith(last)]
    assert {name for name, _ in list_pretrained()} <= set(every)


def test_a_model_of_ones_own():
    try:

        @register_model("mine_for_a_test")
        def mine(in_channels: int = 1):
            return torch.nn.Conv2d(in_channels, 1, 1)

        assert create_model("mine_for_a_test", in_channels=2).in_channels == 2
        with pytest.raises(PDEConvError, match="registered already"):
            register_model("mine_for_a_test")(mine)
    finally:
        _constructors.pop("mine_for_a_test", None)


def test_near_matches_are_named():
    with pytest.raises(PDEConvError, match="adr_classifier"):
        create_model("adr_clasifier")
    with pytest.raises(PDEConvError, match="did you mean 'widths'"):
        create_model("adr_classifier", width=8)
    with pytest.raises(PDEConvError, match="list_models"):
        create_model("zzz")
    for bad in (dict(widths=(0, 8, 8)), dict(in_channels=-1), dict(steps=1.5), dict(num_classes=True)):
        with pytest.raises(PDEConvError, match="at least 1"):
            create_model("parabolic_classifier", **bad)


def own_model(name, constructor):
    """Registered while a test runs."""
    register_model(name)(constructor)
    return name


@pytest.fixture
def registry():
    before = dict(_constructors)
    yield
    _constructors.clear()
    _constructors.update(before)


@pytest.mark.usefixtures("registry")
def test_what_cannot_be_registered():
    with pytest.raises(PDEConvError, match=r"option 'pretrained', .* call it otherwise"):
        register_model("mine")(lambda pretrained=True: torch.nn.Identity())
    with pytest.raises(PDEConvError, match="option 'name'"):
        register_model("mine")(lambda name="": torch.nn.Identity())
    with pytest.raises(PDEConvError, match="needs a class or a function that makes the model 'mine', but got object"):
        register_model("mine")(object())  # pyright: ignore[reportArgumentType]
    for name in (torch.nn.Identity, "", 3):
        with pytest.raises(PDEConvError, match=r'@register_model\("my_model"\)'):
            register_model(name)  # pyright: ignore[reportArgumentType]
    assert "mine" not in list_models()
    with pytest.raises(PDEConvError, match="no model 3"):
        create_model(3)  # pyright: ignore[reportArgumentType]


@pytest.mark.usefixtures("registry")
def test_options_of_ones_own():
    name = own_model("mine", lambda **options: torch.nn.Conv2d(**options))
    assert create_model(name, in_channels=2, out_channels=1, kernel_size=1).in_channels == 2
    with pytest.raises(PDEConvError, match=r"takes no option 'channels'\. It takes: none"):
        create_model(own_model("none", lambda: torch.nn.Identity()), channels=1)


@pytest.mark.usefixtures("registry")
def test_pretrained_weights_and_slips():
    name = "multiscale_denoiser_small"
    weights, fresh = (create_model(name, pretrained=given).state_dict() for given in (True, False))
    assert any(not torch.equal(weights[key], fresh[key]) for key in weights)
    assert create_model(name, pretrained=True, in_channels=1).in_channels == 1
    for unclear in ("yes", "/tmp/weights", 1, None):
        with pytest.raises(PDEConvError, match="True or False for pretrained, but got pretrained="):
            create_model(name, pretrained=unclear)  # pyright: ignore[reportArgumentType]
    for model, options in (("adr_classifier", {}), (name, {"in_channels": 7}), ("without", {})):
        if model == "without":
            own_model(model, lambda: torch.nn.Identity())
        with pytest.raises(PDEConvError, match=rf"No weights for {model} .* weights for: .*{name} \(in_channels=1\)"):
            create_model(model, pretrained=True, **options)


@pytest.mark.usefixtures("registry")
def test_pretrained_weights_are_of_the_default_options():
    """Those that change no shape, too."""
    name, model = "multiscale_denoiser_small", _constructors["multiscale_denoiser_small"]
    _constructors[name] = lambda in_channels=1, steps=1, widths=(8, 16): model(in_channels)
    assert create_model(name, pretrained=True, steps=1, widths=[8, 16]).in_channels == 1
    with pytest.raises(PDEConvError, match="default options, besides in_channels, but got widths="):
        create_model(name, pretrained=True, widths=[8, 8])
    with pytest.raises(PDEConvError, match="default options, besides in_channels, but got steps=2; leave it out"):
        create_model(name, pretrained=True, steps=2)
    _constructors[name] = lambda in_channels=1: torch.nn.Conv2d(in_channels, 1, 1)
    with pytest.raises(PDEConvError, match="are of a model with its default options"):
        create_model(name, pretrained=True)


def test_model_cards(monkeypatch, tmp_path):
    for name, channels in (("multiscale_denoiser_small", 2), ("nothing", 1), ("adr_classifier", 3), (None, [])):
        with pytest.raises(PDEConvError, match=r"weights for: .*multiscale_denoiser_small \(in_channels=1\)"):
            model_card(name, channels)
    monkeypatch.setattr(pretrained, "_folder", lambda: tmp_path)
    (tmp_path / "mine.rgb.safetensors").touch()
    with pytest.raises(PDEConvError, match=r"without their model card, mine\.rgb\.md; install"):
        model_card("mine", 3)
    (tmp_path / "mine.rgb.md").write_text("σ from 0 to 55", encoding="utf-8")
    assert model_card("mine", 3) == "σ from 0 to 55"


@pytest.mark.parametrize(("name", "channels"), list_pretrained())
def test_weights_come_with_a_finished_card(name, channels):
    card, model = model_card(name, channels), create_model(name, pretrained=True, in_channels=channels)
    assert f"{sum(weight.numel() for weight in model.parameters()):,} parameters" in card
    assert all(word in card for word in ("**Data.**", "**Recipe.**", "**Figures.**", "**Limits.**"))
    assert "@@" not in card


def test_pdeblock_evolves_and_trains():
    block = PDEBlock(4)
    u = torch.rand(2, 4, 8, 8)
    assert torch.equal(block(u), u)
    block(u).square().sum().backward()
    assert block.gate.grad.abs().max() > 0, "the gate opens by itself"
    with torch.no_grad():
        block.gate.fill_(1.0)
    after = block(u)
    assert (after - u).abs().max() > 1e-3
    assert u.amin() - 1e-6 <= after.min() and after.max() <= u.amax() + 1e-6, "the range is kept"
    with torch.no_grad():
        block.gate.fill_(7.0)
    assert torch.allclose(block(u), after, atol=1e-6), "a gate is at most 1"


def test_pdeblock_with_an_equation_of_ones_own():
    evolve = Evolve(Euler(Diffusion(Constant(1.0), Grid(dims=1))), 1.0, CFL(0.9))
    block = PDEBlock(2, evolve)
    assert torch.equal(block(torch.ones(1, 2, 5)), torch.ones(1, 2, 5))
    with pytest.raises(PDEConvError, match="not both"):
        PDEBlock(2, evolve, Grid())
    with pytest.raises(PDEConvError, match="Evolve"):
        PDEBlock(2, Euler(Diffusion(Constant(1.0))))
    for dims in (1, 3):
        u = torch.rand(1, 2, *[5] * dims)
        assert torch.equal(PDEBlock(2, grid=Grid(dims=dims))(u), u)


def test_pdebasicblock_in_several_steps():
    """More steps of the same duration approach the flow of the branch."""
    torch.manual_seed(1)
    blocks = [PDEBasicBlock(4, 4, steps=steps).eval() for steps in (1, 8, 16, 64)]
    for block in blocks[1:]:
        block.load_state_dict(blocks[0].state_dict())
    u = torch.rand(1, 4, 6, 6)
    once, eight, sixteen, many = (block(u) for block in blocks)
    assert (sixteen - many).norm() < 0.6 * (eight - many).norm() < 0.6 * (once - many).norm()
    for bad in (dict(groups=2), dict(base_width=128), dict(dilation=2)):
        with pytest.raises(PDEConvError, match="PDEBasicBlock supports"):
            PDEBasicBlock(4, 4, **bad)
