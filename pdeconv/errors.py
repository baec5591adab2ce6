"""The errors that pdeconv raises."""


class PDEConvError(ValueError):
    """Base of every error that pdeconv raises on bad input: says what was expected, what came, and what to do."""


class StabilityError(PDEConvError):
    """A step could be unstable: names the term, dt, its limit and the remedies."""


class UnsupportedError(PDEConvError):
    """The operator or step cannot do what was asked of it (a solve, an exact flow): names what can."""
