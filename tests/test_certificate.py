"""Laws: nonexpansive steps part no two states, bounds hold, and no attack beats a certified radius."""

import math

import pytest
import torch
from catalogue import TERMS, build
from sklearn.datasets import load_digits
from states import BOUNDARIES, grid_of, randomise, state
from torch import nn

from pdeconv import (
    CFL,
    RK4,
    SSPRK3,
    Coefficient,
    Constant,
    Diffusion,
    Euler,
    Evolve,
    Fixed,
    Heun,
    Lie,
    PDEConvError,
    PeronaMalik,
    Residual,
    SymmetricConvolution,
    TanhInfluence,
    UnsupportedError,
    create_model,
    lipschitz_bound,
)
from pdeconv.analysis import attack_within, certified_radii, jacobian_norm

NONEXPANSIVE = [name for name in TERMS if build(name).nonexpansive]


def test_the_terms_that_part_no_states_are_these():
    diffusions = {f"{kind}_diffusion" for kind in ("constant", "channel", "fourth_order", "q1", "spectral")}
    assert set(NONEXPANSIVE) == diffusions | {"relu_convolution", "tanh_convolution"}


@pytest.mark.parametrize("name", NONEXPANSIVE)
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("method", [Euler, Heun, SSPRK3])
def test_a_nonexpansive_step_parts_no_two_states_at_its_limit(name, boundary, method):
    step = method(build(name, grid_of(boundary, 2)))
    if not step.nonexpansive:
        assert boundary == "reflect"
        return
    limit = torch.tensor(step.guaranteed_limit, dtype=torch.float64)
    for size in (0.01, 1.0, 100.0):
        u, change = size * torch.randn(2, 2, 6, 7).double(), torch.randn(2, 2, 6, 7).double()
        apart = (step(u + change, limit) - step(u, limit)).norm()
        assert apart <= change.norm() * (1 + 1e-12)
    # Where the measured slope reaches it, the limit is not far from sharp.
    beyond = jacobian_norm(lambda v: step(v, 30 * limit), state(cells=6), 30)
    assert beyond > 1


@pytest.mark.parametrize("step", [Euler(Diffusion(PeronaMalik(1))), RK4(Diffusion(Constant(1.0)))])
def test_what_is_not_proven_is_not_called_nonexpansive(step):
    assert not step.nonexpansive
    assert lipschitz_bound(Evolve(step, 0.1, Fixed(1, unchecked=True))) is None


class Stopping(Coefficient):
    """κ(u), a user's own, which declares nothing but its ceiling."""

    ceiling = 1.0

    def forward(self, u, grid):
        return 1 / (1 + u * u)


def test_a_users_own_coefficient_may_depend_on_the_state():
    assert not Diffusion(Stopping()).nonexpansive


def test_pools_with_one_number_for_all_axes_or_one_for_each():
    assert lipschitz_bound(nn.MaxPool2d(2, stride=(2, 2))) == 1
    assert lipschitz_bound(nn.AvgPool2d((2, 3), stride=3)) == pytest.approx(6**-0.5)
    assert lipschitz_bound(nn.AvgPool2d((2, 3), stride=2)) is None


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("count_include_pad", [False, True])
@pytest.mark.parametrize("padding", [0, 1])
def test_the_bound_of_means_is_reached_and_not_passed(padding, count_include_pad, ceil_mode):
    """By the norm of the whole matrix, for images whose sides leave windows cut."""
    pool = nn.AvgPool2d(2, padding=padding, count_include_pad=count_include_pad, ceil_mode=ceil_mode)
    for size in (4, 5):
        units = torch.eye(size**2).reshape(-1, 1, size, size)
        norm = float(torch.linalg.matrix_norm(pool(units).flatten(1), 2))
        bound = lipschitz_bound(pool)
        assert bound is not None and norm <= bound + 1e-6
        assert norm == pytest.approx(bound) or bound == 1


def test_a_bound_that_overflows_is_infinite():
    branch = nn.Conv2d(1, 1, 1, bias=False)
    nn.init.constant_(branch.weight, 1e6)
    assert lipschitz_bound(Evolve(Euler(Residual(branch)), 1e3, Fixed(500, unchecked=True))) == math.inf


def test_the_radius_of_a_linear_network_is_the_distance_to_the_boundary():
    """Of features that are the image: |(w₁ − w₂)·mean| / (‖w₁ − w₂‖/√N); a little further the class changes."""
    net = create_model("parabolic_classifier", in_channels=2, num_classes=2, widths=(2,), depths=(0,))
    net.stem = nn.Identity()
    image = torch.rand(1, 2, 4, 5)
    labels, radii = certified_radii(net.eval(), image)
    apart = (net.head.weight[0] - net.head.weight[1]).detach()
    logits = net(image)[0]
    exact = (logits[0] - logits[1]).abs() / apart.norm() * math.sqrt(20)
    assert torch.allclose(radii[0], exact, rtol=1e-4)
    assert not attack_within(net, image, labels, 0.99 * radii).any()
    assert attack_within(net, image, labels, 1.02 * radii, steps=200).all()


def test_bounds_of_evolutions():
    calm = Evolve(Lie(Heun(Diffusion(Constant(1.0))), Euler(SymmetricConvolution(3))), 1.0, CFL(0.9))
    assert lipschitz_bound(calm) == 1
    branch = nn.Conv2d(3, 3, 1, bias=False)
    residual = Evolve(Euler(Residual(branch)), 1.0, Fixed(2, unchecked=True))
    bound = lipschitz_bound(branch)
    assert bound is not None and lipschitz_bound(residual) == pytest.approx((1 + bound / 2) ** 2)
    assert lipschitz_bound(nn.Sequential(calm, nn.AvgPool2d(2), nn.MaxPool2d(2))) == 0.5
    assert lipschitz_bound(nn.MaxPool2d(3, stride=1)) is None  # one cell reaches several windows


@pytest.fixture(scope="module")
def digits():
    """Images of 8 × 8 in [0, 1], and a small network that was trained on them for a moment."""
    torch.manual_seed(0)
    data = load_digits()
    images = torch.from_numpy(data.images).float()[:, None] / 16
    labels = torch.from_numpy(data.target)
    net = create_model("parabolic_classifier", in_channels=1, widths=(8, 16), depths=(1, 1), norm_layer=nn.Identity)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2, weight_decay=1e-2)
    for _ in range(120):
        batch = torch.randint(0, 1400, (128,))
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images[batch]), labels[batch]).backward()
        optimizer.step()
    return net.eval(), images[1400:1600], labels[1400:1600]


def test_no_attack_beats_a_certified_radius(digits):
    net, images, labels = digits
    found = certified_radii(net, images)
    assert (found.labels == labels).float().mean() > 0.6  # it has learned
    assert (found.radii > 0).all() and found.radii.isfinite().all()
    assert not attack_within(net, images, found.labels, found.radii, steps=20).any()


def test_the_attack_is_one(digits):
    """It breaks at some larger radius: that it finds nothing within the certified one says something."""
    net, images, _ = digits
    found = certified_radii(net, images)
    assert attack_within(net, images, found.labels, 60 * found.radii, steps=20).float().mean() > 0.5
    assert not attack_within(net, images, found.labels, torch.zeros_like(found.radii), steps=2).any()


def test_the_measured_norm_is_within_the_bound_of_the_features(digits):
    from pdeconv.analysis.certificate import features_bound

    net, images, _ = digits
    assert 0 < jacobian_norm(net.forward_features, images[:1]) <= features_bound(net)


@pytest.mark.parametrize("act_layer", [nn.ReLU, nn.Tanh])
def test_without_a_normalisation_the_parabolic_network_is_proven(act_layer):
    net = create_model("parabolic_classifier", norm_layer=nn.Identity, act_layer=act_layer)
    proven = [part for part in net.modules() if isinstance(part, Evolve)]
    assert proven and all(part.step.nonexpansive and part.step.guaranteed_limit >= 1 for part in proven)
    influence = proven[0].step.term.influence
    z = torch.randn(1, 4, 3, 3)
    assert torch.allclose(influence(z) * z, act_layer()(z))
    assert isinstance(influence, TanhInfluence) == (act_layer is nn.Tanh)


def test_what_cannot_be_certified_says_why():
    net = create_model("parabolic_classifier")
    with pytest.raises(PDEConvError, match="eval"):
        certified_radii(net, torch.rand(1, 3, 8, 8))
    with pytest.raises(UnsupportedError, match=r"stages\.0"):
        certified_radii(net.eval(), torch.rand(1, 3, 8, 8))
    with pytest.raises(PDEConvError, match="classifier of this library"):
        certified_radii(nn.Linear(2, 2), torch.rand(1, 2))  # pyright: ignore[reportArgumentType]
    assert math.isfinite(float(certified_radii(randomise(_plain()), torch.rand(1, 3, 8, 8)).radii))


def _plain():
    return create_model("parabolic_classifier", norm_layer=nn.Identity).eval()
