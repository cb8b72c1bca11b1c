"""`python -m experiments.sweep`: what it prints, what it leaves behind, and how it refuses."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from experiments import sweep as sweep_command
from experiments.command import run_command, telling
from experiments.sweep import Arguments, from_preset, main
from jaxprune import SweepSpec, checkpoint
from jaxprune.fusions import FLAG
from jaxprune.run_folder import RunFolder
from tests.experiments.refusals import refused_in_one_line
from tests.experiments.reports import charts_of, with_svg

TABLES = ("results", "certificates", "curves", "regret", "verdicts", "episodes", "sampled", "layers")
COMMAND = [sys.executable, "-m", "experiments.sweep"]
SMALL = [
    *("--env", "probe/linear", "--sparsities", "0,0.5", "--steps", "2048", "--environments", "8"),
    *("--unroll", "64", "--epochs", "2", "--minibatches", "4", "--hidden", "8"),
    *("--episodes", "4", "--certify-episodes", "2", "--return-episodes", "0"),
]
LOG = ["--log", "tensorboard"]


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["experiments.sweep", *arguments])
    run_command(Arguments, main, from_preset)


def test_it_runs_in_a_fresh_process_and_leaves_tables_figures_and_spec(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "experiments.sweep", *SMALL, *LOG, "--out", str(out)],
        capture_output=True,
        text=True,
        check=False,
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
            "JAX_PLATFORMS": "cpu",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # it compiles more than it computes
            "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
        },
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "2 members" in done.stdout
    assert str(out) in done.stdout.splitlines()[-1]
    names = {path.name for path in out.iterdir()}
    tables = {f"{table}.{ending}" for table in TABLES for ending in ("csv", "parquet")}
    figures = with_svg("returns", "bounds", "regret", "training")
    others = {".lock", "spec.json", "phases.json", "population", "checkpoints", "tensorboard"}
    assert names == tables | figures | others
    (events,) = (out / "tensorboard").iterdir()
    assert b"return_mean/ppo-0.5-seed-0" in events.read_bytes()
    assert charts_of(out) == {"returns", "frontier", "regret", "bounds", "training", "layers"}
    assert "python -m experiments.sweep --env probe/linear" in (out / "report.html").read_text()
    assert len(pl.read_parquet(out / "results.parquet")) == 6
    spec = json.loads((out / "spec.json").read_text())
    assert spec["spec"]["sparsities"] == [0.0, 0.5]
    assert spec["resolved"]["physics"] == "none"
    assert spec["versions"]["jax"]
    assert FLAG in spec["xla_flags"].split()
    refused_in_one_line(
        lambda: command(monkeypatch, "--resume", str(out)), capsys, "run is finished; its tables"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--sparsities", "0:1:0.1"], "sparsities: 1 is outside [0, 1)"),
        (["--sparsities=-0.1,0.5"], "sparsities: -0.1 is outside [0, 1)"),
        (["--sparsities", "0:0.9:0"], "sparsities: step 0"),
        (["--sparsities", "0:0.9:-0.1"], "sparsities: step -0.1"),
        (["--sparsities", "0:x:0.1"], "sparsities: cannot read '0:x:0.1'"),
        (["--sparsities", "0.5,0.5"], "sparsities: 0.5 is given 2 times"),
        (["--env", "hoper"], "did you mean 'hopper'?"),
        (["--physics", "nativ"], "did you mean 'native'?"),
        (["--env", "brax/hopper", "--physics", "brax-sprin"], "did you mean 'brax-spring'?"),
        (["--schedule", "gradul"], "did you mean 'gradual'?"),
        (["--score", "magnitud"], "did you mean 'magnitude'?"),
        (["--attacks", "madd"], "did you mean 'mad'?"),
        (["--eps=-0.1"], "eps: -0.1 must be"),
        (["--seeds", "0"], "seeds: 0 must be at least 1"),
        (["--steps=-5"], "steps: -5 must be at least 1"),
        (["--episodes", "0"], "episodes: 0 must be at least 1"),
        (["--steps", "100"], "steps: 100 is less than one PPO iteration"),
        (["--head", "categorical"], "head: 'categorical' does not fit hopper"),
        (["--device", "tpu"], "device: this machine has no tpu"),
        (["--resume", "nowhere"], "run: nowhere is no run folder"),
        (
            ["--verdict-error", "0.05", "--seeds", "5"],
            "seeds: 5 can give no verdict at an error of 0.05; at least 6",
        ),
        (["--verdict-error", "0.01", "--seeds", "7"], "at least 8 are needed"),
        (["--verdict-error", "1.5"], "verdict_error: 1.5 must lie between 0 and 1"),
        (["--preset", "papr"], "preset: unknown name 'papr'; did you mean 'paper'?"),
        (["--seeds", "3:2"], "seeds: cannot read '3:2'; give how many (6), or which from 0"),
        (["--shift-episodes=-1"], "shift_episodes: -1 must be at least 0"),
        (["--seeds", "2000", "--hidden", "4096", "4096"], "GiB may be used; lower environments, unroll"),
        (["--log", "tensorbord"], "log: unknown name 'tensorbord'; did you mean 'tensorboard'?"),
        (["--chunk", "0"], "chunk: 0 must be at least 2"),
        (["--chunk=-3"], "chunk: -3 must be at least 2"),
        (["--chunk", "11"], "chunk: 11 is more than the members there are, 10; leave it out"),
        (["--shared-filter", "--sparsities", "0.5"], "shared_filter: sparsities must hold 0"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_exit_code_2_and_nothing_written(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as leaving:
        command(monkeypatch, *arguments)
    printed = capsys.readouterr()
    assert leaving.value.code == 2
    assert said in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""
    assert list(tmp_path.iterdir()) == []


def test_an_option_that_differs_from_the_run_to_go_on_with_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    RunFolder.create(tmp_path / "run", SweepSpec(steps=4096), "native")
    resumed = ("--resume", str(tmp_path / "run"))
    for option, said in (
        (("--steps", "8192"), "steps 8192 was asked for, but .* begun with 4096"),
        (("--steps=600000",), "steps 600000"),  # the default of the option, and yet not what was begun
        (("--physics", "mjx"), "physics mjx was asked for, but .* begun with native"),
        (("--shared-filter",), "shared_filter True"),
        (("--certify_episodes=9",), "certify_episodes 9 was asked for"),
        (("--out", "other"), "out goes with a new run"),
        (("--preset", "paper"), "preset goes with a new run"),
    ):
        with pytest.raises(SystemExit) as leaving:
            command(monkeypatch, *resumed, *option)
        assert leaving.value.code == 2
        assert re.search(said, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda content: content | {"device": None}, "spec.json cannot be read"),
        (lambda content: {k: v for k, v in content.items() if k != "precision"}, "spec.json cannot be read"),
        (lambda content: content | {"versions": {"jaxprune": "0"}}, "begun with jax None, this is jax"),
        (lambda content: content | {"spec": {"env": 5}}, "env: 5 is of the wrong type"),
        (lambda content: content | {"spec": {"environments": 8.0}}, "environments: 8.0 is of the wrong type"),
        (lambda content: content | {"spec": {"hidden": [8.5]}}, r"hidden: \[8.5\] is of the wrong type"),
        (lambda content: content | {"spec": {"shared_filter": "no"}}, "shared_filter: 'no' is of the wrong"),
        (lambda content: content | {"spec": {"seeds": True}}, "seeds: True is of the wrong type"),
    ],
)
def test_a_damaged_spec_is_one_line(
    damage: Callable[[dict], dict],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = RunFolder.create(tmp_path / "run", SweepSpec(), "native").path
    written = folder / "spec.json"
    written.write_text(json.dumps(damage(json.loads(written.read_text()))))
    refused_in_one_line(lambda: command(monkeypatch, "--resume", str(folder), "--dry-run"), capsys, said)
    for text in ("\xff\xfe", "[" * 100_000, "{"):
        written.write_bytes(text.encode("latin-1"))
        refused_in_one_line(lambda: command(monkeypatch, "--resume", str(folder)), capsys, "cannot be read")


def test_a_folder_is_told_as_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep_command.sweep, "run", stopped)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        command(monkeypatch, *SMALL, "--out", "a b")
    assert "python -m experiments.sweep --resume 'a b'" in capsys.readouterr().out


def test_stopped_while_it_is_told_a_run_says_where_its_tables_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as leaving, telling(tmp_path / "a run"):
        raise KeyboardInterrupt(signal.SIGTERM)
    assert leaving.value.code == 128 + signal.SIGTERM
    told = capsys.readouterr().err
    assert f"all tables are in {tmp_path}/a run" in told and f"experiments.report '{tmp_path}/a run'" in told


def test_an_existing_or_unwritable_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    for out, said in ((tmp_path, "exists"), (tmp_path / "file" / "run", "cannot create")):
        with pytest.raises(SystemExit) as leaving:
            command(monkeypatch, *SMALL, "--out", str(out))
        assert leaving.value.code == 2
        assert said in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_dry_run_prints_the_plan_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command(monkeypatch, *SMALL, "--dry-run")
    printed = capsys.readouterr().out
    for fact in ("2 members", "takes about", "memory", "probe/linear"):
        assert fact in printed
    assert list(tmp_path.iterdir()) == []


def test_a_preset_is_where_the_options_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = ("--preset", "categorical", "--seeds", "6:8", "--steps", "4096", "--dry-run")
    command(monkeypatch, *changed)
    printed = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for fact in (
        "acrobot",
        "2 seeds (6:8)",
        "arms ppo, sa-sgld:eps=0.3",
        "eps 0.1, 0.3, 1",
        "2 iterations",
        "eps 0.0025, 0.0075, 0.02 at every step, 100 episodes per member",
    ):
        assert fact in printed
    with pytest.raises(SystemExit):
        command(monkeypatch, "--preset", "paper", "--help")
    assert "2000000" in capsys.readouterr().out


def test_help_explains_every_field(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as leaving:
        command(monkeypatch, "--help")
    assert leaving.value.code == 0
    printed = capsys.readouterr().out
    for option in ("--sparsities", "--dry-run", "--resume", "--eps", "--schedule"):
        assert option in printed
    assert "start:stop:step" in printed


# A background shell starts its commands with SIGINT ignored; a person's terminal does not.
AS_IN_A_TERMINAL = (
    "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
    "runpy.run_module('experiments.sweep', run_name='__main__', alter_sys=True)"
)


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_or_a_scheduler_saves_the_segment_in_flight_and_says_how_to_go_on(
    stop: signal.Signals, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    arguments = [*SMALL, "--env", "hopper", "--steps", str(512 * 200), "--out", str(out)]
    run = subprocess.Popen(
        [sys.executable, "-c", AS_IN_A_TERMINAL, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not run.stdout.readline().startswith("training"):
        pass
    run.send_signal(stop)
    printed, complaints = run.communicate(timeout=300)
    assert run.returncode == 128 + stop
    assert complaints == ""
    assert printed.splitlines()[-1] == f"stopped; go on with: python -m experiments.sweep --resume {out}"
    assert checkpoint.latest(out / "checkpoints") >= 3
    assert not (out / "results.csv").exists()
