"""`python -m experiments.audit`: what it prints, what it leaves behind, and how it refuses."""

import os
import re
import shutil
import signal
import sys
from io import StringIO

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from experiments.__main__ import COMMANDS
from experiments.audit import Arguments, main
from experiments.command import run_command
from jaxprune.report import LiveProgress
from jaxprune.report.numbers import number
from jaxprune.report.page import write_report
from tests.experiments.agent_files import write_agent
from tests.experiments.refusals import refused_in_one_line
from tests.experiments.reports import charts_of, ending, words_of

OF_AGENT = ("--agent", "agent.npz", "--env", "probe/linear", "--eps", "0.1", "--sparsities", "0,0.5")
QUICK = ("--episodes", "4", "--states", "5", "--return-episodes", "40", "--return-eps", "0.02")
CERTIFIED = ("states", "members", "audit", "certificates", "returns", "attacked_returns")
TABLES = (*CERTIFIED, "attacked_return_curve", "results", "tried")


def command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["experiments.audit", *map(str, arguments)])
    run_command(Arguments, main)


@pytest.fixture(name="home", scope="module")
def _home(tmp_path_factory):
    """A folder with an agent of `probe/linear`, and the audit of it in `whole`."""
    folder = tmp_path_factory.mktemp("home")
    write_agent(folder / "agent.npz", 4, 1)
    return folder


@pytest.fixture(name="printed", scope="module")
def _printed(home):
    """What the audit in `whole` says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        said = StringIO()
        patch.setattr(sys, "stdout", said)
        command(patch, *OF_AGENT, *QUICK, "--out", "whole")
        return said.getvalue()


def table(folder, name):
    return pl.read_parquet(folder / f"{name}.parquet")


def test_one_folder_holds_the_tables_of_a_certification_and_of_an_attack(home, printed):
    out = home / "whole"
    named = {f"{name}.{ending}" for name in TABLES for ending in ("csv", "parquet")}
    assert {path.name for path in out.iterdir()} == named | {"audit.json", "attackers", "report.html"}
    results, members, limits = (table(out, name) for name in ("results", "members", "attacked_returns"))
    attacks = ["none", "random", "critic", "mad", "strongest"]
    assert results["attack"].unique(maintain_order=True).to_list() == attacks
    assert results["outside_ball"].sum() == 0
    assert results["eps"].unique().sort().to_list() == [0.0, pytest.approx(0.1)]
    assert dict(results.group_by("episode_set").agg(pl.first("episodes")).iter_rows()) == {
        "selection": 2,
        "fresh": 4,
    }
    assert {"path", "crown", "tightest"} < set(members["bound"]) and members["violated"].sum() == 0
    assert set(members["states"]) == {5}
    assert limits.select("member", "eps", "episodes").rows() == [(0, 0.02, 20), (1, 0.02, 20)]
    for of_part in (results, members, limits):
        assert of_part["member"].unique().sort().to_list() == [0, 1]


def test_the_plan_counts_the_steps_that_were_taken(printed):
    # Two members, episodes of 32 steps: 3 + 40 + 5 certify, and none and three attacks have 2 + 4 each.
    steps = 2 * 32 * (3 + 40 + 5 + 4 * (2 + 4))
    assert f"at most {steps:,} steps, about " in printed
    assert f"measuring, 100% of {steps} steps" in printed
    said = " ".join(printed.replace("│", " ").split())
    assert "pruned by magnitude to 0, 0.5, not trained again" in said
    assert "certified returns eps 0.02 at every step, 40 episodes per member, half of them choose" in said
    assert "1 random, 1 critic, 1 mad" in said and "2 to select, 4 fresh" in said


def test_the_table_in_the_terminal_says_what_the_tables_say(home, printed):
    shown = re.findall(r"^ +(0\.\d\d) +(.+?) *$", printed, re.MULTILINE)
    results, members, limits = (table(home / "whole", n) for n in ("results", "members", "attacked_returns"))
    assert [sparsity for sparsity, _ in shown] == ["0.00", "0.50"]
    for member, (_, cells) in enumerate(shown):
        fresh = results.filter(member=member, episode_set="fresh")
        clean, strongest = (fresh.filter(attack=name).row(0, named=True) for name in ("none", "strongest"))
        bounds = members.filter(member=member, ball="own")
        path, crown = (bounds.filter(bound=name)["value"].item() for name in ("path", "crown"))
        certified = limits.filter(member=member).select("certified_mean", "certified_blocks").row(0)
        values = (clean["return_mean"], strongest["return_mean"], path, crown, *certified)
        assert cells.split() == [*map(number, values), strongest["found_by"]]


def test_the_verdict_is_in_words_in_the_terminal_and_on_the_page(home, printed):
    screen, out = ending(printed, "measuring, 100%"), home / "whole"
    first = (
        "verdict: ",
        "clean: at least 95 % of the dense policy's",
        "attacked: the strongest of random, critic, mad",
    )
    for fact in (*first, "intervals are over its 4 episodes", "the report is whole/report.html"):
        assert fact in screen
    for fact in (
        *first,
        "theorem: no mask ever raised a monotone bound",
        "CROWN: pruning raised",
        "certified, eps 0.02 at every step, sampled actions",
        "intervals are over its 4 episodes",
    ):
        assert fact in words_of(out)
    assert screen.startswith("SHORT SEARCH: only random, critic, mad attacked") and "WRONG" not in printed
    assert charts_of(out) == {"returns", "bounds", "certified"}
    page = (out / "report.html").read_text()
    for said in ("audit of one policy", "<li>verdict: ", "<li>SHORT SEARCH: only random", "eps: 0.1"):
        assert said in page
    before = page
    write_report([out])
    assert (out / "report.html").read_text() == before


def test_an_audit_that_was_stopped_goes_on_to_the_same_tables(home, printed, tmp_path, monkeypatch, capsys):
    agent = shutil.copy(home / "agent.npz", tmp_path / "agent.npz")
    monkeypatch.chdir(tmp_path)
    heard = LiveProgress.show

    def press_ctrl_c(self, update):
        heard(self, update)
        if update.phase == "selecting mad":
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch, pytest.raises(SystemExit) as leaving:
        patch.setattr(LiveProgress, "show", press_ctrl_c)
        command(patch, *OF_AGENT, *QUICK, "--out", "stopped")
    stopped = tmp_path / "stopped"
    assert leaving.value.code == 130
    assert "python -m experiments.audit --resume stopped" in capsys.readouterr().out
    assert {path.name for path in stopped.iterdir()} == {"audit.json", "stages", "attackers"}
    refused(monkeypatch, capsys, "states 9 was asked for, but .* begun with 5", "--states", "9")
    write_agent(agent, 4, 1, log_std=-1.0)
    refused(monkeypatch, capsys, "resume: agents is .* begun with")
    shutil.copy(home / "agent.npz", agent)
    command(monkeypatch, "--resume", "stopped")
    said = capsys.readouterr().out
    assert "certificates of member" not in said and "selecting mad" in said
    for name in TABLES:
        assert_frame_equal(table(home / "whole", name), table(stopped, name), check_exact=True)
    refused(monkeypatch, capsys, "resume: stopped is finished; its tables are there")


def refused(monkeypatch, capsys, said, *arguments):
    """Going on with the folder `stopped` is refused in one line."""
    refused_in_one_line(lambda: command(monkeypatch, "--resume", "stopped", *arguments), capsys, said)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--search", "smal"), "search: unknown name 'smal'; did you mean 'small'?"),
        (("--eps", "published"), "no budget is published for probe/linear"),
        (("--eps", "1,1,1,1"), "eps: cannot read '1,1,1,1'; give one number"),
        (("--episodes", "0"), "episodes: 0 must be at least 1"),
        (("--states", "0"), "states: 0 must be at least 1"),
        (("--sparsities", "0.5"), "sparsities: 0, the dense policy"),
        (("--return-eps=-1",), "return_eps: got -1, needs radii of at least 0"),
        (("--return-episodes", "4"), "return_episodes: 4 are too few"),
        (("--member", "1"), "member: "),
        (("--activation", "tanhh"), "tanhh"),
        (("--run", "nowhere"), "run: an audit is of one policy; give --agent RUN --member NUMBER"),
        (("--out", "."), "out: . exists"),
        (("--resume", "nowhere"), "nowhere/audit.json cannot be read"),
        (None, "give either --run FOLDER or --agent FILE"),
    ],
    ids=str,
)
def test_a_mistake_is_one_line_exit_code_2_and_nothing_written(
    home, arguments, said, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    of_agent = ("--agent", home / "agent.npz", *OF_AGENT[2:])
    with pytest.raises(SystemExit) as leaving:
        command(monkeypatch, *(() if arguments is None else (*of_agent, *arguments)))
    printed = capsys.readouterr()
    assert leaving.value.code == 2
    assert said in printed.err and printed.err.count("\n") == 1
    assert printed.out == ""
    assert list(tmp_path.iterdir()) == []


def test_it_is_a_command_of_jaxprune():
    assert "audit" in COMMANDS
