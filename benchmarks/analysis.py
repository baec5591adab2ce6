"""How exact the analysis is, and how long its commands take: the figures of docs/look_inside.md.

python benchmarks/analysis.py [--only exactness | commands]

Exactness: kernels against the sum of their parts; amplification factors against the growth of waves; Lyapunov exponents
of a linear system and of Lorenz's; the sharpness against the exact Hessian of a small network. Commands: ``explore``,
``report`` and ``decompose``, each as a process of its own, of a classifier and a denoiser whose weights come with
pdeconv, and of torchvision's ResNet-18 with random weights, for one photograph. Nothing else should run.
"""

import argparse
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import torchvision
from PIL import Image
from skimage import data
from torch import Tensor, nn

from pdeconv import (
    RK4,
    SSPRK3,
    Advection,
    BackwardEuler,
    Constant,
    ConstantVelocity,
    CrankNicolson,
    Diffusion,
    Euler,
    Exact,
    Grid,
    Heun,
    Operator,
    Step,
    Term,
    create_model,
    operator,
)
from pdeconv.analysis import amplification, decompose_kernel, frequencies, lyapunov_exponents, sharpness

DOUBLE = torch.float64


class Lorenz(Term):
    """x_t = 10(y − x), y_t = x(28 − z) − y, z_t = xy − 8/3 z, a reaction of three channels."""

    def forward(self, u: Tensor) -> Operator:
        def right(v: Tensor) -> Tensor:
            x, y, z = v.split(1, 1)
            return torch.cat((10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z), 1)

        return operator(right, rate=math.inf)


def kernels() -> None:
    networks = {
        "adr_residual_classifier": create_model("adr_residual_classifier", pretrained=True),
        "ResNet-18": torchvision.models.resnet18(),
    }
    for name, network in networks.items():
        errors = []
        for part in network.modules():
            if isinstance(part, nn.Conv2d):
                kernel = part.weight.detach().double()
                whole = decompose_kernel(kernel).total  # with a tap of 0 at the end of an even axis
                ends = (0, whole.shape[3] - kernel.shape[3], 0, whole.shape[2] - kernel.shape[2])
                kernel = nn.functional.pad(kernel, ends)
                errors.append(float((whole - kernel).abs().max() / kernel.abs().max()))
        print(f"{name}: {len(errors)} kernels are the sum of their parts to {max(errors):.1e}")


def waves(size: int = 16) -> None:
    """Steps of an advection–diffusion equation, and what they make of each wave, one at a time."""
    grid = Grid(boundary="periodic")
    heat = Diffusion(Constant(0.5), grid)
    carried = heat + Advection(ConstantVelocity((0.3, -0.2)), grid)
    steps: list[Step] = [kind(carried) for kind in (Euler, Heun, SSPRK3, RK4)]
    steps += [kind(heat) for kind in (BackwardEuler, CrankNicolson, Exact)]
    angles, cells = frequencies((size, size)), torch.arange(size, dtype=DOUBLE)
    dt = torch.tensor(0.3, dtype=DOUBLE)
    worst = 0.0
    for step in steps:
        step.double()
        told = amplification(step, 0.3, (size, size))[..., 0, 0]
        for row, column in torch.cartesian_prod(torch.arange(size), torch.arange(size)).tolist():
            phase = angles[0, row, column] * cells[:, None] + angles[1, row, column] * cells
            wave = torch.complex(phase.cos(), phase.sin())
            real, imaginary = (step(part[None, None], dt) for part in (wave.real, wave.imag))
            grown = torch.complex(real, imaginary)[0, 0] / wave
            worst = max(worst, float((grown - told[row, column]).abs().max()))
    print(f"{len(steps)} steps, {size * size} waves each: the amplification factor is right to {worst:.1e}")


def exponents() -> None:
    torch.manual_seed(0)
    matrix = torch.tensor([[-0.3, 0.2, 0.0], [0.0, -1.0, 0.5], [0.0, 0.0, 0.4]], dtype=DOUBLE)
    flow = torch.linalg.matrix_exp(0.1 * matrix)
    start = torch.rand(2, 3, dtype=DOUBLE)
    found = lyapunov_exponents(lambda u: u @ flow.T, start, 0.1, 300, count=3, settle=300)[0]
    print("linear system, eigenvalues 0.4, −0.3, −1: exponents " + ", ".join(f"{value:.4f}" for value in found))
    step, dt = RK4(Lorenz()), torch.tensor(0.02, dtype=DOUBLE)
    state = torch.tensor([0.0, 0.0, 25.0]).double()[:, None] + 8 * torch.randn(1024, 3, 1, dtype=DOUBLE)
    for _ in range(3000):  # those that begin near an unstable equilibrium take long to leave it
        state = step(state, dt).detach()
    all_found = lyapunov_exponents(lambda u: step(u, dt), state, 0.02, 1000, count=3, settle=250)
    means = ", ".join(f"{value:.4f}" for value in all_found.mean(0))
    print(f"Lorenz, 0.9056, 0, −14.5723 (Sprott 2003): exponents {means}, means of 1,024 starts over 20 units of time")


def hessian() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 12), nn.Tanh(), nn.Linear(12, 4))
    x, y = torch.randn(64, 8), torch.randint(0, 4, (64,))
    weights = dict(net.named_parameters())
    shapes = [weight.shape for weight in weights.values()]

    def loss(flat: Tensor) -> Tensor:
        parts = flat.split([shape.numel() for shape in shapes])
        named = {name: part.reshape(shape) for name, part, shape in zip(weights, parts, shapes, strict=True)}
        return nn.functional.cross_entropy(torch.func.functional_call(net, named, (x,)), y)

    flat = torch.cat([weight.detach().flatten() for weight in weights.values()])
    exact = float(torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, flat))[-1])  # pyright: ignore
    found = sharpness(nn.functional.cross_entropy(net(x), y), weights.values())
    print(f"sharpness of {len(flat)} weights: {found:.5f}, by the whole Hessian {exact:.5f}")


def commands() -> None:
    print("| s | explore | report | decompose |\n|:--|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        picture, weights = Path(folder) / "cat.png", Path(folder) / "resnet18.pth"
        Image.fromarray(data.chelsea()).save(picture)
        torch.save(torchvision.models.resnet18().state_dict(), weights)
        for subject in ("adr_residual_classifier", "multiscale_denoiser_large", "torchvision:resnet18"):
            with_weights = [] if ":" not in subject else ["--weights", str(weights)]
            page = ["-o", str(Path(folder) / f"{subject.replace(':', '_')}.html")]
            figure = ["--figure", str(Path(folder) / f"{subject.replace(':', '_')}.png")]
            cells = []
            for command in (
                ["explore", subject, str(picture), *page],
                ["report", subject, str(picture)],
                ["decompose", subject, *figure],
            ):
                began = time.perf_counter()
                subprocess.run(
                    [sys.executable, "-m", "pdeconv", *command, *with_weights], check=True, capture_output=True
                )
                cells.append(f"{time.perf_counter() - began:.1f}")
            print(f"| `{subject}` | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["exactness", "commands"], help="one part alone")
    given = parser.parse_args()
    if given.only != "commands":
        kernels()
        waves()
        exponents()
        hessian()
    if given.only != "exactness":
        commands()


if __name__ == "__main__":
    main()
