"""replace_blocks: the same logits bit for bit, ceilings that hold, and reports that add up."""

import copy
import math

import pytest
import timm
import torch
import torchvision
from torch import nn

from pdeconv import (
    CondensedBlocks,
    EulerBlocks,
    EvolvingBlock,
    PDEBasicBlock,
    PDEConvError,
    ResidualParts,
    StabilisedBlocks,
    UnsupportedError,
    distil_blocks,
    fold_ceilings,
    limit_lipschitz,
    lipschitz_bound,
    refine_time,
    register_residual_block,
    replace_blocks,
)
from pdeconv.lipschitz import _stages


def randomised(model):
    """With weights and statistics away from their start: a gamma of 0 would hide an error."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 and "scale" not in name:
                parameter.normal_(0, 1.4 / parameter[0].numel() ** 0.5)
            else:
                parameter.normal_(0.5, 0.2)
        for module in model.modules():
            if isinstance(getattr(module, "running_var", None), torch.Tensor):
                module.running_mean.normal_(0, 0.5), module.running_var.uniform_(0.5, 2)
    return model


TV, TIMM = torchvision.models, timm.models._efficientnet_blocks
MODELS = {
    "torchvision BasicBlock": lambda: TV.ResNet(TV.resnet.BasicBlock, [2, 2, 1, 1], num_classes=5),
    "torchvision Bottleneck": lambda: TV.ResNet(
        TV.resnet.Bottleneck, [2, 1, 1, 2], num_classes=5, groups=4, width_per_group=4
    ),
    "torchvision MobileNetV2": lambda: TV.mobilenet_v2(num_classes=5, width_mult=0.25),
    "torchvision MobileNetV3": lambda: TV.mobilenet_v3_small(num_classes=5),
    "torchvision EfficientNet": lambda: TV.efficientnet_b0(num_classes=5, stochastic_depth_prob=0.5),
    "torchvision EfficientNetV2": lambda: TV.EfficientNet(
        [
            TV.efficientnet.FusedMBConvConfig(1, 3, 1, 8, 8, 2),
            TV.efficientnet.FusedMBConvConfig(2, 3, 2, 8, 16, 2),
            TV.efficientnet.MBConvConfig(2, 3, 1, 16, 16, 1),
        ],
        dropout=0.0,
        stochastic_depth_prob=0.5,
        num_classes=5,
        last_channel=32,
    ),
    "torchvision ConvNeXt": lambda: TV.ConvNeXt(
        [TV.convnext.CNBlockConfig(8, 16, 2), TV.convnext.CNBlockConfig(16, None, 2)], 0.5, num_classes=5
    ),
    "timm BasicBlock": lambda: timm.create_model(
        "resnet18",
        num_classes=5,
        drop_path_rate=0.5,
        drop_block_rate=0.2,
        aa_layer=timm.layers.BlurPool2d,
        channels=(16, 16, 24, 32),
    ),
    "timm BasicBlock with attention": lambda: timm.create_model(
        "resnet10t", num_classes=5, block_args={"attn_layer": "se"}
    ),
    "timm Bottleneck": lambda: timm.models.resnet.ResNet(
        timm.models.resnet.Bottleneck,
        (2, 1, 1, 2),
        num_classes=5,
        cardinality=2,
        base_width=16,
        drop_path_rate=0.5,
        block_args={"attn_layer": "se"},
    ),
    "timm MobileNetV3": lambda: timm.create_model("mobilenetv3_small_050", num_classes=5, drop_path_rate=0.5),
    "timm EfficientNet": lambda: timm.create_model("efficientnet_lite0", num_classes=5, drop_path_rate=0.5),
    "timm EfficientNetV2": lambda: nn.Sequential(
        nn.Conv2d(3, 8, 3, 2),
        TIMM.EdgeResidual(8, 8, se_layer=timm.layers.SqueezeExcite, drop_path_rate=0.5),
        TIMM.DepthwiseSeparableConv(8, 8, drop_path_rate=0.5),
        TIMM.InvertedResidual(8, 8, noskip=True),
        nn.Flatten(),
        nn.Linear(8 * 15 * 15, 5),
    ),
    "timm MobileNetV4": lambda: timm.create_model("mobilenetv4_conv_small_050", num_classes=5, drop_path_rate=0.5),
    "timm ConvNeXt": lambda: timm.models.convnext.ConvNeXt(
        num_classes=5, depths=(2, 1, 1, 1), dims=(8, 8, 8, 16), drop_path_rate=0.5
    ),
    "timm ConvNeXt, 1x1 convolutions": lambda: timm.models.convnext.ConvNeXt(
        num_classes=5, depths=(2, 1, 1, 1), dims=(8, 8, 8, 16), conv_mlp=True, use_grn=True, ls_init_value=None
    ),
}
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


def basic(blocks=2, channels=8):
    """A branch of blocks without anything else."""
    return randomised(nn.Sequential(*(TV.resnet.BasicBlock(channels, channels) for _ in range(blocks))))


def small_resnet():
    """torchvision's ResNet-18, of a few channels."""
    model = TV.ResNet(TV.resnet.BasicBlock, [2, 1, 1, 1], num_classes=5)
    model.inplanes = 64
    model.layer2 = model._make_layer(TV.resnet.BasicBlock, 16, 2, 2)
    model.inplanes = 16
    model.layer3 = model._make_layer(TV.resnet.BasicBlock, 16, 1, 2)
    model.layer4, model.fc = nn.Identity(), nn.Linear(16, 5)
    return model


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


# ---- Ceilings.


def spectral_norm_of_jacobian(function, u, iterations=25):
    v = torch.randn_like(u)
    for _ in range(iterations):
        v = v / v.norm()
        _, pushed = torch.func.jvp(function, (u,), (v,))
        _, pull = torch.func.vjp(function, u)
        v = pull(pushed)[0]
    return v.norm().sqrt().item()


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


def branch_of(name):
    module = randomised(BRANCHES[name]()).to(torch.float64).eval()
    if not isinstance(module, nn.Sequential):
        module = replace_blocks(module, EulerBlocks()).model.branch
    return module


@pytest.mark.parametrize("name", BRANCHES)
def test_a_ceiling_is_reached_and_leaves_alone_what_is_below(name):
    branch = branch_of(name)
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


# ---- Condensed blocks.


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


# ---- Reports.


def test_a_reports_numbers_are_those_counted_by_hand():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 1, bias=False),
        *basic(1, 4),
        TV.resnet.BasicBlock(4, 6, 2, nn.Conv2d(4, 6, 1, 2)),
        nn.Flatten(),
        nn.Linear(6 * 9, 2),
    )
    report = replace_blocks(model, EulerBlocks(steps=3), sample=torch.rand(2, 3, 6, 6)).report
    block = 2 * 4 * 4 * 9 + 2 * 2 * 4
    shape = 4 * 6 * 9 + 6 * 6 * 9 + 2 * 2 * 6 + (4 * 6 + 6)
    assert [b.parameters for b in report.blocks] == [(block, block), (shape, shape)]
    assert report.parameters == (12 + block + shape + 6 * 9 * 2 + 2,) * 2
    once = 2 * 36 * 4 * 4 * 9 * 2  # images, cells, channels, taps, convolutions
    strided = 2 * 9 * (4 * 6 * 9 + 6 * 6 * 9 + 4 * 6)
    rest = 2 * (36 * 3 * 4 + 6 * 9 * 2)
    assert [b.multiply_adds for b in report.blocks] == [(once, 3 * once), (strided, strided)]
    assert report.multiply_adds == (rest + once + strided, rest + 3 * once + strided)
    branch = replace_blocks(model, EulerBlocks()).model[1].branch
    assert report.blocks[0].courant == pytest.approx(lipschitz_bound(branch) / 3)
    assert [b.became for b in report.blocks] == [
        "Euler, 3 steps of dt=0.3333",
        "kept: changes the shape, or has no skip",
    ]
    table = str(report).splitlines()
    assert table[-1].startswith("total") and "1 of 2 changed" in table[-1] and len({*map(len, table)}) > 1
    assert f"{once:,} → {3 * once:,}" in table[2]


def test_a_report_without_a_sample_and_without_a_bound():
    report = replace_blocks(TV.mobilenet_v3_small(), EulerBlocks()).report
    assert report.multiply_adds is None and all(block.multiply_adds is None for block in report.blocks)
    courants = [block.courant for block in report.blocks if block.converted]
    assert None in courants and any(courants) and "unproven" in str(report)


def test_a_sample_leaves_statistics_and_modes_alone():
    model = small_resnet()
    state = copy.deepcopy(model.state_dict())
    converted = replace_blocks(model, EulerBlocks(), sample=torch.rand(1, 3, 32, 32)).model
    assert model.training and converted.training and converted.layer1[0].training
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    fresh = replace_blocks(model, EulerBlocks()).model.state_dict()
    assert all(torch.equal(value, fresh[key]) for key, value in converted.state_dict().items())


# ---- A user's own block, and slips.


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
