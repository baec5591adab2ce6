"""What a right-hand side may be made of: derivatives of monomials of the fields."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import torch
from torch import Tensor

from pdeconv.coefficient import check_channels
from pdeconv.errors import PDEConvError, checked_count

DIGITS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


@dataclass(frozen=True)
class Candidate:
    """A possible summand of u_t: the derivative Σ_α ∂^α of a monomial of the fields, times ``factor``.

    Attributes:
        name: In writing, as ``"Δu"`` or ``"u∂₁u"``.
        powers: Of each field in the monomial; all 0 for the number 1.
        orders: The multi-indices α, one number an axis; (0, 0) for the monomial itself.
        factor: u∂₁u is ½ ∂₁(u²).

    Example:
        >>> Candidate("u∂₁u", (2,), ((1, 0),), 0.5).monomial(torch.full((1, 1, 2, 2), 3.0)).mean()
        tensor(9.)
    """

    name: str
    powers: tuple[int, ...]
    orders: tuple[tuple[int, ...], ...]
    factor: float = 1.0

    def __post_init__(self) -> None:
        fits = self.orders and all(len(order) == len(self.orders[0]) for order in self.orders) and self.powers
        if not fits or min(self.powers) < 0 or min(map(min, self.orders)) < 0:
            raise PDEConvError(
                f"Candidate {self.name!r} needs a power for each field and multi-indices of one length, at least 0, "
                f"but got powers={self.powers} and orders={self.orders}."
            )

    def monomial(self, u: Tensor, noise: Sequence[float] | None = None) -> Tensor:
        """(B, C, *S) → (B, *S), for fields with white noise of standard deviation σ each such that the mean is right.

        The mean of (u + n)² is u² + σ². The Hermite polynomials Hₖ₊₁ = u Hₖ − k σ² Hₖ₋₁ in place of powers undo that.
        """
        check_channels(len(self.powers), u, f"Candidate {self.name!r}")
        value = torch.ones_like(u[:, 0])
        for field, power in enumerate(self.powers):
            sigma = 0.0 if noise is None else noise[field]
            before, polynomial = torch.zeros_like(value), torch.ones_like(value)
            for k in range(power):
                before, polynomial = polynomial, u[:, field] * polynomial - k * sigma**2 * before
            value = value * polynomial
        return value


def candidates_for(channels: int = 1, dims: int = 2, degree: int = 3) -> tuple[Candidate, ...]:
    """Candidates for equations of reaction, advection and diffusion of one or several fields.

    Monomials of the fields up to ``degree``, the number 1 among them; the transport ∂ᵢ and u∂ᵢ of each field along each
    axis; the diffusion Δ of each field; and of a single field Δ(u²) and Δ²u.

    Args:
        channels: Number of fields C; their names are u, v and w, or u₁, u₂, …
        dims: Number of axes.
        degree: Of the monomials.

    Example:
        >>> [candidate.name for candidate in candidates_for(1, dims=1)]
        ['1', 'u', 'u²', 'u³', '∂₁u', 'u∂₁u', 'Δu', 'Δ(u²)', 'Δ²u']
    """
    channels = checked_count("candidates_for", "channels", channels)
    if dims not in (1, 2, 3):
        raise PDEConvError(f"candidates_for needs 1, 2 or 3 axes, but got {dims!r}.")
    degree = checked_count("candidates_for", "degree", degree)
    return tuple(_all(channels, dims, degree))


def _all(channels: int, dims: int, degree: int) -> Iterator[Candidate]:
    names = field_names(channels)
    fields = range(channels)
    none = (0,) * dims
    for total in range(degree + 1):
        for chosen in combinations_with_replacement(fields, total):
            powers = tuple(chosen.count(field) for field in fields)
            yield Candidate(_product(names, powers), powers, (none,))
    firsts = [tuple(int(axis == other) for other in range(dims)) for axis in range(dims)]
    seconds = [tuple(2 * order for order in first) for first in firsts]
    for field in fields:
        alone, squared = (tuple(power * (field == other) for other in fields) for power in (1, 2))
        name = names[field]
        for axis, first in enumerate(firsts, 1):
            partial = f"∂{axis}".translate(DIGITS)
            yield Candidate(f"{partial}{name}", alone, (first,))
            yield Candidate(f"{name}{partial}{name}", squared, (first,), 0.5)
        yield Candidate(f"Δ{name}", alone, tuple(seconds))
        if channels == 1:
            fourths = [tuple(map(sum, zip(one, other, strict=True))) for one in seconds for other in seconds]
            yield Candidate(f"Δ({name}²)", squared, tuple(seconds))
            yield Candidate(f"Δ²{name}", alone, tuple(fourths))


def _product(names: list[str], powers: tuple[int, ...]) -> str:
    raised = {1: "", 2: "²", 3: "³"}
    factors = [f"{name}{raised.get(power, f'^{power}')}" for name, power in zip(names, powers, strict=True) if power]
    return "".join(factors) or "1"


def field_names(channels: int) -> list[str]:
    """u, v, w; or u₁, u₂, … of more.

    Example:
        >>> field_names(2), field_names(4)
        (['u', 'v'], ['u₁', 'u₂', 'u₃', 'u₄'])
    """
    if channels <= 3:
        return ["u", "v", "w"][:channels]
    return [f"u{number}".translate(DIGITS) for number in range(1, channels + 1)]


def summed(summands: Iterable[tuple[float, str, str]]) -> str:
    """A right-hand side in writing, of the value, its magnitude as it is to be written, and the name of each summand.

    Example:
        >>> summed([(-0.5, "0.5", "u"), (2.0, "2", "1")]), summed([])
        ('− 0.5 u + 2', '0')
    """
    parts = [f"{'−' if value < 0 else '+'} {size}{'' if name == '1' else f' {name}'}" for value, size, name in summands]
    return " ".join(parts).removeprefix("+ ") or "0"
