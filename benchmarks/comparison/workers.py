"""Peers are measured in processes of their own, by another Python: see `benchmarks/peers/serve.py`."""

import json
import os
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.comparison.rounds import Measured

SCRIPTS = Path(__file__).parent.parent / "peers"
DROPPED = ("PYTHONPATH", "XLA_FLAGS")
"""Variables that are for this Python: another's JAX may not know the flags and would end."""


class PeerError(Exception):
    """A peer cannot be measured: its environment is not there, or its script ended."""


class Worker:
    """A script of a peer that has started, and answers one number at a time."""

    def __init__(self, python: Path, script: str, arguments: Sequence[str], log: Path) -> None:
        self._log = log
        environment = {name: value for name, value in os.environ.items() if name not in DROPPED}
        # A GPU is shared with this process, so nobody takes all of its memory at once.
        environment["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                [python, SCRIPTS / script, *arguments],
                env=environment,
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )

    def ready(self) -> str:
        """Wait until it has started. Returns its versions."""
        return self._answer()["versions"]

    def ask(self, number: int) -> None:
        """Let it measure."""
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(f"{number}\n")
            stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None

    def told(self) -> Measured:
        """Wait for what it was asked for."""
        return Measured(**self._answer())

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()

    def _answer(self) -> dict[str, Any]:
        stdout = self._process.stdout
        assert stdout is not None
        for line in stdout:
            if line.startswith("{"):  # not what a library printed while it was imported
                return json.loads(line)
        raise self._ended()

    def _ended(self) -> PeerError:
        self._process.wait()
        said = self._log.read_text().split("\n")
        return PeerError(next((line for line in reversed(said) if line.strip()), "ended without a word"))


class SideBySide:
    """Several workers at the same time, each of which is asked for a number of its own."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        self._workers = workers
        self.versions, *_ = [worker.ready() for worker in workers]

    def together(self, turn: int) -> list[Measured]:
        """One measurement of all: what they did together, until the last had done its part."""
        began = time.perf_counter()
        each = self.apart(turn * len(self._workers))
        seconds = each[0].seconds if len(each) == 1 else time.perf_counter() - began
        results = [one.result for one in each if one.result is not None]
        mean = sum(results) / len(results) if results else None
        return [Measured(sum(one.amount for one in each), seconds, mean)]

    def apart(self, first: int) -> list[Measured]:
        """The measurements of the numbers `first`, `first + 1`, ..., one for each worker."""
        for place, worker in enumerate(self._workers):
            worker.ask(first + place)
        return [worker.told() for worker in self._workers]


def side_by_side(
    opened: ExitStack, python: Path, script: str, each: Sequence[Sequence[str]], logs: Path
) -> SideBySide:
    """Start a script once for each list of arguments. Raises PeerError if it ends at once."""
    workers = []
    logs.mkdir(parents=True, exist_ok=True)
    for arguments in each:
        log = logs / f"{sum(1 for _ in logs.iterdir())}-{Path(script).stem}.txt"
        workers.append(Worker(python, script, arguments, log))
        opened.callback(workers[-1].close)
    return SideBySide(workers)
