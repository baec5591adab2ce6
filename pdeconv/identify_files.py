"""Find the equation that snapshots of fields in a file obey.

python -m pdeconv identify snapshots.npz
python -m pdeconv identify snapshots.npz --spacing 0.5 --boundary periodic
"""

import json
import math
import zipfile
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
    """a file .npz with u and times, (T,); u is (T, N) or (T, H, W) of one field, or (T, C, H, W) of C fields"""
    fields: int | None = None
    """number of fields C if u is (T, C, *S) with another number of axes S than two, such as (T, C, N)"""
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
    from pdeconv.analysis.report import counted
    from pdeconv.grid import Grid
    from pdeconv.identification import candidates_for, identify

    grid = Grid(settings.spacing, settings.boundary, dims=u.dim() - 2)
    found = identify(u, times, grid, candidates_for(u.shape[1], grid.dims, settings.degree), settings.tolerance)
    if settings.json:
        rows = [
            {name: [value, None if math.isnan(error) else error] for name, (value, error) in row.items()}
            for row in found.as_dicts()
        ]
        content = {"equations": rows, "unexplained": found.unexplained.tolist(), "alternatives": found.alternatives}
        print(json.dumps(content, ensure_ascii=False))
    else:
        cells = " × ".join(map(str, u.shape[2:]))
        print(f"{counted(u.shape[1], 'field')} of {cells} cells at {len(times)} times")
        print(found)
        shares = ", ".join(f"{100 * share:.2g} %" for share in found.unexplained.tolist())
        print(f"out of {len(found.candidates)} candidates; unexplained: {shares} of the rate of change")
    return 0


def _read(path: Path, fields: int | None) -> tuple[torch.Tensor, torch.Tensor]:
    """u (T, C, *S) and the times (T,), float64."""
    if not path.exists():
        raise PDEConvError(f"no file at {str(path)!r}; give a .npz with u and times")
    try:
        with zipfile.ZipFile(path), np.load(path, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise PDEConvError(f"{str(path)!r} is no .npz of numbers: {error}") from error
    if not {"u", "times"} <= set(arrays):
        raise PDEConvError(f"{str(path)!r}: expected the arrays u and times, got {', '.join(arrays) or 'none'}")
    if any(arrays[name].dtype.kind not in "fiub" for name in ("u", "times")):
        raise PDEConvError(f"{str(path)!r}: expected real numbers, got {arrays['u'].dtype} and {arrays['times'].dtype}")
    u, times = (torch.from_numpy(arrays[name].astype(np.float64)) for name in ("u", "times"))
    shape = tuple(u.shape)
    if fields is None and u.dim() in (2, 3):
        u = u[:, None]
    fits = u.dim() in (3, 4, 5) and times.dim() == 1 and (fields is None or u.shape[1] == fields)
    if not fits or (fields is None and u.dim() == 5):
        wanted = "(T, N), (T, H, W) or (T, C, H, W)" if fields is None else f"(T, {fields}, *S)"
        raise PDEConvError(
            f"{str(path)!r}: expected u of shape {wanted} and times (T,), got {shape} and {tuple(times.shape)}; "
            "--fields says how many fields u has"
        )
    return u, times
