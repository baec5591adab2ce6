"""Laws of the denoisers: what each promises, on any image and whatever the weights."""

import copy

import pytest
import torch

from pdeconv import PDEConvError, create_model, estimate_noise_level
from pdeconv.models.denoiser import LOWEST_LEVEL

SMALL = {
    "adr_denoiser": dict(channels=3, steps=3),
    "energy_flow_denoiser": dict(steps=3, kernel_size=3),
    "gradient_flow_denoiser": dict(steps=3, kernel_size=3),
    "multiscale_denoiser": dict(channels=4, depth=2),
    "reaction_diffusion_denoiser": dict(steps=2, kernel_size=3),
}
CASES = {
    (name, channels): dict(in_channels=channels, **options) for name, options in SMALL.items() for channels in (1, 3)
}
CASES[("reaction_diffusion_denoiser, Gaussians", 1)] = dict(steps=2, kernel_size=3, centres=9)
CASES[("multiscale_denoiser, two cycles", 1)] = dict(channels=4, depth=3, steps=2)
SIZES = ((1, 1), (1, 7), (6, 2), (9, 16), (13, 10))


def denoiser(case, seed=0, far=1.0):
    """A denoiser in float64 whose weights are ``far`` from their start."""
    torch.manual_seed(seed)
    model = create_model(case[0].split(",")[0], **CASES[case]).double().eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(far * torch.randn_like(weight))
    return model


def image(case, size=(13, 10), batch=2, seed=1):
    return torch.rand(batch, case[1], *size, generator=torch.manual_seed(seed), dtype=torch.float64)


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def case(request):
    return request.param


@torch.no_grad()
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_size_and_level(case, size):
    model, noisy = denoiser(case), image(case, size)
    for sigma in (0.0, 1e-3, 25 / 255, 75 / 255, 100.0):
        denoised = model(noisy, sigma)
        assert denoised.shape == noisy.shape and denoised.dtype == noisy.dtype
        assert denoised.isfinite().all()


@torch.no_grad()
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_promise(case, scale):
    """Of weights far from their start, for weak and strong contrast."""
    model = denoiser(case, far=3.0)
    assert 0 < model.courant <= 1 + 1e-12
    noisy = scale * image(case, (16, 8)) - 0.3
    sigma = 25 / 255
    v, level, _ = model._in_units_of_noise(noisy, sigma, None)
    states = model._evolved(v, level)
    if model.keeps == {"energy"}:
        norms = torch.stack([u.flatten(1).norm(dim=1) for u in states])
        assert (norms <= norms[0] * (1 + 1e-9) + 1e-12).all()
    elif model.keeps == {"range"}:
        low, high = noisy.amin((2, 3), keepdim=True), noisy.amax((2, 3), keepdim=True)
        denoised = model(noisy, sigma)
        slack = 1e-9 * scale
        assert ((denoised >= low - slack) & (denoised <= high + slack)).all()
    else:
        assert model.keeps == {"own energy"}
        energies = model.energies(noisy, sigma)
        assert (energies.diff(dim=0) <= 1e-9 * energies[0].abs() + 1e-12).all()


@torch.no_grad()
def test_the_promise_is_not_empty(case):
    """Noise does get less: already at the start, but for many grids, which begin as too much."""
    if "cycles" in case[0]:
        pytest.skip("is trained first")
    model = denoiser(case, far=0.0)
    clean = torch.linspace(0, 1, 32, dtype=torch.float64).expand(1, case[1], 32, 32)
    noisy = clean + 0.1 * torch.randn(clean.shape, generator=torch.manual_seed(0), dtype=torch.float64)
    assert (model(noisy, 0.1) - clean).square().mean() < 0.6 * (noisy - clean).square().mean()


@torch.no_grad()
def test_a_constant_image_rests(case):
    noisy = torch.full((2, case[1], 9, 11), 0.4, dtype=torch.float64)
    assert torch.allclose(denoiser(case)(noisy, 0.1), noisy, atol=1e-12)


@torch.no_grad()
def test_the_image_scales_and_shifts(case):
    """a f + b at the noise level a σ; but a multiscale denoiser knows the level."""
    model, noisy = denoiser(case), image(case)
    scale = 1.0 if case[0].startswith("multiscale") else 3.0
    assert torch.allclose(model(scale * noisy + 0.7, scale * 0.1), scale * model(noisy, 0.1) + 0.7, atol=1e-9)


@torch.no_grad()
def test_the_forms_of_sigma(case):
    model, noisy = denoiser(case), image(case)
    expected = model(noisy, 0.1)
    for sigma in (torch.tensor(0.1), torch.tensor([0.1, 0.1]), torch.full((1, 1, 1, 1), 0.1), torch.tensor([0.1])):
        assert torch.allclose(model(noisy, sigma), expected, atol=1e-6)
    assert torch.allclose(model(noisy, torch.full((2, 1, 13, 10), 0.1)), expected, atol=1e-6)
    levels = torch.tensor([0.05, 0.2], dtype=torch.float64)
    alone = torch.cat([model(noisy[i : i + 1], float(levels[i])) for i in range(2)])
    assert torch.allclose(model(noisy, levels), alone, atol=1e-12)
    assert torch.equal(model(noisy), model(noisy, estimate_noise_level(noisy)))
    assert torch.equal(model(noisy, 0.0), model(noisy, LOWEST_LEVEL))


@torch.no_grad()
def test_a_map_acts_where_it_is(case):
    """Far from where the map differs, the result is that of one level."""
    model = denoiser(case, far=0.3)
    width = 2 * model.radius + 24
    noisy = image(case, (16, width), batch=1)
    sigma = torch.full((1, 1, 16, width), 0.05, dtype=torch.float64)
    sigma[..., : width // 2] = 0.2
    denoised, mean = model(noisy, sigma), noisy.mean((2, 3), keepdim=True)
    assert torch.allclose(denoised[..., -8:], model(noisy, 0.05, mean)[..., -8:], atol=1e-12)
    assert not torch.allclose(denoised[..., :8], model(noisy, 0.05, mean)[..., :8], atol=1e-6)


@torch.no_grad()
def test_the_radius(case):
    """A cell does not depend on cells farther away than the radius, and does on nearer ones."""
    model = denoiser(case)
    width = model.radius + 40
    noisy = image(case, (8, width), batch=1)
    other = noisy.clone()
    other[..., 0] += 1.0
    mean = noisy.mean((2, 3), keepdim=True)
    change = (model(other, 0.1, mean) - model(noisy, 0.1, mean)).abs().amax((0, 1, 2))
    assert change[model.radius + 1 :].max() < 1e-14
    assert change[0] > 1e-6


@torch.no_grad()
def test_shifts_by_a_multiple(case):
    model = denoiser(case)
    edge = model.radius + model.multiple
    size = 2 * edge + 8
    noisy = image(case, (size, 8), batch=1)
    shifted = torch.cat((image(case, (model.multiple, 8), batch=1, seed=2), noisy), 2)
    mean = noisy.mean((2, 3), keepdim=True)
    expected = model(noisy, 0.1, mean)[:, :, edge:-edge]
    found = model(shifted, 0.1, mean)[:, :, model.multiple + edge : -edge]
    assert torch.allclose(found, expected, atol=1e-12)


def test_every_parameter_learns(case):
    model = denoiser(case, far=0.1).train()
    noisy = image(case)
    (model(noisy, torch.tensor([0.05, 0.1])) - noisy).square().sum().backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None and weight.grad.isfinite().all() and weight.grad.abs().max() > 0, name


@torch.no_grad()
def test_the_trajectory_ends_at_the_result(case):
    model, noisy = denoiser(case, far=0.1), image(case)
    trajectory = model.trajectory(noisy, 0.1)
    assert torch.allclose(trajectory.states[0], noisy, atol=1e-12)
    assert torch.equal(trajectory.states[-1], model(noisy, 0.1))
    assert len(trajectory.times) == len(trajectory.states)


@torch.no_grad()
def test_half_precision_and_autocast(case):
    model = denoiser(case, far=0.0).float()
    noisy = image(case, (16, 16)).float()
    expected = model(noisy, 0.1)
    with torch.autocast("cpu", torch.bfloat16):
        assert (model(noisy, 0.1).float() - expected).abs().max() < 0.05
    assert (copy.deepcopy(model).bfloat16()(noisy.bfloat16(), 0.1).float() - expected).abs().max() < 0.1


def test_slips(case):
    model, noisy = denoiser(case), image(case)
    with pytest.raises(PDEConvError, match=r"in_channels=2"):
        model(torch.rand(1, 2, 8, 8, dtype=torch.float64), 0.1)
    with pytest.raises(PDEConvError):
        model(noisy[0], 0.1)
    for sigma in (-0.1, float("nan"), float("inf")):
        with pytest.raises(PDEConvError, match="at least 0"):
            model(noisy, sigma)
    for shape in ((3,), (2, 1), (2, 3, 13, 10), (2, 1, 10, 13)):
        with pytest.raises(PDEConvError, match="sigma"):
            model(noisy, torch.full(shape, 0.1))
    name = case[0].split(",")[0]
    for option in ("in_channels", *SMALL[name]):
        with pytest.raises(PDEConvError, match=r"at least 1|at least 3|odd|2 mod 4"):
            create_model(name, **{option: 0})


def test_energies_that_are_convex_have_one_minimum():
    """From any start the descent of a convex energy ends at the same image."""
    torch.manual_seed(0)
    model = create_model("energy_flow_denoiser", steps=400, kernel_size=3, concavity=0.0, ceiling=4.0).double()
    noisy = torch.rand(1, 1, 8, 8, dtype=torch.float64)
    v, _, _ = model._in_units_of_noise(noisy, 0.1, None)
    v = v[:, :, 4:12, 4:12]
    with torch.no_grad():
        ends = []
        for start in (v, torch.zeros_like(v)):
            u, dt = start, 1 / (1 + model.strength)
            for _ in range(600):
                u = torch.addcmul(model.step(u, dt * model.strength), v - u, dt)
            ends.append(u)
    assert torch.allclose(*ends, atol=1e-6)
