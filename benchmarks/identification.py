"""Which equation made these snapshots? Data of py-pde with 1 % noise, on a finer grid than the one used to find it.

pip install py-pde
python benchmarks/identification.py [--seeds 3] [--data FILE]

Four equations are to be found among 11 candidates for one field and 20 for two, and a diffusivity that varies in space
by differentiating through the time steps. py-pde solves by SciPy's DOP853 at a tolerance of 1e-8 on 128 × 128 cells;
every second cell is kept, and white noise of 1 % of the standard deviation of each field is added. ``--data`` keeps
what py-pde made, for the next time.
"""

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pdeconv import CoefficientField, Diffusion, Grid, Heun, fit_snapshots, identify

FINE, LENGTH = 128, 32.0
EQUATIONS = {  # the right-hand sides for py-pde, the coefficients to find, length, times
    "advection–diffusion": (
        {"u": "0.3*laplace(u) - 0.8*d_dx(u) + 0.5*d_dy(u)"},
        [{"Δu": 0.3, "∂₁u": -0.8, "∂₂u": 0.5}],
        (LENGTH, 10.0, 41),
    ),
    "Burgers": ({"u": "0.4*laplace(u) - u*d_dx(u)"}, [{"Δu": 0.4, "u∂₁u": -1.0}], (LENGTH, 10.0, 41)),
    "Allen–Cahn": (
        {"u": "0.2*laplace(u) + 0.7*u - 0.7*u**3"},
        [{"Δu": 0.2, "u": 0.7, "u³": -0.7}],
        (LENGTH, 10.0, 41),
    ),
    "Gray–Scott": (
        {"u": "0.16*laplace(u) + 0.04*(1-u) - u*v**2", "v": "0.08*laplace(v) + u*v**2 - 0.1*v"},
        [{"Δu": 0.16, "1": 0.04, "u": -0.04, "uv²": -1.0}, {"Δv": 0.08, "v": -0.1, "uv²": 1.0}],
        (64.0, 200.0, 101),
    ),
    "varying diffusivity": (
        {"u": "dot(gradient(kappa), gradient(u)) + kappa*laplace(u)"},
        [],
        (LENGTH, 10.0, 41),
    ),
}
Field = Callable[[np.ndarray, np.ndarray], np.ndarray]


def diffusivity(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return 0.3 + 0.15 * np.sin(2 * np.pi * x / LENGTH) * np.cos(2 * np.pi * y / LENGTH)


def waves(seed: int, most: int = 3, size: float = 1.0) -> Field:
    """A sum of long waves with random phases, within ±size."""
    random = np.random.default_rng(seed)
    strengths = random.normal(size=(2 * most + 1, 2 * most + 1))
    phases = random.uniform(0, 2 * np.pi, strengths.shape)

    def field(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        value = np.zeros_like(x)
        for i, j in np.ndindex(strengths.shape):
            p, q = i - most, j - most
            value += strengths[i, j] * np.cos(2 * np.pi * (p * x + q * y) / LENGTH + phases[i, j]) / (1 + p * p + q * q)
        return size * value / np.abs(value).max()

    return field


def spots(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    places = ((20, 20, 5), (40, 28, 4), (25, 47, 6), (50, 50, 4), (10, 40, 4))
    return 0.5 * np.minimum(sum(np.exp(-((x - a) ** 2 + (y - b) ** 2) / w**2) for a, b, w in places), 1)


STARTS: dict[str, tuple[Field, ...]] = {
    "advection–diffusion": (waves(0),),
    "Burgers": (waves(1),),
    "Allen–Cahn": (waves(2, size=0.8),),
    "Gray–Scott": (lambda x, y: 1 - spots(x, y), lambda x, y: 0.5 * spots(x, y)),
    "varying diffusivity": (waves(4, most=5),),
}


def made_by_py_pde(name: str) -> Tensor:
    """(T, C, FINE, FINE)."""
    import pde

    right_hand_sides, _, (length, duration, count) = EQUATIONS[name]
    grid = pde.CartesianGrid([[0, length]] * 2, [FINE] * 2, periodic=True)
    x, y = (grid.cell_coords[..., axis] for axis in range(2))
    fields = [pde.ScalarField(grid, start(x, y)) for start in STARTS[name]]
    given = {"kappa": pde.ScalarField(grid, diffusivity(x, y))} if "kappa" in str(right_hand_sides) else {}
    equation = pde.PDE(right_hand_sides, bc="periodic", consts=given)
    storage = pde.MemoryStorage()
    solver = pde.ScipySolver(equation, method="DOP853", rtol=1e-8, atol=1e-8)
    tracker = storage.tracker(duration / (count - 1))
    pde.Controller(solver, t_range=duration, tracker=tracker).run(pde.FieldCollection(fields))
    return torch.tensor(np.stack(storage.data))


def with_noise(clean: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(clean.shape, generator=generator, dtype=clean.dtype)
    return clean + 0.01 * clean.std((0, 2, 3), keepdim=True) * noise


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="of the noise")
    parser.add_argument("--data", type=Path, help="file to keep the snapshots of py-pde in")
    given = parser.parse_args()
    made = torch.load(given.data) if given.data is not None and given.data.exists() else {}
    for name in EQUATIONS:
        if name not in made:
            print(f"py-pde solves {name}", file=sys.stderr, flush=True)
            made[name] = made_by_py_pde(name)
    if given.data is not None:
        torch.save(made, given.data)
    print("| equation | candidates | right terms | largest error of a coefficient | found, first seed |")
    print("|:--|--:|--:|--:|:--|")
    for name, (_, true, (length, duration, count)) in EQUATIONS.items():
        snapshots, times = made[name][:, :, ::2, ::2], torch.linspace(0, duration, count, dtype=torch.float64)
        grid = Grid(2 * length / FINE, "periodic")
        if true:
            constant(name, snapshots, times, grid, true, given.seeds)
        else:
            varying(snapshots, times, grid, given.seeds)


def constant(name: str, clean: Tensor, times: Tensor, grid: Grid, true: list[dict[str, float]], seeds: int) -> None:
    right, errors, first, candidates = 0, [], "", 0
    for seed in range(seeds):
        found = identify(with_noise(clean, seed), times, grid)
        rows, candidates = found.as_dicts(), len(found.candidates)
        right += [set(row) for row in rows] == [set(told) for told in true]
        for row, told in zip(rows, true, strict=True):
            errors += [abs(row.get(key, (0.0, 0.0))[0] / value - 1) for key, value in told.items()]
        first = first or "; ".join(str(found).splitlines())
    print(f"| {name} | {candidates} | {right} of {seeds} | {100 * max(errors):.2f} % | {first} |", flush=True)


def varying(clean: Tensor, times: Tensor, grid: Grid, seeds: int) -> None:
    """The diffusivity on 8 × 8 knots, from every second snapshot."""
    centres = torch.arange(FINE // 2, dtype=torch.float64) * grid.spacings[0] + grid.spacings[0] / 4
    true = torch.tensor(diffusivity(*np.meshgrid(centres.numpy(), centres.numpy(), indexing="ij")))
    errors = []
    for seed in range(seeds):
        kappa = CoefficientField((8, 8), ceiling=0.6)
        step = Heun(Diffusion(kappa, grid)).double()
        fit_snapshots(step, with_noise(clean[::2], seed), times[::2], dt=0.1)
        found = kappa(clean[:1], grid)[0, 0].detach()
        errors.append(float((found - true).norm() / true.norm()))
    worst, mean = max(errors), math.fsum(errors) / seeds
    print(f"\nvarying diffusivity, 0.15 to 0.45: relative L2 error {100 * mean:.2f} % (at most {100 * worst:.2f} %)")


if __name__ == "__main__":
    main()
