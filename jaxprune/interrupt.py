"""Ctrl-C at a moment of our choosing."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupt:
    """Whether Ctrl-C was pressed since `deferred_interrupt` began."""

    def __init__(self) -> None:
        self.pressed = False

    def hear(self, signum: int, frame: FrameType | None) -> None:
        """Remember the first press; leave at once on the second."""
        if self.pressed:
            os._exit(128 + signum)
        self.pressed = True


@contextmanager
def deferred_interrupt() -> Iterator[Interrupt]:
    """Within the context Ctrl-C is only remembered; the caller asks, cleans up and raises KeyboardInterrupt.

    JAX runs the physics callback in the main thread, where an exception in mid-step would break the program.
    Outside the main thread Python delivers no signals, and nothing changes.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before = signal.signal(signal.SIGINT, interrupt.hear)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, before)
