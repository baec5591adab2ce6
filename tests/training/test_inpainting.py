"""The task of filling holes, from its configuration to a picture."""

import io
import math

import pytest
import torch
from test_diffusion_inpainter import random, wild
from torch import Tensor, nn

import evaluate
from pdeconv.errors import PDEConvError
from pdeconv.training.checkpoint import Checkpoint, write_checkpoint
from pdeconv.training.config import parse_config, restored_config
from pdeconv.training.data import Data, load_data
from pdeconv.training.image_files import read_image, write_image
from pdeconv.training.image_quality import quality
from pdeconv.training.inpainting import Inpainting, hole_error, hole_psnr
from pdeconv.training.masks import masks_of_test
from pdeconv.training.photographs import Patches, WholeImages
from pdeconv.training.run_folder import as_plain
from pdeconv.training.tasks import create_task

NEEDED = ["--task", "inpainting", "--model.name", "diffusion_inpainter", "--data.name", "photographs", "--run", "r"]


class Mean(nn.Module):
    """Fills holes with the mean of what is known."""

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        mean = (image * mask).sum((2, 3), keepdim=True) / mask.sum((2, 3), keepdim=True)
        return torch.where(mask, image, mean)


@pytest.fixture
def pictures() -> Data:
    images = tuple(random(1, 4, 5, seed=seed).repeat_interleave(8, 1).repeat_interleave(8, 2) for seed in (1, 2))
    return Data(lambda: Patches.of(images, 16, 8, True), WholeImages(images, ("one", "two")), 1, None)


def test_the_loss_is_the_error_in_the_holes():
    clean, known = random(2, 3, 6, 6), random(2, 1, 6, 6, seed=1) < 0.5
    wrong = clean + 0.1
    torch.testing.assert_close(hole_error(wrong, clean, known), torch.full((2,), 0.01))
    assert hole_error(wrong, clean, torch.ones_like(known)).tolist() == [0, 0]
    half = torch.where(known, clean, clean + 0.1)
    torch.testing.assert_close(hole_error(half, clean, known), torch.full((2,), 0.01))
    assert hole_psnr(half.clamp(0, 1) * 0 + 1.5, torch.ones(2, 3, 6, 6), known).tolist() == [math.inf] * 2


def test_a_batch_may_be_split_over_processes(pictures):
    clean, target = pictures.train.batch(torch.arange(8), 0)
    task = Inpainting("strokes", (0.4, 0.8))
    halves = [task.loss(Mean(), clean[part], target[part], 9, part.start) for part in (slice(0, 4), slice(4, 8))]
    assert torch.stack(halves).mean().item() == pytest.approx(task.loss(Mean(), clean, target, 9).item(), rel=1e-5)


def test_metrics_are_means_over_images(pictures):
    task = Inpainting("pixels", (0.1, 0.3))
    assert task.test_known == [0.1, 0.2, 0.3] and task.headline == "psnr_hole_0.2"
    metrics, holes, whole = task.metrics(), [], []
    for index in range(2):
        clean, target = pictures.test.batch(torch.tensor([index]), 0)
        task.update(metrics, Mean(), clean, target, index)
        known = masks_of_test(clean, "pixels", 0.1, index)
        filled = Mean()(torch.where(known, clean, 0.0), known)
        holes.append(hole_psnr(filled, clean, known).item())
        whole.append(quality(filled, clean)[0].item())
    summary = task.summary(metrics)
    assert summary["psnr_hole_0.1"] == pytest.approx(sum(holes) / 2, abs=1e-4)
    assert summary["psnr_0.1"] == pytest.approx(sum(whole) / 2, abs=1e-4) and task.headline in summary


def test_pictures_and_the_table(pictures, tmp_path):
    from rich.console import Console

    task, model = Inpainting("pixels", 0.3, compare=True), wild()
    paths = task.pictures(model, pictures, task.metrics(), tmp_path / "new", "cpu")
    assert [path.name for path in paths] == ["before_after.png", "evolution.png"]
    assert all(path.stat().st_size > 10_000 for path in paths)
    console = Console(width=120, file=io.StringIO(), record=True)
    console.print(task.report(model, pictures, "cpu"))
    text = " ".join(console.export_text().split())  # the title is wrapped
    for word in ("homogeneous", "biharmonic", "this model", "one", "two", "mean", "30 % of the pixels known"):
        assert word in text
    assert Inpainting().report(model, pictures, "cpu") is None


def test_the_configuration_makes_the_task_and_comes_back(pictures):
    config = parse_config([*NEEDED, "--inpainting.known", "[0.5, 0.8]", "--inpainting.mask", "strokes"])
    task = create_task(config, pictures)
    assert isinstance(task, Inpainting) and (task.mask, task.known) == ("strokes", (0.5, 0.8))
    assert restored_config(as_plain(config)) == config
    assert load_data(config.data, "inpainting", 0).classes is None


@pytest.mark.parametrize(
    ("model", "task", "argument"),
    [("multiscale_denoiser", "inpainting", "mask"), ("diffusion_inpainter", "denoising", "sigma")],
)
def test_a_model_of_another_task_is_refused(model, task, argument, pictures):
    config = parse_config([*NEEDED, "--model.name", model, "--task", task])
    with pytest.raises(PDEConvError, match=f"{model} is not for {task}, as it takes no {argument}; take one of"):
        create_task(config, pictures)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--inpainting.known", "[0.5, 0.2]"], "inpainting.known: expected between 0 and 1, or a range"),
        (["--inpainting.known", "1"], "inpainting.known: expected between 0 and 1"),
        (["--inpainting.test_known", "[0.5, 0.5]"], "inpainting.test_known: expected at least one share"),
        (["--inpainting.mask", "dots"], "inpainting.mask: expected one of pixels, rectangles, strokes, got 'dots'"),
    ],
)
def test_slips(arguments, expected, capsys):
    with pytest.raises(SystemExit):
        parse_config([*NEEDED, *arguments])
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(("known", "tested"), [((0.5, 0.2), None), (0, None), (0.5, []), (0.5, [0.5, 0.5]), (0.5, 1)])
def test_impossible_shares_are_refused(known, tested):
    with pytest.raises(PDEConvError, match="known"):
        Inpainting("pixels", known, tested)


def test_a_picture_is_filled_in(tmp_path):
    model = wild()
    config = as_plain(parse_config([*NEEDED, "--model.channels", "8", "--model.steps", "3"]))
    about = {"config": config, "step": 3, "channels": 1, "classes": None}
    folder = write_checkpoint(tmp_path, Checkpoint(dict(model.state_dict()), None, about))
    write_image(tmp_path / "cat.png", random(1, 9, 13))
    write_image(tmp_path / "known.png", (random(1, 9, 13, seed=1) < 0.5).float())
    write_image(tmp_path / "small.png", torch.ones(1, 9, 12))
    arguments = [str(folder), "--image", str(tmp_path / "cat.png"), "--output", str(tmp_path / "out")]
    assert evaluate.main([*arguments, "--mask", str(tmp_path / "known.png")]) == 0
    known = read_image(tmp_path / "known.png", "gray") > 0.5
    filled = read_image(tmp_path / "out" / "cat_inpainted.png", "gray")
    given = read_image(tmp_path / "cat.png", "gray")
    assert torch.equal(filled[known], given[known])
    for more, message in (
        ([], "give a --mask"),
        (["--mask", str(tmp_path / "small.png")], "9 x 12 pixels, the image 9 x 13"),
    ):
        with pytest.raises(PDEConvError, match=message):
            evaluate.main([*arguments, *more])
