"""Converted blocks of several steps keep the statistics of each, below their ceilings, and load what was saved."""

import copy

import pytest
import timm
import torch
from jacobians import spectral_norm_of_jacobian
from residual_networks import basic, randomised
from torch import nn

from pdeconv import (
    CondensedBlocks,
    EulerBlocks,
    EvolvingBlock,
    PDEBasicBlock,
    StabilisedBlocks,
    TimeSpecificNorm,
    fold_ceilings,
    limit_lipschitz,
    lipschitz_bound,
    replace_blocks,
)

RULES = {
    "Euler": EulerBlocks(3, 2.0),
    "checkpoint": EulerBlocks(3, 2.0, memory="checkpoint"),
    "stabilised": StabilisedBlocks(0.9, 3, 2.0),
    "condensed": CondensedBlocks(),
}
BLOCKS = {
    "torchvision": lambda: basic(2),
    "timm, norm with activation": lambda: randomised(
        nn.Sequential(*(timm.models._efficientnet_blocks.InvertedResidual(8, 8, exp_ratio=2.0) for _ in range(2)))
    ),
    "PDEBasicBlock": lambda: randomised(nn.Sequential(PDEBasicBlock(8, 8, steps=2), PDEBasicBlock(8, 8, steps=2))),
}


def state(batch=2):
    return torch.rand(batch, 8, 6, 5, generator=torch.Generator().manual_seed(1)).double()


def norms(model):
    return [module for module in model.modules() if isinstance(module, TimeSpecificNorm)]


def statistics(model):
    """Those of each step, of every normalisation."""
    timed = norms(model)
    inside = {each for norm in timed for each in norm.copies}
    plain = [part for part in model.modules() if isinstance(part, nn.BatchNorm2d) and part not in inside]
    return [norm.copies for norm in timed] + [[norm] for norm in plain]


def with_statistics_of_each_step(model):
    """After a batch of training, of which the statistics are cumulative averages."""
    torch.optim.swa_utils.update_bn([state(64)], model)
    return model.eval()


@pytest.mark.parametrize("kind", BLOCKS)
@pytest.mark.parametrize("name", RULES)
def test_evaluation_is_training_on_the_same_batch(name, kind):
    converted = replace_blocks(BLOCKS[kind]().double(), RULES[name]).model
    assert norms(converted)
    with_statistics_of_each_step(converted)
    with torch.no_grad():
        trained = copy.deepcopy(converted).train()(state(64))
        difference = (converted.eval()(state(64)) - trained).abs().max() / trained.abs().max()
    assert difference < (0.05 if name == "stabilised" else 3e-3)  # ceilings see the statistics before the batch


@pytest.mark.parametrize("kind", BLOCKS)
@pytest.mark.parametrize("stabilised_first", [False, True])
def test_ceilings_hold_at_every_step_and_fold(kind, stabilised_first):
    """Also if the block had its ceilings before it got several steps."""
    steps, ceiling = 3, 0.4
    original = BLOCKS[kind]().double().eval()
    model = replace_blocks(original, StabilisedBlocks(ceiling, 1 if stabilised_first else steps)).model
    model = replace_blocks(model, EulerBlocks(steps)).model if stabilised_first else model
    for place, block in enumerate(model):
        for norm in norms(block):
            assert len(norm.copies) == steps
            for time, each in enumerate(norm.copies):
                each.running_var.fill_(0.1 + (time + place) % steps)
        assert lipschitz_bound(block.branch) <= ceiling * (1 + 1e-5)
        slopes = []
        for time in range(steps):

            def branch(u, block=block, time=time):
                dt = torch.tensor(block.dt, dtype=u.dtype)
                return (block.evolve._advance(u, dt, time) - u) / dt

            slopes.append(spectral_norm_of_jacobian(branch, state(1)))
        assert max(slopes) <= ceiling * (1 + 1e-5)
        assert max(slopes) > 1.2 * min(slopes)  # the steps are not alike
    assert torch.equal(fold_ceilings(model)(state()), model(state()))


def means(model):
    return [[float(each.running_mean.sum()) for each in of] for of in statistics(model)]


@pytest.mark.parametrize("kind", BLOCKS)
@pytest.mark.parametrize("rule", [EulerBlocks, lambda steps: StabilisedBlocks(0.5, steps)])
def test_other_steps_take_the_nearest_statistics_and_load_the_same(kind, rule):
    converted = with_statistics_of_each_step(replace_blocks(BLOCKS[kind]().double(), rule(4)).model)
    saved, known = copy.deepcopy(converted.state_dict()), means(converted)
    assert any(len(set(of)) == 4 for of in known)
    for steps, nearest in ((1, [2]), (2, [1, 3]), (4, [0, 1, 2, 3]), (8, [0, 0, 1, 1, 2, 2, 3, 3])):
        again = replace_blocks(converted, rule(steps)).model
        expected = [[of[place] for place in nearest] for of in known]
        assert means(again) == expected and means(converted) == known
        before = again(state())
        for of in statistics(again):
            for each in of:
                each.running_mean.zero_()
        again.load_state_dict(saved)
        assert means(again) == expected
        if rule is EulerBlocks:  # ceilings of the same product may be shared otherwise between the layers
            assert torch.equal(again(state()), before)


def under_plain_names(state):
    """As blocks of several steps were saved before they had statistics of each."""
    first = {key.replace("copies.0.", ""): value for key, value in state.items()}
    return {key: value for key, value in first.items() if ".copies." not in key}


@pytest.mark.parametrize("rule", [EulerBlocks, lambda steps: StabilisedBlocks(0.5, steps)])
def test_checkpoints_of_any_steps_load_after_a_conversion(rule):
    for before in (1, 2):
        for after in (1, 2, 3):
            block = nn.Sequential(PDEBasicBlock(8, 8, steps=before))
            for saved in (1, 2, 4):
                written = randomised(nn.Sequential(PDEBasicBlock(8, 8, steps=saved))).state_dict()
                for named in (written, under_plain_names(written)):
                    converted = replace_blocks(block, rule(after)).model
                    converted.load_state_dict(named)
                    if rule is EulerBlocks:
                        plain = nn.Sequential(PDEBasicBlock(8, 8, steps=after))
                        plain.load_state_dict(named)
                        u = state().float()
                        assert torch.equal(converted.eval()(u), plain.eval()(u))


def test_a_normalisation_at_two_places_loads_what_it_saved():
    conv, norm = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
    model = nn.Sequential(EvolvingBlock(nn.Sequential(conv, norm, nn.ReLU(), conv, norm), steps=2))
    for steps in (2, 4, 1):
        converted = replace_blocks(model, EulerBlocks(steps)).model
        converted.load_state_dict(converted.state_dict())
        converted.load_state_dict(model.state_dict())


@pytest.mark.parametrize("rule", [EulerBlocks(4), StabilisedBlocks(0.5, 4)])
def test_a_checkpoint_of_a_block_of_several_steps_loads_after_a_conversion(rule):
    original = with_statistics_of_each_step(BLOCKS["PDEBasicBlock"]().double())
    converted = replace_blocks(BLOCKS["PDEBasicBlock"]().double(), rule).model
    converted.load_state_dict(original.state_dict())
    assert means(converted) == [[of[0], of[0], of[1], of[1]] for of in means(original)]
    with pytest.raises(RuntimeError, match=r"Missing key.*1\.evolve.*bn2.*running_var"):
        lacking = {key: value for key, value in original.state_dict().items() if "1.residual" not in key}
        converted.load_state_dict(lacking)


@pytest.mark.parametrize("affine", [True, False])
def test_ceilings_of_a_part_stay_as_they_are(affine):
    """That of a convolution alone, before a normalisation, is not one of both."""
    block = basic(1).double().eval()[0]
    block.bn1 = nn.BatchNorm2d(8, affine=affine).double().eval()
    limit_lipschitz(nn.Sequential(block.conv1), 0.3)
    expected = block(state())
    assert torch.equal(replace_blocks(block, EulerBlocks()).model(state()), expected)
    again = replace_blocks(replace_blocks(block, EulerBlocks(2)).model, EulerBlocks()).model
    assert torch.equal(again(state()), expected)


def test_a_stabilised_block_loads_into_one_of_more_steps():
    """Its norms have a ceiling where those of each step are not yet."""
    one, two = (replace_blocks(basic(2).double(), StabilisedBlocks(0.5, steps)).model.eval() for steps in (1, 2))
    two.load_state_dict(one.state_dict())
    again = replace_blocks(one, StabilisedBlocks(0.5, 2)).model
    torch.testing.assert_close(two(state()), again(state()))
