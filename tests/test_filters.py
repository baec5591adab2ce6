"""Law: a filter of images gives an image of the same form, within its range, and the longer the stronger."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm
from skimage import data
from skimage.util import img_as_float, img_as_ubyte
from states import BOUNDARIES

from pdeconv import (
    AOS,
    CFL,
    Constant,
    Diffusion,
    Euler,
    Evolve,
    PDEConvError,
    PeronaMalik,
    StabilityError,
    curvature_motion,
    denoise_perona_malik,
    denoise_tv_flow,
    diffuse,
    enhance_coherence,
    image_flow,
    shock_filter,
)
from pdeconv.lengthening import Lengthening

FILTERS = {
    "diffuse": diffuse,
    "denoise_perona_malik": denoise_perona_malik,
    "denoise_tv_flow": denoise_tv_flow,
    "enhance_coherence": enhance_coherence,
    "round coherence": partial(enhance_coherence, condition=5.0),
    "curvature_motion": curvature_motion,
    "shock_filter": shock_filter,
}
SMOOTHING = [name for name in FILTERS if name != "shock_filter"]
CONSERVING = ["diffuse", "denoise_perona_malik", "denoise_tv_flow", "enhance_coherence"]
DESCENDING_VARIATION = ["diffuse", "denoise_tv_flow", "curvature_motion"]
WITHIN = [name for name in FILTERS if name != "enhance_coherence"]  # those that keep the range
DIMS = {name: (2,) if "coherence" in name else (2, 3) if name == "curvature_motion" else (1, 2, 3) for name in FILTERS}

every_filter = pytest.mark.parametrize("name", FILTERS)


def photo(cells=24, noise=0.1):
    """A part of a photograph, with noise; float64, within [0, 1]."""
    clean = img_as_float(data.camera())[80 : 80 + 4 * cells : 4, 200 : 200 + 4 * cells : 4]
    return np.clip(clean + noise * np.random.default_rng(0).standard_normal(clean.shape), 0, 1)


def variation(u):
    return np.abs(np.diff(u, axis=0)).sum() + np.abs(np.diff(u, axis=1)).sum()


def durations(name):
    """From less than a step to what leaves little."""
    return np.concatenate(([0.0], np.geomspace(1e-2, 1e2, 9))) * (0.1 if name == "denoise_tv_flow" else 1)


# Stronger.


@pytest.mark.parametrize("name", SMOOTHING)
def test_the_longer_the_smoother(name):
    """Variance falls, and the total variation where the equation says so, from each duration to the next."""
    image = photo(8)
    after = [FILTERS[name](image, duration) for duration in durations(name)]
    measures = [np.var, variation] if name in DESCENDING_VARIATION else [np.var]
    for measure in measures:
        found = np.array([measure(u) for u in after])
        assert (np.diff(found) <= 1e-12 * found[0]).all(), measure
        assert found[-1] < 0.7 * found[0]


@pytest.mark.parametrize("name", ["diffuse", "denoise_perona_malik", "denoise_tv_flow"])
def test_one_more_step_is_never_a_weaker_filter(name):
    """Where the number of steps changes, too: equal parts of the duration, as CFL takes, fail here."""
    image, start = photo(5), 0.01 if name == "denoise_tv_flow" else 1.0
    found = [np.var(FILTERS[name](image, start * (1 + i / 20))) for i in range(30)]
    assert (np.diff(found) < 0).all()
    heat = Diffusion(Constant(1.0))
    u = torch.from_numpy(np.indices((12, 12)).sum(0) % 2 * 1.0)[None, None]  # Euler keeps a checkerboard at its limit
    parts = [float(Evolve(Euler(heat), 1.8 * (1 + i / 40), CFL(1.0))(u).var()) for i in range(60)]
    assert np.max(np.diff(parts)) > 0


def test_the_shock_filter_goes_to_its_steady_state():
    """Its strength: nearer to where it ends, steeper, and no new extrema."""
    x = np.linspace(-4, 4, 41)
    blurred = 0.5 + 0.4 * np.tanh(x) * (1 + 0.1 * np.cos(0.7 * x))
    end = shock_filter(blurred, 60.0)
    after = [shock_filter(blurred, duration) for duration in np.geomspace(0.1, 30, 20)]
    distances = [np.abs(u - end).max() for u in (blurred, *after)]
    steepest = [np.abs(np.diff(u)).max() for u in (blurred, *after)]
    assert (np.diff(distances) <= 1e-12).all() and distances[-1] < 1e-3 * distances[0]
    assert (np.diff(steepest) >= -1e-12).all() and steepest[-1] > 5 * steepest[0]
    turns = [np.count_nonzero(np.diff(np.sign(np.diff(u)[np.abs(np.diff(u)) > 1e-9]))) for u in (blurred, *after)]
    assert (np.diff(turns) <= 0).all()


@every_filter
def test_no_duration_is_a_copy(name):
    image = photo().astype(np.float32)
    after = FILTERS[name](image, 0)
    assert np.array_equal(after, image) and after.dtype == np.float32 and not np.shares_memory(after, image)


# Any spacing.


@given(
    rows=st.floats(-2, 2).map(lambda power: 10**power),
    columns=st.floats(-2, 2).map(lambda power: 10**power),
    name=st.sampled_from([name for name in FILTERS]),
    boundary=st.sampled_from(BOUNDARIES),
    seed=st.integers(0, 9),
)
def test_any_spacing_is_stable(rows, columns, name, boundary, seed):
    image = np.random.default_rng(seed).random((5, 7))
    if "coherence" in name and boundary == "reflect":
        boundary = "neumann"
    after = FILTERS[name](image, spacing=(rows, columns), boundary=boundary)
    low = min(image.min(), 0) if boundary == "dirichlet" else image.min()
    if name in WITHIN and name != "round coherence":
        assert low <= after.min() and after.max() <= image.max()
    assert np.isfinite(after).all()
    if boundary != "reflect" and name not in ("shock_filter", "curvature_motion"):
        assert np.linalg.norm(after) <= np.linalg.norm(image) * (1 + 1e-9)


@pytest.mark.parametrize("name", SMOOTHING)
def test_lengths_are_in_the_unit_of_the_spacing(name):
    image, power = photo(5), 1 if name == "denoise_tv_flow" else 2
    duration = 0.1 if name == "denoise_tv_flow" else 2.0
    near = FILTERS[name](image, duration)
    assert np.allclose(FILTERS[name](image, duration * 0.02**power, spacing=0.02), near, atol=1e-9)


@settings(deadline=None)
@given(
    powers=st.tuples(st.floats(-1, 1), st.floats(-1, 1)),
    times=st.tuples(st.floats(-3, 2), st.floats(-3, 2)),
    name=st.sampled_from(SMOOTHING),
    boundary=st.sampled_from(("neumann", "periodic", "dirichlet")),
    seed=st.integers(0, 99),
)
def test_on_any_spacing_the_longer_is_the_smoother(powers, times, name, boundary, seed):
    """The measure is the variance, with zeros beyond the edge the energy."""
    image, spacing = np.random.default_rng(seed).random((6, 5)), tuple(10**power for power in powers)
    measure = np.var if boundary != "dirichlet" else lambda u: np.square(u).sum()
    unit = 0.1 if name == "denoise_tv_flow" else 1
    options = {"spacing": spacing, "boundary": boundary}
    shorter, longer = (FILTERS[name](image, unit * 10**time, **options) for time in sorted(times))
    if name == "curvature_motion":  # which is no gradient flow of these
        measure = np.ptp
    assert measure(longer) <= measure(shorter) * (1 + 1e-9) <= measure(image) * (1 + 1e-9) ** 2


def test_the_number_of_steps_grows_slowly():
    term = Diffusion(Constant(1.0))
    counts = [Evolve(AOS(term), 10.0**power, Lengthening()).steps for power in range(-2, 13)]
    assert counts[0] == 1 and max(np.diff(counts)) <= 25
    for duration in (0.01, 0.5, 3.0, 1e4):
        evolve = Evolve(AOS(term), duration, Lengthening())
        times = evolve.trajectory(torch.rand(1, 1, 4, 4)).times
        assert times[-1] == pytest.approx(duration, rel=1e-5) and (times.diff() > 0).all()


def test_too_many_steps_are_refused():
    with pytest.raises(PDEConvError, match=r"Euler\(ShockFilter\) needs 2\.\d*e\+06 steps .* shorten the duration"):
        shock_filter(photo(4), 1e6)
    with pytest.raises(StabilityError, match=r"Euler\(Diffusion\) has the limit 0\.25"):
        Evolve(Euler(Diffusion(Constant(1.0))), 1.0, Lengthening())


def test_the_least_growth_is_none():
    """Also where its inverse is no number."""
    step = AOS(Diffusion(Constant(1.0)))
    equal = Evolve(step, 3.0, Lengthening(0.0))
    for growth in (1e-300, 1e-310, 5e-324):
        assert Evolve(step, 3.0, Lengthening(growth)).steps == equal.steps
        with pytest.raises(PDEConvError, match="shorten the duration"):
            Evolve(step, 1e6, Lengthening(growth))


# What is kept.


@pytest.mark.parametrize("boundary", ["neumann", "dirichlet"])
@pytest.mark.parametrize("name", WITHIN)
def test_the_range_is_kept_to_the_last_bit(name, boundary, monkeypatch):
    """And but for rounding where nothing is cut off."""
    for image, rounding in ((photo(5).astype(np.float32), 2e-5), ((photo(5) > 0.4) * 200.0, 1e-12)):
        for duration in (0.05, 100.0):
            with monkeypatch.context() as patch:
                within = FILTERS[name](image, duration, boundary=boundary)
                patch.setattr(image_flow, "without_rounding", lambda after, *_: after)
                plain = FILTERS[name](image, duration, boundary=boundary)
            low = min(image.min(), 0) if boundary == "dirichlet" else image.min()
            assert low <= within.min() and within.max() <= image.max()
            assert np.abs(within - plain).max() <= rounding * image.max()


@pytest.mark.parametrize("name", CONSERVING)
def test_the_mean_is_kept(name):
    for boundary in ("neumann", "periodic"):
        assert FILTERS[name](photo(6), 7.0, boundary=boundary).mean() == pytest.approx(photo(6).mean(), rel=1e-10)


@every_filter
def test_a_flat_image_stays_as_it_is(name):
    for boundary in ("neumann", "periodic", "reflect")[: 2 if name == "enhance_coherence" else 3]:
        for dtype in (np.float32, np.float64):
            flat = np.full((9, 6), 0.3, dtype=dtype)
            assert np.array_equal(FILTERS[name](flat, 3.0, boundary=boundary), flat)


@every_filter
def test_the_smallest_images(name):
    assert FILTERS[name](np.array([[0.7]]), 4.0) == 0.7
    line = np.array([[0.1, 0.9, 0.2, 0.2, 0.4]])
    across, along = FILTERS[name](line, 0.3), FILTERS[name](line.T, 0.3)
    assert across.shape == (1, 5) and np.allclose(across, along.T, atol=1e-12) and np.isfinite(across).all()
    assert np.array_equal(FILTERS[name](np.array([[0.1, 0.1, 0.1]])), [[0.1, 0.1, 0.1]])


@every_filter
def test_values_have_a_unit(name):
    """In other units of value the automatic contrasts follow; a duration of total variation flow has that unit too."""
    image, duration = photo(5), 0.1 if name == "denoise_tv_flow" else 2.0
    scaled = FILTERS[name](4096 * image - 1000, duration * 4096 if name == "denoise_tv_flow" else duration)
    assert np.allclose(scaled, 4096 * FILTERS[name](image, duration) - 1000, atol=1e-5)


# Extreme values, lengths and parameters.


def typical(name, **options):
    """A filter, and a duration, the power of a value and of a length in its unit."""
    duration, unit = {"denoise_tv_flow": (0.1, (1, 1)), "shock_filter": (1.0, (0, 1))}.get(name, (1.0, (0, 2)))
    return partial(FILTERS[name], **options), duration, *unit


@pytest.mark.parametrize(("dtype", "exponents"), [(np.float32, (-100, 100, 127)), (np.float64, (-1000, 300, 1023))])
@every_filter
def test_units_cancel_to_the_last_bit(name, dtype, exponents):
    """Where squares of gradients overflow, too, or are 0: 1e30 and 1e-30 in float32."""
    image = photo(5).astype(dtype)
    filter, duration, value, length = typical(name)
    found = filter(image, duration)
    for exponent in exponents:
        longer = math.ldexp(duration, value * exponent)
        assert np.array_equal(filter(np.ldexp(image, exponent), longer), np.ldexp(found, exponent)), exponent
    for exponent in (-100, -30, 30, 100):
        longer = math.ldexp(duration, length * exponent)
        assert np.array_equal(filter(image, longer, spacing=2.0**exponent), found), exponent


@every_filter
def test_given_parameters_have_units_too(name):
    given = {"contrast": (0.1, 1, -1), "epsilon": (0.01, 1, -1)}
    given |= {"noise_scale": (1.0, 0, 1), "integration_scale": (3.0, 0, 1)}
    if name == "shock_filter":
        given["contrast"] = (0.1, 1, -2)
    keywords = getattr(FILTERS[name], "func", FILTERS[name]).__kwdefaults__
    given = {option: units for option, units in given.items() if option in keywords}
    filter, duration, value, length = typical(name)
    found = filter(photo(5), duration, **{option: units[0] for option, units in given.items()})
    for a, b in ((60, 0), (-60, 0), (0, 40), (0, -40), (20, -30)):
        options = {option: math.ldexp(x, a * i + b * j) for option, (x, i, j) in given.items()}
        after = filter(np.ldexp(photo(5), a), math.ldexp(duration, a * value + b * length), spacing=2.0**b, **options)
        assert np.array_equal(after, np.ldexp(found, a)), (a, b)


@every_filter
def test_small_differences_on_a_large_value(name):
    """They are neither drowned, nor does the mean drift."""
    image = np.rint(photo(6) * 16).astype(np.float32) / 16
    found = FILTERS[name](image, 0.3)
    for level in (2.0**19, -(2.0**19)):
        after = FILTERS[name](image + np.float32(level), 0.3)
        assert np.abs(after - np.float32(level) - found).max() <= 1 / 32 + 1e-5  # half a unit in the last place


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int32, np.int64, np.uint64])
@every_filter
def test_the_whole_range_of_a_type(name, dtype):
    limits = np.iinfo(dtype)
    image = np.where(photo(4) > 0.4, limits.max, limits.min).astype(dtype)
    after = FILTERS[name](image, 0.3)
    assert np.isfinite(after).all()
    if name in WITHIN:
        assert (-1 if limits.min else 0) <= after.min() and after.max() <= 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", SMOOTHING)
def test_a_huge_duration_leaves_the_mean_or_less(name, dtype):
    image = photo(3).astype(dtype)
    for duration in (1e6, 1e30, 1e300):
        after = FILTERS[name](image, duration)
        assert np.ptp(after) < 1e-3 and image.min() <= after.min() and after.max() <= image.max()
    assert np.allclose(FILTERS[name](image, 1e-300), image)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@every_filter
def test_no_parameter_is_too_large_or_too_small(name, dtype):
    """Each extreme has a limit that those beyond it share."""
    keywords = getattr(FILTERS[name], "func", FILTERS[name]).__kwdefaults__
    for option in {"contrast", "epsilon"} & set(keywords):
        for values in ((1e-300, 1e-60), (1e300, 1e60)):
            first, second = (FILTERS[name](photo(4).astype(dtype), 0.3, **{option: value}) for value in values)
            assert np.isfinite(first).all() and np.allclose(first, second, atol=1e-6)
        if option == "contrast":
            assert np.allclose(first, FILTERS[name](photo(4), 0.3, **{option: 1e10}), atol=1e-4)


# By itself.

GIVEN = {
    "denoise_perona_malik": {"contrast": 0.1},
    "denoise_tv_flow": {"epsilon": 0.01},
    "enhance_coherence": {"contrast": 0.01},
    "round coherence": {"contrast": 0.01},
    "curvature_motion": {"epsilon": 0.01},
    "shock_filter": {"contrast": 0.1},
}


@pytest.mark.parametrize("estimated", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@every_filter
def test_no_image_or_channel_changes_another(name, dtype, estimated):
    """However much larger it is; two of one scale, too, which go together."""
    image, scales = photo(5), (1, 1e8, 1e16, 0.9)
    filter = partial(FILTERS[name], **({} if estimated else GIVEN.get(name, {})))
    each = [(scale * np.rot90(image, turns)).astype(dtype) for turns, scale in enumerate(scales)]
    alone = [filter(one) for one in each]
    batch, channels = filter(np.stack(each), dims=2), filter(np.stack(each, -1), channel_axis=-1)
    frames = filter(np.stack([np.stack(each), np.stack(each[::-1])], 1), channel_axis=0, dims=2)
    tolerance = 1e-5 if dtype is np.float32 else 1e-9
    for i, (scale, one) in enumerate(zip(scales, alone, strict=True)):
        for after in (batch[i], channels[..., i], frames[i, 0], frames[3 - i, 1]):
            assert np.abs(after - one).max() <= tolerance * scale, scale
        little = scale > 1 and (not estimated or name == "denoise_tv_flow")  # is done to steep ones
        assert little or np.abs(one - each[i]).max() > 0.01 * scale


@pytest.mark.parametrize("name", [name for name in GIVEN if "coherence" not in name])  # whose Gaussians reach all
@pytest.mark.parametrize("hot", [1e7, 1e16])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_hot_pixel_does_not_change_what_is_far(name, dtype, hot):
    """A given parameter is that of the other pixels, however large the one is."""
    image = photo(16).astype(dtype)
    flawed = image.copy()
    flawed[0, 0] = hot
    plain, found = (FILTERS[name](u, 0.3, **GIVEN[name]) for u in (image, flawed))
    assert np.abs(plain - found)[8:, 8:].max() < 1e-3 and np.abs(plain - image)[8:, 8:].max() > 0.02


# What they compute.


def test_diffuse_is_the_exact_flow():
    u = np.random.default_rng(0).random(6)
    second_difference = np.diag(np.full(6, -2.0)) + np.diag(np.ones(5), 1) + np.diag(np.ones(5), -1)
    second_difference[0, 0] = second_difference[-1, -1] = -1
    assert np.allclose(diffuse(u, 0.7, spacing=0.5), expm(0.7 / 0.25 * second_difference) @ u)


def test_perona_malik_is_near_many_explicit_steps():
    u = torch.from_numpy(photo())
    stopping = PeronaMalik(1, 0.1, 1 / 0.9, dtype=torch.float64)
    exact = Evolve(Euler(Diffusion(stopping)), 3.0, CFL(0.1)).requires_grad_(False)(u[None, None])[0, 0]
    near = denoise_perona_malik(u, 3.0, contrast=0.1)
    assert (near - exact).norm() < 0.08 * (u - exact).norm()


def test_they_denoise():
    clean, noisy = photo(32, 0.0), photo(32)
    before = np.square(noisy - clean).mean()
    for name in ("denoise_perona_malik", "denoise_tv_flow"):
        assert np.square(FILTERS[name](noisy) - clean).mean() < 0.6 * before
    edges, heat = denoise_perona_malik(noisy), diffuse(noisy)
    assert np.square(edges - clean).mean() < np.square(heat - clean).mean()


# Forms of images.


@every_filter
def test_a_volume_channels_and_a_batch(name):
    """Each channel, and each image of a batch is filtered by itself."""
    filter = partial(FILTERS[name], duration=0.05)
    colours = np.stack([photo(6), photo(6)[::-1], photo(6).T])
    batch = filter(torch.from_numpy(colours), dims=2)
    for one, image in zip(batch, colours, strict=True):
        assert np.allclose(filter(image), one, atol=1e-9)
    first, last = filter(colours, channel_axis=0), filter(np.moveaxis(colours, 0, -1), channel_axis=-1)
    assert first.shape == (3, 6, 6) and last.flags.c_contiguous
    assert np.allclose(first, np.moveaxis(last, -1, 0), atol=1e-12)
    frames = filter(np.stack([colours, colours[::-1]]), channel_axis=1, dims=2)
    assert np.allclose(frames, [first, first[::-1]], atol=1e-9)
    for dims in (1, 2, 3):
        volume = np.random.default_rng(0).random((4, 5, 3)[:dims])
        if dims in DIMS[name]:
            assert filter(volume).shape == volume.shape
        else:
            with pytest.raises(PDEConvError, match=r"needs an image of .* spatial axes, but got shape"):
                filter(volume)


@every_filter
def test_types_of_images(name):
    filter, image = partial(FILTERS[name], duration=0.05), photo(4)
    for dtype in (np.uint8, np.int16, bool):
        whole = np.rint(image * (1 if dtype is bool else np.iinfo(dtype).max)).astype(dtype)
        before = whole.copy()
        after = filter(whole)
        assert after.dtype == np.float64 and np.array_equal(whole, before)
        assert np.allclose(after, filter(img_as_float(whole)), atol=1e-9)
    if name in WITHIN:
        img_as_ubyte(filter(np.ones((3, 3), dtype=np.uint8) * 255))  # refuses 1 + rounding
    for dtype, tolerance in ((np.float16, 1e-2), (np.float32, 1e-4)):
        after = filter(image.astype(dtype))
        assert after.dtype == dtype and np.allclose(after, filter(image), atol=tolerance)
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        assert filter(torch.from_numpy(image).to(dtype)).dtype == dtype
    found = filter(torch.from_numpy((image * 255).astype(np.uint8)))
    assert found.dtype == torch.float32 and not found.requires_grad
    assert np.array_equal(filter(torch.from_numpy(image)).numpy(), filter(image))


@pytest.mark.parametrize("name", SMOOTHING)
def test_a_filter_differentiates(name):
    """With the contrasts given: those that are found are taken for numbers."""
    given = {"denoise_perona_malik": {"contrast": 0.2}, "denoise_tv_flow": {"epsilon": 0.1}}
    given |= {"curvature_motion": {"epsilon": 0.1}, "diffuse": {}}
    options = given.get(name, {"contrast": 0.1})
    u = torch.rand(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda u: FILTERS[name](u, 0.1, **options), u, atol=1e-4)


COLOUR = np.zeros((8, 9, 3))


@pytest.mark.parametrize(
    ("image", "options", "axis"),
    [
        (COLOUR, {}, -1),
        (np.zeros((8, 9, 1)), {}, -1),
        (np.zeros((8, 9, 4), dtype=np.uint8), {}, -1),
        (torch.zeros(8, 9, 3), {}, -1),
        (torch.zeros(3, 8, 9), {}, -3),
        (torch.zeros(1, 8, 9), {}, -3),
        (COLOUR, {"dims": 2}, -1),
        (np.zeros((10, 9, 4)), {"dims": 2}, -1),
        (np.zeros((2, 8, 9, 3)), {"dims": 2}, -1),
        (np.zeros((2, 8, 9, 3)), {}, -1),
    ],
)
@every_filter
def test_colours_are_not_guessed(name, image, options, axis):
    """As it would be wrong without a sign: (H, W, 3) is no image of three columns."""
    with pytest.raises(PDEConvError, match=rf"if axis {axis} is that of colours, give channel_axis={axis}\.") as caught:
        FILTERS[name](image, **options)
    dims = options.get("dims", 2)
    assert str(caught.value).endswith(f"{'image[..., None], channel_axis=-1 and ' * (axis == -1)}dims={dims}.")
    batch = (image, {}) if axis == -3 else (image[..., None], {"channel_axis": -1})
    assert FILTERS[name](batch[0], dims=dims, **batch[1]).shape == batch[0].shape
    assert ("For a volume, give dims=3" in str(caught.value)) == (3 in DIMS[name])
    if image.ndim == 3:
        assert FILTERS[name](image, channel_axis=axis).shape == image.shape
        if 3 in DIMS[name]:
            assert FILTERS[name](image, dims=3).shape == image.shape


def test_what_is_no_colour_image():
    for image in (np.zeros((8, 9, 5)), np.zeros((3, 8, 9)), np.zeros((8, 4, 3)), torch.zeros(2, 8, 9)):
        assert diffuse(image).shape == image.shape
    assert diffuse(torch.zeros(3, 8, 9), dims=2).shape == (3, 8, 9)


# Slips.

IMAGE = np.zeros((4, 4))
SLIPS = {
    "NaN": (np.array([[0.0, math.nan]]), {}, "holds NaN or inf; replace them"),
    "inf": (np.array([[0.0, math.inf]]), {}, "holds NaN or inf"),
    "no pixels": (np.zeros((0, 4)), {}, r"at least one pixel, but got shape \(0, 4\)"),
    "too many axes": (np.zeros((2, 2, 2, 2)), {}, "name the axis of colours by channel_axis"),
    "no axis": (np.array(1.0), {}, r"but got shape \(\)"),
    "another channel axis": (IMAGE, {"channel_axis": 2}, "give an axis from -2 to 1"),
    "a fraction of an axis": (IMAGE, {"channel_axis": 0.5}, "channel_axis=0.5"),
    "a negative duration": (IMAGE, {"duration": -1.0}, "non-negative, finite duration, but got duration=-1.0"),
    "no finite duration": (IMAGE, {"duration": math.nan}, "finite duration"),
    "a list": ([[0.0, 1.0]], {}, r"give np\.asarray\(image\)"),
    "complex numbers": (IMAGE.astype(complex), {}, "integers or bool, but got complex128"),
    "spacings of another number": (IMAGE, {"spacing": (1.0, 1.0, 1.0)}, "3 spacings for dims=2"),
    "no spacing": (IMAGE, {"spacing": 0.0}, "positive, finite spacing"),
    "an unknown boundary": (IMAGE, {"boundary": "mirror"}, "no boundary 'mirror'"),
    "a fraction of dims": (IMAGE, {"dims": 2.0}, "dims=2.0"),
    "no images": (np.zeros((0, 5, 5)), {"dims": 2}, r"at least one pixel, but got shape \(0, 5, 5\)"),
    "more dims than axes": (IMAGE, {"dims": 3}, "and dims=3"),
}


@every_filter
@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_is_answered_by_a_clear_error(name, slip):
    image, options, message = SLIPS[slip]
    if slip == "more dims than axes" and 3 not in DIMS[name]:
        message = "needs dims from 1 to 2"
    with pytest.raises(PDEConvError, match=message):
        FILTERS[name](image, **options)


def test_a_lengthening_is_checked():
    for wrong in ({"growth": -0.1}, {"growth": math.nan}, {"max_steps": 0}, {"max_steps": 1.5}):
        with pytest.raises(PDEConvError, match=f"Lengthening needs .*{next(iter(wrong))}"):
            Lengthening(**wrong)
    with pytest.raises(PDEConvError, match="needs a non-negative, finite noise_scale"):
        enhance_coherence(IMAGE, noise_scale=-1.0)


def test_where_coherence_keeps_nothing_it_is_refused():
    with pytest.raises(PDEConvError, match=r"at most 5\.828 there"):
        enhance_coherence(photo(4), boundary="reflect")


@pytest.mark.parametrize("option", ["contrast", "epsilon"])
def test_parameters_are_positive(option):
    for filter in (denoise_perona_malik, denoise_tv_flow, enhance_coherence, curvature_motion, shock_filter):
        if option in (filter.__kwdefaults__ or {}):
            with pytest.raises(PDEConvError, match=f"positive, finite {option}"):
                filter(IMAGE, **{option: 0.0})  # pyright: ignore[reportArgumentType]
