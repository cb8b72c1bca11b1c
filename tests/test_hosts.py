"""Processes that share a sweep: who has which seeds, and how they meet."""

import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from jaxprune import SpecError, SweepSpec, hosts
from jaxprune.hosts import Share

SPEC = SweepSpec(env="probe/linear", seeds="0:5,9:11", sparsities="0,0.5")


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


@pytest.mark.parametrize(
    ("processes", "expected"),
    [
        (2, ["0:4", "4:5,9:11"]),
        (3, ["0:3", "3:5", "9:11"]),
        (7, ["0:1", "1:2", "2:3", "3:4", "4:5", "9:10", "10:11"]),
    ],
)
def test_every_seed_is_of_one_process_and_nothing_else_differs(processes, expected):
    shares = [Share(process, processes).of(SPEC) for process in range(processes)]
    assert [spec.seeds for spec in shares] == expected
    assert sum((spec.seed_numbers for spec in shares), ()) == SPEC.seed_numbers
    assert {str({**spec.to_dict(), "seeds": None}) for spec in shares} == {
        str({**SPEC.to_dict(), "seeds": None})
    }


def test_more_processes_than_seeds_are_refused():
    with pytest.raises(SpecError, match="processes: 8 are more than the 7 seeds; each needs one at least"):
        Share(0, 8).of(SPEC)


def met(asked):
    """What the processes, here threads, come to that were asked for these things."""
    where = f"127.0.0.1:{free_port()}"

    def one(process):
        try:
            return hosts.meet(where, Share(process, len(asked)), asked[process])
        except SpecError as error:
            return str(error)

    with ThreadPoolExecutor(len(asked)) as threads:
        return list(threads.map(one, range(len(asked))))


def test_who_was_asked_for_the_same_knows_its_place():
    assert met([{"env": "hopper", "seeds": 4}] * 3) == [(0, 3), (1, 3), (2, 3)]


def test_who_was_asked_for_something_else_is_named_to_all():
    said = "steps: process 0 of 2 was given 5, process 1 6; all of them share one sweep"
    assert met([{"env": "hopper", "steps": 5}, {"env": "hopper", "steps": 6}]) == [said] * 2


def test_a_coordinator_that_does_not_answer_is_refused_after_the_time_stated(monkeypatch):
    monkeypatch.setattr(hosts, "SECONDS_TO_MEET", 0.3)
    where = f"127.0.0.1:{free_port()}"
    with pytest.raises(SpecError, match=f"coordinator: nobody answered at {where} for 0.3 s .*process 0"):
        hosts.meet(where, Share(1, 2), {})


def test_outside_a_cluster_the_options_are_asked_for(monkeypatch):
    for name in (
        "SLURM_JOB_ID",
        "OMPI_MCA_orte_hnp_uri",
        "KUBERNETES_SERVICE_HOST",
        "JAX_COORDINATOR_ADDRESS",
    ):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SpecError, match=r"distributed: the processes cannot meet .*give --coordinator"):
        hosts.meet_in_cluster({})


def test_in_a_job_of_slurm_the_place_is_that_of_the_task():
    """And arrays are of the process that makes them, whoever was met."""
    said = "import jax; from jaxprune import hosts; print(*hosts.meet_in_cluster({}), jax.process_count())"
    step = {"SLURM_JOB_ID": "1", "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2"}
    step["JAX_COORDINATOR_PORT"] = str(free_port())
    tasks = [
        subprocess.Popen(
            [sys.executable, "-c", said],
            env=os.environ | step | {"SLURM_PROCID": number, "SLURM_LOCALID": number},
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in ("0", "1")
    ]
    assert [task.communicate()[0] for task in tasks] == ["0 2 1\n", "1 2 1\n"]
