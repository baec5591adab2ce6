"""Linear interpolation by torch's own kernel is that by gathering, with its gradients and theirs."""

import pytest
import torch
from torch import Tensor

from pdeconv.bilinear import suits_bilinear
from pdeconv.grid import Boundary
from pdeconv.interpolation import Interpolation, LinearInterpolation

BOUNDARIES: tuple[Boundary, ...] = ("dirichlet", "neumann", "reflect")


def gathered(u: Tensor, positions: list[Tensor], boundary: Boundary) -> Tensor:
    return Interpolation.__call__(LinearInterpolation(), u, positions, boundary)


def given(channels: int, reach: float) -> tuple[Tensor, list[Tensor]]:
    """A state and positions up to some way beyond its edges, shared by its channels or not."""
    u = torch.rand(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    return u, [(torch.randn(2, channels, 4, 5, dtype=torch.float64) * reach).requires_grad_() for _ in range(2)]


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("reach", [2.0, 50.0])
def test_values_and_gradients_are_those_of_gathering(boundary, channels, reach):
    u, positions = given(channels, reach)
    assert suits_bilinear(u, positions, boundary)
    fast, plain = LinearInterpolation()(u, positions, boundary), gathered(u, positions, boundary)
    torch.testing.assert_close(fast, plain)
    weights = torch.rand_like(fast)
    for one, other in zip(
        torch.autograd.grad((fast * weights).sum(), (u, *positions)),
        torch.autograd.grad((plain * weights).sum(), (u, *positions)),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_gradients_of_gradients(boundary):
    u, positions = given(1, 2.0)

    def interpolated(u: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        return LinearInterpolation()(u, [rows, columns], boundary)

    assert torch.autograd.gradcheck(interpolated, (u, *positions))
    assert torch.autograd.gradgradcheck(interpolated, (u, *positions))


def test_positions_of_an_axis_each():
    """As ``SemiLagrangian`` has them for one velocity everywhere: of fewer axes than the state."""
    u = torch.rand(2, 3, 4, 5)
    rows, columns = torch.arange(4.0)[:, None] - 0.25, torch.arange(5.0) + 0.5
    torch.testing.assert_close(
        LinearInterpolation()(u, [rows, columns], "neumann"), gathered(u, [rows, columns], "neumann")
    )


def test_what_torch_does_not_take_is_gathered():
    u, positions = torch.rand(2, 3, 4, 5), [torch.zeros(4, 5), torch.zeros(4, 5)]
    assert suits_bilinear(u, positions, "neumann")
    assert not suits_bilinear(u, positions, "periodic")
    assert not suits_bilinear(u.half(), positions, "neumann")
    assert not suits_bilinear(u[..., :1], [at[..., :1] for at in positions], "reflect")
    assert not suits_bilinear(u[:, :, 0], positions[:1], "neumann")


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("place", [float("nan"), float("inf"), -float("inf")])
def test_a_place_that_is_no_number_has_no_value(boundary, place):
    """Else a velocity that has blown up would make a picture."""
    u, positions = torch.rand(1, 2, 4, 5), [torch.zeros(1, 1, 4, 5), torch.zeros(1, 1, 4, 5)]
    positions[1][0, 0, 2, 3] = place
    found = LinearInterpolation()(u, positions, boundary)
    assert found[0, :, 2, 3].isnan().all() and found.isnan().sum() == 2


def test_a_long_axis_is_precise_enough():
    u = torch.rand(1, 1, 2, 4000)
    positions = [torch.zeros(1, 1, 2, 1), torch.arange(4000.0) + 0.3]
    torch.testing.assert_close(
        LinearInterpolation()(u, positions, "neumann"), gathered(u, positions, "neumann"), rtol=0.0, atol=1e-3
    )
