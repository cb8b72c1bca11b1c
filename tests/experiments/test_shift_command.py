"""`python -m experiments.shift`: what it prints, what it leaves behind, and how it refuses."""

import json
import sys

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import jaxprune as jp
from experiments import sweep
from experiments.__main__ import COMMANDS
from experiments.command import run_command
from experiments.shift import Arguments, main
from jaxprune.analysis import validate
from tests.experiments.agent_files import write_agent
from tests.experiments.reports import charts_of, ending, with_svg, words_of
from tests.populations import untrained_run

QUICK = ("--parameters", "mass,gravity", "--factors", "0.7,1,1.4", "--draws", "2", "--episodes", "2")
TABLES = ("shifts", "shift_summary", "shift_verdicts")


def command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["experiments.shift", *map(str, arguments)])
    run_command(Arguments, main)


@pytest.fixture(name="agent", scope="module")
def _agent(tmp_path_factory):
    """An agent of the hopper, which falls soon."""
    return write_agent(tmp_path_factory.mktemp("agents") / "agent.npz", 11, 3)


def test_an_agent_is_measured_at_every_point(agent, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    of_agent = ("--agent", agent, "--env", "hopper", "--physics", "native", "--sparsities", "0,0.5")
    command(monkeypatch, *of_agent, *QUICK, "--out", out)
    said = capsys.readouterr().out
    printed = " ".join(said.split())
    assert "undecided (1 seed, 6 needed)" in ending(said, "shifts, 100%")
    for fact in (
        "mass, gravity, each by 0.7, 1, 1.4",
        "2 clean ones per member at each of 7 points",
        "at most 28,000 in all",
        "mean return over 7 shifts",
        "undecided (1 seed, 6 needed)",
        str(out),
    ):
        assert fact in printed
    named = {f"{table}.{ending}" for table in TABLES for ending in ("csv", "parquet")}
    assert {path.name for path in out.iterdir()} == named | {"shift.json"} | with_svg("shifts")
    assert charts_of(out) == {"shifts"}
    shifts = validate(pl.read_parquet(out / "shifts.parquet"), "shifts")
    assert shifts.group_by("member").len()["len"].to_list() == [1 + 2 * 3 + 2] * 2
    assert shifts["sparsity_asked"].unique().sort().to_list() == [0.0, 0.5]
    summary = validate(pl.read_parquet(out / "shift_summary.parquet"), "shift_summary")
    assert summary["points"].to_list() == [7, 7]
    written = json.loads((out / "shift.json").read_text())
    assert written["shifts"] == {
        "parameters": ["mass", "gravity"],
        "factors": [0.7, 1.0, 1.4],
        "draws": 2,
        "episodes": 2,
        "seed": 0,
    }
    assert written["victims"]["agent"] == str(agent) and written["population"]["task"] == "hopper"


def test_every_member_of_a_run_is_measured(tmp_path, monkeypatch, capsys):
    spec = jp.SweepSpec(
        env="hopper",
        physics="native",
        sparsities=(0.0, 0.5),
        seeds=2,
        steps=128,
        environments=4,
        unroll=16,
        epochs=1,
        minibatches=1,
        hidden=(4,),
        attacks="random",
        episodes=1,
        selection_episodes=1,
        certify_episodes=2,
    )
    untrained_run(spec, tmp_path / "run")
    command(monkeypatch, "--run", tmp_path / "run", *QUICK)
    (folder,) = (tmp_path / "run").glob("shifts-*")
    shifts = pl.read_parquet(folder / "shifts.parquet")
    assert shifts.select("member", "seed", "sparsity_asked").unique().sort("member").rows() == [
        (0, 0, 0.0),
        (1, 0, 0.5),
        (2, 1, 0.0),
        (3, 1, 0.5),
    ]
    verdicts = pl.read_parquet(folder / "shift_verdicts.parquet")
    assert verdicts["verdict"].unique().to_list() == ["undecided (2 seeds, 6 needed)"]
    assert "(2 seeds, 6 needed)" in " ".join(capsys.readouterr().out.split())


def test_a_sweep_measures_its_members_where_it_is_asked_to(tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    tiny = "--steps 128 --environments 4 --unroll 16 --epochs 1 --minibatches 1 --hidden 4 --attacks random"
    few = "--episodes 1 --selection-episodes 1 --certify-episodes 2 --shift-episodes 2 --sparsities 0,0.5"
    arguments = f"--env inverted_pendulum --physics native {tiny} {few} --out {out}".split()
    monkeypatch.setattr(sys, "argv", ["experiments.sweep", *arguments])
    run_command(sweep.Arguments, sweep.main)
    printed = " ".join(capsys.readouterr().out.split())
    assert "2 clean episodes per member at each of" in printed
    assert "shifted dynamics, pruned against dense: mean return undecided (1 seed, 6 needed)" in printed
    assert "shifted dynamics: mean return over 95 shifts" in words_of(out)
    assert (out / "shifts.png").is_file()
    population = jp.Population.load(out)
    apart = jp.shift_evaluation.run(jp.ShiftSpec(episodes=2), population)
    for name, table in apart.tables().items():
        assert_frame_equal(pl.read_parquet(out / f"{name}.parquet"), table)
    assert apart.summary["worst"].max() < apart.summary["nominal"].min()


def test_it_is_listed():
    assert "shift" in COMMANDS


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--parameters", "mas"), "did you mean 'mass'?"),
        (("--factors", "0,1"), "factors: 0 must be above 0"),
        (("--draws=-1",), "draws: -1 must be at least 0"),
        (("--episodes", "0"), "episodes: 0 must be at least 1"),
        (("--sparsities", "0,1"), "sparsities: 1 is outside [0, 1)"),
        (("--env", "probe/linear"), "it maps 11 features to 3 actions, the task has 4"),
        (("--chunk", "1"), "chunk: 1 must be at least 2"),
        (("--chunk", "3", "--sparsities", "0,0.5"), "chunk: 3 is more than the members there are, 2"),
        (("--run", "x"), "give either --run FOLDER or --agent FILE"),
    ],
    ids=str,
)
def test_a_mistake_is_one_line_exit_code_2_and_nothing_written(
    agent, arguments, said, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as leaving:
        command(monkeypatch, "--agent", agent, "--env", "hopper", *arguments)
    printed = capsys.readouterr()
    assert leaving.value.code == 2
    assert said in printed.err
    assert printed.err.count("\n") == 1 and printed.out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_probe_is_refused_by_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    of_the_probe = write_agent(tmp_path / "agent.npz", 4, 1)
    with pytest.raises(SystemExit) as leaving:
        command(monkeypatch, "--agent", of_the_probe, "--env", "probe/linear", "--out", tmp_path / "out")
    assert leaving.value.code == 2
    assert "shift: probe/linear on none has no body" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["agent.npz"]
