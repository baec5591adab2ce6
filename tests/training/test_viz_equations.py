"""Figures of equations: that they show the right thing, and refuse what they cannot show; animations are files."""

import io
import math

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.collections import EllipseCollection
from matplotlib.quiver import Quiver
from PIL import Image

from pdeconv import (
    CFL,
    Advection,
    AnisotropicDiffusion,
    Bistable,
    Constant,
    ConstantTensor,
    ConstantVelocity,
    Diffusion,
    Euler,
    Evolve,
    PDEConvError,
    PeronaMalik,
    Reaction,
    TanhInfluence,
    Trajectory,
    create_model,
)
from pdeconv.analysis import decompose, report
from pdeconv.viz import (
    animate,
    courant_figure,
    decomposition_figure,
    diffusivity_figure,
    flux_figure,
    functionals_figure,
    influence_figure,
    kernel_figure,
    reaction_figure,
    tensor_figure,
    velocity_figure,
)

IMAGE = torch.zeros(2, 3, 8, 12)
IMAGE[..., 6:] = 1  # an edge between columns 5 and 6


def drawn(figure):
    file = io.BytesIO()
    before = dict(matplotlib.rcParams)
    figure.savefig(file, format="png")
    assert dict(matplotlib.rcParams) == before
    return figure


def test_the_diffusivity_is_low_at_an_edge():
    figure = drawn(diffusivity_figure(Diffusion(PeronaMalik(3, contrast=0.1)), IMAGE, title="κ"))
    shown = figure.axes[1].images[0].get_array()
    assert shown[:, 5].max() < 0.1 * shown[:, 0].min()
    assert drawn(diffusivity_figure(Diffusion(Constant(2.0)), IMAGE)).axes[1].images[0].get_array().min() == 2


def test_ellipses_are_long_where_diffusion_is_strong():
    """[[a, b], [b, c]] with a along rows: a = 4, c = 1 is an upright ellipse, whose height is 4 times its width."""
    figure = drawn(tensor_figure(AnisotropicDiffusion(ConstantTensor(((4.0, 0.0), (0.0, 1.0)))), IMAGE))
    (ellipses,) = (part for part in figure.axes[1].collections if isinstance(part, EllipseCollection))
    long, short = ellipses.get_widths()[0], ellipses.get_heights()[0]
    assert long == pytest.approx(4 * short) and abs(ellipses.get_angles()[0]) == pytest.approx(90)


def test_arrows_point_where_values_go():
    figure = drawn(velocity_figure(Advection(ConstantVelocity((0.5, -1.0))), IMAGE))
    (arrows,) = (part for part in figure.axes[1].collections if isinstance(part, Quiver))
    assert np.allclose(arrows.U, -1) and np.allclose(arrows.V, 0.5)  # to the left, and down: rows count downwards
    assert figure.axes[1].yaxis_inverted()


def test_diffusion_flows_from_bright_to_dark():
    figure = drawn(flux_figure(Diffusion(Constant(1.0)), IMAGE))
    (arrows,) = (part for part in figure.axes[1].collections if isinstance(part, Quiver))
    assert arrows.U.min() < 0 and arrows.U.max() <= 0 and np.allclose(arrows.V, 0)
    drawn(flux_figure(Advection(ConstantVelocity((0.5, -1.0))), IMAGE))
    drawn(flux_figure(Diffusion(Constant(1.0)), torch.ones(1, 1, 1, 1)))


def test_equilibria_of_a_reaction_are_marked():
    axes = drawn(reaction_figure(Reaction(Bistable(2)), channels=2)).axes[0]
    marked = [line for line in axes.lines if line.get_marker() == "o"]
    dots = {round(float(line.get_xdata()[0]), 3): line.get_markerfacecolor() for line in marked}
    assert sorted(dots) == pytest.approx([-1, 0, 1], abs=1e-2)
    assert [dots[place] == "white" for place in sorted(dots)] == [False, True, False]
    drawn(influence_figure(TanhInfluence(), features=3))


def test_functionals_are_drawn_against_time():
    trajectory = Evolve(Euler(Diffusion(Constant(1.0))), 1.0, CFL(0.9)).trajectory(IMAGE)
    figure = drawn(functionals_figure(trajectory, title="heat"))
    named = {axes.get_title(loc="left"): axes for axes in figure.axes}
    falls = named["½‖∇u‖²"].lines[0].get_ydata()
    assert (np.diff(falls) < 0).all()
    low, high = named["mean"].get_ylim()
    assert high - low >= 1e-3 * 0.5 - 1e-9  # rounding is not magnified
    model = create_model("adr_classifier", widths=(4, 6), depths=(1, 1))
    broken = functionals_figure(model.trajectory(torch.rand(1, 3, 8, 8)))
    assert len(broken.axes[0].lines) == 2
    with pytest.raises(PDEConvError, match="at least one"):
        functionals_figure(trajectory, {})


def test_structure():
    model = create_model("adr_classifier", widths=(4, 6), depths=(1, 1))
    found = report(model, torch.rand(1, 3, 8, 8))
    drawn(courant_figure(found))
    drawn(courant_figure(report(create_model("hamiltonian_classifier"), torch.rand(1, 3, 8, 8))))
    figure = drawn(decomposition_figure(decompose(model)))
    widths = {}
    for bar in figure.axes[0].patches:
        widths[round(bar.get_y(), 2)] = widths.get(round(bar.get_y(), 2), 0) + bar.get_width()
    assert all(total == pytest.approx(100) for total in widths.values())
    assert len(drawn(kernel_figure(torch.randn(3, 3))).axes) == 5
    with pytest.raises(PDEConvError, match="pointwise"):
        decomposition_figure(decompose(torch.nn.Conv2d(2, 2, 1)))
    with pytest.raises(PDEConvError, match="one kernel"):
        kernel_figure(torch.randn(1, 3, 3))


@pytest.mark.parametrize("draw", [diffusivity_figure, flux_figure])
@pytest.mark.parametrize("state", [torch.zeros(3, 8, 8), torch.zeros(0, 3, 8, 8), torch.zeros(1, 0, 8, 8)])
def test_what_is_no_state_is_refused(draw, state):
    with pytest.raises(PDEConvError, match=r"\(B, C, H, W\)"):
        draw(Diffusion(Constant(1.0)), state)


@pytest.mark.parametrize("ending", ["gif", "png", "apng", "webp"])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_an_animation_has_a_frame_a_state(tmp_path, ending, channels):
    trajectory = Evolve(Euler(Diffusion(Constant(1.0))), 0.6, CFL(0.9)).trajectory(torch.rand(1, channels, 6, 7))
    path = animate(trajectory, tmp_path / "new" / f"heat.{ending}", zoom=2, seconds=1.0)
    with Image.open(path) as image:
        assert image.n_frames == len(trajectory.states)  # pyright: ignore[reportAttributeAccessIssue]
        assert image.size[0] >= 14 and (channels == 5 or image.size == (14, 12))
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("ending", ["gif", "png", "webp"])
@pytest.mark.parametrize("loop", [True, False])
def test_an_animation_plays_for_ever_or_once(tmp_path, ending, loop):
    trajectory = Evolve(Euler(Diffusion(Constant(1.0))), 0.6, CFL(0.9)).trajectory(torch.rand(1, 1, 6, 7))
    with Image.open(animate(trajectory, tmp_path / f"heat.{ending}", loop=loop)) as image:
        assert image.info.get("loop") == (0 if loop else None if ending == "gif" else 1)


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_a_film_lasts_as_long_as_asked_and_shows_the_states(tmp_path, channels):
    iio = pytest.importorskip("imageio.v3")
    pytest.importorskip("imageio_ffmpeg")
    states = tuple(torch.full((1, channels, 16, 24), value) for value in (0.0, 0.5, 1.0))
    path = animate(Trajectory(torch.tensor([0.0, 1.0, 2.0]), states), tmp_path / "fade.mp4", zoom=2, seconds=2.0)
    frames = iio.imread(path, plugin="FFMPEG")
    assert [file.name for file in tmp_path.iterdir()] == ["fade.mp4"]
    assert iio.immeta(path, plugin="FFMPEG")["duration"] == pytest.approx(2.0, abs=0.1)
    assert frames[0, 4, 4].max() < 30 and frames[-1, 4, 4].min() > 225  # tiles of 5 channels have gaps between them
    assert channels == 5 or frames.shape[1:] == (32, 48, 3)


def test_an_animation_keeps_one_scale_of_gray(tmp_path):
    """What fades does: the last frame of a decaying channel is darker than the first."""
    trajectory = Evolve(Euler(Diffusion(Constant(1.0))), 2.0, CFL(0.9)).trajectory(torch.eye(8).repeat(1, 2, 1, 1))
    path = animate(trajectory, tmp_path / "fade.webp", channels=[1], zoom=1)
    with Image.open(path) as image:
        first = np.asarray(image.convert("L"), dtype=float).max()
        image.seek(len(trajectory.states) - 1)
        assert np.asarray(image.convert("L"), dtype=float).max() < 0.6 * first


def test_what_cannot_be_animated_says_why(tmp_path):
    trajectory = Evolve(Euler(Diffusion(Constant(1.0))), 0.6, CFL(0.9)).trajectory(torch.rand(1, 2, 6, 7))
    with pytest.raises(PDEConvError, match="endings"):
        animate(trajectory, tmp_path / "a.bmp")
    with pytest.raises(PDEConvError, match="channels of 0 to 1"):
        animate(trajectory, tmp_path / "a.gif", channels=[2])
    with pytest.raises(PDEConvError, match="seconds"):
        animate(trajectory, tmp_path / "a.gif", seconds=math.nan)
    model = create_model("adr_classifier", widths=(4, 6), depths=(1, 1))
    with pytest.raises(PDEConvError, match="one shape"):
        animate(model.trajectory(torch.rand(1, 3, 8, 8)), tmp_path / "a.gif")
    assert not list(tmp_path.iterdir())
