"""The model that fills holes: what is known stays, the rest lies within it, whatever the weights and the mask."""

import math

import pytest
import torch
from torch import Tensor, nn

from pdeconv.errors import PDEConvError
from pdeconv.models import create_model
from pdeconv.training.masks import training_masks

KINDS = ("pixels", "rectangles", "strokes")


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def wild(in_channels: int = 1) -> nn.Module:
    """An inpainter with weights far from where they start."""
    torch.manual_seed(3)
    model = create_model("diffusion_inpainter", in_channels=in_channels, channels=8, steps=3)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight))
    return model.eval()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_known_stays_and_the_rest_is_within_it(kind, channels):
    model = wild(channels)
    image, known = random(2, channels, 21, 34), training_masks(torch.zeros(2, 1, 21, 34), kind, (0.05, 0.6), seed=0)
    with torch.no_grad():
        filled = model(image, known)
    assert torch.equal(torch.where(known, filled, 0.0), torch.where(known, image, 0.0))
    lowest = torch.where(known, image, math.inf).amin((2, 3), keepdim=True)
    highest = torch.where(known, image, -math.inf).amax((2, 3), keepdim=True)
    assert (filled >= lowest - 1e-6).all() and (filled <= highest + 1e-6).all()


def test_holes_hold_nothing_that_matters():
    model, image, known = wild(), random(1, 1, 12, 12), random(1, 1, 12, 12, seed=1) < 0.4
    with torch.no_grad():
        filled = model(torch.where(known, image, 0.0), known)
        for junk in (1e30, math.nan, math.inf):
            assert torch.equal(model(torch.where(known, image, junk), known), filled)
        for mask in (known.float(), torch.where(known, 1.0, math.nan)):
            assert torch.equal(model(image, mask), filled)


def test_a_known_pixel_that_is_no_number_is_a_hole():
    model, image = wild(), random(1, 1, 8, 8)
    known = torch.ones(1, 1, 8, 8)
    spoilt = image.clone()
    spoilt[..., 3, 4] = math.nan
    with torch.no_grad():
        filled = model(spoilt, known)
    assert filled.isfinite().all() and (filled != image).sum() == 1


def test_a_shift_of_the_values_shifts_the_result_and_a_constant_is_continued():
    model, image, known = wild(), random(1, 1, 16, 16).double(), random(1, 1, 16, 16, seed=1) < 0.3
    model = model.double()
    with torch.no_grad():
        torch.testing.assert_close(model(image + 0.5, known), model(image, known) + 0.5)
        constant = model(torch.full((1, 1, 16, 16), 0.7).double(), known)
    torch.testing.assert_close(constant, torch.full_like(constant, 0.7).float().double(), atol=1e-7, rtol=0)


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (5, 1), (2, 3)])
def test_the_smallest_images(size):
    known = torch.zeros(1, 1, *size, dtype=torch.bool)
    known[..., -1, -1] = True
    image = torch.full((1, 1, *size), 0.25)
    with torch.no_grad():
        torch.testing.assert_close(wild()(image, known), image)


def test_no_known_pixel_at_all():
    image, known = torch.rand(2, 1, 4, 4), torch.ones(2, 1, 4, 4)
    known[1] = 0
    with pytest.raises(PDEConvError, match="at least one known pixel in each image"):
        wild()(image, known)
    assert wild().train()(image, known)[1].abs().max() == 0


def test_what_does_not_fit_is_refused():
    model, image = wild(), torch.rand(2, 1, 4, 4)
    for mask in (torch.ones(2, 1, 4, 5), torch.ones(4, 4), torch.ones(1, 1, 4, 4), 0.1):
        with pytest.raises(PDEConvError, match=r"needs a mask \(2, 1, 4, 4\)"):
            model(image, mask)
    with pytest.raises(PDEConvError, match="build it with in_channels=3"):
        model(torch.rand(1, 3, 4, 4), torch.ones(1, 1, 4, 4))
    with pytest.raises(PDEConvError, match="at least 1 for steps"):
        create_model("diffusion_inpainter", steps=0)


def test_every_parameter_gets_a_gradient_and_the_trajectory_ends_with_the_result():
    model = create_model("diffusion_inpainter", channels=4, steps=2)
    image, known = random(2, 1, 9, 12), random(2, 1, 9, 12, seed=1) < 0.3
    filled = model(image, known)
    filled.square().mean().backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in model.parameters())
    trajectory = model.trajectory(image, known)  # pyright: ignore[reportCallIssue]
    assert [tuple(state.shape[2:]) for state in trajectory.states] == [(1, 1), (2, 2), (3, 3), (5, 6), (9, 12)]
    assert torch.equal(trajectory.states[-1], filled)


def test_no_sample_depends_on_its_batch_mates():
    model, image, known = wild().double(), random(3, 1, 8, 8).double(), random(3, 1, 8, 8, seed=1) < 0.5
    with torch.no_grad():
        alone = torch.cat([model(image[i : i + 1], known[i : i + 1]) for i in range(3)])
        torch.testing.assert_close(model(image, known), alone)
