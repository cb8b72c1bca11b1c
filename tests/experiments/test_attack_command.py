"""`python -m experiments.attack`: what it prints, what it leaves behind, and how it refuses."""

import json
import os
import pickle
import re
import shutil
import signal
import sys

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import jaxprune as jp
from experiments.attack import Arguments, _training, main
from experiments.command import run_command
from jaxprune.attack_search import EFFORTS, Effort
from jaxprune.attack_search.effort import RECIPE
from jaxprune.report import LiveProgress
from jaxprune.training import sarsa, search
from tests.experiments.agent_files import write_agent
from tests.experiments.refusals import refused_in_one_line
from tests.experiments.reports import charts_of, ending, with_svg, words_of

QUICK = ("--attacks", "random,sa-rl", "--episodes", "4", "--selection-episodes", "2", "--steps", "2048")


@pytest.fixture(name="small_search", scope="module", autouse=True)
def _small_search():
    with pytest.MonkeyPatch.context() as patch:
        little = Effort(
            search.grid((1,), (0.2,), (0,), (1e-3, 3e-3), (3e-4,)),
            sarsa.grid(eps=(0.1,), weight=(0.1,)),
            recipe=RECIPE.replace(epochs=1, minibatches=1, hidden=(4,)),
        )
        patch.setitem(EFFORTS, "small", little)
        yield


def command(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["experiments.attack", *map(str, arguments)])
    run_command(Arguments, main)


@pytest.fixture(name="agent", scope="module")
def _agent(tmp_path_factory):
    """An agent of `probe/linear`."""
    return write_agent(tmp_path_factory.mktemp("agents") / "agent.npz", 4, 1)


def test_an_agent_is_attacked_and_the_tables_are_left_behind(agent, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    pruned = ("--sparsities", "0,0.5")
    command(
        monkeypatch, "--agent", agent, "--env", "probe/linear", "--eps", "0.3", *pruned, *QUICK, "--out", out
    )
    printed = capsys.readouterr().out
    for fact in ("2: sparsities 0, 0.5", "1 random, 2 sa-rl", "probe/linear"):
        assert fact in printed
    screen = ending(printed, "measuring, 100%")
    for fact in ("verdict: ", "attacked: the strongest of random, sa-rl", "under attack", str(out)):
        assert fact in screen
    for fact in ("verdict: ", "attacked: the strongest of random, sa-rl", "median attacker"):
        assert fact in words_of(out)
    assert {path.name for path in out.iterdir()} == {
        "attack.json",
        "attackers",
        "report.html",
        *(f"{name}.{ending}" for name in ("results", "tried") for ending in ("csv", "parquet")),
    }
    assert charts_of(out) == {"returns", "tried"}
    results = pl.read_csv(out / "results.csv")
    assert results["attack"].unique(maintain_order=True).to_list() == [
        "none",
        "random",
        "sa-rl",
        "strongest",
    ]
    assert results["outside_ball"].sum() == 0
    assert results.select("member", "sparsity").unique().sort("member").rows() == [(0, 0.0), (1, 0.5)]
    assert (results["return_low"] <= results["return_mean"]).all()
    assert (results["return_mean"] <= results["return_high"]).all()
    written = json.loads((out / "attack.json").read_text())
    assert written["search"]["eps"] == [0.3]
    assert written["victims"]["agent"] == str(agent)
    assert written["victims"]["physics"] == "none"  # what "auto" stood for when it began


def test_an_attack_that_was_stopped_goes_on_to_the_same_tables(agent, tmp_path, monkeypatch, capsys):
    of_agent = ("--agent", agent.relative_to(agent.parent), "--env", "probe/linear", "--eps", "0.3", *QUICK)
    monkeypatch.chdir(agent.parent)
    command(monkeypatch, *of_agent, "--out", tmp_path / "whole")
    heard = LiveProgress.show

    def press_ctrl_c(self, update):
        heard(self, update)
        if update.phase == "selecting sa-rl":
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch, pytest.raises(SystemExit) as leaving:
        patch.setattr(LiveProgress, "show", press_ctrl_c)
        command(patch, *of_agent, "--out", tmp_path / "stopped")
    assert leaving.value.code == 130
    assert f"python -m experiments.attack --resume {tmp_path / 'stopped'}" in capsys.readouterr().out
    monkeypatch.chdir(tmp_path)
    for option, said in (
        (("--episodes", "9"), "episodes 9 was asked for, but .* begun with 4"),
        (("--physics", "native"), "physics native was asked for, but .* begun with none"),
    ):
        with pytest.raises(SystemExit) as leaving:
            command(monkeypatch, "--resume", tmp_path / "stopped", *option)
        assert leaving.value.code == 2
        assert re.search(said, capsys.readouterr().err)
    command(monkeypatch, "--resume", tmp_path / "stopped")
    for name in ("results", "tried"):
        whole, resumed = (pl.read_parquet(tmp_path / run / f"{name}.parquet") for run in ("whole", "stopped"))
        assert_frame_equal(whole, resumed)
    capsys.readouterr()
    refused(monkeypatch, capsys, r"^error: resume: stopped is finished; its tables are there")


def test_an_attack_does_not_go_on_with_another_agent(agent, tmp_path, monkeypatch, capsys):
    victim, before = shutil.copy(agent, tmp_path / "agent.npz"), agent.read_bytes()
    monkeypatch.chdir(tmp_path)
    heard = LiveProgress.show

    def press_ctrl_c(self, update):
        heard(self, update)
        if update.phase == "selecting random":
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(LiveProgress, "show", press_ctrl_c)
        of_agent = ("--agent", "agent.npz", "--env", "probe/linear", "--eps", "0.3")
        command(patch, *of_agent, *QUICK, "--out", "stopped")
    capsys.readouterr()
    write_agent(victim, 4, 1, log_std=-1.0)
    assert victim.read_bytes() != before
    refused(monkeypatch, capsys, r"^error: resume: agents is .*, but what is kept in stopped/attackers was")
    victim.write_bytes(before)
    (tmp_path / "stopped" / "attackers" / "asked.json").unlink()
    refused(monkeypatch, capsys, r"^error: resume: stopped/attackers holds no asked.json, which says of what")
    assert not [*(tmp_path / "stopped").glob("*.parquet")]


def refused(monkeypatch, capsys, said):
    """Going on with the folder `stopped` is refused in one line, before anything is done."""
    refused_in_one_line(lambda: command(monkeypatch, "--resume", "stopped"), capsys, said)


@pytest.fixture(name="run", scope="module")
def _run(tmp_path_factory):
    """The folder of a finished run."""
    spec = jp.SweepSpec(
        env="probe/linear",
        sparsities=(0.0, 0.5),
        eps=(0.2,),
        space="raw",
        steps=512,
        environments=8,
        unroll=64,
        hidden=(16,),
        episodes=2,
        certify_episodes=2,
        attacks="random",
    )
    folder = tmp_path_factory.mktemp("runs") / "run"
    jp.sweep.run(spec, folder)
    return folder


def test_every_member_of_a_run_is_attacked_in_the_runs_own_ball(run, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        command(monkeypatch, "--run", run, "--env", "probe/chain", *QUICK)
    assert "env: probe/chain was asked for, but the members of" in capsys.readouterr().err
    command(monkeypatch, "--run", run, *QUICK)
    (folder,) = run.glob("attacks-*")
    results = pl.read_parquet(folder / "results.parquet").filter(pl.col("attack") != "none")
    assert results.select("member", "sparsity", "eps", "space").unique().sort("member").rows() == [
        (0, 0.0, pytest.approx(0.2), "raw"),
        (1, 0.5, pytest.approx(0.2), "raw"),
    ]
    # A run is reported as a sweep is, under the attack that selection called strongest.
    regret = pl.read_parquet(folder / "regret.parquet").filter(attack="strongest").sort("member")
    fresh = results.filter(attack="strongest", episode_set="fresh").sort("member")
    assert regret["attacked_return"].to_list() == fresh["return_mean"].to_list()
    assert regret["attackers_tried"].to_list() == [3, 3]
    assert "undecided (1 seed, 6 needed)" in ending(capsys.readouterr().out, "measuring, 100%")
    assert with_svg("returns", "regret") <= {path.name for path in folder.iterdir()}
    assert charts_of(folder) == {"returns", "frontier", "regret", "tried"}


@pytest.mark.parametrize(
    ("attacks", "said"),
    [
        ("random,mad", "none, so that search and steps have no part"),
        ("random,sarsa", "of critics alone, so that steps have no part"),
        ("sarsa,sa-rl", "499,712 steps per adversary"),
    ],
)
def test_the_plan_says_which_options_have_no_part(attacks, said):
    assert _training(jp.AttackSearchSpec(attacks=attacks)) == said


@pytest.mark.parametrize(
    ("rungs", "said"),
    [(1, ""), (3, ""), (4, "the first is 4 iterations of PPO"), (6, "is 1 iteration of PPO")],
)
def test_the_plan_says_where_the_first_rung_stops_adversaries_too_early(rungs, said):
    spec = jp.AttackSearchSpec(attacks="sa-rl", search="published", steps=65_536, rungs=rungs)
    plan = _training(spec)
    assert said in plan and ("says little" in plan) == bool(said)


def test_halved_and_warm_started_and_carried_over_to_siblings(run, tmp_path, monkeypatch, capsys):
    out, asked = tmp_path / "out", ("--rungs", "2", "--warm-starts", "--transfer")
    with pytest.raises(SystemExit):
        command(monkeypatch, "--run", run, *QUICK, *asked, "--out", out)
    assert "rungs: 2 is too many" in capsys.readouterr().err and not out.exists()
    command(monkeypatch, "--run", run, *QUICK, "--steps", "4096", *asked, "--out", out)
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "by rung: 2 x 2,048 > 1 x 4,096; from a sibling's: 1 x 2,048; the first is 1 iteration" in said
    assert "mean return under the sa-rl found for another sparsity" in words_of(out)
    assert (out / "effort.png").is_file()
    assert "effort" in charts_of(out)
    effort, rungs, transfer = (
        pl.read_parquet(out / f"{name}.parquet") for name in ("effort", "rungs", "transfer")
    )
    assert effort.select("member", "steps", "attackers").rows() == [
        (member, steps, count) for member in (0, 1) for steps, count in ((2048, 2), (4096, 1))
    ]
    assert rungs.height == 2 * (2 + 1)
    assert transfer.select("from_sparsity", "to_sparsity").rows() == [(0, 0), (0, 0.5), (0.5, 0), (0.5, 0.5)]
    assert (
        pl.read_parquet(out / "results.parquet").filter(attack="sa-rl")["attackers_tried"].unique().item()
        == 3
    )
    assert json.loads((out / "attack.json").read_text())["search"]["rungs"] == 2


def test_an_unfinished_run_is_refused_before_it_is_attacked(run, tmp_path, monkeypatch, capsys):
    shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("attacks-*"))
    (tmp_path / "run" / "certificates.parquet").unlink()
    with pytest.raises(SystemExit) as leaving:
        command(monkeypatch, "--run", tmp_path / "run", *QUICK)
    assert leaving.value.code == 2
    assert "finish the run with --resume first" in capsys.readouterr().err
    assert not [*(tmp_path / "run").glob("attacks-*")]


def test_pruned_policies_without_the_dense_one_are_refused(agent, tmp_path, monkeypatch, capsys):
    of_agent = ("--agent", agent, "--env", "probe/linear", "--eps", "0.1", "--sparsities", "0.5,0.9")
    with pytest.raises(SystemExit) as leaving:
        command(monkeypatch, *of_agent, *QUICK, "--out", tmp_path / "out")
    assert leaving.value.code == 2
    assert "sparsities: 0, the dense policy that the others are compared with" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


class Evil:
    def __reduce__(self):
        return print, ("code was run",)


@pytest.fixture(name="files", scope="module")
def _files(agent):
    """Files to be refused, by name."""
    folder = agent.parent
    (folder / "text.npz").write_text("no agent")
    (folder / "evil.model").write_bytes(pickle.dumps(Evil()))
    write_agent(folder / "large.npz", 5, 2)
    return folder


@pytest.mark.parametrize(
    ("file", "arguments", "said"),
    [
        ("text.npz", (), "text.npz"),
        ("missing.npz", (), "missing.npz"),
        ("evil.model", (), "refused"),
        ("large.npz", (), "maps 5 features to 2 actions, the task has 4 features and 1 actions"),
        ("agent.npz", ("--attacks", "sarl"), "did you mean 'sa-rl'?"),
        ("agent.npz", ("--attacks", ""), "attacks: the list is empty"),
        ("agent.npz", ("--chunk", "0"), "chunk: 0 must be at least 2"),
        ("agent.npz", ("--eps", "0.1,0.2"), "2 numbers for an observation of 4 features"),
        ("agent.npz", ("--eps", "0.1,0.2,0.1,0.1", "--norm", "l2"), "one radius"),
        ("agent.npz", ("--eps", "published"), "no budget is published for probe/linear"),
        ("agent.npz", ("--run", "x"), "give either --run FOLDER or --agent FILE"),
        ("agent.npz", ("--transfer",), "transfer: no two members share a seed"),
        ("agent.npz", ("--warm-starts",), "warm_starts: a dense member has no pruned sibling"),
        ("agent.npz", ("--rungs", "9", "--steps", "4096"), "rungs: 9 is too many"),
        (None, ("--run", "nowhere"), "nowhere is no run folder"),
        (None, ("--resume", "nowhere"), "nowhere/attack.json cannot be read"),
        (None, (), "give either --run FOLDER or --agent FILE"),
    ],
    ids=str,
)
def test_a_mistake_is_one_line_exit_code_2_and_nothing_written(
    files, file, arguments, said, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    of_agent = () if file is None else ("--agent", files / file, "--env", "probe/linear", "--eps", "0.1")
    with pytest.raises(SystemExit) as leaving:
        command(monkeypatch, *of_agent, *arguments)
    printed = capsys.readouterr()
    assert leaving.value.code == 2
    assert said in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""
    assert list(tmp_path.iterdir()) == []


def test_an_agent_without_its_task_is_refused(agent, monkeypatch, capsys):
    with pytest.raises(SystemExit) as leaving:
        command(monkeypatch, "--agent", agent)
    assert leaving.value.code == 2
    assert "give --env NAME" in capsys.readouterr().err


def test_a_former_name_of_an_attack_is_read_with_a_hint(agent, tmp_path, monkeypatch, capsys):
    of_agent = ("--agent", agent, "--env", "probe/linear", "--eps", "0.3", *QUICK)
    former = [word.replace("sa-rl", "optimal") for word in map(str, of_agent)]
    command(monkeypatch, *former, "--out", tmp_path / "out")
    assert "hint: attack 'optimal' is now called 'sa-rl'\n" in capsys.readouterr().err
    assert "sa-rl" in pl.read_csv(tmp_path / "out" / "results.csv")["attack"].to_list()
