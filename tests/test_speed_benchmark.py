"""What the speed benchmark counts and divides is right; what it measures is for a quiet machine."""

import math

import pytest
import torch
from torch import nn

from benchmarks.speed_rows.blocks import terms
from benchmarks.speed_rows.multiply_adds import multiply_adds
from benchmarks.speed_rows.networks import ResNet, matched_resnet, resnet_multiply_adds
from benchmarks.speed_rows.pairing import Patience, alternate, ratio
from benchmarks.speed_rows.row import Setting, at_least, at_most, times_as_fast
from benchmarks.speed_rows.scaling import exponent
from pdeconv import Constant, Diffusion, Euler, Evolve, Exact, Fixed, SymmetricConvolution


class Clock:
    """A clock that only calls move."""

    def __init__(self):
        self.now, self.calls = 0.0, []

    def __call__(self):
        return self.now

    def call(self, name, *seconds):
        """A call that lasts as long as ``seconds`` say, in turn; the last for ever."""
        remaining = list(seconds)

        def run():
            self.calls.append(name)
            self.now += remaining.pop(0) if len(remaining) > 1 else remaining[0]

        return run


def test_alternation_and_the_ratio_of_pairs():
    """A machine that becomes 10 times as slow for a round slows both of a pair: the ratio does not see it."""
    clock = Clock()
    slow = clock.call("A", 7, 2, 2, 20, 2, 2, 4)  # two to warm up
    fast = clock.call("B", 5, 1, 1, 10, 1, 1, 1)
    first, second = alternate((slow, fast), Patience(0.0, 5, 9, 0.0), clock)
    assert (first, second) == ([2, 20, 2, 2, 4], [1, 10, 1, 1, 1])
    assert clock.calls == ["A", "A", "B", "B", *["A", "B"] * 5]
    found = ratio(first, second)
    assert (found.low, found.median, found.high) == (2, 2, 2)


def test_short_calls_are_repeated_and_rounds_end():
    clock = Clock()
    long, short = clock.call("A", 1.0), clock.call("B", 0.125)
    first, second = alternate((long, short), Patience(seconds=6.0, fewest=2, most=9, shortest=0.5), clock)
    assert clock.calls[4:9] == ["A", "B", "B", "B", "B"]
    assert first == [1.0] * 4 and second == [0.125] * 4  # a round lasts 1.5: the fourth reaches 6
    assert len(alternate((long,), Patience(100.0, 2, 3, 0.0), clock)[0]) == 3


def test_units_and_direction_of_a_ratio():
    a, b = torch.rand(256, 256), torch.rand(256, 256)
    setting = Setting(patience=Patience(0.0, 3, 3, 0.0))
    found = times_as_fast(setting, lambda: a @ b, lambda: [a @ b for _ in range(20)], ours_units=1, other_units=1)
    assert found.ratio.median > 2
    assert at_least(2).met(2.0) and not at_least(2).met(1.9) and at_most(2).met(2.0) and not at_most(2).met(2.1)


@pytest.mark.parametrize(
    ("module", "shape", "expected"),
    [
        (nn.Conv2d(3, 8, 3, padding=1), (3, 6, 5), 3 * 8 * 9 * 30),
        (nn.Conv2d(8, 16, 3, stride=2, padding=1, groups=8), (8, 6, 6), 16 * 9 * 9),
        (nn.Sequential(nn.Flatten(), nn.Linear(12, 7), nn.ReLU()), (3, 2, 2), 12 * 7),
        # By κ, and the step by dt: one multiplication a cell each.
        (Evolve(Euler(Diffusion(Constant(1.0))), 0.2, Fixed(1)), (4, 6, 6), 2 * 4 * 36),
        # K and Kᵀ where a window fits, the slope there, and dt; not the bound of ‖K‖, made once for a batch.
        (Evolve(Euler(SymmetricConvolution(4)), 0.2, Fixed(1)), (4, 6, 6), 2 * 16 * 9 * 16 + 4 * 16 + 4 * 36),
        # There and back along each axis, N multiply-adds a cell, the product with the spectrum, and κ·δ² and dt in it.
        (Evolve(Exact(Diffusion(Constant(1.0))), 0.2, Fixed(1)), (4, 12, 12), 48 * 4 * 144 + 6 * 144),
    ],
)
def test_multiply_adds_of_known_layers(module, shape, expected):
    found = multiply_adds(module, torch.rand(1, *shape))
    assert expected <= found <= expected + 32  # coefficients, eigenvalues


def test_multiply_adds_of_a_network_of_pde_blocks_exceed_those_of_its_plain_blocks():
    plain = ResNet((8, 16, 24), (1, 2, 1))
    image = torch.rand(1, 3, 32, 32)
    assert multiply_adds(plain, image) == resnet_multiply_adds((8, 16, 24), (1, 2, 1))
    assert multiply_adds(ResNet((8, 16, 24), (1, 2, 1), pde=True), image) > multiply_adds(plain, image)


@pytest.mark.parametrize(("count", "like"), [(72_242_500, (32, 64, 128)), (46_663_652, (16, 32, 64))])
def test_a_plain_resnet_of_equal_multiply_adds(count, like):
    widths, blocks = matched_resnet(count, like)
    assert abs(resnet_multiply_adds(widths, blocks) / count - 1) <= 0.02
    assert all(width % 16 == 0 for width in widths) and max(blocks) - min(blocks) <= 1


def test_the_exponent_is_the_slope_of_the_logarithms():
    values = [4.0, 8.0, 32.0]
    assert math.isclose(exponent(values, [3 * value**1.5 for value in values]), 1.5)


def test_terms_of_the_blocks_allow_a_step_of_one():
    assert Euler(terms(4)).guaranteed_limit >= 1
