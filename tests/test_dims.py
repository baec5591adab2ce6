"""Laws of the models on signals, images and volumes: the same model on 1, 2 or 3 spatial axes."""

from functools import partial

import pytest
import torch
from classifiers import CLASSIFIERS, group_norm, small
from denoisers import DENOISERS
from torch import nn
from torch.nn.functional import cross_entropy

from pdeconv import PDEBasicBlock, PDEBlock, PDEConvError, create_model, estimate_noise_level, list_models
from pdeconv.errors import StabilityError
from pdeconv.grid import Grid
from pdeconv.models.multiscale_denoiser import prolongate, restrict, shuffled, unshuffled
from pdeconv.models.registry import model_options

SIZES = {1: (11,), 2: (6, 5), 3: (6, 5, 5)}  # of a coarse stage three cells: a kernel of them has a window
TWO_CYCLES = DENOISERS | {"multiscale_denoiser": dict(channels=2, depth=2, steps=2, kernel_size=6)}
classifiers = pytest.mark.parametrize("name", CLASSIFIERS)
denoisers = pytest.mark.parametrize("name", DENOISERS)
every_dims = pytest.mark.parametrize("dims", [1, 3])


def samples(dims, batch=2, channels=3, size=None):
    return torch.rand(batch, channels, *(size or SIZES[dims]), generator=torch.Generator().manual_seed(1))


def test_every_denoiser_is_listed():
    assert set(DENOISERS) == set(list_models("*denoiser"))


def small_denoiser(name, dims, far=1.0):
    torch.manual_seed(0)
    model = create_model(name, dims=dims, **TWO_CYCLES[name]).double().eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(far * torch.randn_like(weight))
    return model


@classifiers
@every_dims
def test_every_weight_of_a_classifier_learns(name, dims):
    model, flat = small(name, dims=dims), small(name)
    assert list(model.state_dict()) == list(flat.state_dict()), "the names of the weights do not depend on the axes"
    image = samples(dims, batch=4)
    cross_entropy(model(image), torch.tensor([0, 1, 2, 3])).backward()
    for key, weight in model.named_parameters():
        assert weight.grad is not None and weight.grad.isfinite().all() and weight.grad.any(), key
    with torch.no_grad():
        features = model.eval().forward_intermediates(image, intermediates_only=True)
        for found, row in zip(features, model.feature_info, strict=True):
            assert found.shape == (4, row["num_chs"], *(-(-n // row["reduction"]) for n in SIZES[dims]))
        way = model.trajectory(image)
        torch.testing.assert_close(model.forward_head(model.last(way.states[-1])), model(image))
        one = model(samples(dims, size=(1,) * dims))
        assert one.isfinite().all()


@classifiers
@torch.no_grad()
def test_a_sample_of_other_axes_is_named(name):
    for dims, other in ((2, 3), (3, 2), (1, 2), (2, 1)):
        model = small(name, dims=dims).eval()
        for call in (model, model.forward_features, model.forward_intermediates, model.trajectory):
            with pytest.raises(PDEConvError, match=rf"dims={dims} takes .*got the shape .*dims={other}"):
                call(samples(other))
    for bad in (0, 4, 2.0, "3", True, None):
        with pytest.raises(PDEConvError, match="dims=1 for signals"):
            small(name, dims=bad)


def test_one_volume_without_its_batch_axis():
    with pytest.raises(PDEConvError, match=r"u\[None\]"):
        small("resnet_classifier", dims=3)(samples(3)[0])


@classifiers
def test_a_normalisation_of_other_axes_is_named(name):
    for norm in (nn.BatchNorm2d, partial(nn.InstanceNorm2d, affine=True)):
        with pytest.raises(PDEConvError, match=r"norm_layer=\w+2d normalises images.*BatchNorm3d"):
            small(name, dims=3, norm_layer=norm)


@pytest.mark.parametrize("name", [name for name in CLASSIFIERS if "memory" in model_options(name)])
def test_memory_changes_no_gradient_of_a_volume(name):
    gradients = []
    for memory in ("store", "checkpoint", *(() if name == "ode_classifier" else ("reversible",))):
        model = small(name, memory=memory, steps=2, norm_layer=group_norm, dims=3).double()
        cross_entropy(model(samples(3).double()), torch.tensor([0, 1])).backward()
        gradients.append([weight.grad for weight in model.parameters()])
    for others in gradients[1:]:
        assert all(torch.allclose(a, b, atol=1e-9) for a, b in zip(gradients[0], others, strict=True))


@every_dims
@torch.no_grad()
def test_proven_classifiers_are_proven_on_any_axes(dims):
    """Their ceilings are those of the axes: the features of `adr_classifier` stay within one, with one step too."""
    model = small("adr_classifier", dims=dims, steps=1).eval().double()
    for weight in model.parameters():
        weight.add_(2 * torch.randn_like(weight))
    for state in model.trajectory(samples(dims).double()).states:
        assert state.abs().max() <= 1 + 1e-12


@denoisers
@every_dims
@torch.no_grad()
def test_the_promise_of_a_denoiser(name, dims):
    """Energy or range, far from the start; a constant rests; the margin is cropped; σ in all its forms."""
    model = small_denoiser(name, dims, far=2.0)
    assert 0 < model.courant <= 1 + 1e-12
    noisy = samples(dims, channels=1).double()
    v, level, _ = model._in_units_of_noise(noisy, 0.1, None)
    states = model._evolved(v, level)
    if model.keeps == {"energy"}:
        norms = torch.stack([u.flatten(1).norm(dim=1) for u in states])
        assert (norms <= norms[0] * (1 + 1e-9)).all()
    elif model.keeps == {"range"}:
        assert noisy.min() - 1e-9 <= model(noisy, 0.1).min() and model(noisy, 0.1).max() <= noisy.max() + 1e-9
    else:
        energies = model.energies(noisy, 0.1)
        assert (energies.diff(dim=0) <= 1e-9 * energies[0].abs()).all()
    still = torch.full_like(noisy, 0.4)
    torch.testing.assert_close(model(still, 0.1), still, rtol=0, atol=1e-9)
    expected = model(noisy, 0.1)
    assert expected.shape == noisy.shape and not torch.allclose(expected, noisy, atol=1e-3)
    one = (1,) * dims
    for shape in ((), (2,), (2, 1, *one), (2, 1, *SIZES[dims])):
        torch.testing.assert_close(model(noisy, torch.full(shape, 0.1).double()), expected)
    assert torch.equal(model(noisy), model(noisy, estimate_noise_level(noisy, dims)))
    assert torch.equal(model.trajectory(noisy, 0.1).states[-1], expected)
    with pytest.raises(PDEConvError, match=r"sigma .*a map \(2, 1, "):
        model(noisy, torch.ones(2, 3, *one))
    with pytest.raises(PDEConvError, match=r"mean as a tensor \(2, 1, 1"):
        model(noisy, 0.1, mean=noisy)
    with pytest.raises(PDEConvError, match=rf"dims={dims} takes .*build it with dims=2"):
        model(samples(2, channels=1), 0.1)


@denoisers
@every_dims
def test_every_weight_of_a_denoiser_learns(name, dims):
    model = small_denoiser(name, dims, far=0.1).train()
    noisy = samples(dims, channels=1).double()
    (model(noisy, torch.tensor([0.05, 0.1])) - noisy).square().sum().backward()
    for key, weight in model.named_parameters():
        assert weight.grad is not None and weight.grad.isfinite().all() and weight.grad.any(), key


@denoisers
@pytest.mark.parametrize(("dims", "side"), [(1, 256), (3, 10)])
@torch.no_grad()
def test_noise_gets_less_at_the_start(name, dims, side):
    torch.manual_seed(0)
    options = dict(depth=1) if name == "multiscale_denoiser" else DENOISERS[name]  # several cycles begin as too much
    model = create_model(name, dims=dims, **options).eval()
    clean = torch.linspace(0, 1, side).expand(1, 1, *(side,) * dims)
    noisy = clean + 0.1 * torch.randn(clean.shape, generator=torch.manual_seed(0))
    assert (model(noisy, 0.1) - clean).square().mean() < 0.6 * (noisy - clean).square().mean()


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_grids_of_any_axes_are_adjoint_and_of_norm_1(dims):
    u = torch.randn(2, 3, *(4, 6, 2)[:dims], dtype=torch.float64)
    p = torch.randn(2, 3, *(2, 3, 1)[:dims], dtype=torch.float64)
    torch.testing.assert_close((restrict(u) * p).sum(), (u * prolongate(p)).sum())
    torch.testing.assert_close(restrict(prolongate(p)), p)
    cells = unshuffled(u)
    assert cells.shape == (2, 3 * 2**dims, *p.shape[2:]) and torch.equal(shuffled(cells), u)
    assert torch.equal(cells[:, 0], u[:, 0][(slice(None), *(slice(None, None, 2),) * dims)])


@pytest.mark.parametrize(("dims", "size"), [(1, (4000,)), (3, (40, 24, 24))])
def test_the_level_of_noise_on_any_axes(dims, size):
    ramp = torch.linspace(0, 1, size[-1]).expand(2, 1, *size)
    noise = torch.randn(ramp.shape, generator=torch.manual_seed(0))
    levels = torch.tensor([0.03, 0.2]).reshape(2, 1, *(1,) * dims)
    found = estimate_noise_level(ramp + levels * noise, dims)
    torch.testing.assert_close(found, levels.flatten(), rtol=0.08, atol=0)
    jumps = ramp + levels * noise + (torch.arange(size[-1]) % 50 > 24)
    torch.testing.assert_close(estimate_noise_level(jumps, dims), levels.flatten(), rtol=0.12, atol=0)
    sick = ramp.clone()
    sick[0, 0, 0] = torch.nan
    assert estimate_noise_level(sick, dims).isnan().tolist() == [True, False]
    assert estimate_noise_level(torch.rand(1, 1, *(1,) * dims), dims).tolist() == [0]


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_blocks_on_any_axes(dims):
    u = samples(dims, channels=4)
    assert torch.equal(PDEBlock(4, grid=Grid(dims=dims))(u), u)
    assert PDEBasicBlock(4, 4, steps=2, dims=dims)(u).shape == u.shape


def test_a_step_too_long_for_the_axes_is_refused():
    """What is stable on two axes need not be on three."""
    from pdeconv import Constant, Diffusion, Euler, Evolve, Fixed

    Evolve(Euler(Diffusion(Constant(1.0), Grid(dims=2))), 0.25, Fixed(1))
    with pytest.raises(StabilityError):
        Evolve(Euler(Diffusion(Constant(1.0), Grid(dims=3))), 0.25, Fixed(1))
