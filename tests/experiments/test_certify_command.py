"""`python -m experiments.certify`: what it prints, what it leaves behind, and how it refuses."""

import json
import os
import re
import shutil
import signal
import sys
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import jaxprune as jp
from experiments.certify import Arguments, _Phases, main
from experiments.command import run_command
from jaxprune import device, footprint
from jaxprune.bounds import BOUNDS
from jaxprune.certification import procedure
from jaxprune.evaluation import play_in_chunks
from tests.experiments.agent_files import write_agent
from tests.experiments.refusals import refused_in_one_line
from tests.experiments.reports import charts_of, ending, with_svg, words_of

QUICK = ("--bounds", "interval", "--states", "5", "--starts", "2", "--search-steps", "3", "--episodes", "2")
TABLES = ("states", "members", "audit", "certificates", "returns")


def command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["experiments.certify", *map(str, arguments)])
    run_command(Arguments, main)


def files(*tables):
    named = {f"{table}.{ending}" for table in tables for ending in ("csv", "parquet")}
    return named | {"certify.json"} | with_svg("bounds")


@pytest.fixture(name="agent", scope="module")
def _agent(tmp_path_factory):
    """An agent of `probe/linear`."""
    return write_agent(tmp_path_factory.mktemp("agents") / "agent.npz", 4, 1)


# What is true of an agent that was read from a file, and nothing of a training that never was.
OF_A_FILE = {
    "task": "probe/linear",
    "physics": "none",
    "members": 2,
    "seeds": [0],
    "sparsities": [0.0, 0.5],
    "pruned_post_hoc": True,
    "verdict_error": 0.05,
    "diverged": [],
    "activation": "tanh",
    "eps": 0.1,
    "norm": "linf",
    "space": "normalised",
    "discount": 0.99,
}


def tables_are_right(out: Path) -> None:
    """Of two members, under two radii, at five states of two episodes."""
    limits = pl.read_parquet(out / "attacked_returns.parquet")
    assert limits["eps"].to_list() == [0.02, 0.05] * 2 and set(limits["episodes"]) == {30}
    assert (limits["certified_mean"] <= limits["mean_max_lowest"]).all()
    assert (limits["certified_mean"] <= limits["attacked_max_lowest"]).all()
    assert (limits["attacked_mean"] <= limits["attacked_max_lowest"]).all()
    states = pl.read_csv(out / "states.csv")
    per_bound = states.group_by("member", "ball", "bound").len()
    assert set(per_bound["len"]) == {5} and set(per_bound["ball"]) == {"own", "dense"}
    assert states["sparsity_asked"].unique().sort().to_list() == [0.0, 0.5]
    clean = pl.read_parquet(out / "returns.parquet")
    assert clean["episodes"].to_list() == [2, 2]
    assert clean["return_mean"].is_between(0, 32).all()
    assert clean["policy"].to_list() == ["sampled"] * 2
    certificates = pl.read_parquet(out / "certificates.parquet")
    assert certificates["policy"].unique().to_list() == ["sampled"]
    assert {"tv", "return"} < set(certificates["quantity"])
    smoothed = pl.read_parquet(out / "smoothing.parquet")
    assert (smoothed["certified_mean_max_lowest"] <= smoothed["mean_max_lowest"]).all()
    assert smoothed["episodes"].to_list() == [30, 30]
    assert smoothed["audited_over_budget"].to_list() == pytest.approx([32**0.5] * 2)


def test_as_many_members_play_side_by_side_as_the_memory_holds(agent, tmp_path, monkeypatch, capsys):
    of_agent = ("--agent", agent, "--env", "probe/linear", "--eps", "0.1", "--sparsities", "0,0.5,0.9")
    asked = (*of_agent, *QUICK)
    command(monkeypatch, *asked, "--out", tmp_path / "all")
    assert "side by side" not in capsys.readouterr().out
    played = []
    monkeypatch.setattr(
        procedure, "play_in_chunks", lambda *given: played.append(given[-1]) or play_in_chunks(*given)
    )
    monkeypatch.setattr(device, "memory", lambda: footprint.BASE_BYTES)  # so that nothing is left for members
    command(monkeypatch, *asked, "--out", tmp_path / "few")
    assert played == [2]
    assert "side by side 2 members at most" in re.sub(" +", " ", capsys.readouterr().out)
    for table in TABLES:
        assert_frame_equal(*(pl.read_parquet(tmp_path / run / f"{table}.parquet") for run in ("all", "few")))


def test_an_agent_is_pruned_certified_and_smoothed(agent, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    of_agent = ("--agent", agent, "--env", "probe/linear", "--eps", "0.1", "--sparsities", "0,0.5")
    smoothing = ("--smoothing-sigma", "0.5", "--smoothing-budget", "0.2", "--smoothing-episodes", "30")
    returns = ("--return-episodes", "60", "--return-eps", "0.02,0.05", "--return-attacked", "3")
    command(monkeypatch, *of_agent, *QUICK, *smoothing, *returns, "--out", out)
    printed = capsys.readouterr().out
    assert "eps 0.02, 0.05 at every step, 60 episodes per member, half of them choose" in " ".join(
        printed.split()
    )
    screen = ending(printed, "episodes for certified returns ...")
    for fact in (
        "no mask ever raised a monotone bound",
        "tight verdict: in the mean the tightest bound rose for",
        "certified, eps 0.02 at every step, sampled actions, confidence 0.95 of all together: dense",
        "largest certified mean of max(R,",  # smoothed
        "0.50",
        str(out),
    ):
        assert fact in screen
    for fact in (
        # four statements of two members under two radii
        "all 16 limits hold together at 0.95, over 30 episodes of each member",
        "largest certified mean at eps 0.02: pruned",
        "no mask ever raised a monotone bound",
        "tight verdict, the policy's own ball",
        "ball: one and the same in raw observations",  # all read through one filter
        "vacuous",
        "all 4 hold together",
        # eps sqrt(d) sqrt(H) = .1 * 2 * sqrt(32)
        "amounts to 1.13, 5.66 times as much",
        "confidence 0.95",
        "float32",
    ):
        assert fact in words_of(out)
    assert "WRONG" not in printed and "DIVERGED" not in printed
    assert {path.name for path in out.iterdir()} == files(
        *TABLES, "smoothing", "attacked_returns", "attacked_return_curve"
    ) | with_svg("attacked_returns")
    assert charts_of(out) == {"bounds", "certified"}
    tables_are_right(out)
    written = json.loads((out / "certify.json").read_text())
    assert written["victims"]["agent"] == str(agent)
    assert written["population"] == OF_A_FILE


def test_every_member_of_a_run_is_certified_in_the_runs_own_ball(tmp_path, monkeypatch, capsys):
    spec = jp.SweepSpec(
        env="probe/categorical",
        sparsities=(0.0, 0.5),
        eps=(0.2,),
        norm="l2",
        space="raw",
        steps=512,
        environments=8,
        unroll=64,
        hidden=(16,),
        episodes=2,
        certify_episodes=2,
        attacks="random",
    )
    swept = jp.sweep.run(spec, tmp_path / "run")
    smoothing = ("--smoothing-sigma", "0.5", "--smoothing-episodes", "30", "--smoothing-votes", "50")
    command(monkeypatch, "--run", tmp_path / "run", *QUICK, *smoothing)
    (folder,) = (tmp_path / "run").glob("certificates-*")
    assert {path.name for path in folder.iterdir()} == files(*TABLES, "smoothing", "votes")
    assert charts_of(folder) == {"bounds"}
    certificates = pl.read_parquet(folder / "certificates.parquet")
    place = ("member", "eps", "norm", "space", "bound", "quantity")
    same = certificates.join(swept.certificates, on=place, suffix="_of_sweep").filter(
        pl.col("monotone") & pl.col("unmasked").is_not_null()
    )
    names = [name for name, bound in BOUNDS.items() if bound.monotone]
    assert len(same) == 2 * len(names)
    # The weights with and without their masks are those of the sweep.
    assert same["value"].to_list() == pytest.approx(same["value_of_sweep"].to_list())
    assert same["unmasked"].to_list() == pytest.approx(same["unmasked_of_sweep"].to_list())
    # The policies are categorical: their actions are certified state by state.
    votes = pl.read_parquet(folder / "votes.parquet")
    states = pl.read_parquet(folder / "states.parquet")["state"].n_unique()
    assert 1 <= states <= 5  # an episode of a policy that errs is short
    assert votes.group_by("member", maintain_order=True).len()["len"].to_list() == [states] * 2
    dense = votes.filter(pl.col("sparsity_asked") == 0)
    assert dense["radius"].to_list() == dense["dense_radius"].to_list()
    assert "smoothed actions" in words_of(folder)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--bounds", "crwn"), "did you mean 'crown'?"),
        (("--policy", "best"), "policy: unknown name 'best'. Known: mode, sampled"),
        (("--norm", "l1"), "norm: unknown name 'l1'"),
        (("--eps=-0.1",), "eps: -0.1 must be a finite number of at least 0"),
        (("--eps", "published"), "no budget is published for probe/linear"),
        (("--confidence", "1.5"), "confidence: got 1.5, needs a probability between 0 and 1"),
        (("--sparsities", "0.5"), "sparsities: 0, the dense policy"),
        (("--sparsities", "0,1"), "sparsities: 1 is outside [0, 1)"),
        (("--sparsities", ""), "sparsities: cannot read ''"),
        (("--env", "probe/liner"), "env: unknown name 'probe/liner'; did you mean 'probe/linear'?"),
        (
            ("--smoothing-sigma", "0.1", "--smoothing-budget", "0.3", "--smoothing-episodes", "50"),
            "for 10 members together; at least 4436 are needed",
        ),
        (("--smoothing-sigma=-1",), "smoothing_sigma: -1 must be a finite number above 0"),
        (("--smoothing-budget", "3"), "smoothing_budget: nothing is smoothed without smoothing_sigma"),
        (("--return-eps", "0.01"), "return_eps: no returns are certified with return_episodes 0"),
        (("--seed", "99999999999999999999"), "must be from 0 to 999,999"),
        (("--seed=-1",), "seed: -1 must be from 0 to 999,999"),
        (("--eps", "1e40"), "eps: 1e+40 must be a finite number"),
        (("--return-lowest", "nan"), "return_lowest: got nan, needs a finite number"),
        (("--policy", "mode", "--return-episodes", "200"), "return_episodes: policy is mode"),
        (("--chunk", "1"), "chunk: 1 must be at least 2"),
        (("--chunk", "11"), "chunk: 11 is more than the members there are, 10"),
        (("--run", "x"), "give either --run FOLDER or --agent FILE"),
        (None, "give either --run FOLDER or --agent FILE"),
        (("--run", "nowhere"), "nowhere is no run folder"),
        (("--resume", "nowhere"), "nowhere/certify.json cannot be read"),
    ],
    ids=str,
)
def test_a_mistake_is_one_line_exit_code_2_and_nothing_written(
    agent, arguments, said, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    of_agent = ("--agent", agent, "--env", "probe/linear", "--eps", "0.1")
    alone = arguments is None or arguments[-1] == "nowhere"
    with pytest.raises(SystemExit) as leaving:
        command(monkeypatch, *(() if alone else of_agent), *(arguments or ()))
    printed = capsys.readouterr()
    assert leaving.value.code == 2
    assert said in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""
    assert list(tmp_path.iterdir()) == []


def test_help_names_a_command_that_can_be_run(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["/experiments/certify.py", "--agnet", "x"])
    with pytest.raises(SystemExit):
        run_command(Arguments, main)
    assert "run python -m experiments.certify --help" in " ".join(capsys.readouterr().err.split())


def test_of_the_deterministic_policy_there_is_no_gap_and_no_expected_distance(
    agent, tmp_path, monkeypatch, capsys
):
    of_agent = ("--agent", agent, "--env", "probe/linear", "--eps", "0.1", "--sparsities", "0,0.5", *QUICK)
    command(monkeypatch, *of_agent, "--policy", "mode", "--out", tmp_path / "out")
    certificates = pl.read_parquet(tmp_path / "out" / "certificates.parquet")
    assert certificates["policy"].unique().to_list() == ["mode"]
    assert set(certificates["quantity"]) == {"delta", "delta_action", "delta_dense"}
    assert set(pl.read_parquet(tmp_path / "out" / "returns.parquet")["policy"]) == {"mode"}
    assert "no F and no value gap" in words_of(tmp_path / "out")


def test_a_deterministic_agent_has_shifts_in_action_units_only(tmp_path, monkeypatch, capsys):
    agent = write_agent(tmp_path / "agent.npz", 4, 1, log_std=-100.0)
    of_agent = ("--agent", agent, "--env", "probe/linear", "--eps", "0.1", "--sparsities", "0,0.5")
    with pytest.raises(SystemExit) as leaving:
        command(monkeypatch, *of_agent)
    assert leaving.value.code == 2
    assert "use --units action" in capsys.readouterr().err
    command(monkeypatch, *of_agent, *QUICK, "--units", "action", "--out", tmp_path / "out")
    assert "no mask ever raised a monotone bound" in capsys.readouterr().out
    states = pl.read_parquet(tmp_path / "out" / "states.parquet")
    assert states["quantity"].unique().to_list() == ["delta_action"]
    assert states["value"].is_finite().all() and states["tv"].is_null().all()


def test_an_existing_folder_is_left_alone(agent, tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as leaving:
        command(monkeypatch, "--agent", agent, "--env", "probe/linear", "--eps", "0.1", "--out", tmp_path)
    assert leaving.value.code == 2
    assert "exists" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def press_ctrl_c_at(phase):
    """What tells the phases, and sends the signal when this one begins."""
    heard = _Phases.tell

    def tell(self, update):
        heard(self, update)
        if update.phase == phase:
            os.kill(os.getpid(), signal.SIGINT)

    return tell


def stop_half_way_through(number):
    """What writes a table to a file, and is stopped within the table of this number."""
    written, write = [], pl.DataFrame.write_parquet

    def write_or_stop(self, path):
        write(self, path)
        written.append(path)
        if len(written) == number:
            path.write_bytes(path.read_bytes()[:50])
            raise KeyboardInterrupt

    return write_or_stop


def test_a_certification_that_was_stopped_goes_on_to_the_same_tables(agent, tmp_path, monkeypatch, capsys):
    file = shutil.copy(agent, tmp_path / "agent.npz")
    of_agent = ("--agent", "agent.npz", "--env", "probe/linear", "--eps", "0.1", "--sparsities", "0,0.5")
    monkeypatch.chdir(tmp_path)
    command(monkeypatch, *of_agent, *QUICK, "--out", tmp_path / "whole")
    stopped = tmp_path / "stopped"
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as leaving:
        patch.setattr(_Phases, "tell", press_ctrl_c_at("bounds and attack on member 1 of 2"))
        command(patch, *of_agent, *QUICK, "--out", stopped)
    assert leaving.value.code == 130
    assert f"python -m experiments.certify --resume {stopped}" in capsys.readouterr().out
    assert {path.name for path in stopped.iterdir()} == {"certify.json", "stages"}
    monkeypatch.chdir("/")
    refused(monkeypatch, capsys, "starts 9 was asked for, but .* begun with 2", stopped, "--starts", "9")
    refused(monkeypatch, capsys, "physics native was .* begun with none", stopped, "--physics", "native")
    write_agent(file, 4, 1, log_std=-1.0)
    refused(monkeypatch, capsys, "resume: agents is .* begun with", stopped)
    shutil.copy(agent, file)
    assert {path.name for path in stopped.iterdir()} == {"certify.json", "stages"}
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(pl.DataFrame, "write_parquet", stop_half_way_through(3))
        command(patch, "--resume", stopped)
    printed = capsys.readouterr().out
    assert "bounds and attack on member 2 of 2 ..." in printed and "member 1 of 2" not in printed
    written = {path.stem: pl.read_parquet(path) for path in stopped.glob("*.parquet")}
    assert written.keys() == {"states", "members"}
    command(monkeypatch, "--resume", stopped)
    assert "..." not in capsys.readouterr().out  # all is done, and only written
    assert {path.name for path in stopped.iterdir()} == files(*TABLES)
    for table in TABLES:
        whole, resumed = (pl.read_parquet(run / f"{table}.parquet") for run in (tmp_path / "whole", stopped))
        assert_frame_equal(whole, resumed, check_exact=True)
    refused(monkeypatch, capsys, "resume: .* is finished; its tables are there", stopped)


def refused(monkeypatch, capsys, said, folder, *arguments):
    """Going on with the folder is refused in one line."""
    refused_in_one_line(lambda: command(monkeypatch, "--resume", folder, *arguments), capsys, said)
