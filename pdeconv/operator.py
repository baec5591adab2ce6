"""Operators: what a term becomes once its state is frozen, u_t = A u."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from numbers import Real

import torch
from torch import Tensor

from pdeconv.errors import PDEConvError, UnsupportedError, checked_type
from pdeconv.grid import Grid

Interval = tuple[float, float]
Invariant = str | Interval | tuple[Interval, Interval]
"""A family of closed convex sets that a flow keeps: ``"range"`` (every interval of the values of a channel),
``"range with 0"`` (every interval that contains 0), ``"range with data"`` (every interval that contains 0 and the data
of the equation's fidelity terms), one interval ``(low, high)``, which may be infinite, a rectangle of two intervals
(for the first and for the second half of the channels), ``"energy"`` (every ball ‖u‖ ≤ r), ``"own energy"`` (every
sublevel set of the convex energy that one term descends), or ``"discrete energy"`` (every sublevel set of a convex
quadratic energy that belongs to one scheme at one dt)."""

Keeps = frozenset[Invariant]
RANGE, RANGE_WITH_ZERO, RANGE_WITH_DATA = "range", "range with 0", "range with data"
ENERGY, OWN_ENERGY, DISCRETE_ENERGY = "energy", "own energy", "discrete energy"
NON_NEGATIVE = (0.0, math.inf)
NOTHING: Keeps = frozenset()
_NAMED = (RANGE, RANGE_WITH_ZERO, RANGE_WITH_DATA, ENERGY, OWN_ENERGY, DISCRETE_ENERGY)


def check_declared(cls: type) -> None:
    """Turn the ``keeps`` that a class declares into a set, where it is not computed by a property."""
    declared = vars(cls).get("keeps")
    if declared is not None and not hasattr(declared, "__get__"):
        cls.keeps = as_keeps(cls.__name__, declared)  # pyright: ignore[reportAttributeAccessIssue]


def as_keeps(owner: str, keeps: object) -> Keeps:
    """One invariant, or several in a set or a list, as a set. Raises ``PDEConvError`` for anything else.

    Example:
        >>> as_keeps("Damping", "energy"), as_keeps("Growth", (0.0, 1.0))
        (frozenset({'energy'}), frozenset({(0.0, 1.0)}))
    """
    several = isinstance(keeps, Iterable) and not isinstance(keeps, str | tuple)
    invariants = tuple(keeps) if several else (keeps,)  # pyright: ignore[reportArgumentType, reportGeneralTypeIssues]
    for invariant in invariants:
        if invariant not in _NAMED and not _is_interval(invariant):
            names = ", ".join(repr(name) for name in _NAMED)
            raise PDEConvError(
                f"{owner} declares keeps={keeps!r}, but an invariant is one of {names}, or an interval (low, high); "
                "give one of them, or a set of several."
            )
    return frozenset(invariants)  # pyright: ignore[reportReturnType]


def _is_interval(invariant: object) -> bool:
    """Whether it is (low, high), or a pair of such intervals."""
    if not isinstance(invariant, tuple) or len(invariant) != 2:
        return False
    low, high = invariant
    if isinstance(low, tuple) and isinstance(high, tuple):
        return _is_interval(low) and _is_interval(high)
    return isinstance(low, Real) and isinstance(high, Real) and low < high  # pyright: ignore[reportOperatorIssue]


def common(first: Keeps, second: Keeps) -> Keeps:
    """What two operators both keep, and so does their sum. An energy of one term or one scheme is never common.

    Example:
        >>> common(frozenset({"range", "energy"}), frozenset({(0.0, 1.0)}))
        frozenset({(0.0, 1.0)})
    """
    shared = (first | second) - {OWN_ENERGY, DISCRETE_ENERGY}
    return frozenset(invariant for invariant in shared if _kept(invariant, first) and _kept(invariant, second))


def _kept(invariant: Invariant, by: Keeps) -> bool:
    """Whoever keeps the range keeps every interval; whoever keeps the range with 0, every interval that contains 0."""
    if invariant in by:
        return True
    if isinstance(invariant, tuple):
        sides = intervals_of_halves(invariant)
        if RANGE in by or (RANGE_WITH_ZERO in by and all(low <= 0 <= high for low, high in sides)):
            return True
        return any(isinstance(other, tuple) and intervals_of_halves(other) == sides for other in by)
    if invariant == RANGE_WITH_DATA:
        return RANGE in by or RANGE_WITH_ZERO in by
    return invariant == RANGE_WITH_ZERO and RANGE in by


def intervals_of_halves(invariant: Interval | tuple[Interval, Interval]) -> tuple[Interval, Interval]:
    """The intervals of the two halves of the channels: an interval is a square."""
    first, second = invariant
    if isinstance(first, tuple) and isinstance(second, tuple):
        return first, second
    return (first, second), (first, second)  # pyright: ignore[reportReturnType]


def range_kept(grid: Grid) -> Keeps:
    """What a term keeps that averages over neighbours: beyond a dirichlet edge the neighbour is 0."""
    return frozenset({RANGE_WITH_ZERO if grid.boundary == "dirichlet" else RANGE})


def describe(keeps: Keeps) -> str:
    """The invariants in words: ``"range, energy"``, or ``"nothing"``."""
    return ", ".join(sorted((str(i) for i in keeps), reverse=True)) or "nothing"


def per_sample(scalar: Tensor, u: Tensor) -> Tensor:
    """A () or (B,) tensor, shaped to multiply the (B, C, *S) state ``u``."""
    checked_type("A step", scalar, Tensor, "give dt as torch.tensor(0.1), as a changing number would compile anew")
    return scalar if scalar.dim() == 0 else scalar.to(u.dtype).reshape(-1, *(1,) * (u.dim() - 1))


def largest(field: Tensor) -> Tensor:
    """The largest value of each sample of a field (B|1, …) or (), as a rate has it: (B,), or () where all share one.

    Example:
        >>> largest(torch.tensor([[[1.0, 3.0]]])), largest(torch.tensor([[[1.0, 3.0]], [[2.0, 0.0]]]))
        (tensor(3.), tensor([3., 2.]))
    """
    if field.dim() == 0:
        return field
    by_sample = field.flatten(1).amax(1)
    return by_sample.squeeze(0) if by_sample.shape[0] == 1 else by_sample


class Operator(ABC):
    """A term frozen at a state: the right-hand side v ↦ A v of u_t = A u, of shape (B, C, *S) → (B, C, *S).

    Attributes:
        rate: () or (B,), in 1/time. 1/rate is the largest forward-Euler step that keeps every set named by ``keeps``.
            A property where it costs a pass over the state: steps of a fixed dt never ask for it.
        keeps: The closed convex sets that the equation keeps; empty where nothing is proven.
        growth: Upper bound of the logarithmic norm of A, 1/time; 0 unless the term amplifies.
    """

    rate: Tensor
    keeps: Keeps = NOTHING
    growth: float = 0.0

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        check_declared(cls)

    @abstractmethod
    def __call__(self, v: Tensor) -> Tensor:
        """A v."""

    def solve(self, b: Tensor, dt: Tensor) -> Tensor:
        """The v with v − dt·A v = b. Raises ``UnsupportedError`` where undefined."""
        raise UnsupportedError(
            f"{type(self).__name__} has no solve, which implicit steps need; use an explicit step such as SSPRK3, or "
            "split the equation with Strang and step this term explicitly."
        )

    def flow(self, v: Tensor, dt: Tensor) -> Tensor:
        """exp(dt·A) v, exactly. Raises ``UnsupportedError`` where undefined."""
        raise UnsupportedError(f"{type(self).__name__} has no exact flow; use an explicit or implicit step.")

    def spectral(self, v: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        """f(A) v, ``function`` f acting on the eigenvalues of A. Raises ``UnsupportedError`` where undefined."""
        raise UnsupportedError(
            f"{type(self).__name__} has no spectral form, which exponential steps need of their stiff term; use a "
            "diffusivity that is constant in space, or an IMEX or implicit step."
        )

    @property
    def axes(self) -> tuple[Operator, ...]:
        """Operators along one axis each, with a ``solve``, that add up to this one.

        Raises ``UnsupportedError`` where undefined.
        """
        raise UnsupportedError(
            f"{type(self).__name__} does not split by axes, which AOS and ADI need; step Diffusion or "
            "MeanCurvatureMotion by them, and other terms by Strang or Lie."
        )

    def __add__(self, other: Operator) -> Operator:
        return Sum((self, other))


class SpectralOperator(Operator):
    """An operator that is diagonal in a known basis: ``spectral`` gives it its solve and its flow."""

    def solve(self, b: Tensor, dt: Tensor) -> Tensor:
        dt = per_sample(dt, b)
        return self.spectral(b, lambda eigenvalue: 1 / (1 - dt * eigenvalue))

    def flow(self, v: Tensor, dt: Tensor) -> Tensor:
        dt = per_sample(dt, v)
        return self.spectral(v, lambda eigenvalue: torch.exp(dt * eigenvalue))


class Sum(Operator):
    """v ↦ A v + B v + …. Rates add: I + h(A+B) is a convex combination of I + (h/θ)A and I + (h/(1−θ))B."""

    def __init__(self, parts: Iterable[Operator]) -> None:
        self.parts = tuple(parts)
        self.growth = sum(part.growth for part in self.parts)
        keeps = self.parts[0].keeps
        for part in self.parts[1:]:
            keeps = common(keeps, part.keeps)
        self.keeps = keeps

    @property
    def rate(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        return sum((part.rate for part in self.parts[1:]), start=self.parts[0].rate)

    def __call__(self, v: Tensor) -> Tensor:
        return sum((part(v) for part in self.parts[1:]), start=self.parts[0](v))


class _Closure(Operator):
    def __init__(
        self, apply: Apply, rate: Tensor, solve: Solve | None, flow: Solve | None, keeps: Keeps, growth: float
    ):
        self._apply, self._solve, self._flow = apply, solve, flow
        self.rate, self.keeps, self.growth = rate, keeps, growth

    def __call__(self, v: Tensor) -> Tensor:
        return self._apply(v)

    def solve(self, b: Tensor, dt: Tensor) -> Tensor:
        return super().solve(b, dt) if self._solve is None else self._solve(b, per_sample(torch.as_tensor(dt), b))

    def flow(self, v: Tensor, dt: Tensor) -> Tensor:
        return super().flow(v, dt) if self._flow is None else self._flow(v, per_sample(torch.as_tensor(dt), v))


Apply = Callable[[Tensor], Tensor]
Solve = Callable[[Tensor, Tensor], Tensor]


def operator(
    apply: Apply,
    rate: Tensor | float,
    solve: Solve | None = None,
    flow: Solve | None = None,
    *,
    keeps: Invariant | Iterable[Invariant] = NOTHING,
    growth: float = 0.0,
) -> Operator:
    """An operator from closures, for a user's own term.

    Args:
        apply: v ↦ A v.
        rate: () or (B,), 1/time; 1/rate is the largest forward-Euler step that keeps what ``keeps`` names.
        solve: (b, dt) ↦ the v with v − dt·A v = b; dt is () or (B, 1, …), to multiply a state.
        flow: (v, dt) ↦ exp(dt·A) v.
        keeps: ``"range"``, ``"range with 0"``, ``"energy"``, an interval ``(low, high)``, or a set of several; nothing
            is proven by default.
        growth: Upper bound of the logarithmic norm of A.

    Example:
        >>> damping = operator(lambda v: -2 * v, rate=2.0, solve=lambda b, dt: b / (1 + 2 * dt), keeps="energy")
        >>> damping.solve(torch.ones(1, 1, 4), torch.tensor(0.5))
        tensor([[[0.5000, 0.5000, 0.5000, 0.5000]]])
    """
    return _Closure(apply, torch.as_tensor(rate), solve, flow, as_keeps("operator()", keeps), growth)
