"""Masks of what is known, and the equations that fill holes without learning."""

import math

import pytest
import torch
from torch import Tensor

from pdeconv.errors import PDEConvError
from pdeconv.training.inpainting_baselines import biharmonic, homogeneous
from pdeconv.training.masks import drawn_mask, masks_of_test, training_masks

KINDS = ("pixels", "rectangles", "strokes")


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("known", [0.05, 0.5, 0.9])
def test_a_mask_leaves_the_share_that_it_should(kind, known):
    mask = drawn_mask(kind, 60, 80, known, seed=1)
    assert mask.shape == (1, 60, 80) and mask.dtype == torch.bool
    least = known if kind == "pixels" else max(1 / 4800, known - 0.06)  # the last rectangle or stroke may be large
    assert least - 1e-9 <= mask.double().mean().item() <= known + 1e-9


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (3, 2)])
def test_something_is_always_known(kind, size):
    assert all(drawn_mask(kind, *size, known=0.01, seed=seed).any() for seed in range(5))


def test_rectangles_and_strokes_are_holes_of_some_width():
    for kind in ("rectangles", "strokes"):
        hidden = ~drawn_mask(kind, 64, 64, 0.8, seed=2)[0]
        beside = (hidden[1:] & hidden[:-1]).sum() / hidden.sum()
        assert beside > 0.6  # of single pixels it would be 0.2


@pytest.mark.parametrize("kind", KINDS)
def test_masks_depend_on_step_and_position_alone(kind):
    images = torch.zeros(5, 3, 20, 24)
    whole = training_masks(images, kind, (0.3, 0.8), seed=7)
    split = [training_masks(images[:2], kind, (0.3, 0.8), 7, 0), training_masks(images[2:], kind, (0.3, 0.8), 7, 2)]
    assert whole.shape == (5, 1, 20, 24) and torch.equal(whole, torch.cat(split))
    assert not torch.equal(whole, training_masks(images, kind, (0.3, 0.8), seed=8))
    tested = masks_of_test(images, kind, 0.5, 3)
    assert torch.equal(tested[1:], masks_of_test(images[1:], kind, 0.5, 4))
    assert not torch.equal(tested, masks_of_test(images, kind, 0.6, 3))


def test_impossible_masks_are_refused():
    for kind, known in (("dots", 0.5), ("pixels", 0.0), ("pixels", 1.5), ("strokes", math.nan)):
        with pytest.raises(PDEConvError, match="expected a"):
            drawn_mask(kind, 4, 4, known, 0)  # pyright: ignore[reportArgumentType]


def test_linear_equations_continue_what_they_should():
    """Harmonic and biharmonic: a constant, and within a frame of two pixels a ramp; the latter from inside too."""
    rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(12.0), indexing="ij")
    ramp = ((2 * rows + 3 * columns) / 64)[None, None]
    known = torch.ones(1, 1, 16, 12, dtype=torch.bool)
    known[..., 2:-2, 2:-2] = False
    for method in (homogeneous, biharmonic):
        torch.testing.assert_close(method(torch.where(known, ramp, 0.0), known), ramp, atol=1e-3, rtol=0)
        assert torch.equal(method(ramp, torch.ones_like(known)), ramp)
    torch.testing.assert_close(homogeneous(torch.full_like(ramp, 0.3), known), torch.full_like(ramp, 0.3))


def test_homogeneous_diffusion_is_the_mean_of_four_neighbours():
    image, known = random(1, 2, 14, 15), random(1, 1, 14, 15, seed=1) < 0.2
    u = homogeneous(image, known)
    inside = (u[..., 2:, 1:-1] + u[..., :-2, 1:-1] + u[..., 1:-1, 2:] + u[..., 1:-1, :-2]) / 4
    error = torch.where(known[..., 1:-1, 1:-1], 0.0, inside - u[..., 1:-1, 1:-1])
    assert error.abs().max() < 1e-3
