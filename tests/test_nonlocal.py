"""Law: nonlocal diffusion is s (P − I) with P the dense softmax of queries and keys, its rows summing to 1."""

import math

import pytest
import torch
from states import excess, number, randomise
from torch.nn.attention import SDPBackend, sdpa_kernel

from pdeconv import CFL, Constant, Euler, Evolve, NonlocalDiffusion, PDEConvError, PerChannel

SHAPES = {"line": (7,), "image": (5, 6), "volume": (3, 2, 4)}


def dense(term, u):
    """P of each head as a matrix of pixels, by its definition: windows by the coordinates of the pixels."""
    tokens = u[0].flatten(1)
    queries, keys = (term.weight @ tokens).unflatten(0, (2, term.heads, -1))
    scores = queries.mT @ keys / math.sqrt(queries.shape[1])
    if term.window is not None:
        where = torch.meshgrid(*[torch.arange(n) // term.window for n in u.shape[2:]], indexing="ij")
        where = torch.stack([line.flatten() for line in where])
        same = (where[:, :, None] == where[:, None]).all(0)
        scores = scores.masked_fill(~same, -math.inf)
    return scores.softmax(-1)


def layer(heads=1, window=None):
    strength = PerChannel(4, ceiling=1.3)
    return randomise(NonlocalDiffusion(4, 3, heads, window, strength).double())


@torch.no_grad()
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("heads", "window"), [(1, None), (2, None), (4, 3), (2, 2), (1, 100), (2, 1)])
def test_against_the_dense_matrix(heads, window, shape):
    term = layer(heads, window)
    u, v = (torch.randn(1, 4, *SHAPES[shape], dtype=torch.float64) for _ in range(2))
    p = dense(term, u)
    assert torch.allclose(p.sum(-1), torch.ones(()).double())
    mean = (v[0].flatten(1).unflatten(0, (heads, -1)) @ p.mT).reshape(v.shape)
    strength = 1.3 * torch.sigmoid(term.strength.weight).reshape(1, 4, *[1] * len(SHAPES[shape]))
    assert torch.allclose(term(u)(v), strength * (mean - v), atol=1e-12)
    ones = torch.ones_like(v)
    assert term(u)(ones).abs().max() < 1e-12  # rows sum to 1
    if window == 1:
        assert term(u)(v).abs().max() < 1e-12  # a pixel by itself rests


@torch.no_grad()
def test_the_range_is_kept_at_its_limit_and_not_beyond():
    """At s = 1 and dt = 1 the state is attention's mean; twice as far an outlier is thrown to the other side."""
    term = randomise(NonlocalDiffusion(4, 3, strength=Constant(1.0)).double())
    step, u = Euler(term), torch.rand(2, 4, 6, 6, dtype=torch.float64)
    assert step.guaranteed_limit == 1.0
    after = step(u, number(1.0))
    assert excess(after, u.amin(), u.amax()) < 1e-12
    assert torch.allclose(after, term(u).mean(u), atol=1e-12)
    spike = torch.zeros(1, 4, 6, 6, dtype=torch.float64)
    spike[..., 2, 3] = 1
    assert excess(step(spike, number(1.2)), 0.0, 1.0) > 0.05


def test_windows_bound_what_a_pixel_sees():
    term = layer(window=3)
    u = torch.randn(1, 4, 7, 8, dtype=torch.float64, requires_grad=True)
    (seen,) = torch.autograd.grad(term(u)(u)[..., 4, 4].sum(), u)
    reach = seen[0].abs().sum(0) > 0
    assert reach[3:6, 3:6].all() and reach.sum() == 9


def test_second_derivatives_by_plain_attention():
    term = layer(heads=2, window=2)
    u = torch.randn(1, 4, 2, 3, dtype=torch.float64, requires_grad=True)
    with sdpa_kernel(SDPBackend.MATH):
        assert torch.autograd.gradgradcheck(lambda u: term(u)(u), (u,), fast_mode=True, atol=1e-4)


def test_heads_divide_the_channels():
    with pytest.raises(PDEConvError, match="divide"):
        NonlocalDiffusion(4, heads=3)
    with pytest.raises(PDEConvError, match="4 channels"):
        Evolve(Euler(NonlocalDiffusion(4)), 1.0, CFL(1.0))(torch.rand(1, 3, 4, 4))
