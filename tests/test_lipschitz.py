"""Lipschitz bounds and ceilings: no state breaks them, and what is below one computes what it did."""

import copy
import math
import sys

import pytest
import timm
import torch
from jacobians import spectral_norm_of_jacobian
from residual_networks import TIMM, TV, basic, branch_of, randomised, small_resnet
from torch import nn

from pdeconv import (
    EulerBlocks,
    StabilisedBlocks,
    UnsupportedError,
    fold_ceilings,
    limit_lipschitz,
    lipschitz_bound,
    replace_blocks,
)
from pdeconv.layer_bounds import _ACTIVATIONS
from pdeconv.lipschitz import _stages

BRANCHES = {
    "conv": lambda: nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 4, 3, padding=1)),
    "batch norm": lambda: TV.resnet.BasicBlock(4, 4),
    "pre-activation": lambda: nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1)),
    "grouped": lambda: nn.Sequential(
        nn.Conv2d(8, 8, 3, padding=1, groups=4, bias=False), nn.BatchNorm2d(8), nn.Hardswish(), nn.Conv2d(8, 8, 1)
    ),
    "depthwise, strided": lambda: nn.Sequential(
        nn.Conv2d(8, 8, 5, stride=2, padding=4, dilation=2, groups=8), nn.GELU(), nn.Conv2d(8, 4, 1), nn.Tanh()
    ),
    "layer norm": lambda: TV.convnext.CNBlock(8, 1.0, 0.5),
    "group norm": lambda: nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.Conv2d(8, 4, 1)),
    "MobileNetV2": lambda: TV.mobilenetv2.InvertedResidual(8, 8, 1, 2),
    "timm BatchNormAct": lambda: TIMM.InvertedResidual(8, 8, exp_ratio=2.0),
    "timm ConvNeXt": lambda: timm.models.convnext.ConvNeXtBlock(8, ls_init_value=1.0, drop_path=0.3),
    "timm MobileNetV4": lambda: TIMM.UniversalInvertedResidual(8, 8, exp_ratio=2.0),
}


@pytest.mark.parametrize("name", BRANCHES)
def test_a_ceiling_is_reached_and_leaves_alone_what_is_below(name):
    branch = branch_of(BRANCHES[name]())
    first = next(m for m in branch.modules() if isinstance(m, nn.Conv2d))
    u = torch.randn(1, first.in_channels, 7, 7, dtype=torch.float64)
    bound = lipschitz_bound(branch)
    measured = spectral_norm_of_jacobian(branch, u)
    assert 0 < measured <= bound * (1 + 1e-6)
    before = branch(u)
    low, high = copy.deepcopy(branch), copy.deepcopy(branch)
    limit_lipschitz(high, bound * (1 + 1e-6))
    assert torch.equal(high(u), before)
    ceiling = 0.6 * measured  # so that it must do something
    limit_lipschitz(low, ceiling)
    assert lipschitz_bound(low) == pytest.approx(ceiling, rel=1e-5)
    assert spectral_norm_of_jacobian(low, u) <= ceiling * (1 + 1e-6)
    assert torch.equal(branch(u), before)
    with torch.no_grad():  # whatever the weights
        for parameter in low.parameters():
            parameter.mul_(3)
    assert lipschitz_bound(low) <= ceiling * (1 + 1e-5)
    plain = fold_ceilings(low)
    assert torch.equal(plain(u), low(u)) and plain.state_dict().keys() == branch.state_dict().keys()
    limit_lipschitz(low, 2 * ceiling)  # a second call sets new ceilings, and stacks nothing
    assert lipschitz_bound(low) == pytest.approx(2 * ceiling, rel=1e-5)


def circular(kernel, **options):
    return nn.Conv2d(4, 4, kernel, padding_mode="circular", **options)


BOUNDED = {
    "circular": lambda: circular(3, padding=1),
    "circular, dilated, of unequal axes": lambda: circular((3, 5), padding=(2, 2), dilation=(2, 1)),
    "more zeros than the kernel needs": lambda: nn.Conv2d(4, 4, 3, padding=3),
    "layer norm": lambda: TV.convnext.LayerNorm2d(4),
    "group norm": lambda: nn.GroupNorm(2, 4),
    "a slope on the left": lambda: nn.Sequential(nn.Conv2d(4, 4, 1), nn.LeakyReLU(-3.0), nn.ELU(alpha=2.0)),
    "channels that are not the last axis": lambda: nn.Sequential(nn.Linear(6, 6, bias=False), nn.BatchNorm2d(4)),
}


@pytest.mark.parametrize("name", BOUNDED)
def test_no_state_breaks_a_bound(name):
    module = randomised(BOUNDED[name]()).to(torch.float64).eval()
    if name == "channels that are not the last axis":
        with torch.no_grad():  # the worst there is: one cell and another channel are amplified
            module[0].weight.copy_(torch.diag(torch.tensor([9, 0.1, 0.1, 0.1, 0.1, 0.1])))
            module[1].weight.copy_(torch.tensor([0.1, 9, 0.1, 0.1]))
    for size in (1, 1e-6):  # a normalisation is steepest where the state hardly varies
        measured = spectral_norm_of_jacobian(module, size * torch.randn(1, 4, 6, 6, dtype=torch.float64))
        assert 0 < measured <= lipschitz_bound(module) * (1 + 1e-9)


@pytest.mark.parametrize("options", [{"kernel": 3, "padding": 3}, {"kernel": (5, 3), "padding": (1, 2)}])
def test_a_circular_convolution_that_repeats_cells_has_no_bound(options):
    assert lipschitz_bound(circular(**options)) is None


ACTIVATIONS = [name for name in _ACTIVATIONS if hasattr(sys.modules[name.rpartition(".")[0]], name.rpartition(".")[2])]


@pytest.mark.parametrize("name", [*ACTIVATIONS, "torch.nn.modules.activation.GELU, tanh"])
def test_no_activation_is_steeper_than_its_slope(name):
    name, _, variant = name.partition(", ")
    module, _, kind = name.rpartition(".")
    activation = getattr(sys.modules[module], kind)(*[variant] if variant else [])
    u = torch.linspace(-8, 8, 20001, dtype=torch.float64, requires_grad=True)
    [slope] = torch.autograd.grad(activation(u).sum(), u)
    assert 0.98 * _ACTIVATIONS[name] <= slope.abs().max() <= _ACTIVATIONS[name] * (1 + 1e-6)


def test_a_ceiling_that_another_chain_set_before():
    conv = nn.Conv2d(4, 4, 1, bias=False)
    limit_lipschitz(conv, 0.1)
    chain = nn.Sequential(conv, nn.Hardswish())
    limit_lipschitz(chain, 0.6)
    with torch.no_grad():
        conv.parametrizations["weight"].original.mul_(100)
    assert lipschitz_bound(chain) == pytest.approx(0.6, rel=1e-5)


def test_what_is_used_elsewhere_is_not_limited():
    one, two = basic(2, 4)
    two.bn2 = one.bn2
    for model in (nn.Sequential(one, two), nn.ModuleList([one, nn.Sequential(one.conv1, nn.Tanh())])):
        replace_blocks(model, EulerBlocks())
        with pytest.raises(UnsupportedError, match=r"'0' cannot become.*(BatchNorm2d|Conv2d) belongs to '1' too"):
            replace_blocks(model, StabilisedBlocks())
    block = basic(1, 4)[0]
    block.bn1.weight = block.bn2.weight  # a weight, not a module: it is learned once, and limited twice
    stable = replace_blocks(nn.Sequential(block, nn.Sequential(block)), StabilisedBlocks()).model
    originals = [getattr(stable[0].branch, name).parametrizations["weight"].original for name in ("bn1", "bn2")]
    assert stable[0] is stable[1][0] and originals[0] is originals[1]


def test_other_parametrisations_are_refused():
    conv = nn.utils.parametrizations.spectral_norm(nn.Conv2d(2, 2, 1))
    assert lipschitz_bound(nn.Sequential(conv)) is not None
    with pytest.raises(UnsupportedError, match="other parametrisations; remove them first"):
        limit_lipschitz(nn.Sequential(conv), 0.5)
    assert fold_ceilings(nn.Sequential(conv))[0].parametrizations  # not ours: left alone


def test_the_pairs_of_states_of_a_stabilised_step():
    block = replace_blocks(basic(1).eval(), StabilisedBlocks(ceiling=0.5)).model[0]
    u, v = torch.randn(2, 32, 8, 6, 6)
    ratios = (block.evolve(u) - block.evolve(v)).flatten(1).norm(dim=1) / (u - v).flatten(1).norm(dim=1)
    assert ratios.max() <= 1.5 and ratios.min() >= 0.5


def test_a_stabilised_resnet_whose_bounds_hold_is_bit_equal():
    original = randomised(small_resnet())
    loose, report = replace_blocks(original, StabilisedBlocks(ceiling=1e4))
    u = torch.randn(2, 3, 32, 32)
    for mode in (True, False):
        assert torch.equal(loose.train(mode)(u), copy.deepcopy(original).train(mode)(u))
        loose = replace_blocks(original, StabilisedBlocks(ceiling=1e4)).model
    assert all(block.courant <= 1e4 for block in report.blocks if block.converted)


def test_a_norm_that_starts_at_0_gets_room_to_grow():
    block = basic(1)[0].eval()
    nn.init.zeros_(block.bn2.weight)
    stable = replace_blocks(block, StabilisedBlocks(ceiling=0.9)).model
    u = torch.randn(1, 8, 6, 6)
    assert torch.equal(stable(u), block(u))
    ceilings = [stage.target.parametrizations.weight[0].ceiling.item() for stage in _stages(stable.branch)]
    assert math.prod(ceilings) == pytest.approx(0.9, rel=1e-5) and ceilings[1] > 0.01
    stable.train()(u).sum().backward()
    assert stable.branch.bn2.parametrizations.weight.original.grad.abs().sum() > 0


def test_a_stabilised_model_trains_and_stays_below_its_ceiling():
    torch.manual_seed(0)
    model = replace_blocks(basic(2), StabilisedBlocks(ceiling=0.7)).model
    optimizer = torch.optim.SGD(model.parameters(), 0.5)
    for _ in range(8):
        u = torch.randn(8, 8, 6, 6)
        loss = -(model(u) - u).square().mean()  # asks for a large branch
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    scales = []
    for block in model:
        assert lipschitz_bound(block.branch) <= 0.7 * (1 + 1e-5)
        u = torch.randn(1, 8, 6, 6)
        assert spectral_norm_of_jacobian(block.branch, u) <= 0.7
        scales.append(spectral_norm_of_jacobian(block.branch, u))
    assert min(scales) > 0.01  # it did not collapse


def test_what_cannot_be_stabilised_is_named():
    with pytest.raises(UnsupportedError, match=r"'features\.5' cannot.*SqueezeExcitation"):
        replace_blocks(TV.mobilenet_v3_small(), StabilisedBlocks())
    for module in (nn.Sequential(nn.ReLU()), nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect")):
        with pytest.raises(UnsupportedError, match=r"no convolution|reflect padding"):
            limit_lipschitz(module, 1.0)
    shared = nn.Conv2d(2, 2, 1)
    with pytest.raises(UnsupportedError, match="twice"):
        limit_lipschitz(nn.Sequential(shared, shared), 1.0)
    with pytest.raises(UnsupportedError, match="affine=True"):
        limit_lipschitz(nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2, affine=False)), 1.0)
