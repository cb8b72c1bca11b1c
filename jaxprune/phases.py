"""Where the time of a job went: seconds of each of its phases, and how many of them were compiling."""

import time
from dataclasses import asdict, dataclass
from typing import Any

import jax

from jaxprune.errors import SpecError


@dataclass
class Phase:
    """One phase of a job. steps: environment steps.

    seconds: by the clock. processor: of all cores together. compiling: by the clock, of tracing and compiling
    programs.
    """

    name: str
    seconds: float = 0.0
    processor: float = 0.0
    compiling: float = 0.0
    steps: int = 0

    def add(self, other: "Phase") -> None:
        """Count what the same phase has taken at another time."""
        self.seconds += other.seconds
        self.processor += other.processor
        self.compiling += other.compiling
        self.steps += other.steps


class Phases:
    """A clock that is told when a phase begins. A phase that begins again goes on where it was."""

    def __init__(self) -> None:
        self._spent: dict[str, Phase] = {}
        self._now, self._since = "", _clocks()

    def begin(self, name: str) -> None:
        """End the phase that is running, and begin this one."""
        now, before = _clocks(), self._since
        if self._now:
            seconds, processor, compiling = (b - a for a, b in zip(before, now, strict=True))
            self._of(self._now).add(Phase(self._now, seconds, processor, compiling))
        self._now, self._since = name, now

    def count(self, steps: int) -> None:
        """So many more environment steps are done in this phase."""
        self._of(self._now).steps += steps

    def so_far(self) -> list[Phase]:
        """All phases up to now, in the order in which they first began."""
        self.begin(self._now)
        return list(self._spent.values())

    def _of(self, name: str) -> Phase:
        return self._spent.setdefault(name, Phase(name))


def together(earlier: list[Phase], later: list[Phase]) -> list[Phase]:
    """The phases of a job that was stopped and went on."""
    joined = {phase.name: Phase(phase.name) for phase in (*earlier, *later)}
    for phase in (*earlier, *later):
        joined[phase.name].add(phase)
    return list(joined.values())


def to_json(phases: list[Phase]) -> list[dict[str, Any]]:
    """As plain JSON values."""
    return [asdict(phase) for phase in phases]


def from_json(content: Any) -> list[Phase]:
    """What `to_json` made. Raises SpecError for anything else."""
    try:
        return [Phase(**each) for each in content]
    except TypeError as error:
        raise SpecError(f"phases: what is written of them cannot be read ({error})") from None


_COMPILING = (
    "/jax/core/compile/jaxpr_trace_duration",
    "/jax/core/compile/jaxpr_to_mlir_module_duration",
    "/jax/core/compile/backend_compile_duration",
)
"""What JAX reports of making a program: traced, lowered, compiled or taken from the cache."""

_stretches: list[tuple[float, float]] = []
"""Begin and end of every stretch of time in which programs were made."""


def _heard(event: str, duration_secs: float, **_: str | int) -> None:
    """Note a stretch. What a program calls is traced within it, and reported before it."""
    if event not in _COMPILING:
        return
    end = time.monotonic()
    while _stretches and _stretches[-1][0] >= end - duration_secs:
        _stretches.pop()
    _stretches.append((end - duration_secs, end))


jax.monitoring.register_event_duration_secs_listener(_heard)


def _clocks() -> tuple[float, float, float]:
    """Seconds by the clock, of the processor, and of compiling until now."""
    compiling = sum((end - begin for begin, end in _stretches), 0.0)
    return time.monotonic(), time.process_time(), compiling
