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
    register_model,
)
from pdeconv.models.registry import _constructors


def test_wildcards():
    shipped = [name for name in list_models() if not name.endswith("example")]  # those that doctests register
    assert [name for name in shipped if name not in list_models("*denoiser*")] == [
        "adr_classifier",
        "parabolic_classifier",
    ]
    assert list_models("*denoiser") == [
        "adr_denoiser",
        "energy_flow_denoiser",
        "gradient_flow_denoiser",
        "multiscale_denoiser",
        "reaction_diffusion_denoiser",
    ]
    assert list_models("*classifier") == ["adr_classifier", "parabolic_classifier"]
    assert list_models("nothing*") == []


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
    with pytest.raises(PDEConvError, match="did you mean 'channels'"):
        create_model("adr_classifier", chanels=8)
    with pytest.raises(PDEConvError, match="list_models"):
        create_model("zzz")
    for bad in (dict(channels=0), dict(depth=-1), dict(steps=1.5), dict(num_classes=True)):
        with pytest.raises(PDEConvError, match="at least 1"):
            create_model("parabolic_classifier", **bad)


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
