"""The reports of conversions: numbers that are those counted by hand."""

import copy

import pytest
import torch
from residual_networks import TV, basic, small_resnet
from torch import nn

from pdeconv import EulerBlocks, lipschitz_bound, replace_blocks


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


def test_a_block_at_two_places_is_counted_at_both():
    [block] = basic(1, 4)
    model = nn.Sequential(block, nn.Sequential(block))
    report = replace_blocks(model, EulerBlocks(steps=2), sample=torch.rand(1, 4, 5, 5)).report
    twice = 2 * 25 * 4 * 4 * 9 * 2
    assert [(b.name, b.multiply_adds) for b in report.blocks] == [("0", (twice, 2 * twice))]


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
