"""What the value of a key of a configuration has to be."""

from pdeconv.errors import PDEConvError


def require(key: str, value: object, right: bool, expected: str) -> None:
    """Raise ``PDEConvError``, which names the key, unless the value is right."""
    if not right:
        raise PDEConvError(f"{key}: expected {expected}, got {value!r}")
