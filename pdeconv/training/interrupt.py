"""SIGTERM and Ctrl-C: noted, and acted on between two steps."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class Interrupt:
    """``signal`` is the number of the signal that came, or 0."""

    signal: int = 0


@contextmanager
def noted_interrupts() -> Iterator[Interrupt]:
    """Inside this context the first SIGTERM or SIGINT is only noted; a second one acts at once."""
    interrupt = Interrupt()
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def note(number: int, frame: object) -> None:
        interrupt.signal = number
        for each, handler in kept.items():
            signal.signal(each, handler)

    for number in kept:
        signal.signal(number, note)
    try:
        yield interrupt
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
