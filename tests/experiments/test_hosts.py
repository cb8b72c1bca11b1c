"""`python -m experiments.sweep` by several processes: each its seeds, and process 0 puts them together."""

import io
import subprocess
import sys

import polars as pl
import pytest

from experiments import hosts
from experiments import sweep as command_of_sweep
from experiments.command import run_command
from experiments.sweep import Arguments, from_preset, main
from jaxprune import SweepSpec
from jaxprune.hosts import Share
from jaxprune.merging import TABLES
from jaxprune.report import open_console
from jaxprune.run_folder import RunFolder
from tests.test_hosts import free_port

SPEC = (
    *("--env", "probe/linear", "--seeds", "3", "--sparsities", "0,0.5", "--steps", "512"),
    *("--environments", "4", "--unroll", "32", "--hidden", "4"),
    *("--episodes", "2", "--selection-episodes", "1", "--return-episodes", "0"),
)
TWO = ("--coordinator", "localhost:7000", "--processes", "2", "--process", "0")


def command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["experiments.sweep", *map(str, arguments)])
    run_command(Arguments, main, from_preset)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (TWO, "out: processes that share a sweep need one folder"),
        (
            (*TWO[:-2], "--out", "x"),
            "coordinator, processes, process: give all three of them, or --distributed",
        ),
        (
            (*TWO, "--coordinator", "node1", "--out", "x"),
            "coordinator: 'node1' is not HOST:PORT, such as node1:7000",
        ),
        ((*TWO, "--coordinator", "node1:70000", "--out", "x"), "coordinator: 'node1:70000' is not HOST:PORT"),
        ((*TWO, "--processes", "1", "--out", "x"), "processes: 1 share nothing; at least 2"),
        ((*TWO, "--process", "2", "--out", "x"), "process: 2 is outside 0 .. 1"),
        ((*TWO, "--process", "-1", "--out", "x"), "process: -1 is outside 0 .. 1"),
        ((*TWO, "--processes", "4", "--out", "x"), "processes: 4 are more than the 3 seeds"),
        ((*TWO, "--processes", "4", "--dry-run"), "processes: 4 are more than the 3 seeds"),
        ((*TWO, "--distributed", "--out", "x"), "distributed: the cluster says what coordinator, processes"),
    ],
    ids=str,
)
def test_a_mistake_is_one_line_exit_code_2_and_nothing_written(
    arguments, said, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as leaving:
        command(monkeypatch, *SPEC, *arguments)
    printed = capsys.readouterr()
    assert leaving.value.code == 2
    assert said in printed.err and printed.err.count("\n") == 1
    assert printed.out == "" and list(tmp_path.iterdir()) == []


@pytest.fixture(name="done")
def _done(monkeypatch):
    """What the processes do, in their order; each is told its place without a network."""
    done = []
    monkeypatch.setattr(
        command_of_sweep, "_alone", lambda given: done.append((given.spec.seeds, given.out, given.resume))
    )
    monkeypatch.setattr(command_of_sweep, "wait", lambda runs, console: done.append(("wait", runs)))
    monkeypatch.setattr(command_of_sweep, "merge", lambda runs, out: done.append(("merge", runs, out)))
    monkeypatch.setattr(command_of_sweep, "report_sweep", lambda made, out: None)
    return done


def as_process(monkeypatch, process, *arguments):
    monkeypatch.setattr(hosts.Hosts, "meet", lambda self, spec, asked: Share(process, 2))
    command(monkeypatch, *SPEC, *TWO, *arguments)


def test_process_0_alone_waits_for_all_and_merges(done, tmp_path, monkeypatch):
    runs = [tmp_path / "shard-0", tmp_path / "shard-1"]
    as_process(monkeypatch, 1, "--out", tmp_path)
    assert done == [("2:3", runs[1], None)]
    done.clear()
    as_process(monkeypatch, 0, "--out", tmp_path)
    assert done == [("0:2", runs[0], None), ("wait", runs), ("merge", runs, tmp_path / "merged")]


def test_resumed_each_process_goes_on_with_its_own_run(done, tmp_path, monkeypatch, capsys):
    runs = [tmp_path / "shard-0", tmp_path / "shard-1"]
    runs[0].mkdir()
    with pytest.raises(SystemExit):
        as_process(monkeypatch, 1, "--resume", tmp_path)
    assert f"resume: {tmp_path} holds shard-0, which are not those of 2 processes" in capsys.readouterr().err
    runs[1].mkdir()
    as_process(monkeypatch, 1, "--resume", tmp_path)
    assert [(out, resumed) for _, out, resumed in done] == [(None, runs[1])]
    done.clear()
    monkeypatch.setattr(command_of_sweep, "finished", lambda run: True)
    as_process(monkeypatch, 0, "--resume", tmp_path)
    assert [name for name, *_ in done] == ["wait", "merge"]


def test_what_is_not_finished_is_waited_for_and_named(tmp_path, monkeypatch):
    runs, spec = [tmp_path / "shard-0", tmp_path / "shard-1"], SweepSpec(env="probe/linear", shift_episodes=1)
    console = open_console(io.StringIO())

    def write(seconds):
        """The next thing that the other process leaves."""
        said.append(console.file.getvalue().count("waiting for"))
        left.pop(0)()

    folders = [RunFolder.create(run, spec, "none") for run in runs[:1]]
    table = pl.DataFrame({"seed": [0]})
    left = [lambda name=name: folders[0].write_table(name, table) for name in (*TABLES, "shifts")]
    left.append(lambda: folders.append(RunFolder.create(runs[1], spec, "none")))
    left += [lambda name=name: folders[1].write_table(name, table) for name in (*TABLES, "shifts")]
    said, steps = [], len(left)
    monkeypatch.setattr(hosts.time, "sleep", write)
    hosts.wait(runs, console)
    assert not left and len(said) == steps
    # Told once of both, and once of the one that is left.
    assert said == [1] * (steps // 2) + [2] * (steps - steps // 2)


@pytest.mark.slow
def test_two_processes_leave_the_run_of_all_seeds(tmp_path):
    meeting = (
        "--coordinator",
        f"127.0.0.1:{free_port()}",
        "--processes",
        "2",
        "--out",
        str(tmp_path / "run"),
    )
    asked = [sys.executable, "-m", "experiments.sweep", *SPEC, *meeting]
    started = [
        subprocess.Popen([*asked, "--process", n], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for n in ("0", "1")
    ]
    for process in started:
        said = process.communicate()[0]
        assert process.returncode == 0, said
    found = {path.name: pl.read_parquet(path / "results.parquet") for path in (tmp_path / "run").iterdir()}
    assert {name: sorted(set(table["seed"])) for name, table in found.items()} == {
        "shard-0": [0, 1],
        "shard-1": [2],
        "merged": [0, 1, 2],
    }
    last = found["merged"].filter(seed=2).drop("member")
    assert last.equals(found["shard-1"].drop("member"), null_equal=True)
