"""Laws that couple two fields, the two halves of the channels."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pdeconv.coefficient import Coefficient
from pdeconv.errors import PDEConvError, checked_number, checked_type
from pdeconv.grid import Grid
from pdeconv.law import Law
from pdeconv.operator import ENERGY, NON_NEGATIVE, RANGE_WITH_ZERO
from pdeconv.pair import joined, pair


def _checked_coefficient(owner: str, coefficient: object) -> Coefficient:
    checked_type(owner, coefficient, Coefficient, "give for example Constant(0.05) or PerChannel(channels)")
    return coefficient  # pyright: ignore[reportReturnType]


class GrayScott(Law):
    """Gray and Scott's autocatalysis, u_t = F(1 − u) − uv², v_t = uv² − (F + k)v: with diffusion, spots and stripes.

    The state has 2C channels: u (the food) in the first half, v in the second. Frozen as Patankar does, what is
    consumed is linear in the field itself and what is produced is a source: a = (−F − v², −F − k), b = (F, uv²).

    Args:
        feed: Coefficient F, 1/time.
        kill: Coefficient k, 1/time.

    Rate: F + max(v², k) at its largest cell, measured; without a ceiling, as v has none: no interval of v is kept for
        fields that diffuse at different speeds. For patterns as the literature has them take explicit steps:
        ``Measured``, or ``Fixed(n, unchecked=True)`` at a dt of 1 or less for the usual F, k ≤ 0.1. Backward Euler and
        exact steps keep what the reaction keeps for every dt, which makes a layer safe, but frozen they produce another
        uv² than they consume: of order 1, they follow the equation for dt well below 1 only.
    Keeps: u, v ≥ 0, and u ≤ 1: u⁺ = (1 − h(F + v²))u + hF and v⁺ = (1 − h(F + k))v + h·uv² have weights ≥ 0 for
        h ≤ 1/rate, and those of u⁺ sum to at most 1. The reaction by itself also keeps the triangle u, v ≥ 0, u + v ≤ 1
        for h ≤ 1/(F + max(1, k)), as u⁺ + v⁺ = (1 − hF)(u + v) + hF − hkv.

    References:
        P. Gray, S. K. Scott. Autocatalytic reactions in the isothermal, continuous stirred tank reactor. Chem. Eng.
        Sci. 39(6), 1984.
        J. E. Pearson. Complex patterns in a simple system. Science 261, 1993.

    Example:
        >>> from pdeconv import Constant, Diffusion, Euler, Evolve, FixedCoefficient, Measured, Reaction
        >>> spread = Diffusion(FixedCoefficient(torch.tensor([0.16, 0.08])))
        >>> pattern = Evolve(Euler(spread + Reaction(GrayScott(Constant(0.04), Constant(0.06)))), 40.0, Measured())
        >>> bool((pattern(torch.rand(1, 2, 8, 8)) >= 0).all())
        True
    """

    equation = "F(1 − u) − uv², v_t = uv² − (F + k)v"
    ceiling = math.inf
    keeps = frozenset({NON_NEGATIVE, ((0.0, 1.0), NON_NEGATIVE)})

    def __init__(self, feed: Coefficient, kill: Coefficient) -> None:
        super().__init__()
        self.feed, self.kill = _checked_coefficient("GrayScott", feed), _checked_coefficient("GrayScott", kill)

    def forward(self, u: Tensor) -> Tensor:
        food, catalyst = pair(u)
        feed, kill = self._coefficients(food)
        return -joined(feed + catalyst.square(), feed + kill, food)

    def source(self, u: Tensor) -> Tensor:
        food, catalyst = pair(u)
        feed, _ = self._coefficients(food)
        return joined(feed, food * catalyst.square(), food)

    def rate(self, u: Tensor) -> Tensor:
        food, catalyst = pair(u)
        feed, kill = self._coefficients(food)
        return (feed + torch.maximum(catalyst.square(), kill)).flatten(1).amax(1)

    def _coefficients(self, food: Tensor) -> tuple[Tensor, Tensor]:
        grid = Grid(dims=food.dim() - 2)
        return self.feed(food, grid), self.kill(food, grid)


class FitzHughNagumo(Law):
    """FitzHugh and Nagumo's excitable medium, u_t = u − u³/3 − v + I, v_t = ε(u + β − γv): pulses and spirals.

    The state has 2C channels: the potential u in the first half, the recovery v in the second. Frozen, a = (1 − u²/3,
    −εγ) and b = (I − v, ε(u + β)).

    Args:
        recovery: Coefficient ε, 1/time.
        offset: β.
        decay: γ, positive.
        drive: I, the current.

    Attributes:
        bounds: (U, V), V = (U + |β|)/γ and U the largest root of U³/3 − U = V + |I|.

    Rate: max(U² − 1, εγ), its ceiling.
    Keeps: The rectangle |u| ≤ U, |v| ≤ V, on whose sides the flow points inwards. An Euler step u + h(u − u³/3) rises
        on [−U, U] for h(U² − 1) ≤ 1, so u⁺ ≤ U + h(U − U³/3 + V + |I|) = U; and v⁺ is a convex combination of v and
        (u + β)/γ for hεγ ≤ 1. As a(u)U + V + |I| = (U² − u²)U/3 ≤ (U − |u|)·2U²/3 the frozen steps stay within too:
        Crank–Nicolson for dt ≤ 2/(5U²/3 − 1), the exact flow while a/(1 − exp(−a·dt)) ≥ 2U²/3, a = 1 − U²/3, both of
        which 1/(U² − 1) does not exceed, as U² ≥ 3; backward Euler for dt ≤ 3/(2U²), which 0.99/(U² − 1) does not.

    References:
        R. FitzHugh. Impulses and physiological states in theoretical models of nerve membrane. Biophys. J. 1(6), 1961.
        J. Rauch, J. Smoller. Qualitative theory of the FitzHugh–Nagumo equations. Advances in Math. 27, 1978.

    Example:
        >>> from pdeconv import CFL, Constant, Diffusion, Evolve, Heun, Reaction
        >>> nerve = Diffusion(Constant(1.0)) + Reaction(FitzHughNagumo(Constant(0.08)))
        >>> Evolve(Heun(nerve), duration=1.0, control=CFL(0.9)).steps
        13
    """

    equation = "u − u³/3 − v + I, v_t = ε(u + β − γv)"
    growth = 1.0

    def __init__(self, recovery: Coefficient, offset: float = 0.7, decay: float = 0.8, drive: float = 0.5) -> None:
        super().__init__()
        self.recovery = _checked_coefficient("FitzHughNagumo", recovery)
        self.offset, self.drive = (_finite("offset", offset), _finite("drive", drive))
        self.decay = checked_number("FitzHughNagumo", "decay", decay)
        self.bounds = self._bounds()
        potential, slow = self.bounds
        self.ceiling = max(potential**2 - 1, recovery.ceiling * self.decay)
        self.keeps = frozenset({((-potential, potential), (-slow, slow))})

    def _bounds(self) -> tuple[float, float]:
        """(U, V), by Newton's method from above, where U³/3 − (1 + 1/γ)U − |β|/γ − |I| is convex and falls to 0."""
        slope, level = 1 + 1 / self.decay, abs(self.offset) / self.decay + abs(self.drive)
        potential = math.sqrt(3 * slope) + (3 * level) ** (1 / 3)
        for _ in range(60):
            excess = potential**3 / 3 - slope * potential - level
            potential -= max(0.0, excess) / (potential**2 - slope)
        potential *= 1 + 1e-9  # rounding must not end below the root
        return potential, (potential + abs(self.offset)) / self.decay

    def forward(self, u: Tensor) -> Tensor:
        potential, _ = pair(u)
        return joined(1 - potential.square() / 3, -self.decay * self._recovery(potential), potential)

    def source(self, u: Tensor) -> Tensor:
        potential, slow = pair(u)
        return joined(self.drive - slow, self._recovery(potential) * (potential + self.offset), potential)

    def _recovery(self, potential: Tensor) -> Tensor:
        return self.recovery(potential, Grid(dims=potential.dim() - 2))

    def extra_repr(self) -> str:
        return f"offset={self.offset:g}, decay={self.decay:g}, drive={self.drive:g}"


def _finite(name: str, value: float) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise PDEConvError(f"FitzHughNagumo needs a finite {name}, but got {name}={value!r}.")
    return float(value)


class Friction(Law):
    """Friction of the second field, u_t = 0, v_t = −γv: with :class:`pdeconv.Wave` it makes a damped wave.

    Args:
        damping: Coefficient γ, 1/time.

    Keeps: The energy, and the range joined with 0.

    Example:
        >>> from pdeconv import Constant
        >>> Friction(Constant(0.5))(torch.ones(1, 2, 3))[0, :, 0]
        tensor([-0.0000, -0.5000])
    """

    equation = "0, v_t = −γv"
    keeps = frozenset({ENERGY, RANGE_WITH_ZERO})

    def __init__(self, damping: Coefficient) -> None:
        super().__init__()
        self.damping = _checked_coefficient("Friction", damping)
        self.ceiling = self.damping.ceiling

    def forward(self, u: Tensor) -> Tensor:
        _, velocity = pair(u)
        damping = self.damping(velocity, Grid(dims=u.dim() - 2))
        return -joined(torch.zeros_like(velocity), damping, velocity)
