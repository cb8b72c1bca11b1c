"""Several processes, on one host or on many, that share the seeds of a sweep.

Members never communicate, so each process trains its own seeds as a run of its own, and one `merging.merge`
makes of them the run that had all the seeds. The processes meet once, by JAX's coordination service, to see
that all are there and were asked for the same; from then on none waits for another or ends with it.
"""

import json
import socket
import time
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np
from jax._src.distributed import State  # `jax.distributed` keeps one that all arrays would then belong to

from jaxprune import parse
from jaxprune.errors import SpecError
from jaxprune.spec import SweepSpec

SECONDS_TO_MEET = 300
"""How long a process waits for the others to begin."""


class Share(NamedTuple):
    """Which of the processes this is, from 0, and how many there are."""

    process: int
    processes: int

    def of(self, spec: SweepSpec) -> SweepSpec:
        """The spec with the seeds of this process only; shares are as equal as they can be.

        Raises SpecError where there are fewer seeds than processes.
        """
        check_enough(spec, self.processes)
        seeds = np.array_split(spec.seed_numbers, self.processes)[self.process]
        return replace(spec, seeds=parse.runs_of(seeds.tolist()))


def check_enough(spec: SweepSpec, processes: int) -> None:
    """Raise SpecError where there are fewer seeds than processes."""
    seeds = len(spec.seed_numbers)
    if seeds < processes:
        raise SpecError(f"processes: {processes} are more than the {seeds} seeds; each needs one at least")


def meet(coordinator: str, share: Share, asked: dict[str, Any]) -> Share:
    """Meet the other processes at `coordinator`, which is HOST:PORT of process 0.

    Raises SpecError if process 0 cannot be reached, or the processes were asked for different things. Where
    some do not come JAX ends the process.
    """
    if share.process:
        _check_reachable(coordinator)
    return _met(
        asked,
        coordinator_address=coordinator,
        num_processes=share.processes,
        process_id=share.process,
        cluster_detection_method="deactivate",
    )


def meet_in_cluster(asked: dict[str, Any]) -> Share:
    """Meet the other processes of a job of a cluster that JAX knows, such as Slurm's.

    Where such a job has several processes on a host, each sees the accelerator of its own number only.

    Raises SpecError outside such a job, or if the processes were asked for different things.
    """
    return _met(asked)


def _met(asked: dict[str, Any], **place: Any) -> Share:
    # It would take SIGTERM, upon which a training is saved.
    jax.config.update("jax_enable_preemption_service", False)
    state = State()
    try:
        state.initialize(**place, initialization_timeout=SECONDS_TO_MEET)
    except (ValueError, RuntimeError) as error:
        raise SpecError(
            f"distributed: the processes cannot meet ({str(error).splitlines()[0]}); give --coordinator "
            "HOST:PORT, --processes and --process"
        ) from None
    try:
        given = _exchanged(state, json.dumps(asked))
    finally:
        state.shutdown()
    share = Share(state.process_id, state.num_processes or 1)
    _check_same(share, [json.loads(text) for text in given])
    return share


def _exchanged(state: State, text: str) -> list[str]:
    """What every process has to say, in their order."""
    client: Any = state.client
    client.key_value_set(f"asked-{state.process_id}", text)
    milliseconds = 1000 * SECONDS_TO_MEET
    return [
        client.blocking_key_value_get(f"asked-{process}", milliseconds)
        for process in range(state.num_processes or 1)
    ]


def _check_same(share: Share, given: list[dict[str, Any]]) -> None:
    for process, theirs in enumerate(given):
        for name, asked in given[0].items():
            if theirs[name] != asked:
                raise SpecError(
                    f"{name}: process 0 of {share.processes} was given {asked}, process {process} "
                    f"{theirs[name]}; all of them share one sweep"
                )


def _check_reachable(coordinator: str) -> None:
    """Wait until somebody listens there. JAX itself would end the process."""
    host, _, port = coordinator.rpartition(":")
    latest = time.monotonic() + SECONDS_TO_MEET
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=SECONDS_TO_MEET).close()
            return
        except OSError as error:
            if time.monotonic() > latest:
                raise SpecError(
                    f"coordinator: nobody answered at {coordinator} for {SECONDS_TO_MEET} s ({error}); is "
                    "process 0 running there?"
                ) from None
            time.sleep(min(1.0, SECONDS_TO_MEET / 10))
