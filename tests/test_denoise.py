"""Law: an image comes back denoised, and otherwise as it was."""

import numpy as np
import pytest
import torch
from denoisers import Blur
from torch import nn

import pdeconv.denoising
from pdeconv import PDEConvError, create_model, denoise, estimate_noise_level
from pdeconv.denoising import takes_level, tile_size

NUMPY_TYPES = ("uint8", "uint16", "int16", "int32", "float16", "float32", "float64", ">u2")
TORCH_TYPES = (torch.uint8, torch.int16, torch.float16, torch.bfloat16, torch.float32, torch.float64)
SHAPES = {  # shape, channel_axis
    "gray": ((20, 17), None),
    "pixel": ((1, 1), None),
    "line": ((1, 30), None),
    "stack": ((2, 3, 9, 8), None),
    "one channel": ((20, 17, 1), -1),
    "colour": ((20, 17, 3), -1),
    "channels first": ((2, 3, 20, 17), 1),
    "empty stack": ((0, 9, 8), None),
}


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    """In place of pretrained weights."""
    monkeypatch.setattr(pdeconv.denoising, "pretrained_denoiser", lambda device: Blur(1).to(device))


def noisy_array(shape, dtype="float64", sigma=0.1):
    values = np.random.default_rng(0).normal(0.5, sigma, shape)
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return values.astype(dtype)
    return np.rint(values.clip(0, 1) * np.iinfo(dtype).max).astype(dtype)


@pytest.mark.parametrize("dtype", NUMPY_TYPES)
@pytest.mark.parametrize("name", SHAPES)
def test_arrays_stay_what_they_are(name, dtype):
    shape, channel_axis = SHAPES[name]
    image = noisy_array(shape, dtype)
    before = image.copy()
    for sigma in (None, 0.1 * (np.iinfo(image.dtype).max if image.dtype.kind != "f" else 1)):
        found = denoise(image, sigma, channel_axis=channel_axis)
        assert type(found) is np.ndarray and found.shape == shape and found.dtype == np.dtype(dtype)
        assert np.array_equal(image, before) and not np.shares_memory(found, image)
    if name == "stack" and image.dtype.itemsize > 1:
        assert 0.4 < found.std() / image.std() < 0.9


@pytest.mark.parametrize("dtype", TORCH_TYPES)
def test_tensors_stay_what_they_are(dtype):
    shape = (2, 3, 20, 17)
    image = torch.rand(shape).to(dtype) if dtype.is_floating_point else torch.randint(0, 99, shape).to(dtype)
    image = image.requires_grad_() if dtype == torch.float32 else image
    found = denoise(image, channel_axis=-3)
    assert found.shape == shape and found.dtype == dtype and found.device == image.device
    assert not found.requires_grad


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
def test_every_type_gives_the_same_image(dtype):
    image = noisy_array((30, 40), "uint8") / 255
    peak = 1 if np.dtype(dtype).kind == "f" else np.iinfo(dtype).max
    given = np.rint(image * peak).astype(dtype) if peak > 1 else image.astype(dtype)
    found = denoise(given, 0.2 * peak) / peak
    assert np.abs(found - denoise(image, 0.2)).max() <= (0.51 / peak if peak > 1 else 1e-6)


def test_the_range_of_the_data():
    image = noisy_array((30, 40)).astype(np.float32)
    expected = denoise(image, 0.1)
    np.testing.assert_allclose(denoise(4095 * image, 409.5, data_range=4095), 4095 * expected, rtol=1e-5)
    deep = np.rint(4095 * image.clip(0, 1)).astype(np.uint16)
    assert np.abs(denoise(deep, 409.5, data_range=4095) / 4095 - denoise(image.clip(0, 1), 0.1)).max() < 2 / 4095


def test_integers_are_clipped_and_floats_are_not():
    class Louder(nn.Module):
        def forward(self, noisy):
            return 3 * noisy - 1

    image = np.array([[0, 100, 255]], np.uint8)
    assert denoise(image, model=Louder()).tolist() == [[0, 45, 255]]
    assert denoise(image / 255, model=Louder()).tolist() == pytest.approx(np.array([[-1, 0.17647, 2]]), abs=1e-4)


@pytest.mark.parametrize("coarse", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_tiles_equal_the_whole(channels, coarse):
    image, model = noisy_array((2, channels, 45, 38)), Blur(channels, coarse).double()
    noise_map = np.random.default_rng(1).uniform(0, 0.2, (45, 38))
    for sigma in (None, 0.1, [0.05, 0.1], noise_map):
        whole = denoise(image, sigma, channel_axis=1, model=model)
        calls = model.calls
        tiled = denoise(image, sigma, channel_axis=1, model=model, tile=12)
        assert model.calls - calls == 4 * 4
        np.testing.assert_allclose(tiled, whole, rtol=1e-12, atol=1e-12)


REGISTERED = {
    "multiscale_denoiser": dict(channels=4, depth=2),
    "adr_denoiser": dict(channels=2, steps=3),
    "reaction_diffusion_denoiser": dict(steps=2, kernel_size=3),
}


@pytest.mark.parametrize("tile", [10, 16])
@pytest.mark.parametrize("name", REGISTERED)
def test_tiles_of_trained_denoisers_equal_the_whole(name, tile):
    """Weights away from their start, sides that no tile and no coarse cell divides, gray and colour."""
    model = create_model(name, **REGISTERED[name]).double()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    assert tile_size(model) == 1024
    gray, colour = noisy_array((97, 83)), noisy_array((41, 83, 3))
    noise_map = np.random.default_rng(1).uniform(0.01, 0.2, (97, 83))
    cases = ((gray, 0.1, None), (gray, noise_map, None), (gray, None, None), (colour, noise_map[:41], -1))
    for image, sigma, axis in cases:
        whole = denoise(image, sigma, channel_axis=axis, model=model)
        tiled = denoise(image, sigma, channel_axis=axis, model=model, tile=tile)
        np.testing.assert_allclose(tiled, whole, rtol=0, atol=1e-12)
        assert np.abs(whole - image).max() > 1e-2


@pytest.mark.parametrize("tile", [None, 10])
def test_the_self_ensemble_turns_with_the_image(tile):
    """What a turned or flipped image becomes is turned or flipped, with a map and in colour, and not without it."""
    model = create_model("multiscale_denoiser", **REGISTERED["multiscale_denoiser"]).double()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    image, noise_map = noisy_array((3, 21, 34)), np.random.default_rng(1).uniform(0.01, 0.2, (21, 34))
    options = dict(channel_axis=0, model=model, tile=tile)
    found = denoise(image, noise_map, self_ensemble=True, **options)
    alone = denoise(image, noise_map, **options)
    for turn in (lambda v: np.rot90(v, 1, (-2, -1)), lambda v: v[..., ::-1], lambda v: v[..., ::-1, :]):
        turned = denoise(turn(image).copy(), turn(noise_map).copy(), self_ensemble=True, **options)
        np.testing.assert_allclose(turned, turn(found), rtol=0, atol=1e-12)
    assert (
        np.abs(denoise(image[..., ::-1].copy(), noise_map[:, ::-1].copy(), **options)[..., ::-1] - alone).max() > 1e-3
    )


@pytest.mark.parametrize("self_ensemble", [False, True])
def test_a_model_that_changes_the_channels_is_refused(self_ensemble):
    class Changes(nn.Module):
        def __init__(self, made):
            super().__init__()
            self.made = made

        def forward(self, noisy):
            return noisy[:, :1].repeat(1, self.made, 1, 1)

    for channels, made in ((3, 1), (1, 3)):
        with pytest.raises(PDEConvError, match=f"made {made} of {channels}"):
            denoise(noisy_array((9, 8, channels)), channel_axis=-1, model=Changes(made), self_ensemble=self_ensemble)


def test_large_images_go_in_tiles(monkeypatch):
    monkeypatch.setattr(pdeconv.denoising, "TILE", 16)
    model = Blur()
    denoise(noisy_array((40, 20)), model=model)
    assert model.calls == 3 * 2


@pytest.mark.parametrize("cells", [1, 200, 10**6])
def test_images_one_by_one(monkeypatch, cells):
    monkeypatch.setattr(pdeconv.denoising, "CELLS", cells)
    images = noisy_array((2, 3, 9, 8, 3), sigma=1) * np.arange(1, 7).reshape(2, 3, 1, 1, 1) / 10
    levels = np.linspace(0, 0.2, 6).reshape(2, 3)
    maps = np.random.default_rng(1).uniform(0, 0.2, (2, 3, 9, 8))
    for sigma in (None, levels, maps, maps[0], maps[:, :1]):
        found = denoise(images, sigma, channel_axis=-1)
        for at in np.ndindex(2, 3):
            own = None if sigma is None else levels[at] if sigma is levels else np.broadcast_to(sigma, maps.shape)[at]
            np.testing.assert_allclose(found[at], denoise(images[at], own, channel_axis=-1), rtol=1e-5, atol=1e-6)


def test_a_gray_model_takes_colour_as_luma_and_differences():
    class Record(nn.Module):
        in_channels = 1

        def forward(self, noisy, sigma=None):
            self.seen = noisy
            return noisy

    image, record = noisy_array((4, 20, 17, 3)), Record()
    np.testing.assert_allclose(denoise(image, 0.1, channel_axis=-1, model=record), image, rtol=1e-5, atol=1e-6)
    luma, warm, green = record.seen.reshape(4, 3, 20, 17).unbind(1)
    red, middle, blue = torch.from_numpy(image).float().unbind(-1)
    torch.testing.assert_close(luma, (red + middle + blue) / 3**0.5)
    torch.testing.assert_close(warm, (red - blue) / 2**0.5)
    torch.testing.assert_close(green.abs(), (red - 2 * middle + blue).abs() / 6**0.5)


def test_a_gray_model_of_one_level_for_all_channels():
    image, model = noisy_array((2, 20, 17, 3)), Blur(1)
    for sigma in (0.1, [0.1, 0.2], np.full((20, 17), 0.1)):
        by_channel = [denoise(image[..., channel], sigma, model=model) for channel in range(3)]
        np.testing.assert_allclose(
            denoise(image, sigma, channel_axis=-1, model=model), np.stack(by_channel, -1), rtol=1e-6
        )
    estimated = estimate_noise_level(torch.from_numpy(image).movedim(-1, 1).float())  # one for all channels
    np.testing.assert_allclose(
        denoise(image, channel_axis=-1, model=model), denoise(image, estimated, channel_axis=-1, model=model), rtol=1e-5
    )


def test_a_model_is_left_as_it_was():
    model = nn.Sequential(Blur(1).train())
    model.forward = lambda noisy, sigma=None: model[0](noisy, sigma)  # pyright: ignore
    model[0].dropout.eval()
    image = noisy_array((9, 9))
    assert np.array_equal(denoise(image, 0.1, model=model), denoise(image, 0.1, model=model))
    assert model.training and model[0].training and not model[0].dropout.training


class Identity(nn.Module):
    """Of one type, as most models are."""

    def __init__(self, dtype=torch.float32):
        super().__init__()
        self.in_channels, self.weight = 1, nn.Parameter(torch.ones(1, 1, 1, 1, dtype=dtype))

    def forward(self, noisy):
        assert noisy.dtype == self.weight.dtype
        return nn.functional.conv2d(noisy, self.weight)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_of_half_precision_do_not_round_the_image(dtype):
    image = 0.7 + 0.01 * noisy_array((16, 16)).astype(np.float32)
    model = create_model("reaction_diffusion_denoiser", steps=2, kernel_size=3)
    expected = denoise(image, 0.01, model=model)
    found = denoise(image, 0.01, model=model.to(dtype))
    assert np.abs(found - expected).max() < 2e-4  # bfloat16 has steps of 4e-3 at 0.7
    rounded = denoise(image, model=Identity(dtype))  # any other model gets what it can take
    assert rounded.dtype == np.float32
    np.testing.assert_array_equal(rounded, torch.from_numpy(image).to(dtype).float().numpy())


def test_weights_of_double_precision_get_a_double_image():
    image = noisy_array((9, 8))
    np.testing.assert_array_equal(denoise(image, model=Identity(torch.float64)), image)


def test_autocast_does_not_round_the_colours():
    image, model = noisy_array((9, 8, 3)), nn.Identity()
    model.in_channels = 1
    model.forward = lambda noisy: noisy
    with torch.autocast("cpu", torch.bfloat16):
        np.testing.assert_allclose(denoise(image, channel_axis=-1, model=model), image, atol=1e-6)
        found = denoise(image, 0.1, channel_axis=-1, model=create_model("reaction_diffusion_denoiser"))
    expected = denoise(image, 0.1, channel_axis=-1, model=create_model("reaction_diffusion_denoiser"))
    assert np.abs(found - expected).max() < 0.02


@pytest.mark.parametrize("shape", [(0, 9, 8), (2, 0, 9, 8), (0, 9, 8, 3)])
def test_a_stack_of_no_images(shape):
    axis = -1 if shape[-1] == 3 else None
    for image in (np.empty(shape, np.uint8), torch.empty(shape)):
        found = denoise(image, 25, channel_axis=axis)
        assert type(found) is type(image) and found.shape == shape and found.dtype == image.dtype


@pytest.mark.parametrize(
    "wrap",
    [
        nn.DataParallel,
        lambda model: torch.compile(model, backend="eager"),
        lambda model: torch.compile(nn.DataParallel(model), backend="eager"),
        lambda model: nn.DataParallel(torch.compile(model, backend="eager")),
    ],
)
def test_a_wrapped_model_is_known(wrap):
    torch.compiler.reset()
    model = Blur(1, coarse=True)
    wrapped = wrap(model)
    image = noisy_array((21, 18, 3))
    expected = denoise(image, 0.1, channel_axis=-1, model=model, tile=12)
    assert takes_level(wrapped) and tile_size(wrapped) == tile_size(model) == 1024
    np.testing.assert_allclose(denoise(image, 0.1, channel_axis=-1, model=wrapped, tile=12), expected, rtol=1e-6)


def test_a_radius_is_rounded_up():
    image, model = noisy_array((45, 38)), Blur(1).double()
    whole = denoise(image, 0.1, model=model)
    model.radius = 0.5
    np.testing.assert_allclose(denoise(image, 0.1, model=model, tile=12), whole, rtol=1e-12)
    model.radius = 300.5
    assert tile_size(model) == 4 * 301


class Unaware(nn.Module):
    """Takes no level, and does not say how far it reaches."""

    def forward(self, noisy):
        return noisy / 2


IMAGE = noisy_array((20, 17))


@pytest.mark.parametrize(
    ("image", "options", "named"),
    [
        (np.where(IMAGE > 0.5, np.nan, IMAGE), {}, "NaN"),
        (IMAGE + 1j, {}, "complex"),
        (IMAGE.tolist(), {}, "NumPy array or a tensor"),
        ("photo.png", {}, "NumPy array or a tensor"),
        (IMAGE[0], {}, "spatial axes"),
        (IMAGE[:0], {}, "at least one pixel"),
        (255 * IMAGE, {}, "give data_range"),
        (IMAGE, {"data_range": 0}, "data_range"),
        (noisy_array((20, 17, 3)), {}, "channel_axis=-1"),
        (torch.rand(2, 3, 20, 17), {}, "channel_axis=-3"),
        (noisy_array((20, 17, 4)), {"channel_axis": -1}, "opacity"),
        (IMAGE, {"channel_axis": 5}, "channel_axis=5"),
        (IMAGE, {"channel_axis": 1.5}, "channel_axis"),
        (IMAGE, {"channel_axis": "last"}, "channel_axis"),
        (1e-3 * IMAGE, {}, "give data_range"),
        (1e-2 * IMAGE, {"sigma": 1e-3}, "give data_range"),
        (IMAGE, {"sigma": -1}, "sigma"),
        (IMAGE, {"sigma": float("nan")}, "sigma"),
        (IMAGE, {"sigma": "strong"}, "sigma"),
        (IMAGE, {"sigma": [0.1, 0.2]}, "one for each image"),
        (IMAGE, {"sigma": np.ones((2, 20, 17))}, "one for each image"),
        (IMAGE, {"tile": 0}, "tile"),
        (IMAGE, {"model": "drunet"}, "Module"),
        (IMAGE, {"model": Blur(3)}, "in_channels=3"),
        (IMAGE, {"model": Unaware(), "sigma": 0.1}, "takes no sigma"),
        (IMAGE, {"model": Unaware(), "tile": 8}, "radius"),
        (IMAGE, {"model": nn.Conv2d(1, 2, 1)}, "as many channels"),
        (IMAGE, {"model": nn.Conv2d(1, 1, 3)}, "keeps the batch and the size"),
    ],
)
def test_slips_are_explained(image, options, named):
    with pytest.raises(PDEConvError, match=named):
        denoise(image, **options)
