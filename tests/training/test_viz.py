"""Figures: what they show, that they leave matplotlib as it was, and that nothing is shown or saved unasked."""

import io
from dataclasses import dataclass

import matplotlib
import pytest
import torch
from matplotlib.text import Text
from torch import Tensor

from pdeconv.errors import PDEConvError
from pdeconv.viz import BeforeAfter, before_after_figure, confusion_figure, curves_figure, evolution_figure
from pdeconv.viz.comparison import busiest_square
from pdeconv.viz.evolution import evenly


@dataclass
class States:
    times: Tensor
    states: tuple[Tensor, ...]


def drawn(figure) -> int:
    file = io.BytesIO()
    before = dict(matplotlib.rcParams)
    figure.savefig(file, format="png")
    assert dict(matplotlib.rcParams) == before
    return len(file.getvalue())


def texts(figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def trajectory(*shapes: tuple[int, ...]) -> States:
    return States(times=torch.arange(len(shapes)) / 2, states=tuple(torch.randn(shape) for shape in shapes))


def test_evolution_shows_channels_in_rows_and_times_in_columns() -> None:
    states = trajectory(*[(2, 4, 8, 8)] * 3, *[(2, 6, 4, 4)] * 2)
    figure = evolution_figure(states, example=1, channels=3, picture=torch.rand(1, 8, 8), title="Title")
    assert len(figure.axes) == 3 * 6
    assert {"input", "t = 0", "t = 0.5", "t = 2", "Title"} <= set(texts(figure))
    assert sum(text.startswith("channel") for text in texts(figure)) == 3
    assert drawn(figure) > 5000


def test_evolution_of_a_picture() -> None:
    figure = evolution_figure(trajectory(*[(1, 3, 6, 9)] * 20), as_picture=True, columns=5)
    assert 2 <= len(figure.axes) <= 5 and {"t = 0", "t = 9.5"} <= set(texts(figure))
    assert drawn(figure) > 2000


def test_evolution_survives_constant_and_single_states() -> None:
    constant = States(times=torch.zeros(1), states=(torch.ones(1, 2, 1, 1),))
    assert drawn(evolution_figure(constant)) > 500


def test_evolution_explains_what_it_cannot_show() -> None:
    with pytest.raises(PDEConvError, match="as many times as states"):
        evolution_figure(States(times=torch.zeros(2), states=(torch.ones(1, 1, 2, 2),)))
    with pytest.raises(PDEConvError, match=r"\(B, C, H, W\)"):
        evolution_figure(trajectory((1, 2, 3)))


@pytest.mark.parametrize("count", [1, 2, 5, 9, 10, 17, 33])
def test_chosen_times_hold_the_first_and_the_last(count: int) -> None:
    chosen = evenly(count, 9)
    assert chosen[0] == 0 and chosen[-1] == count - 1 and len(chosen) <= 9


def test_before_after() -> None:
    images = [
        BeforeAfter(
            "one", torch.rand(1, 30, 40), torch.rand(1, 30, 40) * 2 - 0.5, torch.rand(1, 30, 40), "noisy, 20 dB"
        ),
        BeforeAfter("two", torch.rand(3, 50, 20), torch.rand(3, 50, 20), torch.rand(3, 50, 20)),
    ]
    figure = before_after_figure(images, title="Title")
    assert len(figure.axes) == 8
    assert {"one, denoised", "noisy, 20 dB", "clean", "Title"} <= set(texts(figure))
    assert drawn(figure) > 10_000
    with pytest.raises(PDEConvError, match="at least one"):
        before_after_figure([])


def test_the_busiest_square_holds_the_structure() -> None:
    image = torch.zeros(1, 60, 80)
    image[:, 40:50, 60:70] = 1
    top, left, side = busiest_square(image, 20)
    assert side == 20 and top <= 38 and top + side >= 52 and left <= 58 and left + side >= 72
    assert busiest_square(torch.zeros(3, 1, 1), 20) == (0, 0, 1)


def test_confusion_counts_and_words() -> None:
    figure = confusion_figure(torch.tensor([[4, 1], [0, 5]]), ["cat", "dog"])
    assert {"90.00 % right: 1 mistake in 10", "cat", "dog", "4", "1", "5"} <= set(texts(figure))
    assert "0" not in texts(figure) and drawn(figure) > 3000
    assert drawn(confusion_figure(torch.ones(60, 60), [f"class {k}" for k in range(60)])) > 3000
    with pytest.raises(PDEConvError, match="2 × 2"):
        confusion_figure(torch.eye(3), ["a", "b"])


def test_curves_show_every_noise_level() -> None:
    records = [{"kind": "train", "step": k, "epoch": k, "loss": 1.0 / k} for k in range(1, 60)]
    records += [{"kind": "test", "step": k, "epoch": k, "psnr_15": 30.0, "psnr_25": 20.0 + k} for k in range(1, 60)]
    records.append({"kind": "train", "step": 60, "epoch": 60, "loss": None})
    figure = curves_figure(records, "psnr_25")
    assert {"30.00 at σ = 15", "79.00 at σ = 25", "Test PSNR, dB", "Training loss"} <= set(texts(figure))
    assert drawn(figure) > 5000


def test_curves_of_a_run_that_has_hardly_begun() -> None:
    assert drawn(curves_figure([], "top1")) > 1000
    one = [{"kind": "train", "step": 1, "epoch": 1, "loss": 0.5}, {"kind": "test", "step": 1, "epoch": 1, "top1": 50.0}]
    assert {"50.00", "0.5"} <= set(texts(curves_figure(one, "top1")))
