"""Find the equation that snapshots of fields in a file obey.

python -m pdeconv identify snapshots.npz
python -m pdeconv identify snapshots.npz --spacing 0.5 --boundary periodic
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from pdeconv.errors import PDEConvError
from pdeconv.training.command_line import parse

PROGRAM = "python -m pdeconv identify"


@dataclass
class IdentifyConfig:
    """What to look at, and how."""

    snapshots: str
    """a file .npz with u, (T, C, *S) or (T, *S) of one field, and times, (T,)"""
    fields: int = 1
    """number of fields C in u; with 1, u may lack the axis"""
    spacing: float = 1.0
    """distance between neighbouring cells"""
    boundary: Literal["neumann", "periodic", "dirichlet", "reflect"] = "neumann"
    """what lies beyond the edge: only of periodic fields is the edge used"""
    degree: int = 3
    """of the monomials of the fields that are offered"""
    tolerance: float = 0.1
    """how much more may remain unexplained for the sake of fewer terms; larger finds fewer"""
    json: bool = False
    """print one JSON object in place of text"""


def main(argv: Sequence[str]) -> int:
    """Print the equation that the command line asks for."""
    usage = "SNAPSHOTS.npz [--fields C] [--spacing DX] [--boundary periodic] [--json]"
    settings = parse(IdentifyConfig, argv, PROGRAM, usage, str(__doc__).splitlines()[0], positional=True)
    u, times = _read(Path(settings.snapshots), settings.fields)
    from pdeconv.grid import Grid
    from pdeconv.identification import candidates_for, identify

    grid = Grid(settings.spacing, settings.boundary, dims=u.dim() - 2)
    found = identify(u, times, grid, candidates_for(u.shape[1], grid.dims, settings.degree), settings.tolerance)
    if settings.json:
        names = [candidate.name for candidate in found.candidates]
        rows = [
            {name: [value, error] for name, value, error in zip(names, values, errors, strict=True) if value}
            for values, errors in zip(found.coefficients.tolist(), found.deviations.tolist(), strict=True)
        ]
        print(json.dumps({"equations": rows, "residuals": found.residuals.tolist()}, ensure_ascii=False))
    else:
        print(found)
        shares = ", ".join(f"{100 * share:.2g} %" for share in found.residuals.tolist())
        print(f"out of {len(found.candidates)} candidates; unexplained: {shares} of u_t")
    return 0


def _read(path: Path, fields: int) -> tuple[torch.Tensor, torch.Tensor]:
    """u (T, C, *S) and the times (T,), float64."""
    if not path.exists():
        raise PDEConvError(f"no file at {str(path)!r}; give a .npz with u and times")
    try:
        with np.load(path, allow_pickle=False) as content:
            missing = {"u", "times"} - set(content.files)
            if missing:
                raise PDEConvError(
                    f"{str(path)!r}: expected the arrays u and times, got {', '.join(content.files) or 'none'}"
                )
            u, times = (torch.from_numpy(np.asarray(content[name], dtype=np.float64)) for name in ("u", "times"))
    except (OSError, ValueError) as error:
        if isinstance(error, PDEConvError):
            raise
        raise PDEConvError(f"{str(path)!r} is no .npz of numbers: {error}") from error
    if fields == 1 and u.dim() > 1 and (u.dim() == 2 or u.shape[1] != 1):
        u = u[:, None]
    if u.dim() not in (3, 4, 5) or u.shape[1] != fields or times.dim() != 1:
        raise PDEConvError(
            f"{str(path)!r}: expected u of shape (T, {fields}, *S) with 1 to 3 axes S and times (T,), got "
            f"{tuple(u.shape)} and {tuple(times.shape)}; --fields says how many fields u has"
        )
    return u, times
