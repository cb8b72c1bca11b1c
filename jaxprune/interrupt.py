"""Ctrl-C, and the request to end that a scheduler sends, at a moment of our choosing."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupt:
    """Which signal came since `deferred_interrupt` began, if one did."""

    def __init__(self) -> None:
        self.heard: int | None = None

    def hear(self, signum: int, frame: FrameType | None) -> None:
        """Remember the first; leave at once on the second."""
        if self.heard is not None:
            os._exit(128 + signum)
        self.heard = signum

    def obey(self) -> None:
        """Raise KeyboardInterrupt, with the signal's number, if one came."""
        if self.heard is not None:
            raise KeyboardInterrupt(self.heard)


def exit_code(stopped: KeyboardInterrupt) -> int:
    """Of a command that was stopped: 130 after Ctrl-C, 143 after SIGTERM."""
    return 128 + (stopped.args[0] if stopped.args else signal.SIGINT)


def _heard() -> list[signal.Signals]:
    """The signals to end: Ctrl-C, of a scheduler, and of a terminal that closes unless that is ignored."""
    heard = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # not on Windows
        heard.append(signal.SIGHUP)
    return heard


@contextmanager
def deferred_interrupt() -> Iterator[Interrupt]:
    """Within the context signals to end are only remembered; the caller asks, cleans up and obeys.

    JAX runs the physics callback in the main thread, where an exception in mid-step would break the program.
    Outside the main thread Python delivers no signals, and nothing changes.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before = {number: signal.signal(number, interrupt.hear) for number in _heard()}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
