"""Finding the equation that snapshots of fields obey."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pdeconv.errors import PDEConvError, checked_number, checked_type
from pdeconv.grid import Grid, check_state
from pdeconv.identification.candidates import Candidate, candidates_for, field_names, summed
from pdeconv.identification.equation import FoundEquation
from pdeconv.identification.selection import fewest_columns, least_squares, standard_errors
from pdeconv.identification.weak_form import OVERLAP, POWER, WeakForm, weak_form

ROWS = 3
"""Test functions for each candidate, at least."""
ROUNDING = 1e-10
"""A rate is rounding if it is so small a share of what the field could have had."""


@dataclass(frozen=True)
class Identified:
    """The equation that was found, for each of C fields out of J candidates.

    Attributes:
        candidates: All that were offered.
        coefficients: (C, J), float64; 0 where a candidate was not chosen.
        standard_errors: (C, J), by leaving out boxes of two radii of the data one by one; NaN of too little data.
        unexplained: (C,), what the equation leaves of u_t in its weak form, as a share: 0 is nothing, 1 all.
        alternatives: Of each field, other choices of as many candidates, by name, that explain as much.
        grid: Of the snapshots.
    """

    candidates: tuple[Candidate, ...]
    coefficients: Tensor
    standard_errors: Tensor
    unexplained: Tensor
    alternatives: tuple[tuple[tuple[str, ...], ...], ...]
    grid: Grid

    def __str__(self) -> str:
        lines = []
        for name, found, others in zip(
            field_names(len(self.coefficients)), self.as_dicts(), self.alternatives, strict=True
        ):
            written = [(value, _with_error(abs(value), error), key) for key, (value, error) in found.items()]
            lines.append(f"{name}_t = {summed(written)}")
            if others:
                shown = "; ".join(" and ".join(names) for names in others[:3])
                lines.append(f"  these data cannot tell it from {shown}{', …' if len(others) > 3 else ''}")
        return "\n".join(lines)

    def as_dicts(self) -> list[dict[str, tuple[float, float]]]:
        """Of each field the chosen candidates by name: coefficient and standard error."""
        names = [candidate.name for candidate in self.candidates]
        return [
            {name: (value, error) for name, value, error in zip(names, values, errors, strict=True) if value}
            for values, errors in zip(self.coefficients.tolist(), self.standard_errors.tolist(), strict=True)
        ]

    def term(self) -> FoundEquation:
        """The right-hand side as a term with learnable coefficients, to march from any state by an explicit step."""
        return FoundEquation(self.candidates, self.coefficients, self.grid)


def identify(
    snapshots: Tensor,
    times: Tensor,
    grid: Grid | None = None,
    candidates: Sequence[Candidate] | None = None,
    tolerance: float = 0.1,
    resolution: float = 0.005,
    radius: tuple[float, float] | None = None,
    noise: float | Sequence[float] | None = None,
) -> Identified:
    """Find u_t = Σⱼ cⱼ Fⱼ(u), with as few of the candidates Fⱼ as explain the snapshots.

    Both sides are integrated against many smooth test functions, which take all derivatives, and the coefficients are
    those of least squares. Of each field the fewest candidates are taken, the best of all choices of as many, that
    leave unexplained at most ``1 + tolerance`` times what all candidates together leave: the noise; or ``resolution``
    where that is more. The mean that powers of white noise have is subtracted.

    Args:
        snapshots: (T, C, *S), the fields at T times; noise is welcome, gaps are not.
        times: (T,), rising and evenly spaced, to 2 % of an interval; taken as exactly so.
        grid: Spacing and boundary; only periodic axes are used up to the edge.
        candidates: By default ``candidates_for(C, dims)``.
        tolerance: Larger finds fewer terms.
        resolution: Share of u_t that spacing and times do not tell, even where there is no noise; a smaller one finds
            weaker terms in fine data.
        radius: Of the test functions, in time and in length; by default 10 cells and 15 % of the time. It should span
            what happens: too small lets noise in, too large averages waves away.
        noise: Standard deviation of the white noise, one number or one of each field; by default estimated.

    Raises:
        PDEConvError: If shapes do not fit, values are not finite, times are uneven, or the snapshots are too few for
            the test functions or for so many candidates.

    References:
        D. A. Messenger, D. M. Bortz. Weak SINDy for partial differential equations. J. Comput. Phys. 443, 2021.
        S. H. Rudy, S. L. Brunton, J. L. Proctor, J. N. Kutz. Data-driven discovery of partial differential equations.
        Science Advances 3, 2017.

    Example:
        >>> x, times = torch.arange(64) * 0.1, torch.linspace(0, 1, 60)
        >>> _ = torch.manual_seed(0)
        >>> waves = [torch.sin(0.98 * (x - 2 * t)) + torch.cos(1.96 * (x - 2 * t)) for t in times]
        >>> wave = torch.stack(waves)[:, None] + 0.01 * torch.randn(60, 1, 64)
        >>> found = identify(wave, times, Grid(0.1, "periodic", dims=1))
        >>> [(name, round(value, 1)) for name, (value, error) in found.as_dicts()[0].items()]
        [('∂₁u', -2.0)]
    """
    u, times, grid = _checked(snapshots, times, grid)
    channels, dims = u.shape[1], grid.dims
    if candidates is None and channels > 4:
        raise PDEConvError(f"identify got {channels} fields, too many for all candidates; a single one is u[:, None].")
    candidates = candidates_for(channels, dims) if candidates is None else tuple(candidates)
    if not candidates or any(len(one.powers) != channels or len(one.orders[0]) != dims for one in candidates):
        raise PDEConvError(
            f"identify needs candidates of {channels} fields on {dims} axes: candidates_for({channels}, …)."
        )
    if max(max(map(max, one.orders)) for one in candidates) >= POWER:
        raise PDEConvError(f"identify takes derivatives of an order below {POWER} along an axis.")
    tolerance = checked_number("identify", "tolerance", tolerance, zero_too=True)
    resolution = checked_number("identify", "resolution", resolution, zero_too=True)
    if radius is not None:
        radius = tuple(checked_number("identify", "radius", one) for one in radius)  # pyright: ignore
    tests = weak_form(times, grid, u.shape[2:], radius)
    centres = tests.centres
    count = math.prod(centres)
    if count < ROWS * len(candidates):
        raise PDEConvError(
            f"identify has {count} test functions for {len(candidates)} candidates, and needs {ROWS} for each; give "
            "more snapshots or larger ones, a smaller radius, or fewer candidates."
        )
    matrix = _columns(candidates, u, _noise_of(u, noise), tests)
    chosen = torch.zeros(channels, len(candidates), dtype=torch.float64)
    errors, unexplained = torch.zeros_like(chosen), torch.zeros(channels, dtype=torch.float64)
    alternatives = []
    for field in range(channels):
        right = tests.integrals(u[:, field], (0,) * dims, order_in_time=1).flatten()
        if right.norm() <= ROUNDING * tests.size_of_rate(u[:, field]):
            right = torch.zeros_like(right)
        kept, *others = fewest_columns(matrix, right, tolerance, resolution)
        chosen[field, kept], left = least_squares(matrix[:, kept], right)
        errors[field, kept] = standard_errors(matrix[:, kept], right, centres, 2 * OVERLAP)
        unexplained[field] = left / right.norm().clamp(min=1e-300)
        alternatives.append(tuple(tuple(candidates[place].name for place in other) for other in others))
    return Identified(candidates, chosen, errors, unexplained, tuple(alternatives), grid)


def _checked(snapshots: Tensor, times: Tensor, grid: Grid | None) -> tuple[Tensor, Tensor, Grid]:
    checked_type("identify", snapshots, Tensor, "give (T, C, *S)")
    checked_type("identify", times, Tensor, "give (T,)")
    check_state(snapshots)
    grid = Grid(dims=snapshots.dim() - 2) if grid is None else grid
    checked_type("identify", grid, Grid, "give for example Grid(0.5, 'periodic')")
    if snapshots.dim() - 2 != grid.dims or times.shape != snapshots.shape[:1]:
        raise PDEConvError(
            f"identify needs snapshots (T, C, *S) of {grid.dims} axes and T times, but got {tuple(snapshots.shape)} "
            f"and {tuple(times.shape)}."
        )
    u, times = snapshots.detach().cpu().double(), times.detach().cpu().double()
    if not (u.isfinite().all() and times.isfinite().all()):
        raise PDEConvError("identify needs finite snapshots and times; leave out those that hold NaN or infinity.")
    steps = times.diff()
    if len(times) < 7 or not (steps > 0).all() or float(steps.max()) > 1.02 * float(steps.min()):
        raise PDEConvError(
            f"identify needs at least 7 snapshots at rising, evenly spaced times, but got {len(times)} at "
            f"{times.tolist()[:6]}…; interpolate them, or take fit_snapshots, which takes uneven ones."
        )
    # From 0 on, and exactly even: times off by rounding would give what does not change a rate.
    return u, torch.linspace(0, float(times[-1] - times[0]), len(times), dtype=torch.float64), grid


def _noise_of(u: Tensor, noise: float | Sequence[float] | None) -> list[float]:
    if noise is None:
        return noise_levels(u)
    levels = [noise] * u.shape[1] if isinstance(noise, int | float) else list(noise)
    if len(levels) != u.shape[1]:
        raise PDEConvError(f"identify needs the noise of each of {u.shape[1]} fields, but got {len(levels)} numbers.")
    return [checked_number("identify", "noise", level, zero_too=True) for level in levels]


def _columns(candidates: Sequence[Candidate], u: Tensor, noise: list[float], tests: WeakForm) -> Tensor:
    """(N, J), what each candidate is in the weak form."""
    columns = []
    for candidate in candidates:
        monomial = candidate.monomial(u, noise)
        columns.append(candidate.factor * sum(tests.integrals(monomial, order).flatten() for order in candidate.orders))
    matrix = torch.stack(columns, 1)
    if not matrix.isfinite().all():
        raise PDEConvError(
            "Powers of these snapshots overflow; give them in other units, or candidates of less degree."
        )
    return matrix


def noise_levels(u: Tensor) -> list[float]:
    """σ of white noise in each field of (T, C, *S), from what third differences along time and all axes leave.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> waves = torch.sin(torch.linspace(0, 9, 50))[:, None, None] * torch.sin(torch.linspace(0, 9, 50))
        >>> [round(level, 3) for level in noise_levels(waves + 0.02 * torch.randn(50, 1, 50))]
        [0.02]
    """
    gain = 1.0
    for axis in (0, *range(2, u.dim())):
        if u.shape[axis] >= 5:
            u, gain = u.diff(n=3, dim=axis), gain * 20**0.5  # 1² + 3² + 3² + 1²
    return [float(u[:, field].abs().median()) / (0.6745 * gain) for field in range(u.shape[1])]


def _with_error(value: float, error: float) -> str:
    """A number with its standard error in units of its last digit, as 0.2997(4); with no error, four digits.

    Example:
        >>> _with_error(0.29968, 0.00042), _with_error(12.3, 2.1), _with_error(1.0, 0.0), _with_error(0.25, math.nan)
        ('0.2997(4)', '12(2)', '1.00000(1)', '0.25')
    """
    if not math.isfinite(error):
        return f"{value:.4g}"
    error = max(error, 1e-5 * abs(value))
    digits = max(0, -math.floor(math.log10(error)))
    return f"{value:.{digits}f}({max(1, round(error * 10**digits))})"
