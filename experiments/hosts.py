"""The options of several processes that share a sweep, and how process 0 waits for what the others make."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from jaxprune import SpecError, SweepSpec, hosts
from jaxprune.hosts import Share
from jaxprune.merging import finished
from jaxprune.report import open_console

SECONDS_BETWEEN_LOOKS = 1.0


@dataclass(frozen=True)
class Hosts:
    """Which processes share the seeds, if several do."""

    coordinator: str | None = None
    """HOST:PORT of process 0, where several processes that share the seeds meet. All are given the same
    settings and --out, a folder that all of them see: process I trains its seeds in OUT/shard-I, and process
    0 merges all of them into OUT/merged."""
    processes: int | None = None
    """How many processes there are, with --coordinator."""
    process: int | None = None
    """Which of them this is, from 0, with --coordinator."""
    distributed: bool = False
    """Take these three from the cluster (Slurm, Open MPI; Kubernetes where its Python package is there)."""

    @property
    def several(self) -> bool:
        """Whether any of the options is given."""
        return self != Hosts()

    def check(self, spec: SweepSpec) -> None:
        """Raise SpecError for options that do not go together, or for fewer seeds than processes."""
        given = (self.coordinator, self.processes, self.process)
        if self.distributed:
            if given != (None, None, None):
                raise SpecError(
                    "distributed: the cluster says what coordinator, processes and process are; give either"
                )
            return
        if self.coordinator is None or self.processes is None or self.process is None:
            raise SpecError("coordinator, processes, process: give all three of them, or --distributed")
        host, _, port = self.coordinator.rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 2**16:
            raise SpecError(f"coordinator: {self.coordinator!r} is not HOST:PORT, such as node1:7000")
        if self.processes < 2:
            raise SpecError(f"processes: {self.processes} share nothing; at least 2, or leave it out")
        if not 0 <= self.process < self.processes:
            raise SpecError(f"process: {self.process} is outside 0 .. {self.processes - 1}")
        hosts.check_enough(spec, self.processes)

    def meet(self, spec: SweepSpec, asked: dict[str, Any]) -> Share:
        """Meet the other processes. Raises SpecError where that cannot be."""
        self.check(spec)
        if self.distributed:
            share = hosts.meet_in_cluster(asked)
            if share.processes < 2:
                raise SpecError("distributed: the job has one process only; leave it out")
            return share
        assert self.coordinator is not None and self.processes is not None and self.process is not None
        # Where others do not come, JAX ends the process with words of its own.
        open_console().print(
            f"meeting {self.processes} processes at {self.coordinator}, within {hosts.SECONDS_TO_MEET} s"
        )
        return hosts.meet(self.coordinator, Share(self.process, self.processes), asked)


def shards(folder: Path, share: Share) -> list[Path]:
    """Where each of the processes has its run."""
    return [folder / f"shard-{process}" for process in range(share.processes)]


def check_resumable(folder: Path, share: Share) -> None:
    """Raise SpecError unless the folder holds the runs of as many processes."""
    held = {path.name for path in folder.glob("shard-*")}
    asked = {path.name for path in shards(folder, share)}
    if held != asked:
        raise SpecError(
            f"resume: {folder} holds {', '.join(sorted(held)) or 'no shard'}, which are not those of "
            f"{share.processes} processes; each goes on by itself with --resume FOLDER/shard-I"
        )


def wait(runs: Sequence[Path], console: Console) -> None:
    """Wait until all of these runs are finished, by whichever process."""
    before: list[Path] = []
    while missing := [run for run in runs if not finished(run)]:
        if missing != before:
            names = ", ".join(str(run) for run in missing)
            console.print(f"waiting for {names} ...", soft_wrap=True)
            before = missing
        time.sleep(SECONDS_BETWEEN_LOOKS)
