"""Laws of the denoisers: what each promises, on any image and whatever the weights."""

import copy

import numpy as np
import pytest
import torch
from denoisers import DENOISERS

from pdeconv import PDEConvError, create_model, estimate_noise_level
from pdeconv.diffusivity import PeronaMalik
from pdeconv.models.denoiser import LOWEST_LEVEL
from pdeconv.models.multiscale_denoiser import LEVEL_UNIT, prolongate, restrict

CASES = {
    (name, channels): dict(in_channels=channels, **options)
    for name, options in DENOISERS.items()
    for channels in (1, 3)
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
@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_promise(case, scale, mapped):
    """Of weights far from their start, for weak and strong contrast; of a map of σ, of the image divided by it."""
    model = denoiser(case, far=3.0)
    assert 0 < model.courant <= 1 + 1e-12
    noisy = scale * image(case, (16, 8)) - 0.3
    sigma = 0.02 + 0.3 * image((case[0], 1), (16, 8), seed=2) if mapped else torch.full((2,), 25 / 255)
    v, level, mean = model._in_units_of_noise(noisy, sigma, None)
    states = model._evolved(v, level)
    if model.keeps == {"energy"}:
        inside = torch.cat([model.trajectory(noisy, sigma).states[-1], noisy]) - torch.cat([mean, mean])
        if model.margin == 0:  # sides are multiples: nothing is mirrored
            after, before = (inside / level.repeat(2, 1, 1, 1)).flatten(1).norm(dim=1).chunk(2)
            assert (after <= before * (1 + 1e-9) + 1e-12).all()
        norms = torch.stack([u.flatten(1).norm(dim=1) for u in states])
        assert (norms <= norms[0] * (1 + 1e-9) + 1e-12).all()
    elif model.keeps == {"range"}:
        weight = level if mapped else 1.0
        noisy_part, denoised = (noisy - mean) / weight, (model(noisy, sigma) - mean) / weight
        low, high = noisy_part.amin((2, 3), keepdim=True), noisy_part.amax((2, 3), keepdim=True)
        slack = 1e-9 * scale * (50 if mapped else 1)
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


MULTISCALE = [case for case in CASES if case[0].startswith("multiscale")]


@pytest.mark.parametrize("size", [(2, 2), (4, 10), (8, 6)])
def test_prolongation_is_the_adjoint_of_a_restriction_of_norm_1(size):
    """⟨Ru, p⟩ = ⟨u, Rᵀp⟩, and RRᵀ = 1: noise stays as strong, and no more."""
    u = torch.randn(2, 3, *size, dtype=torch.float64)
    p = torch.randn(2, 3, size[0] // 2, size[1] // 2, dtype=torch.float64)
    torch.testing.assert_close((restrict(u) * p).sum(), (u * prolongate(p)).sum())
    torch.testing.assert_close(restrict(prolongate(p)), p)
    assert largest_gain(restrict, u) == pytest.approx(1.0, rel=1e-12)


def largest_gain(function, start, rounds=40):
    """The largest ‖function(u)‖/‖u‖ that ascent of u finds; for a linear function, power iteration of AᵀA."""
    u, best = start / start.norm(), 0.0
    for _ in range(rounds):
        u = u.detach().requires_grad_()
        out = function(u)
        best = max(best, (out.norm() / u.norm()).item())
        (uphill,) = torch.autograd.grad(out.square().sum() / 2, u)
        u = start.norm() * uphill / uphill.norm()
    return best


@pytest.mark.parametrize("case", MULTISCALE, ids=str)
@pytest.mark.parametrize("weights", ["large", "small", "at the start"])
def test_a_multiscale_step_is_safe_where_all_diffuses(case, weights):
    """With g = 1 a cycle is ∏ (1 − RᵀKᵀKR), of norm 1 if ‖K‖² ≤ 2 and ‖R‖ ≤ 1; the bound of ‖K‖ is within √2."""
    model = denoiser(case, far=0.0 if weights == "at the start" else 0.5)
    with torch.no_grad():
        for cycle in model.cycles:
            cycle.filters.weight.mul_({"large": 100.0, "small": 0.01}.get(weights, 1.0))
            for grid in cycle.grids:
                grid.head.weight.zero_()
                grid.contrast.zero_()
                grid.head_slope.zero_()
                grid.head.bias.fill_(50.0)
    u = torch.randn(1, case[1], 24, 16, dtype=torch.float64)
    level = torch.full((1, 1, 1, 1), 0.1, dtype=torch.float64)
    assert largest_gain(lambda u: model._evolved(u, level)[-1], u) <= 1 + 1e-9
    for cycle in model.cycles:
        gain = largest_gain(lambda u: cycle._responses(u, cycle.filters.kernel), u) ** 2  # noqa: B023
        low, high = {"large": (1.0, 2.0), "small": (0.0, 0.1), "at the start": (0.9, 1.1)}[weights]
        assert low <= gain <= high + 1e-9


@pytest.mark.parametrize("case", MULTISCALE, ids=str)
@pytest.mark.parametrize("far", [0.1, 1.0, 3.0])
def test_no_image_leaves_the_ball_of_a_multiscale_denoiser(case, far):
    """Not those either that an ascent looks for."""
    model = denoiser(case, far=far)
    level = torch.full((1, 1, 1, 1), 0.1, dtype=torch.float64)
    for size in (0.1, 30.0):
        u = size * torch.randn(1, case[1], 16, 16, dtype=torch.float64)
        assert largest_gain(lambda u: model._evolved(u, level)[-1], u, 15) <= 1 + 1e-9


@torch.no_grad()
def test_a_constant_image_rests(case):
    noisy = torch.full((2, case[1], 9, 11), 0.4, dtype=torch.float64)
    assert torch.allclose(denoiser(case)(noisy, 0.1), noisy, atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_margin_mirrors(case, size):
    """As if the mirrored image had been given, and cropped; filled up beyond the margin to whole coarse cells."""
    model, noisy = denoiser(case), image(case, size)
    mean, margin = noisy.mean((2, 3), keepdim=True), model.margin
    assert margin % model.multiple == 0
    beyond = [margin + -(cells + 2 * margin) % model.multiple for cells in size]
    widths = ((0, 0), (0, 0), (margin, beyond[0]), (margin, beyond[1]))
    mirrored = torch.from_numpy(np.pad(noisy.numpy(), widths, mode="symmetric"))
    assert torch.equal(model._mirrored(noisy), mirrored)
    expected = model(noisy, 0.1)
    model.margin = 0
    found = model(mirrored, 0.1, mean)[:, :, margin : margin + size[0], margin : margin + size[1]]
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_a_margin_in_training_is_a_choice(case):
    model, noisy = denoiser(case).train(), image(case, (16, 8))
    model.margin_in_training = False
    assert model._mirrored(noisy).shape == noisy.shape
    assert model(noisy, 0.1).shape == noisy.shape
    assert model.eval()._mirrored(noisy).shape[2] == 16 + 2 * model.margin


@torch.no_grad()
def test_a_batch_of_none(case):
    model, none = denoiser(case), image(case, (9, 11))[:0]
    for sigma in (0.1, None, torch.ones(0), torch.ones(0, 1, 9, 11)):
        assert model(none, sigma).shape == none.shape
    assert all(state.shape == none.shape for state in model.trajectory(none, 0.1).states)


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
    for shape in ((), (1,), (2,), (1, 1, 1, 1), (2, 1, 1, 1), (1, 1, 13, 10), (2, 1, 13, 10)):
        sigma = torch.full(shape, 0.1, dtype=torch.float64)
        assert torch.allclose(model(noisy, sigma), expected, rtol=0, atol=1e-12)
        assert torch.allclose(model(noisy, sigma.float()), expected, rtol=0, atol=1e-6)  # float32 rounds 0.1
    assert torch.equal(model(noisy, np.float64(0.1)), expected)
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


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_bears_strong_contrast(case, dtype):
    """A byte image at σ = 0: edges of 510 times the noise, whose squares float16 does not hold."""
    model = denoiser(case, far=0.3).float()
    noisy = (image(case, (16, 16)) > 0.5).float()
    expected = model(noisy, 0.0)
    half = copy.deepcopy(model).to(dtype)
    with torch.autocast("cpu", dtype):
        found = [model(noisy, 0.0)]
    for denoised in (*found, half(noisy, 0.0), half(noisy.to(dtype), 0.0), model(noisy.to(dtype), 0.0)):
        assert denoised.isfinite().all()
        # On average: where two copies of ADRDenoiser are as good, rounding chooses.
        assert (denoised.float() - expected).abs().mean() < (0.003 if dtype == torch.float16 else 0.02)


@torch.no_grad()
def test_only_the_evolution_is_in_the_type_of_the_weights(case):
    """û = μ + σE((f − μ)/σ) is put together in the type of the image: half precision rounds no more than E."""
    model = denoiser(case, far=0.0).float()
    noisy = 0.7 + 1e-3 * image(case, (16, 16)).float()
    expected = model(noisy, 0.01)
    found = copy.deepcopy(model).bfloat16()(noisy, 0.01)
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() < 1e-4  # bfloat16 has steps of 4e-3 at 0.7
    assert model(noisy.double(), 0.01).dtype == torch.float64


@torch.no_grad()
def test_one_compiled_graph_for_every_size():
    torch.compiler.reset()
    model = create_model("multiscale_denoiser", channels=2, depth=1).double().eval()
    compiled = torch.compile(model, fullgraph=True, backend="eager", dynamic=True)
    for size, batch in (((13, 10), 2), ((22, 31), 3)):
        noisy = image(("", 1), size, batch)
        torch.testing.assert_close(compiled(noisy, 0.1), model(noisy, 0.1), rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_exports_with_a_free_batch():
    model = denoiser(("multiscale_denoiser", 1))
    axes = ({0: torch.export.Dim("batch", min=2)}, None)
    exported = torch.export.export(model, (image(("", 1)), 0.1), dynamic_shapes=axes, strict=False).module()
    noisy = image(("", 1), batch=5)
    torch.testing.assert_close(exported(noisy, 0.1), model(noisy, 0.1), rtol=1e-12, atol=1e-12)


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
    for sigma in ("strong", [0.1, 0.1], True, 1j):
        with pytest.raises(PDEConvError, match=r"such as 25 / 255"):
            model(noisy, sigma)
    for sigma in (torch.tensor(True), torch.tensor(1j)):
        with pytest.raises(PDEConvError, match="real numbers"):
            model(noisy, sigma)
    mean = noisy.mean((2, 3), keepdim=True)
    for wrong in (0.5, mean[..., 0], mean[:1].repeat(3, 1, 1, 1), mean.repeat(1, 2, 1, 1), noisy):
        with pytest.raises(PDEConvError, match="mean"):
            model(noisy, 0.1, mean=wrong)
    name = case[0].split(",")[0]
    for option in ("in_channels", *DENOISERS[name]):
        with pytest.raises(PDEConvError, match=r"at least 1|at least 3|odd|2 mod 4"):
            create_model(name, **{option: 0})


def test_a_contrast_that_half_precision_does_not_bear():
    """1/λ = e¹² leaves the range of float16: the native kernel is told it in float32."""
    kappa = PeronaMalik(channels=2).half()
    with torch.no_grad():
        kappa.log_contrast.fill_(-12.0)
    equation = kappa.depthwise(torch.rand(1, 2, 4, 4))
    assert equation is not None and equation.sharpness is not None
    torch.testing.assert_close(equation.sharpness, torch.tensor(12.0).exp().expand(2))


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


def test_a_further_cycle_starts_again_and_looks_at_the_estimate():
    """The diffusivity lags: the second cycle diffuses the noisy image, by what it sees in the first one's result."""
    case = ("multiscale_denoiser, two cycles", 1)
    model, noisy = denoiser(case, far=0.3), image(case, (16, 24))
    with torch.no_grad():
        v, level, _ = model._in_units_of_noise(noisy, 0.1, None)
        log_level = torch.log(level / LEVEL_UNIT)
        states = model._evolved(v, level)
        first, second = model.cycles
        assert torch.equal(states[1], first(v, log_level)) and torch.equal(states[2], second(v, log_level, states[1]))
        assert not torch.allclose(states[2], second(v, log_level, v), atol=1e-3), "the estimate matters"
        for grid in second.grids:  # g = 0
            grid.head.weight.zero_(), grid.head.bias.fill_(-60.0), grid.head_slope.zero_(), grid.contrast.zero_()
        assert torch.allclose(model(noisy, 0.1), noisy, atol=1e-12), "nothing is diffused of the noisy image"


@pytest.mark.parametrize("name", ["multiscale_denoiser_small", "multiscale_denoiser_large"])
@torch.no_grad()
def test_trained_weights_in_float16_bear_values_far_from_one(name):
    """The largest that denoise() takes without being told the range, at the least noise level."""
    model = create_model(name, pretrained=True).eval()
    rows = torch.arange(32)
    for board in ((rows[:, None] + rows) % 2, (rows[:, None] // 8 + rows // 8) % 2):
        noisy = 16.0 * board[None, None].float() - 8
        expected = model(noisy, 0.0)
        with torch.autocast("cpu", torch.float16):
            found = model(noisy, 0.0)
        for half in (found, copy.deepcopy(model).half()(noisy, 0.0)):
            assert half.isfinite().all() and (half - expected).abs().mean() < 0.5
