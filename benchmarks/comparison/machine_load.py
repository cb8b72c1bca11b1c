"""How much of the machine other programs use, looked at while this one waits."""

import time
from pathlib import Path

SECONDS = 1.0


def others() -> float:
    """Share of all cores that was in use during a second of waiting, 0 to 1. Linux only."""
    before = _jiffies()
    time.sleep(SECONDS)
    return busy_share(before, _jiffies())


def busy_share(before: list[int], after: list[int]) -> float:
    """Of two readings of the first line of /proc/stat: user nice system idle iowait irq ..."""
    passed = [late - early for early, late in zip(before, after, strict=True)]
    idle = passed[3] + passed[4]
    return 1 - idle / max(sum(passed), 1)


def _jiffies() -> list[int]:
    # The last two fields, time of guests, are counted in the first two already.
    return [int(number) for number in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
