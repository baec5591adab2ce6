"""Heat by every kind of step, as long as is safe: how many steps, how many evaluations, and how far from the solution.

python benchmarks/schemes.py [--size 128] [--duration 20]

The photograph that comes with scikit-image evolves by u_t = Δu; each step is as long as is proven safe. The error is
that of time alone, against the exact flow of the discrete equation, ‖u − û‖ / ‖u(0) − û‖: 1 for a step that does
nothing.
"""

import argparse
import math

import torch
from skimage import data, transform

from pdeconv import (
    ADI,
    AOS,
    CFL,
    FED,
    RK4,
    RKL2,
    SSPRK3,
    SSPRK34,
    BackwardEuler,
    Constant,
    CrankNicolson,
    Diffusion,
    Euler,
    Evolve,
    Exact,
    Fixed,
    Heun,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128, help="pixels along each side")
    parser.add_argument("--duration", type=float, default=20.0, help="in units of dx²/κ")
    given = parser.parse_args()
    photo = torch.tensor(transform.resize(data.camera(), (given.size, given.size)))[None, None]
    heat = Diffusion(Constant(1.0))
    solution = Evolve(Exact(heat), given.duration, Fixed(1))(photo)
    steps = (
        (Euler(heat), "evaluation", 1),
        (Heun(heat), "evaluations", 2),
        (SSPRK3(heat), "evaluations", 3),
        (SSPRK34(heat), "evaluations", 4),
        (RK4(heat), "evaluations", 4),
        (FED(heat, stages=9), "evaluations", 9),
        (RKL2(heat, stages=9), "evaluations", 9),
        (CrankNicolson(heat), "solve", 1),
        (ADI(heat), "solves along an axis", 2),
        (BackwardEuler(heat), "solve", 1),
        (AOS(heat), "solves along an axis", 2),
    )
    print("| step | longest safe dt | keeps | steps | cost of a step | cost of all | error |")
    print("|:--|--:|:--|--:|:--|--:|--:|")
    for step, unit, cost in steps:
        any_dt = math.isinf(step.guaranteed_limit)
        for count in (4, 16) if any_dt else (Evolve(step, given.duration, CFL(1.0)).steps,):
            reached = Evolve(step, given.duration, Fixed(count))(photo)
            error = ((reached - solution).norm() / (photo - solution).norm()).item()
            limit = "any" if any_dt else f"{step.guaranteed_limit:.2f}"
            kept = "range" if "range" in step.keeps else "energy"
            name = type(step).__name__
            print(f"| `{name}` | {limit} | {kept} | {count} | {cost} {unit} | {cost * count} | {error:.1e} |")


if __name__ == "__main__":
    main()
