"""Finding the equation that snapshots of fields obey."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from pdeconv.errors import PDEConvError, checked_number, checked_type
from pdeconv.grid import Grid
from pdeconv.identification.candidates import Candidate, candidates_for
from pdeconv.identification.equation import FoundEquation
from pdeconv.identification.weak_form import weak_form

MOST_CHOICES = 100_000
UNRESOLVED = 0.005
"""Share of u_t that the spacing and the times do not tell, even where there is no noise."""
BLOCKS = 10
"""Parts of the data that are left out one by one to see how much the coefficients depend on them."""


@dataclass(frozen=True)
class Identified:
    """The equation that was found, for each of C fields out of J candidates.

    Attributes:
        candidates: All that were offered.
        coefficients: (C, J), float64; 0 where a candidate was not chosen.
        deviations: (C, J), their standard errors, by leaving out a tenth of the data at a time.
        residuals: (C,), what the equation does not explain of u_t in its weak form, as a share: 0 is all, 1 nothing.
        grid: Of the snapshots.
    """

    candidates: tuple[Candidate, ...]
    coefficients: Tensor
    deviations: Tensor
    residuals: Tensor
    grid: Grid

    def __str__(self) -> str:
        channels = len(self.coefficients)
        names = "uvw" if channels <= 3 else [f"u{number + 1}" for number in range(channels)]
        return "\n".join(f"{names[field]}_t = {self._right_hand_side(field)}" for field in range(channels))

    def _right_hand_side(self, field: int) -> str:
        summands = []
        for candidate, value, error in zip(
            self.candidates, self.coefficients[field].tolist(), self.deviations[field].tolist(), strict=True
        ):
            if value:
                sign = "− " if value < 0 else "+ " if summands else ""
                name = "" if candidate.name == "1" else f" {candidate.name}"
                summands.append(f"{sign}{_with_error(abs(value), error)}{name}")
        return " ".join(summands) or "0"

    def term(self) -> FoundEquation:
        """The right-hand side as a term with learnable coefficients, to march from any state by an explicit step."""
        return FoundEquation(self.candidates, self.coefficients, self.grid)


def identify(
    snapshots: Tensor,
    times: Tensor,
    grid: Grid | None = None,
    candidates: Sequence[Candidate] | None = None,
    tolerance: float = 0.1,
    radius: tuple[float, float] | None = None,
    noise: Sequence[float] | None = None,
) -> Identified:
    """Find u_t = Σⱼ cⱼ Fⱼ(u), with as few of the candidates Fⱼ as explain the snapshots.

    Both sides are integrated against many smooth test functions, which take all derivatives, and the coefficients are
    those of least squares. Of each field the fewest candidates are taken, the best of all choices of as many, that
    leave unexplained at most ``1 + tolerance`` times what all candidates together leave: the noise, or 0.5 % of u_t
    where that is more. The mean that powers of white noise have is subtracted.

    Args:
        snapshots: (T, C, *S), the fields at T times; noise is welcome, gaps are not.
        times: (T,), rising; evenly spaced times are the most exact.
        grid: Spacing and boundary; only periodic axes are used up to the edge.
        candidates: By default ``candidates_for(C, dims)``.
        tolerance: Larger finds fewer terms.
        radius: Of the test functions, in time and in length; by default 10 cells and 15 % of the time. It should span
            what happens: too small lets noise in, too large averages waves away.
        noise: Standard deviation of the white noise in each field; by default estimated.

    Raises:
        PDEConvError: If shapes do not fit, values are not finite, or no test function fits into the data.

    References:
        D. A. Messenger, D. M. Bortz. Weak SINDy for partial differential equations. J. Comput. Phys. 443, 2021.
        S. H. Rudy, S. L. Brunton, J. L. Proctor, J. N. Kutz. Data-driven discovery of partial differential equations.
        Science Advances 3, 2017.

    Example:
        >>> x, times = torch.arange(64) * 0.1, torch.linspace(0, 1, 40)
        >>> _ = torch.manual_seed(0)
        >>> wave = torch.stack([torch.sin(2 * math.pi / 6.4 * (x - 2 * t)) for t in times])[:, None]
        >>> print(identify(wave + 0.01 * torch.randn(40, 1, 64), times, Grid(0.1, "periodic", dims=1)))
        u_t = − 2.001(2) ∂₁u
    """
    checked_type("identify", snapshots, Tensor, "give (T, C, *S)")
    checked_type("identify", times, Tensor, "give (T,)")
    dims = snapshots.dim() - 2
    grid = Grid(dims=dims) if grid is None else grid
    if dims != grid.dims or times.shape != snapshots.shape[:1]:
        raise PDEConvError(
            f"identify needs snapshots (T, C, *S) of {grid.dims} axes and T times, but got {tuple(snapshots.shape)} "
            f"and {tuple(times.shape)}."
        )
    u, times = snapshots.detach().double().cpu(), times.detach().double().cpu()
    if not u.isfinite().all():
        raise PDEConvError("identify needs finite snapshots; leave out those that hold NaN or infinity.")
    if len(times) < 5 or not (times.diff() > 0).all():
        raise PDEConvError(f"identify needs at least 5 snapshots at rising times, but got {times.tolist()[:6]}.")
    tolerance = checked_number("identify", "tolerance", tolerance, zero_too=True)
    channels = u.shape[1]
    candidates = candidates_for(channels, dims) if candidates is None else tuple(candidates)
    if any(len(one.powers) != channels or len(one.orders[0]) != dims for one in candidates) or not candidates:
        raise PDEConvError(
            f"identify needs candidates of {channels} fields on {dims} axes: candidates_for({channels}, …)."
        )
    tests = weak_form(times, grid, u.shape[2:], radius)
    noise = noise_levels(u) if noise is None else list(noise)
    if len(noise) != channels:
        raise PDEConvError(f"identify needs the noise of each of {channels} fields, but got {len(noise)} numbers.")
    columns = []
    for candidate in candidates:
        monomial = candidate.monomial(u, noise)
        columns.append(candidate.factor * sum(tests.integrals(monomial, order).flatten() for order in candidate.orders))
    matrix = torch.stack(columns, 1)
    chosen = torch.zeros(channels, len(candidates), dtype=torch.float64)
    deviations, residuals = torch.zeros_like(chosen), torch.zeros(channels, dtype=torch.float64)
    for field in range(channels):
        right = tests.integrals(u[:, field], (0,) * dims, order_in_time=1).flatten()
        kept = _fewest(matrix, right, tolerance)
        chosen[field, kept], left = _least_squares(matrix[:, kept], right)
        deviations[field, kept] = _deviations(matrix[:, kept], right)
        residuals[field] = left / right.norm().clamp(min=1e-300)
    return Identified(candidates, chosen, deviations, residuals, grid)


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


def _fewest(matrix: Tensor, right: Tensor, tolerance: float) -> list[int]:
    """The fewest columns that leave hardly more than all do, the best of all choices of as many.

    Where there are too many choices, the columns that matter least are left out one by one.
    """
    scales = matrix.norm(dim=0).clamp(min=1e-300)
    triangle = torch.linalg.qr(torch.cat((matrix / scales, right[:, None]), 1), mode="r").R  # keeps all norms
    columns, target = triangle[:, :-1], triangle[:, -1]
    count = matrix.shape[1]
    least = _least_squares(columns, target)[1]
    enough = torch.maximum((1 + tolerance) * least, UNRESOLVED * target.norm())
    if target.norm() <= enough:
        return []
    for size in range(1, count):
        if math.comb(count, size) > MOST_CHOICES:
            return _one_by_one(columns, target, float(enough))
        choices = torch.tensor(list(combinations(range(count), size)))
        chosen = columns[:, choices].movedim(1, 0)  # (choices, rows, size)
        found = torch.linalg.lstsq(chosen, target[:, None].expand(len(choices), -1, 1)).solution
        left = (chosen @ found - target[:, None]).norm(dim=(1, 2))
        if left.min() <= enough:
            return choices[int(left.argmin())].tolist()
    return list(range(count))


def _one_by_one(columns: Tensor, target: Tensor, enough: float) -> list[int]:
    kept = list(range(columns.shape[1]))
    while kept:
        without = {column: [other for other in kept if other != column] for column in kept}
        left = {column: float(_least_squares(columns[:, others], target)[1]) for column, others in without.items()}
        column = min(left, key=left.__getitem__)
        if left[column] > enough:
            break
        kept = without[column]
    return kept


def _least_squares(matrix: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Coefficients, and the norm of what they leave; columns are scaled, as their units differ."""
    if matrix.shape[1] == 0:
        return right.new_zeros(0), right.norm()
    scales = matrix.norm(dim=0).clamp(min=1e-300)
    found = torch.linalg.lstsq(matrix / scales, right[:, None], driver="gelsd").solution[:, 0] / scales
    return found, (matrix @ found - right).norm()


def _deviations(matrix: Tensor, right: Tensor) -> Tensor:
    """Standard errors by the jackknife over blocks of neighbouring test functions, whose errors go together."""
    blocks = min(BLOCKS, len(right))
    parts = torch.arange(len(right)) * blocks // len(right)
    found = torch.stack([_least_squares(matrix[parts != block], right[parts != block])[0] for block in range(blocks)])
    return ((blocks - 1) / blocks * (found - found.mean(0)).square().sum(0)).sqrt()


def _with_error(value: float, error: float) -> str:
    """A number with its standard error in units of its last digit, as 0.2997(4).

    Example:
        >>> _with_error(0.29968, 0.00042), _with_error(12.3, 2.1), _with_error(1.0, 0.0)
        ('0.2997(4)', '12(2)', '1.00000(1)')
    """
    error = max(error, 1e-5 * abs(value)) if math.isfinite(error) else abs(value)
    digits = max(0, -math.floor(math.log10(error)))
    return f"{value:.{digits}f}({max(1, round(error * 10**digits))})"
