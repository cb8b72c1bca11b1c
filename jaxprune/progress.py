"""How a long job says where it stands: one kind of message, and the meter that counts and sends it."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import NamedTuple

from jaxprune.interrupt import deferred_interrupt
from jaxprune.phases import Phase, Phases


class Update(NamedTuple):
    """Where a long job stands.

    phase: what is being done. steps_done: environment steps so far, of those that were planned.
    steps_per_second: of this phase, 0 before it is known. note: what there is to say of the phase, such as
    "2 diverged". rows: (sparsity, mean return over seeds, episodes) of what came last.
    """

    phase: str
    steps_done: int = 0
    steps_per_second: float = 0.0
    note: str = ""
    rows: tuple[tuple[float, float, int], ...] = ()


OnProgress = Callable[[Update], None]


def unheard(update: Update) -> None:
    """Say nothing."""


def both(one: OnProgress, other: OnProgress) -> OnProgress:
    """Tell both of them, one after the other."""

    def heard(update: Update) -> None:
        one(update)
        other(update)

    return heard


class Meter:
    """Counts the environment steps of a job, phase by phase, and tells `on_progress`.

    While it is open Ctrl-C and SIGTERM only take effect where the job reports, between two compiled programs,
    so that what is done can be saved: `KeyboardInterrupt` comes out of `begin` and `add`.

    ended: told at its end, whichever it is, where the time went.
    """

    def __init__(
        self, on_progress: OnProgress = unheard, ended: Callable[[list[Phase]], None] | None = None
    ) -> None:
        self._tell, self._ended = on_progress, ended
        self._phase, self._done = "", 0
        self._first: tuple[int, float] | None = None
        self._open, self._phases = ExitStack(), Phases()

    def __enter__(self) -> "Meter":
        self._interrupt = self._open.enter_context(deferred_interrupt())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()
        if self._ended is not None:
            self._ended(self._phases.so_far())

    def begin(self, phase: str, planned: int = 0, part_of: str | None = None) -> None:
        """A new phase, which has a speed of its own.

        planned: the steps of the phases before it. They count as done: episodes that ended early had fewer.
        part_of: the phase that its time is a part of, if that has several.
        """
        self._phases.begin(part_of or phase)
        self._phase, self._first = phase, None
        self._done = max(self._done, planned)
        self._send(0.0, "", ())

    def add(self, steps: int, note: str = "", rows: tuple[tuple[float, float, int], ...] = ()) -> None:
        """So many more steps are done. The first time tells no speed: the program compiled before it."""
        self._done += steps
        self._phases.count(steps)
        now = time.monotonic()
        if self._first is None:
            self._first = (self._done, now)
        began, then = self._first
        self._send((self._done - began) / (now - then) if now > then else 0.0, note, rows)

    def _send(self, speed: float, note: str, rows: tuple[tuple[float, float, int], ...]) -> None:
        self._interrupt.obey()
        self._tell(Update(self._phase, self._done, speed, note, rows))
