"""Law: the noise that was added to a photograph is the noise that is found in it."""

import math

import numpy as np
import pytest
import torch
from skimage import data
from torch import Tensor

import pdeconv.noise_level
from benchmarks.speed_rows.peak_memory import peak_bytes_of
from pdeconv.errors import PDEConvError
from pdeconv.noise_level import estimate_noise_level

PHOTOGRAPHS = {"gray": ("camera", "coins", "moon"), "colour": ("astronaut", "coffee", "rocket")}
LEVELS = (0, 2, 5, 10, 25, 50, 75)


def photograph(name: str) -> Tensor:
    values = torch.from_numpy(np.atleast_3d(getattr(data, name)())).permute(2, 0, 1)
    return values[None].float() / 255


def noisy(image: Tensor, level: float) -> Tensor:
    return image + level / 255 * torch.randn(image.shape)


@pytest.mark.parametrize("name", [name for names in PHOTOGRAPHS.values() for name in names])
def test_added_noise_is_found(name: str) -> None:
    image = photograph(name)
    for level in LEVELS:
        found = 255 * estimate_noise_level(noisy(image, level)).item()
        assert found == pytest.approx(level, rel=0.05, abs=1.05), level


def test_rounded_and_clipped_bytes() -> None:
    for name in ("camera", "astronaut"):
        for level in (5, 15, 25):
            stored = (noisy(photograph(name), level).clamp(0, 1) * 255).round() / 255
            assert 255 * estimate_noise_level(stored).item() == pytest.approx(level, rel=0.08)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(2, 2), (1, 50), (50, 1), (3, 3), (9, 12), (20, 20), (29, 31), (64, 40)])
def test_small_images_on_average(size: tuple[int, int], channels: int) -> None:
    noise = 0.1 * torch.randn(200, channels, *size)
    assert estimate_noise_level(0.5 + noise).mean().item() == pytest.approx(0.1, rel=0.08)


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (3, 3), (8, 8), (19, 21), (40, 40)])
@pytest.mark.parametrize("value", [0.0, 0.3, 1e5])
def test_constant_images_have_none(size: tuple[int, int], value: float) -> None:
    found = estimate_noise_level(torch.full((2, 3, *size), value))
    assert found.shape == (2,) and (found <= 1e-6 * value).all()


def test_units_and_types() -> None:
    image = noisy(photograph("camera")[..., :128, :128], 20)
    sigma = estimate_noise_level(image)
    torch.testing.assert_close(estimate_noise_level(255 * image), 255 * sigma, rtol=1e-3, atol=0)
    double = estimate_noise_level(image.double())
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), sigma, rtol=1e-3, atol=0)
    assert estimate_noise_level(image.half()).dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(estimate_noise_level(image), sigma)
    assert torch.equal(estimate_noise_level(image.requires_grad_()), sigma)
    assert estimate_noise_level(image[:0]).shape == (0,)


def test_each_image_by_itself() -> None:
    images = torch.cat([noisy(photograph("camera")[..., :90, :99], level) for level in (1, 30)])
    spoilt = torch.full_like(images[:1], math.nan)
    found = estimate_noise_level(torch.cat((images[:1], spoilt, images[1:])))
    alone = [estimate_noise_level(image[None]).item() for image in images]
    assert math.isnan(found[1]) and found[[0, 2]].tolist() == pytest.approx(alone, rel=1e-4)


@pytest.mark.parametrize(
    "image", [torch.rand(3, 8, 8), torch.ones(1, 1, 8, 8, dtype=torch.uint8), np.ones((1, 1, 8, 8))]
)
def test_what_is_no_batch_of_images_is_refused(image: object) -> None:
    with pytest.raises(PDEConvError, match="estimate_noise_level needs"):
        estimate_noise_level(image)  # pyright: ignore[reportArgumentType]


def test_memory_of_a_large_image() -> None:
    """Beside the image that of one channel: it is judged in strips, and no strip is seen in the result."""
    image = noisy(torch.linspace(0, 1, 1500).expand(1, 1, 1200, 1500), 10)
    estimate_noise_level(image[..., :64, :64])
    assert peak_bytes_of(lambda: estimate_noise_level(image)) < 3 * image.numel() * 4


def test_strips_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    image = noisy(photograph("astronaut")[..., :300, :200].repeat(2, 1, 1, 1), 20).clamp(0, 1)
    whole = estimate_noise_level(image)
    monkeypatch.setattr(pdeconv.noise_level, "CELLS", 1)
    torch.testing.assert_close(estimate_noise_level(image), whole, rtol=1e-5, atol=0)


def test_large_images_take_no_more_patches() -> None:
    image = noisy(torch.linspace(0, 1, 1500).expand(1, 1, 1000, 1500), 10)
    assert 255 * estimate_noise_level(image).item() == pytest.approx(10, rel=0.05)


@pytest.mark.parametrize("size", [(32, 40), (9, 9), (1, 1)])
def test_exports_with_a_free_batch(size: tuple[int, int]) -> None:
    class Estimate(torch.nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return estimate_noise_level(image)

    axes = ({0: torch.export.Dim("batch", min=2)},)
    exported = torch.export.export(Estimate(), (torch.rand(3, 1, *size),), dynamic_shapes=axes, strict=False).module()
    image = torch.rand(5, 1, *size)
    torch.testing.assert_close(exported(image), estimate_noise_level(image))


def test_compiles_with_the_network_around_it() -> None:
    image = noisy(photograph("camera")[..., :64, :64], 20)
    compiled = torch.compile(estimate_noise_level, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(image), estimate_noise_level(image))
