"""Volumes that a seed makes: solid bodies of six kinds, turned, moved and scaled at random. No download, no licence."""

import math

import torch
from torch import Tensor

SOLIDS = ("ball", "cube", "cylinder", "cone", "torus", "octahedron")
SIDE = 16
"""Cells along each axis, unless the configuration says otherwise."""
NOISE = 0.25
"""Standard deviation of the noise of a volume to classify, whose body is at least 0.4 brighter than what is around."""
AT_ONCE = 64
TRAIN, TEST = (1200, 11), (300, 12)  # samples, and the seed of each


def solids(count: int, seed: int, side: int = SIDE, bodies: int = 1, noise: float = 0.0) -> tuple[Tensor, Tensor]:
    """Volumes of bodies within [0, 1]: a body of brightness b ∈ [0.4, 1] before a dark background.

    A body is {x : f(Qᵀ(x − c)/r) ≤ 0}, with a turn Q that is uniform in SO(3), a centre c within a tenth of the cube
    [−1, 1]³ around its middle, and a radius r of 0.5 to 0.8; f is the signed distance, or near it, of its kind. Its
    edge is a cell wide. Where bodies overlap, the brighter one is seen.

    Args:
        count: number of volumes; their kinds take turns, so that there are as many of each.
        seed: of them; the first so many do not depend on how many follow.
        side: cells along each axis.
        bodies: in each volume, of random kinds but for the first.
        noise: standard deviation of Gaussian noise that is added; it may leave [0, 1].

    Returns:
        (count, 1, side, side, side) in float32, and the kind (count,) of the first body of each.

    Example:
        >>> volumes, kinds = solids(6, seed=0, side=8)
        >>> volumes.shape, [SOLIDS[kind] for kind in kinds[:2]]
        (torch.Size([6, 1, 8, 8, 8]), ['ball', 'cube'])
    """
    line = (torch.arange(side) + 0.5) * (2 / side) - 1
    cells = torch.stack(torch.meshgrid(line, line, line, indexing="ij"), -1).reshape(-1, 3)
    kinds = torch.arange(count) % len(SOLIDS)
    volumes = torch.empty(count, len(cells))
    for first in range(0, count, AT_ONCE):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + first)
        here = volumes[first : first + AT_ONCE]
        here.zero_()
        for body in range(bodies):
            of_kind = torch.randint(len(SOLIDS), (AT_ONCE,), generator=generator)[: len(here)]
            chosen = kinds[first : first + AT_ONCE] if body == 0 else of_kind
            torch.maximum(here, _bodies(cells, chosen, 2 / side, generator), out=here)
        if noise:
            here += noise * torch.randn(AT_ONCE, len(cells), generator=generator)[: len(here)]
    return volumes.reshape(count, 1, side, side, side), kinds


def _bodies(cells: Tensor, kinds: Tensor, cell: float, generator: torch.Generator) -> Tensor:
    """(B, cells) brightness; as many numbers are drawn whatever the number of bodies."""
    turns = _turns(torch.randn(AT_ONCE, 4, generator=generator))[: len(kinds)]
    numbers = torch.rand(AT_ONCE, 5, generator=generator)[: len(kinds)]
    centre, radius = 0.2 * numbers[:, :3] - 0.1, 0.5 + 0.3 * numbers[:, 3]
    local = (cells[None] - centre[:, None]) @ turns / radius[:, None, None]
    distance = torch.empty(len(kinds), len(cells))
    for kind in range(len(SOLIDS)):
        own = kinds == kind
        distance[own] = _distance(kind, *local[own].unbind(-1))
    inside = torch.sigmoid(-4 * distance * radius[:, None] / cell)
    return (0.4 + 0.6 * numbers[:, 4:]) * inside


def _distance(kind: int, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """f of a kind, of about the size of a ball of radius 1."""
    across = torch.hypot(x, y)
    return (
        lambda: torch.hypot(across, z) - 0.85,
        lambda: torch.maximum(torch.maximum(x.abs(), y.abs()), z.abs()) - 0.65,
        lambda: torch.maximum(across - 0.6, z.abs() - 0.75),
        lambda: torch.maximum((across - 0.45 * (0.8 - z)) / math.hypot(1, 0.45), -0.8 - z),
        lambda: torch.hypot(across - 0.65, z) - 0.28,
        lambda: (x.abs() + y.abs() + z.abs() - 1.1) / math.sqrt(3),
    )[kind]()


def _turns(numbers: Tensor) -> Tensor:
    """Rotations (B, 3, 3) of unit quaternions, uniform for normal ``numbers`` (B, 4) (Shoemake 1992)."""
    w, x, y, z = (numbers / numbers.norm(dim=1, keepdim=True)).unbind(1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, -1) for row in rows], -2)
