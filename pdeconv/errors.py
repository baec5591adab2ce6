"""The errors that pdeconv raises, and the checks of arguments that raise them."""

import math
import operator
from numbers import Real


class PDEConvError(ValueError):
    """Base of every error that pdeconv raises on bad input: says what was expected, what came, and what to do."""


class StabilityError(PDEConvError):
    """A step could be unstable: names the term, dt, its limit and the remedies."""


class UnsupportedError(PDEConvError):
    """The operator or step cannot do what was asked of it (a solve, an exact flow): names what can."""


def checked_number(owner: str, name: str, value: object, zero_too: bool = False) -> float:
    """``value`` as a float. Raises ``PDEConvError`` unless it is a positive (or zero), finite number."""
    number = float(value) if isinstance(value, Real) else math.nan
    if not (math.isfinite(number) and (number > 0 or (zero_too and number == 0))):
        sign = "non-negative" if zero_too else "positive"
        raise PDEConvError(f"{owner} needs a {sign}, finite {name}, but got {name}={value!r}.")
    return number


def checked_count(owner: str, name: str, value: object, odd: bool = False) -> int:
    """``value`` as an int. Raises ``PDEConvError`` unless it is a whole number of at least 1 (and odd)."""
    try:
        count = operator.index(value)  # pyright: ignore[reportArgumentType]
    except TypeError:
        count = 0
    if count < 1 or isinstance(value, bool) or (odd and count % 2 == 0):
        kind = "an odd number" if odd else "a whole number"
        raise PDEConvError(f"{owner} needs {kind} of at least 1 for {name}, but got {name}={value!r}.")
    return count


def checked_whole(owner: str, name: str, value: object) -> int:
    """``value`` as an int. Raises ``PDEConvError`` unless it is a whole number of at least 0."""
    try:
        count = operator.index(value)  # pyright: ignore[reportArgumentType]
    except TypeError:
        count = -1
    if count < 0 or isinstance(value, bool):
        raise PDEConvError(f"{owner} needs a whole number of at least 0 for {name}, but got {name}={value!r}.")
    return count


def checked_type(owner: str, value: object, expected: type, remedy: str) -> None:
    """Raise ``PDEConvError`` unless ``value`` is an ``expected``."""
    if not isinstance(value, expected):
        got = value.__name__ + " itself" if isinstance(value, type) else type(value).__name__
        raise PDEConvError(f"{owner} needs a {expected.__name__}, but got {got}; {remedy}.")
