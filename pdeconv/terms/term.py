"""The base of every term, and their sum."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable

from torch import Tensor, nn

from pdeconv.depthwise import DepthwiseEquation, is_declared
from pdeconv.errors import UnsupportedError, checked_type
from pdeconv.grid import Grid, common_grid
from pdeconv.operator import NOTHING, Keeps, Operator, Sum, check_declared, common, describe

SECOND_FIELD = ", v_t = "
"""Between the right-hand sides of two fields."""


class Term(nn.Module, ABC):
    """A right-hand side u_t = A(u) u: owns the learned coefficients, and gives an operator at each state.

    A user's own term needs ``forward`` only, and is stepped with ``Fixed(n, unchecked=True)`` or ``Measured``; to be
    stable by construction it also declares ``ceiling`` and ``keeps``.

    Attributes:
        equation: The right-hand side in writing; of two fields also the equation of the second, ``"v, v_t = …"``.
        grid: Where the state lives; None for a term that acts at every cell by itself.
        ceiling: Upper bound of the operator's rate, whatever the state and the weights, in 1/time; inf if unproven.
        keeps: The invariants that are proven whatever the state and the weights.
        growth: Upper bound of the operator's growth.
        halves: For a state whose channels are two halves (u, v), the two terms that the right-hand side is the sum of:
            the first changes u only and depends on v only, the second the other way round; each maps the whole state
            (B, 2C, *S), and is 0 in the half that it does not change. None for any
            other term. ``Leapfrog`` and ``VelocityVerlet`` step them.
        frequency: Upper bound of the angular frequency √ρ(A₁A₂) at which the halves A₁, A₂ oscillate, linearised where
            they are not linear, in 1/time; inf if unproven.
        oscillates: Whether the halves are linear, do not depend on the state, and A₁A₂ is similar to a symmetric matrix
            with no positive eigenvalue: then ``Leapfrog`` is proven for dt ≤ 2/frequency.
        solvable: Whether ``solution`` is known: the state-dependent equation solved exactly, for any dt.
        symmetric: Whether the frozen operator is symmetric whatever the state and the weights, ⟨v, Aw⟩ = ⟨Av, w⟩.
        nonexpansive: Whether forward Euler with dt ≤ 1/ceiling brings no two states further apart in the ℓ2 norm,
            whatever the weights; more than to keep the energy, but for linear terms.
        radius: Cells to either side, along each axis, whose values A(u)u at a cell depends on; inf, the default, if it
            is not known, or where in the image the cell lies matters too. ``evolve_in_tiles`` needs it.

    Example:
        >>> import torch
        >>> from pdeconv import Euler, Evolve, Fixed, operator
        >>> class Damping(Term):  # u_t = −s u
        ...     ceiling, keeps = 2.0, "energy"
        ...     def forward(self, u):
        ...         return operator(lambda v: -2.0 * v, rate=2.0, keeps="energy")
        >>> Evolve(Euler(Damping()), 1.0, Fixed(4))(torch.ones(1, 1, 2, 2)).mean()
        tensor(0.0625)
    """

    equation: str = "A(u)u"
    grid: Grid | None = None
    ceiling: float = math.inf
    keeps: Keeps = NOTHING
    growth: float = 0.0
    frequency: float = math.inf
    oscillates: bool = False
    solvable: bool = False
    symmetric: bool = False
    nonexpansive: bool = False
    radius: float = math.inf
    _version = 1

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        check_declared(cls)
        if not is_declared(cls, "depthwise", ("forward",)):
            cls.depthwise = Term.depthwise  # another right-hand side than the one that it inherits

    @abstractmethod
    def forward(self, u) -> Operator:
        """The operator A(u)."""

    def depthwise(self, u: Tensor) -> DepthwiseEquation | None:
        """The right-hand side as an equation that the native kernel knows; None for any other."""
        return None

    @property
    def halves(self) -> tuple[Term, Term] | None:
        """The two terms of a right-hand side that is separable; None for any other."""
        return None

    def solution(self, u: Tensor, dt: Tensor) -> Tensor:
        """The exact solution of u_t = A(u)u after dt from ``u``. Raises ``UnsupportedError`` unless ``solvable``."""
        raise UnsupportedError(
            f"{type(self).__name__} has no solution in closed form; use Heun, SSPRK3 or another step."
        )

    def refine(self, factor: float) -> None:
        """Divide the spacing by ``factor``, in place, such that the equation stays the same.

        ``refine_space`` calls it. Raises ``UnsupportedError`` for a term that is tied to its cells.
        """
        raise UnsupportedError(
            f"{type(self).__name__} cannot change its spacing: its weights belong to cells, or it does not define "
            "refine(factor); use terms in physical units, such as Diffusion(PerChannel(channels))."
        )

    def __add__(self, other: Term) -> Term:
        return SumTerm((self, other))

    def __radd__(self, other: object) -> Term:
        return self if other == 0 else NotImplemented  # sum([a, b]) starts from 0

    def extra_repr(self) -> str:
        boundary = "" if self.grid is None else f", spacing={self.grid.spacing}, boundary={self.grid.boundary}"
        return f"rate ≤ {self.ceiling:g}, keeps {describe(self.keeps)}{boundary}"


def _sum_of(equations: list[str]) -> str:
    """Right-hand sides in writing added up, those of a second field, after ``v_t =``, by themselves."""
    fields = [equation.split(SECOND_FIELD) for equation in equations]
    sums = [[field[place] for field in fields if len(field) > place and field[place] != "0"] for place in range(2)]
    written = [" + ".join(some).replace("+ −", "− ") or "0" for some in sums[: max(map(len, fields))]]
    return SECOND_FIELD.join(written)


class SumTerm(Term):
    """u_t = A(u) u + B(u) u + …; rates add. Written ``a + b``.

    Raises:
        PDEConvError: If the terms live on different grids.

    Example:
        >>> from pdeconv import Constant, Diffusion
        >>> (Diffusion(Constant(1.0)) + Diffusion(Constant(2.0))).ceiling
        12.0
    """

    def __init__(self, terms: Iterable[Term]) -> None:
        super().__init__()
        flat: list[Term] = []
        for term in terms:
            checked_type("A sum of terms", term, Term, "wrap a module as Residual(module)")
            flat.extend(term.parts if isinstance(term, SumTerm) else (term,))
        self.terms = nn.ModuleList(flat)
        self._declare()

    def _declare(self) -> None:
        flat = self.parts
        self.equation = _sum_of([part.equation for part in flat])
        self.grid = common_grid(part.grid for part in flat)
        self.ceiling = sum(part.ceiling for part in flat)
        self.growth = sum(part.growth for part in flat)
        self.symmetric = all(part.symmetric for part in flat)
        self.nonexpansive = all(part.nonexpansive for part in flat)
        self.radius = max((part.radius for part in flat), default=0)
        keeps = flat[0].keeps
        for part in flat[1:]:
            keeps = common(keeps, part.keeps)
        self.keeps = keeps

    def refine(self, factor: float) -> None:
        for part in self.parts:
            part.refine(factor)
        self._declare()

    @property
    def parts(self) -> tuple[Term, ...]:
        """The terms of the sum."""
        return tuple(term for term in self.terms if isinstance(term, Term))

    def forward(self, u) -> Operator:
        return Sum(term(u) for term in self.parts)

    def depthwise(self, u: Tensor) -> DepthwiseEquation | None:
        total = DepthwiseEquation()
        for part in self.parts:
            equation = part.depthwise(u)
            total = None if equation is None else total.plus(equation)
            if total is None:
                return None
        return total
