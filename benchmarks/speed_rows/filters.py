"""Classical filters against SimpleITK, MedPy, OpenCV and scikit-image, on as many threads as torch has."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor

from pdeconv import (
    Constant,
    Diffusion,
    Euler,
    Evolve,
    Exact,
    Exponential,
    Fixed,
    MeanCurvatureMotion,
    Step,
    TotalVariation,
)

from .machine import copying
from .pairing import Call
from .row import Outcome, Row, Setting, at_least, at_most, peer, times_as_fast, times_the_cost

ITERATIONS = 10
CONTRAST = 0.1


def picture(side: int) -> Tensor:
    """(1, 1, side, side) in [0, 1]: soft shading, discs with edges, and noise of σ = 0.05."""
    generator = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(*[torch.linspace(0, 1, side)] * 2, indexing="ij")
    image = 0.5 + 0.2 * torch.sin(7 * x) * torch.cos(5 * y)
    for centre_y, centre_x, radius, value in torch.rand(40, 4, generator=generator).tolist():
        image[(y - centre_y) ** 2 + (x - centre_x) ** 2 < (0.15 * radius) ** 2] = value
    noisy = image + 0.05 * torch.randn(side, side, generator=generator)
    return noisy.clamp(0, 1)[None, None]


def filtering(step: Step, image: Tensor, steps: int, duration: float | None = None) -> Call:
    """Ours, without gradients; by default each step is as long as is safe."""
    evolve = Evolve(step, steps * step.guaranteed_limit if duration is None else duration, Fixed(steps))

    def run() -> Tensor:
        with torch.no_grad():
            return evolve(image)

    return run


def perona_malik(side: int, setting: Setting, compiled: bool = False) -> Call:
    run = filtering(Euler(Diffusion(Exponential(1, CONTRAST))), picture(side), ITERATIONS)
    return setting.compiled(run) if compiled else run


def _opencv(setting: Setting) -> Outcome:
    cv2 = peer("cv2.ximgproc", "opencv-contrib-python-headless") and peer("cv2", "opencv-contrib-python-headless")
    cv2.setNumThreads(torch.get_num_threads())
    side = _side(setting)
    image = np.ascontiguousarray(np.repeat((255 * picture(side)[0, 0].numpy()).astype(np.uint8)[..., None], 3, -1))
    ours = perona_malik(side, setting)
    other = partial(cv2.ximgproc.anisotropicDiffusion, image, 0.2, CONTRAST, ITERATIONS)
    return times_as_fast(setting, ours, other, ITERATIONS, 3 * ITERATIONS)


def _medpy(setting: Setting) -> Outcome:
    smoothing = peer("medpy.filter.smoothing", "MedPy")
    side = _side(setting)
    image = picture(side)[0, 0].numpy()
    other = partial(smoothing.anisotropic_diffusion, image, ITERATIONS, CONTRAST, 0.2, None, 1)
    return times_as_fast(setting, perona_malik(side, setting), other, ITERATIONS, ITERATIONS)


def _simpleitk() -> object:
    itk = peer("SimpleITK", "SimpleITK")
    itk.ProcessObject.SetGlobalDefaultNumberOfThreads(torch.get_num_threads())
    return itk


def _itk_gradient(setting: Setting) -> Outcome:
    itk, side = _simpleitk(), _side(setting)
    image = itk.GetImageFromArray(picture(side)[0, 0].numpy())
    other = partial(itk.GradientAnisotropicDiffusion, image, 0.125, 1.0, 1, ITERATIONS)
    return times_as_fast(setting, perona_malik(side, setting), other, ITERATIONS, ITERATIONS)


def _against_copy(compiled: bool, setting: Setting) -> Outcome:
    side = _side(setting)
    return times_the_cost(setting, perona_malik(side, setting, compiled), copying(1, 1, side, side), ITERATIONS)


def _itk_curvature(setting: Setting) -> Outcome:
    itk, side = _simpleitk(), _side(setting)
    image = picture(side)
    theirs = itk.GetImageFromArray(image[0, 0].numpy())
    other = partial(itk.CurvatureFlow, theirs, 0.0625, ITERATIONS)
    ours = filtering(Euler(MeanCurvatureMotion()), image, ITERATIONS)
    return times_as_fast(setting, ours, other, ITERATIONS, ITERATIONS)


def _gaussian(package: str, full: int, sigma: float, setting: Setting) -> Outcome:
    image = picture(48 if setting.quick else full)
    array, blurred = image[0, 0].numpy(), filtering(Exact(Diffusion(Constant(1.0))), image, 1, sigma**2 / 2)
    if package == "opencv":
        cv2 = peer("cv2", "opencv-contrib-python-headless")
        cv2.setNumThreads(torch.get_num_threads())
        width = 2 * int(4 * sigma + 0.5) + 1
        other = partial(cv2.GaussianBlur, array, (width, width), sigma, borderType=cv2.BORDER_REFLECT)
    else:
        # "reflect" is passed on to SciPy, where it mirrors the image with the edge's cell, as ours is mirrored.
        other = partial(peer("skimage.filters", "scikit-image").gaussian, array, sigma, mode="reflect", truncate=4.0)
    apart = float(np.abs(blurred()[0, 0].numpy() - other())[8:-8, 8:-8].max())
    return times_as_fast(setting, blurred, other, note=f"results apart by {apart:.1e} at most")


def _total_variation(setting: Setting) -> Outcome:
    restoration = peer("skimage.restoration", "scikit-image")
    image = picture(_side(setting))
    array = image[0, 0].numpy()
    other = partial(restoration.denoise_tv_chambolle, array, weight=0.1, eps=0.0, max_num_iter=ITERATIONS)
    ours = filtering(Euler(Diffusion(TotalVariation(epsilon=0.1))), image, ITERATIONS)
    return times_as_fast(setting, ours, other, ITERATIONS, ITERATIONS)


def _side(setting: Setting) -> int:
    return 48 if setting.quick else 2048


def rows() -> list[Row]:
    """Coherence enhancement has no row: none of these packages has that filter."""
    start, end = "one Perona–Malik iteration, exponential, 2048² float32:", "peer's ms / our ms"
    found = [
        Row(
            "perona_malik/opencv",
            f"{start} {end}, per channel; theirs has three channels of uint8",
            _opencv,
            at_least(3),
        ),
        Row("perona_malik/medpy", f"{start} {end}; theirs is NumPy on one thread", _medpy, at_least(20)),
        Row(
            "perona_malik/simpleitk",
            f"{start} {end}; theirs measures the mean gradient each time",
            _itk_gradient,
            at_least(100),
        ),
    ]
    for build in ("eager", "compiled"):
        found.append(
            Row(
                f"perona_malik/copy/{build}",
                f"{start} our ms / ms of a copy into existing memory",
                partial(_against_copy, build == "compiled"),
                at_most(3),
            )
        )
    found.append(
        Row(
            "curvature/simpleitk",
            "one explicit iteration of mean curvature motion, 2048² float32: CurvatureFlow's ms / our ms; equal "
            "equation and iterations, other differences",
            _itk_curvature,
        )
    )
    for package, side, sigma in (
        ("skimage", 512, 8.0),
        ("skimage", 2048, 8.0),
        ("opencv", 512, 8.0),
        ("opencv", 2048, 8.0),
    ):
        found.append(
            Row(
                f"gaussian/{package}/{side}",
                f"heat until σ = {sigma:g} on {side}² float32, exact, against a Gaussian cut at 4σ: peer's ms / "
                "our ms; equal result but for the cells",
                partial(_gaussian, package, side, sigma),
            )
        )
    found.append(
        Row(
            "total_variation/skimage",
            "one iteration, 2048² float32: denoise_tv_chambolle's ms / ms of an Euler step of TV flow; a gradient and "
            "a divergence each, but of two algorithms: per iteration, not per result",
            _total_variation,
        )
    )
    return found
