"""Random numbers that are a pure function of (seed, index).

Every sample draws its crop, flip, noise … from its own index alone. So a batch may be split over processes, or a run
resumed in the middle, and each sample stays what it was.
"""

import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15, the increment of splitmix64, as a signed 64-bit integer
_MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_2 = -7723592293110705685  # 0x94D049BB133111EB


def _shift_right(x: Tensor, bits: int) -> Tensor:
    return (x >> bits) & ((1 << (64 - bits)) - 1)  # torch's shift copies the sign bit: mask it away


def _mixed(x: Tensor) -> Tensor:
    """The output function of splitmix64: a bijection of 64-bit integers whose output bits look independent."""
    x = (x ^ _shift_right(x, 30)) * _MIX_1
    x = (x ^ _shift_right(x, 27)) * _MIX_2
    return x ^ _shift_right(x, 31)


def _hashed(seed: int, indices: Tensor) -> Tensor:
    start = _mixed(torch.tensor(_signed(seed)) + _GOLDEN)
    return _mixed(start + (indices.to("cpu", torch.int64) + 1) * _GOLDEN)


def _signed(value: int) -> int:
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


def uniform(seed: int, indices: Tensor, draws: int) -> Tensor:
    """Numbers in [0, 1): one row an index, ``draws`` columns, each row a function of (seed, its index) alone.

    Args:
        seed: any integer.
        indices: (n,) integers.
        draws: how many numbers each index gets; the first k do not depend on how many follow.

    Returns:
        (n, draws) in double precision, so that a position among billions can be drawn from one number.
    """
    columns = torch.arange(1, draws + 1) * _GOLDEN
    bits = _shift_right(_mixed(_hashed(seed, indices)[:, None] + columns), 11)
    return bits.double() * 2.0**-53


def derived_seeds(seed: int, indices: Tensor) -> list[int]:
    """One seed for ``torch.Generator.manual_seed`` for each index, a function of (seed, its index) alone."""
    return _shift_right(_hashed(seed, indices), 1).tolist()
