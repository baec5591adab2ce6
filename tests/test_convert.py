"""replace_blocks: the same logits bit for bit, old checkpoints, and blocks condensed."""

import copy
import math
from collections import OrderedDict

import pytest
import torch
from residual_networks import MODELS, TV, basic, randomised, small_resnet
from torch import nn

from pdeconv import (
    CondensedBlocks,
    EulerBlocks,
    EvolvingBlock,
    PDEBasicBlock,
    PDEBlock,
    PDEConvError,
    ResidualParts,
    StabilisedBlocks,
    distil_blocks,
    fold_ceilings,
    limit_lipschitz,
    refine_time,
    register_residual_block,
    replace_blocks,
)

EXPECTED = {
    "BasicBlock",
    "Bottleneck",
    "InvertedResidual",
    "MBConv",
    "FusedMBConv",
    "CNBlock",
    "DepthwiseSeparableConv",
    "EdgeResidual",
    "UniversalInvertedResidual",
    "ConvNeXtBlock",
}
reached: set[str] = set()


@pytest.mark.parametrize("name", MODELS)
def test_logits_and_gradients_stay_bit_equal(name):
    original = randomised(MODELS[name]())
    state = copy.deepcopy(original.state_dict())
    converted, report = replace_blocks(original, EulerBlocks())
    assert all(torch.equal(value, state[key]) for key, value in original.state_dict().items())
    changed = [block for block in report.blocks if block.converted]
    assert changed and any(isinstance(module, EvolvingBlock) for module in converted.modules())
    reached.update(block.kind for block in changed)
    u = torch.randn(4, 3, 32, 32)
    for mode in (True, False):
        original.train(mode), converted.train(mode)
        outputs, slopes = [], []
        for model in (original, converted):
            torch.manual_seed(1)  # of dropout and stochastic depth
            outputs.append(model(u))
            weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
            slopes.append(torch.autograd.grad(outputs[-1].square().sum(), weights))
        assert torch.equal(*outputs) and outputs[0].isfinite().all() and outputs[0].std() > 0
        ours = {id(parameter): place for place, parameter in enumerate(converted.parameters())}
        places = [ours[id(parameter)] for parameter in _in_the_order_of(original, converted)]
        assert all(torch.equal(slopes[0][i], slopes[1][place]) for i, place in enumerate(places))


def _in_the_order_of(original, converted):
    """The parameters of the converted model in the order of the original: by the names that a checkpoint has."""
    numbered = {key: torch.full_like(value, i) for i, (key, value) in enumerate(original.state_dict().items())}
    marked = copy.deepcopy(converted)
    marked.load_state_dict(numbered)
    by_number = {
        int(value.flatten()[0]): own for value, own in zip(marked.parameters(), converted.parameters(), strict=True)
    }
    keys = list(numbered)
    return [by_number[keys.index(name)] for name, _ in original.named_parameters()]


def test_every_known_type_was_reached():
    if len(reached) < 2:
        pytest.skip("runs after the test above")
    assert reached == EXPECTED


def test_what_a_conversion_preserves():
    model = small_resnet().to(torch.float64)
    model.layer1[0].bn1.eval()
    model.layer2[1].conv1.weight.requires_grad_(False)
    converted, _ = replace_blocks(model, EulerBlocks())
    assert converted.training and not converted.layer1[0].branch.bn1.training and converted.layer1[0].evolve.training
    assert not converted.layer2[1].branch.conv1.weight.requires_grad
    assert {parameter.dtype for parameter in converted.parameters()} == {torch.float64}
    assert (
        isinstance(model.layer1[0], TV.resnet.BasicBlock)
        and not replace_blocks(model.eval(), EulerBlocks())[0].training
    )


def test_a_model_that_is_a_block_and_a_block_at_two_places():
    block = randomised(TV.resnet.BasicBlock(4, 4)).eval()
    u = torch.rand(2, 4, 6, 6)
    assert torch.equal(replace_blocks(block, EulerBlocks()).model(u), block(u))
    twice = nn.Sequential(block, nn.Sequential(block))
    converted = replace_blocks(twice, EulerBlocks()).model
    assert converted[0] is converted[1][0] and torch.equal(converted(u), twice(u))


@pytest.mark.parametrize("rule", [EulerBlocks(2), StabilisedBlocks(0.5)])
def test_checkpoints_of_the_unconverted_model_load(rule):
    original, other = randomised(small_resnet()), randomised(small_resnet())
    expected = replace_blocks(original, EulerBlocks(2)).model if rule == EulerBlocks(2) else None
    converted = replace_blocks(other, rule).model
    again = copy.deepcopy(replace_blocks(converted, rule).model)  # a copy of a copy, of a converted model
    for model in (converted, again):
        model.load_state_dict(original.state_dict())
        weights = dict(original.named_parameters())
        assert torch.equal(model.layer1[0].branch.conv1.weight, weights["layer1.0.conv1.weight"])
        if expected is not None:
            u = torch.randn(1, 3, 32, 32)
            assert torch.equal(model.eval()(u), expected.eval()(u))
        model.load_state_dict(replace_blocks(original, rule).model.state_dict())
    broken = original.state_dict()
    del broken["layer1.0.conv2.weight"]
    with pytest.raises(RuntimeError, match=r"Missing key.*layer1\.0\..*conv2"):
        converted.load_state_dict(broken)


def test_checkpoints_load_where_ceilings_were_folded_or_added_since():
    original = randomised(small_resnet())
    folded = fold_ceilings(replace_blocks(small_resnet(), StabilisedBlocks(0.5)).model)
    folded.load_state_dict(original.state_dict())
    assert torch.equal(folded.layer1[1].branch.bn2.weight, original.layer1[1].bn2.weight)
    limited = replace_blocks(small_resnet(), EulerBlocks()).model
    limit_lipschitz(limited.layer1[0].branch, 1e4)
    limited.load_state_dict(original.state_dict())
    u = torch.rand(1, 3, 32, 32)
    for model in (folded, limited):
        assert torch.equal(model.eval()(u), original.eval()(u))


def test_a_conversion_again_changes_the_steps():
    original = randomised(small_resnet()).eval()
    converted = replace_blocks(original, EulerBlocks(steps=3, duration=2.0)).model
    assert converted.layer1[0].dt == pytest.approx(2 / 3)
    back = replace_blocks(converted, EulerBlocks()).model
    u = torch.randn(1, 3, 32, 32)
    assert torch.equal(back(u), original(u)) and not torch.equal(converted(u), original(u))
    assert refine_time(converted, 2).layer1[0].evolve.steps == 6
    ours = replace_blocks(nn.Sequential(PDEBasicBlock(4, 4), PDEBasicBlock(4, 8, 2)), EulerBlocks(5)).report
    assert [block.converted for block in ours.blocks] == [True, False]


def test_steps_are_eulers_and_memory_passes_through():
    block = basic(1)[0].eval()
    evolved = replace_blocks(block, EulerBlocks(steps=2, duration=0.5, memory="checkpoint")).model
    assert evolved.evolve.memory == "checkpoint"
    u = torch.rand(2, 8, 6, 6)

    def branch(v):
        return block.bn2(block.conv2(block.bn1(block.conv1(v)).relu()))

    middle = u + 0.25 * branch(u)
    torch.testing.assert_close(evolved(u), (middle + 0.25 * branch(middle)).relu())


def test_runs_become_one_block_and_are_distilled():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), *basic(3), nn.Conv2d(8, 4, 1), TV.resnet.BasicBlock(4, 4))
    for block in model[1:4]:
        nn.init.constant_(block.bn2.weight, 0.3)
    model.eval()
    batches = [torch.randn(16, 3, 8, 8) for _ in range(4)]
    results = []
    for _ in range(2):
        conversion = replace_blocks(model, CondensedBlocks(), sample=batches[0][:1])
        condensed, report = conversion
        assert len(condensed) == 4 and condensed[1].evolve.steps == 3 and condensed[1].dt == 1.0
        assert isinstance(condensed[3], TV.resnet.BasicBlock)  # no neighbour
        assert [block.blocks for block in report.blocks] == [("1", "2", "3"), ("5",)]
        assert report.blocks[0].name == "1" and report.blocks[1].name == "3"
        before, after = report.blocks[0].parameters
        assert before == 3 * after and report.blocks[0].multiply_adds[0] == report.blocks[0].multiply_adds[1]
        [fit] = distil_blocks(model, conversion, [(u, None) for u in batches], epochs=30, seed=3)
        assert fit.name == "1" and fit.after < 0.4 * fit.before
        assert all(not module.training for module in condensed.modules())
        results.append(condensed.state_dict())
    assert all(torch.equal(results[0][key], results[1][key]) for key in results[0])


def test_only_equal_neighbours_of_the_rule_are_joined():
    model = TV.ResNet(TV.resnet.BasicBlock, [3, 1, 1, 1], num_classes=5)
    model.layer2 = nn.Sequential(model.layer2[0], *basic(2, 128))

    def rule(name, block):
        return CondensedBlocks() if name.startswith("layer1") else EulerBlocks(2)

    converted, report = replace_blocks(model, rule)
    assert len(converted.layer1) == 1 and len(converted.layer2) == 3
    assert converted(torch.rand(2, 3, 32, 32)).shape == (2, 5)
    assert [b.became.split(":")[0] for b in report.blocks[:2]] == ["Euler, 3 steps of dt=1", "kept"]


def test_what_follows_a_run_keeps_its_name():
    named = OrderedDict(stem=nn.Conv2d(3, 4, 1), one=basic(1, 4)[0], two=basic(1, 4)[0], head=nn.Conv2d(4, 2, 1))
    condensed, report = replace_blocks(nn.Sequential(named), CondensedBlocks())
    assert list(condensed._modules) == ["stem", "one", "head"] and report.blocks[0].name == "one"
    part = nn.Sequential(nn.Conv2d(3, 4, 1), *basic(2, 4), nn.Tanh(), nn.ReLU())[1:]
    untouched = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Tanh())[1:]
    condensed = replace_blocks(nn.Sequential(part, untouched), CondensedBlocks()).model
    assert [list(child._modules) for child in condensed] == [["1", "2", "3"], ["1"]]


class AllOutputs(nn.Sequential):
    def forward(self, u):
        return [u := block(u) for block in self]


def test_members_that_are_unequal_or_not_called_in_turn_are_not_condensed():
    unequal = nn.Sequential(*(TV.mobilenetv2.InvertedResidual(8, 8, 1, expansion) for expansion in (2, 3)))
    for model in (AllOutputs(*basic(2, 4)), nn.ModuleList(basic(2, 4)), unequal):
        blocks = replace_blocks(model, CondensedBlocks()).report.blocks
        assert [block.became for block in blocks] == ["kept: no equal neighbour"] * 2


def test_a_batch_for_which_the_blocks_give_nothing_does_no_harm():
    model = basic(2, 4).eval()
    with torch.no_grad():
        model[1].bn2.bias.fill_(-100)
        model[1].bn2.weight.fill_(1)
    batches = [torch.zeros(2, 4, 5, 5), 1000 * torch.rand(2, 4, 5, 5)]
    assert model(batches[0]).sum() == 0 < model(batches[1]).sum()
    [fit] = distil_blocks(model, replace_blocks(model, CondensedBlocks()), batches, epochs=1)
    assert math.isfinite(fit.after)


class Own(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.body = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, u):
        return u + self.body(u)


def test_a_block_of_ones_own():
    model = nn.Sequential(Own(4), nn.Tanh())
    register_residual_block(Own)(lambda block: ResidualParts(block.body))
    u = torch.rand(1, 4, 6, 6)
    assert torch.equal(replace_blocks(model, EulerBlocks()).model(u), model(u))
    register_residual_block(Own)(lambda block: block.body)
    with pytest.raises(PDEConvError, match="must give ResidualParts or None, but gave Conv2d"):
        replace_blocks(model, EulerBlocks())


class Wrong(nn.Module):
    def forward(self, u):
        return u[:, :, :-1]


SLIPS = {
    "no blocks": (lambda: replace_blocks(nn.Conv2d(3, 3, 1), EulerBlocks()), "register_residual_block adds one"),
    "no model": (lambda: replace_blocks(3, EulerBlocks()), "needs a Module, but got int"),
    "a class for a rule": (
        lambda: replace_blocks(basic(), EulerBlocks),
        "the class EulerBlocks; give",
    ),
    "a block for a rule": (lambda: replace_blocks(basic(), PDEBlock(8)), "needs a rule, but got PDEBlock"),
    "no rule": (lambda: replace_blocks(basic(), "euler"), "needs a rule, but got str"),
    "a rule that gives a number": (lambda: replace_blocks(basic(), lambda name, block: 2), "gave int for '0'"),
    "a module of another shape": (
        lambda: replace_blocks(basic(1), lambda name, block: Wrong(), sample=torch.rand(1, 8, 6, 6)),
        r"in the place of '0' must keep the shape \(1, 8, 6, 6\), but gave \(1, 8, 5, 6\)",
    ),
    "no steps": (lambda: EulerBlocks(steps=0), "steps=0"),
    "no duration": (lambda: StabilisedBlocks(duration=-1.0), "duration"),
    "no ceiling": (lambda: StabilisedBlocks(ceiling=0), "ceiling=0"),
    "no memory": (lambda: replace_blocks(basic(), EulerBlocks(memory="all")), "no memory 'all'"),
    "nothing condensed": (
        lambda: distil_blocks(basic(), replace_blocks(basic(), EulerBlocks()), []),
        "none was; convert by CondensedBlocks",
    ),
    "batches that run out": (
        lambda: distil_blocks(basic(), replace_blocks(basic(), CondensedBlocks()), iter([])),
        "give a list or a DataLoader",
    ),
    "no batches": (lambda: distil_blocks(basic(), replace_blocks(basic(), CondensedBlocks()), []), "got none"),
    "a class for a block": (lambda: register_residual_block(3), "or its qualified name, but got 3"),  # pyright: ignore
}


@pytest.mark.parametrize("slip", SLIPS)
def test_slips(slip):
    call, message = SLIPS[slip]
    with pytest.raises(PDEConvError, match=message):
        call()
