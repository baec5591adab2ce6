"""Law: a kernel is the sum of its parts, and each part is the derivative that it is called."""

import math

import pytest
import torch
from torch import nn

from pdeconv import Grid, PDEConvError, SymmetricConvolution, UnsupportedError
from pdeconv.analysis import decompose, decompose_kernel
from pdeconv.analysis.decomposition import SHARES


@pytest.mark.parametrize("taps", [(1,), (3,), (7,), (3, 3), (5, 5), (7, 7), (2, 2), (4, 3), (1, 5), (3, 3, 3)])
def test_the_parts_add_up_to_the_kernel(taps):
    kernel = torch.randn(3, 2, *taps)
    total = decompose_kernel(kernel).total[(..., *(slice(n) for n in taps))]
    assert (total - kernel.double()).abs().max() <= 1e-6
    wide = decompose_kernel(kernel).total
    assert wide.abs().sum().item() == pytest.approx(kernel.abs().sum().item(), rel=1e-6)  # nothing in the tap added


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("dx", [1.0, 0.5])
def test_each_part_takes_the_terms_of_its_order_from_a_polynomial(dims, dx):
    """At 0, ∂^α of x^β is α! if α = β, else 0: each part sees the monomials of its own order alone."""
    parts = decompose_kernel(torch.randn(1, 1, *(5,) * dims), (dx,) * dims)
    line = dx * torch.arange(-2, 3, dtype=torch.float64)
    axes = torch.meshgrid(*(line,) * dims, indexing="ij")
    for powers in [(0,) * dims, (1, *(0,) * (dims - 1)), (2, *(0,) * (dims - 1)), (3, *(0,) * (dims - 1)), (1,) * dims]:
        monomial = math.prod(axis**power for axis, power in zip(axes, powers, strict=True))
        order = min(sum(powers), 3)
        for place, part in enumerate((parts.reaction, parts.advection, parts.diffusion, parts.higher)):
            response = float((part * monomial).sum())
            alone = float((parts.total * monomial).sum()) if place == order else 0.0
            assert response == pytest.approx(alone, abs=1e-9)


def test_known_kernels_are_called_what_they_are():
    def of(kernel):
        conv = nn.Conv2d(1, 1, 3, bias=False)
        conv.weight = nn.Parameter(torch.tensor(kernel)[None, None])
        layer = decompose(conv).layers[0]
        assert sum(getattr(layer, share) for share in SHARES) == pytest.approx(1)
        return layer

    blur = of([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]])
    sharpen = of([[0.0, -1.0, 0.0], [-1.0, 5.0, -1.0], [0.0, -1.0, 0.0]])
    shift = of([[0.0, 0.0, 0.0], [-0.2, 1.0, 0.2], [0.0, 0.0, 0.0]])
    assert blur.sharpens == 0 and blur.blurs > 0 and blur.carries == 0
    assert sharpen.blurs == 0 and sharpen.sharpens > 0.1
    assert shift.carries > 0 and shift.blurs == shift.sharpens == shift.higher == 0
    assert of([[0.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 0.0]]).mixes == 1


def test_a_transport_to_the_right_has_the_opposite_moment():
    """u(x − 1), whole cells to the right, has the moment −1 of ∂u/∂x."""
    parts = decompose_kernel(torch.tensor([[[1.0, 0.0, 0.0]]]))
    assert parts.moments[0, 0].tolist() == [1.0, -1.0, 0.5]


def test_all_convolutions_of_a_model_are_found():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), SymmetricConvolution(4, grid=Grid()), nn.Conv1d(4, 2, 5))
    assert [layer.kind for layer in decompose(model).layers] == ["Conv2d", "SymmetricConvolution", "Conv1d"]
    assert "4 × 3 × 3 × 3" in str(decompose(model))
    with pytest.raises(UnsupportedError, match="has none"):
        decompose(nn.Linear(2, 2))


@pytest.mark.parametrize("kernel", [torch.zeros(3), torch.zeros(0, 1, 3), torch.full((1, 1, 3), math.nan), "kernel"])
def test_what_is_no_kernel_is_refused(kernel):
    with pytest.raises(PDEConvError):
        decompose_kernel(kernel)
