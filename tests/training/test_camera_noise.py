"""Poisson–Gaussian noise: its law, that it repeats, and what the network is told of it."""

import pytest
import torch
from torch import Tensor, nn

from pdeconv.errors import PDEConvError
from pdeconv.models import create_model
from pdeconv.training.camera_denoising import CameraDenoising
from pdeconv.training.camera_noise import camera_noise, camera_test_image, noise_level_map, training_camera_noise
from pdeconv.training.config import parse_config
from pdeconv.training.data import Data
from pdeconv.training.image_quality import quality
from pdeconv.training.photographs import Patches, WholeImages
from pdeconv.training.tasks import create_task

NEEDED = ["--task", "denoising", "--model.name", "m", "--data.name", "photographs", "--run", "r"]


class Told(nn.Module):
    """Leaves the image, and remembers what level it was told."""

    sigma: Tensor

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        self.sigma = sigma
        return noisy


@pytest.mark.parametrize(("gain", "read"), [(0.05, 0.0), (0.02, 0.03), (0.0, 0.03), (1e-7, 0.01)])
@pytest.mark.parametrize("light", [0.0, 0.1, 0.9])
def test_the_mean_is_the_image_and_the_variance_grows_with_it(light, gain, read):
    noisy = camera_noise(torch.full((400, 400), light), gain, read, seed=1).double()
    variance = gain * light + read**2
    assert noisy.mean().item() == pytest.approx(light, abs=5 * (variance / noisy.numel()) ** 0.5)
    assert noisy.var().item() == pytest.approx(variance, rel=0.03)


def test_electrons_are_counted():
    """Truly Poisson: without read noise there are whole electrons only, and few of them are far from normal."""
    noisy = camera_noise(torch.full((300, 300), 0.02), gain=0.01, read=0.0, seed=0)
    electrons = noisy.double() / 0.01
    torch.testing.assert_close(electrons, electrons.round(), rtol=0, atol=1e-5)
    assert (electrons == 0).double().mean().item() == pytest.approx(torch.exp(torch.tensor(-2.0)).item(), abs=0.005)


def test_noise_in_training_depends_on_step_and_position_alone():
    clean = torch.rand(6, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    whole = training_camera_noise(clean, (0.001, 0.05), (0, 10), seed=3)
    split = [
        training_camera_noise(clean[part], (0.001, 0.05), (0, 10), 3, part.start) for part in (slice(0, 2), slice(2, 6))
    ]
    for one, parts in zip(whole, zip(*split, strict=True), strict=True):
        assert torch.equal(one, torch.cat(parts))
    assert not torch.equal(whole[0], training_camera_noise(clean, (0.001, 0.05), (0, 10), seed=4)[0])


def test_gains_are_drawn_between_the_ends_and_the_noise_of_white_evenly():
    _, levels = training_camera_noise(torch.ones(300, 1, 16, 16), (0.0, 0.04), (0, 0), seed=0)
    roots = levels.square().flatten(1).mean(1).sqrt()
    assert roots.min() < 0.01 and 0.19 < roots.max() < 0.22 and roots.mean().item() == pytest.approx(0.1, abs=0.01)


def test_the_level_is_told_from_the_noisy_image():
    light = torch.tensor([-0.5, 0.0, 1.0, 4.0]).reshape(4, 1, 1, 1)
    noisy = light.expand(4, 1, 9, 11)
    found = noise_level_map(noisy, torch.tensor([0.04, 0.04, 0.04, 0.0]), torch.tensor([0.1, 0.1, 0.0, 0.3]))
    wanted = torch.tensor([0.1, 0.1, 0.2, 0.3]).reshape(4, 1, 1, 1)
    torch.testing.assert_close(found, wanted.expand(4, 1, 9, 11))
    colour = torch.tensor([0.0, 0.1, 0.2]).reshape(1, 3, 1, 1)
    assert noise_level_map(colour, 0.1, 0.0).item() == pytest.approx(0.1)


def test_the_level_is_near_that_of_the_noise_where_the_light_is_smooth():
    clean = torch.linspace(0.1, 0.9, 80).expand(1, 1, 80, 80)
    found = noise_level_map(camera_test_image(clean, 0.02, 0, 0), 0.02, 0.0)
    assert ((found - (0.02 * clean).sqrt()).square().mean().sqrt() / found.mean()).item() < 0.05


def test_test_noise_is_always_the_same():
    clean = torch.rand(4, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    noisy = camera_test_image(clean, 0.01, 2, 5)
    assert torch.equal(noisy[2:], camera_test_image(clean[2:], 0.01, 2.0, 7))
    assert not torch.equal(noisy, camera_test_image(clean, 0.01, 2, 6))
    with pytest.raises(PDEConvError, match="at least 0"):
        camera_test_image(clean, -0.01, 2, 0)


def test_the_network_is_told_a_map_and_measured_gain_by_gain():
    images = (torch.rand(1, 20, 24, generator=torch.Generator().manual_seed(0)),)
    task, model = CameraDenoising((0.001, 0.009), (0, 4)), Told()
    assert task.test_gain == [0.001, 0.004, 0.009] and task.test_read == 2 and task.headline == "psnr_0.004"
    task.loss(model, images[0][None], images[0][None], seed=1)
    assert model.sigma.shape == (1, 1, 20, 24)
    metrics = task.metrics()
    task.update(metrics, model, images[0][None], images[0][None], 0)
    wanted = quality(camera_test_image(images[0][None], 0.009, 2, 0), images[0][None])[0].item()
    assert task.summary(metrics)["psnr_0.009"] == pytest.approx(wanted, abs=1e-4)


def test_pictures_and_table(tmp_path):
    image = torch.linspace(0, 1, 40)[None, None, :].expand(1, 36, 40).contiguous()
    data = Data(lambda: Patches.of((image,), 16, 8, True), WholeImages((image,), ("ramp",)), 1, None)
    task, model = CameraDenoising(0.01, 2.0, compare=True), create_model("reaction_diffusion_denoiser", steps=1)
    paths = task.pictures(model.eval(), data, task.metrics(), tmp_path / "pictures", "cpu")
    assert [path.name for path in paths] == ["before_after.png", "evolution.png", "explore.html"]
    assert paths[2] == tmp_path / "explore.html" and "ReactionDiffusionDenoiser" in paths[2].read_text()
    table = task.report(model, data, "cpu")
    assert table is not None and "gain 0.01" in str(table.title)


def test_the_configuration_makes_the_task():
    arguments = ["--denoising.noise", "poisson_gaussian", "--denoising.gain", "[0.001, 0.02]", "--denoising.sigma", "3"]
    data = Data(lambda: None, None, 1, None)  # pyright: ignore[reportArgumentType]
    task = create_task(parse_config([*NEEDED, *arguments, "--denoising.test_gain", "0.01"]), data)
    assert isinstance(task, CameraDenoising) and task.gain == (0.001, 0.02) and task.sigma == (3, 3)
    assert task.test_gain == [0.01] and task.test_read == 3 and task.headline == "psnr"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--denoising.gain", "[0.2, 0.1]"], "denoising.gain: expected 0 or more, or a range"),
        (["--denoising.test_gain", "[0.1, 0.1]"], "denoising.test_gain: expected at least one gain"),
        (["--denoising.noise", "poisson_gaussian", "--denoising.test_sigma", "[1, 2]"], "expected one read noise"),
    ],
)
def test_slips(arguments, expected, capsys):
    with pytest.raises(SystemExit):
        parse_config([*NEEDED, *arguments])
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(("gain", "tested"), [((0.2, 0.1), None), (-1, None), (0.1, []), (0.1, [0.1, 0.1])])
def test_impossible_gains_are_refused(gain, tested):
    with pytest.raises(PDEConvError, match="gain"):
        CameraDenoising(gain, 2.0, tested)
