"""SIGTERM and Ctrl-C: noted, and acted on between two steps; or at once, where nothing would be lost."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager


class InterruptError(BaseException):  # not an Exception, which a compiler or a data loader may take for its own
    """A signal came while it was to be acted on at once."""


class Interrupt:
    """``signal`` is the number of the signal that came, or 0."""

    def __init__(self) -> None:
        self.signal = 0
        self._at_once = False
        self._process = os.getpid()

    def note(self, number: int) -> None:
        """Take in a signal."""
        self.signal = number
        if self._at_once and os.getpid() == self._process:  # Ctrl-C reaches forked data workers too: they go on
            raise InterruptError

    @contextmanager
    def acting_at_once(self) -> Iterator[None]:
        """Inside this context a signal, or one noted before, raises ``InterruptError``."""
        self._at_once = True
        try:
            if self.signal:
                raise InterruptError
            yield
        finally:
            self._at_once = False


@contextmanager
def noted_interrupts() -> Iterator[Interrupt]:
    """Inside this context the first SIGTERM or SIGINT is only noted; a second one acts as it does outside."""
    interrupt = Interrupt()
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def note(number: int, frame: object) -> None:
        for each, handler in kept.items():
            signal.signal(each, handler)
        interrupt.note(number)

    for number in kept:
        signal.signal(number, note)
    try:
        yield interrupt
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
