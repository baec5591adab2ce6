"""Reaction–diffusion patterns beside py-pde: the relative L2 distance of the fields, in float64.

pip install py-pde
python benchmarks/py_pde.py
"""

import sys

import numpy as np
import torch

from pdeconv import RK4, Constant, Diffusion, Evolve, FitzHughNagumo, Fixed, FixedCoefficient, GrayScott, Grid, Reaction

CELLS, DURATION = 64, 40.0
EQUATIONS = {  # name: diffusivities, our law, the right-hand sides of py-pde
    "Gray–Scott": (
        (0.16, 0.08),
        GrayScott(Constant(0.04), Constant(0.06)),
        {"u": "0.16 * laplace(u) + 0.04 * (1 - u) - u * v**2", "v": "0.08 * laplace(v) + u * v**2 - 0.1 * v"},
    ),
    "FitzHugh–Nagumo": (
        (0.5, 0.1),
        FitzHughNagumo(Constant(0.08)),
        {"u": "0.5 * laplace(u) + u - u**3 / 3 - v + 0.5", "v": "0.1 * laplace(v) + 0.08 * (u + 0.7 - 0.8 * v)"},
    ),
}


def ours(start: torch.Tensor, name: str, boundary: str) -> np.ndarray:
    """Classical Runge–Kutta of dt = 0.05."""
    diffusivities, law, _ = EQUATIONS[name]
    spread = FixedCoefficient(torch.tensor(diffusivities, dtype=torch.float64))
    equation = Diffusion(spread, Grid(boundary=boundary)) + Reaction(law)
    march = Evolve(RK4(equation), DURATION, Fixed(round(DURATION / 0.05), unchecked=True))
    with torch.no_grad():
        return march(start[None])[0].numpy()


def theirs(start: torch.Tensor, name: str, boundary: str) -> np.ndarray:
    """DOP853 of SciPy at a tolerance of 1e-10, through py-pde."""
    import pde

    periodic = boundary == "periodic"
    grid = pde.UnitGrid([CELLS, CELLS], periodic=periodic)
    fields = pde.FieldCollection([pde.ScalarField(grid, field.numpy()) for field in start])
    equation = pde.PDE(EQUATIONS[name][2], bc="periodic" if periodic else {"derivative": 0})
    solver = pde.ScipySolver(equation, method="DOP853", rtol=1e-10, atol=1e-10)
    found = pde.Controller(solver, t_range=DURATION, tracker=None).run(fields)
    return np.stack([field.data for field in found])


def main() -> None:
    try:
        import pde
    except ImportError:
        sys.exit("benchmarks/py_pde.py needs py-pde: pip install py-pde")
    x, y = torch.meshgrid(*[torch.arange(CELLS, dtype=torch.float64)] * 2, indexing="ij")
    v = 0.5 * torch.exp(-((x - 4) ** 2 + (y - 58) ** 2) / 40)
    start = torch.stack((1 - v, v))
    print(f"py-pde {pde.__version__}, {CELLS} × {CELLS} cells, t = {DURATION:g}: relative L2 distance of u and of v")
    for name in EQUATIONS:
        for boundary in ("periodic", "neumann"):
            one, other = ours(start, name, boundary), theirs(start, name, boundary)
            away = [np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in zip(one, other, strict=True)]
            moved = np.linalg.norm(one - start.numpy()) / np.linalg.norm(start.numpy())
            print(f"{name:16} {boundary:9} {away[0]:.1e}  {away[1]:.1e}   (moved by {moved:.2f} from the start)")


if __name__ == "__main__":
    main()
