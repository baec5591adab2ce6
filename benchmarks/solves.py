"""What solves cost: FFT beside matrices, elimination beside cyclic reduction, iterations of conjugate gradients.

Each pair runs alternately in one process, on one thread by default and with freed memory kept: page faults and other
work on the cores would dominate otherwise. Median, and in brackets the fastest and the slowest.

python benchmarks/solves.py [--seconds 1] [--threads 1]
"""

import argparse
import ctypes
import itertools
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from pdeconv import Diffusion, Grid, PeronaMalik, conjugate_gradient, elimination, modes, tridiagonal

SHAPES = (
    (128, 32, 32, 32),
    (128, 128, 8, 8),
    (8, 64, 128, 128),
    (1, 1, 512, 512),
    (1, 1, 2048, 2048),
)
BOUNDARIES = ("neumann", "periodic", "dirichlet", "reflect")
NEVER = 10**9
Way = Callable[[], object]


def alternately(ways: dict[str, Way], seconds: float) -> dict[str, list[float]]:
    """Times in ms of each way, in turns, after one call of each."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or min(len(taken) for taken in times.values()) < 3:
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            times[name].append(1e3 * (time.perf_counter() - start))
    return times


def row(label: str, ways: dict[str, Way], seconds: float) -> None:
    """A line of the table. The last column is the ratio of the fastest: other work on the cores only ever adds."""
    times = alternately(ways, seconds)
    fastest = [min(taken) for taken in times.values()]
    cells = [f"{statistics.median(taken):.2f} [{min(taken):.2f}, {max(taken):.2f}]" for taken in times.values()]
    print(f"| {label} | {' | '.join(cells)} | {fastest[0] / fastest[-1]:.2f} |", flush=True)


def header(title: str, columns: list[str]) -> None:
    print(f"\n{title}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")


def with_gradient(function: Callable[..., Tensor], *inputs: Tensor) -> Way:
    inputs = tuple(value.clone().requires_grad_() for value in inputs)

    def both() -> object:
        result = function(*inputs)
        return torch.autograd.grad(result, inputs, torch.ones_like(result))

    return both


def heat_step(u: Tensor, kappa: Tensor, boundary, fft_size: int = NEVER, joint_cells: int = 0) -> Tensor:
    """Backward Euler by the given way."""
    kept = modes.FFT_SIZE, modes.JOINT_CELLS
    modes.FFT_SIZE, modes.JOINT_CELLS = fft_size, joint_cells
    try:
        return modes.map_modes(u, Grid(boundary=boundary), lambda z: 1 / (1 - 0.3 * kappa * (z[0] + z[1])))
    finally:
        modes.FFT_SIZE, modes.JOINT_CELLS = kept


def transforms(seconds: float) -> None:
    header("Spectral heat step, forward, ms", ["size", "boundary", "matrices", "FFT", "matrices / FFT"])
    for size, boundary in itertools.product((64, 128, 192, 256, 384, 512), BOUNDARIES):
        u, kappa = torch.rand(1, 1, size, size), torch.ones(())
        ways = {
            name: partial(heat_step, u, kappa, boundary, least) for name, least in (("matrices", NEVER), ("FFT", 0))
        }
        row(f"{size} | {boundary}", ways, seconds)
    columns = ["state", "matrices", "chosen", "matrices / chosen"]
    for title, gradients in (("forward", False), ("forward and backward", True)):
        header(f"Spectral heat step, neumann, {title}, ms", columns)
        for shape in SHAPES:
            u, kappa = torch.rand(shape), torch.rand(1, shape[1], 1, 1)

            def chosen(u: Tensor, kappa: Tensor) -> Tensor:
                return heat_step(u, kappa, "neumann", modes.FFT_SIZE, modes.JOINT_CELLS)

            def matrices(u: Tensor, kappa: Tensor) -> Tensor:
                return heat_step(u, kappa, "neumann")

            pair = {"matrices": matrices, "chosen": chosen}
            ways = {k: with_gradient(f, u, kappa) if gradients else partial(f, u, kappa) for k, f in pair.items()}
            row(str(shape), ways, seconds)


def eliminations(seconds: float) -> None:
    columns = ["state", "axis", "strength", "cyclic reduction", "elimination", "ratio"]
    for title, gradients in (("forward", False), ("forward and backward", True)):
        header(f"Tridiagonal systems, {title}, ms", columns)
        for shape in ((32, 64, 32, 32), (8, 16, 128, 128), (1, 4, 512, 512), (1, 1, 2048, 2048)):
            for axis, varying in itertools.product((2, 3), (True, False)):
                b, bands = torch.rand(shape), list(shape) if varying else [1, shape[1], 1, 1]
                bands[axis] = shape[axis]
                couplings = torch.rand(bands)
                couplings.narrow(axis, 0, 1).zero_()
                excess, upper = torch.ones(bands), couplings.roll(-1, axis)

                def solve(way, b: Tensor, lower: Tensor, excess=excess, upper=upper, axis=axis) -> Tensor:
                    return way((b,), excess, lower, upper, axis)[0]

                ways: dict[str, Way] = {}
                for way in (tridiagonal._reduced, elimination.eliminate):
                    solved = partial(solve, way)
                    made = with_gradient(solved, b, couplings) if gradients else partial(solved, b, couplings)
                    ways[way.__name__] = made
                row(f"{shape} | {axis} | {'a cell' if varying else 'a channel'}", ways, seconds)


def iterations() -> None:
    """Products with the matrix, from a start at 0, which is used, and at the right-hand side."""
    header("Conjugate gradients, PeronaMalik, products with the matrix", ["contrast", "dt", "from 0", "from b"])
    edges = ((torch.arange(64)[:, None] // 8 + torch.arange(64) // 8) % 2).float()
    u = (0.2 + 0.6 * edges + 0.05 * torch.randn(64, 64))[None, None]
    for contrast, dt in itertools.product((0.1, 0.5), (1.0, 10.0, 100.0)):
        operator, count = Diffusion(PeronaMalik(1, contrast=contrast))(u), [0]

        def product(v: Tensor, dt: float = dt, operator=operator, count: list[int] = count) -> Tensor:
            count[0] += 1
            return v - dt * operator(v)

        counts = []
        for start in (torch.zeros_like(u), u):
            count[0] = 0
            residual = u - product(start) if start.any() else u
            # The tolerance is relative to the right-hand side of the whole problem.
            tolerance = 10 * torch.finfo(u.dtype).eps * float(u.norm() / residual.norm())
            conjugate_gradient.conjugate_gradient(product, residual, tolerance=tolerance)
            counts.append(count[0])
        print(f"| {contrast:g} | {dt:g} | {counts[0]} | {counts[1]} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each line of a table")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    options = parser.parse_args()
    if platform.system() == "Linux":
        ctypes.CDLL(None).mallopt(-4, 0)  # M_MMAP_MAX
        ctypes.CDLL(None).mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    print(f"{platform.machine()}, torch {torch.__version__}, {options.threads} threads, float32")
    with torch.no_grad():
        iterations()
    transforms(options.seconds)
    eliminations(options.seconds)


if __name__ == "__main__":
    main()
