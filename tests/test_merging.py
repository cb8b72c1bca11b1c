"""Runs put together: the same tables and agents as of the run of all seeds; looks share one error."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import jaxprune as jp
from experiments import merge as command
from experiments import sweep as sweep_command
from experiments.command import run_command
from jaxprune import checkpoint, kept, tables
from jaxprune import sweep as sweeps
from jaxprune.analysis import SHIFTS, shift_verdicts, summarise_shifts, sweet_spots
from jaxprune.certification.attacked_return import attacked_returns
from jaxprune.certification.spent import Spent, joined_spent
from jaxprune.certification.tables import CONFIDENCE
from jaxprune.merging import TABLES, Plan, merge
from jaxprune.population import Members, Saved
from jaxprune.run_folder import RunFolder
from tests.experiments.reports import charts_of

SPEC = jp.SweepSpec(
    env="probe/linear",
    seeds=20,
    sparsities=(0.5, 0.0),
    steps=2 * 64,
    schedule="posthoc",
    arms="noise:eps=0.1,noise:eps=0.2",
    attacks="random",
    eps=(0.3, 0.1),
    episodes=1,
    selection_episodes=1,
    certify_episodes=2,
    environments=2,
    unroll=32,
    epochs=1,
    minibatches=1,
    hidden=(4,),
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> jp.Sweep:
    """Some of its members are marked as diverged, in no pattern that another order would repeat."""
    found = jp.sweep.run(SPEC, tmp_path_factory.mktemp("whole") / "run")
    marked = np.random.default_rng(0).random(found.population.members.size) < 0.3
    population = replace(found.population, diverged=marked)
    return replace(found, population=population, layers=tables.layers(population))


def part_of(whole: jp.Sweep, seeds: str, path: Path, **changes: Any) -> Path:
    """The folder of the run that had some of the seeds, cut out of the whole."""
    spec = replace(whole.spec, seeds=seeds, **changes)
    part, job = sweeps.job(spec), sweeps.job(whole.spec)
    folder = RunFolder.create(path, spec, "none")
    held = np.isin(job.everyone.seed, spec.seed_numbers)
    saved = Saved(whole.population.agents, whole.population.diverged)
    checkpoint.save(folder.population, 2, jax.tree.map(lambda leaf: np.asarray(leaf)[held], saved))
    for name in TABLES:
        who = (job.trained, part.trained) if name == "curves" else (job.everyone, part.everyone)
        rows = np.flatnonzero(np.isin(who[0].seed, spec.seed_numbers)).tolist()
        assert len(rows) == who[1].size
        table = getattr(whole, name).filter(pl.col("member").is_in(rows))
        new = {old: number for number, old in enumerate(rows)}
        folder.write_table(name, table.with_columns(pl.col("member").replace_strict(new)))
    return path


def test_parts_make_the_whole_whatever_their_order(whole: jp.Sweep, tmp_path: Path) -> None:
    parts = [part_of(whole, "7:20", tmp_path / "late"), part_of(whole, "7", tmp_path / "early")]
    merged = merge(parts, tmp_path / "merged")
    assert merged.spec == replace(SPEC, seeds="0:20", physics="none")
    for name in (*TABLES, "regret", "verdicts", "layers"):
        assert_frame_equal(getattr(merged, name), getattr(whole, name), check_exact=True)
        written = pl.read_parquet(tmp_path / "merged" / f"{name}.parquet")
        assert_frame_equal(written, getattr(whole, name), check_exact=True)
    loaded = jp.Population.load(tmp_path / "merged")
    jax.tree.map(np.testing.assert_array_equal, loaded.agents, whole.population.agents)
    assert loaded.members.columns() == whole.population.members.columns()
    np.testing.assert_array_equal(loaded.diverged, whole.population.diverged)
    np.testing.assert_array_equal(merged.population.diverged, whole.population.diverged)
    about = json.loads((tmp_path / "merged" / "spec.json").read_text())["merged"]
    assert [run["folder"] for run in about["runs"]] == [str(part) for part in parts]


def test_certified_returns_of_parts_are_those_of_the_whole(whole: jp.Sweep, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"return_episodes": 30, "return_eps": (0.05,), "return_std": (2.0,)}
    count, rng = whole.population.members.size, np.random.default_rng(1)
    made = {
        scale: Spent(
            rng.uniform(size=(count, 30, 1)),
            rng.uniform(0, 0.1, (count, 1, 30, 1)),
            rng.uniform(size=(count, 1, 9, 1)),
        )
        for scale in (1.0, 2.0)
    }
    parts = []
    for seeds in ("7:20", "0:7"):
        rows = np.isin(whole.population.members.seed, replace(SPEC, seeds=seeds).seed_numbers)
        path = part_of(whole, seeds, tmp_path / seeds.replace(":", "_"), **asked)
        for scale, of_all in made.items():
            kept.load_or_make(RunFolder(path).spent(scale), joined_spent([of_all], rows)._asdict)
        parts.append(path)
    merged = merge(parts, tmp_path / "merged")
    spec = sweeps.job(merged.spec).returned
    expected = attacked_returns(spec, whole.population, made, CONFIDENCE)
    assert merged.returned is not None
    for name, table in expected.tables().items():
        assert_frame_equal(merged.returned.tables()[name], table, check_exact=True)
        assert_frame_equal(RunFolder(tmp_path / "merged").table(name), table, check_exact=True)
    # A merge can be merged again: it keeps what it was made of.
    for scale, of_all in made.items():
        again = Spent(**kept.load_or_make(RunFolder(tmp_path / "merged").spent(scale), dict))
        np.testing.assert_array_equal(again.squares, of_all.squares)
    RunFolder(parts[0]).spent(2.0).unlink()
    with pytest.raises(jp.SpecError, match="missing in one"):
        merge(parts, tmp_path / "without")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"steps": 3 * 64}, "steps is 128 in .*one and 192 in .*other; runs to be merged"),
        ({"arms": ("ppo",)}, "arms is"),
        ({"charge": "raw"}, "charge"),
    ],
    ids=str,
)  # fmt: skip
def test_runs_that_differ_in_more_than_seeds_are_refused(
    change: dict[str, Any], said: str, tmp_path: Path
) -> None:
    RunFolder.create(tmp_path / "one", replace(SPEC, env="hopper", schedule="gradual"), "native")
    other = replace(SPEC, env="hopper", schedule="gradual", seeds="3:5", **change)
    RunFolder.create(tmp_path / "other", other, "native")
    with pytest.raises(jp.SpecError, match=said):
        merge([tmp_path / "one", tmp_path / "other"], tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_what_cannot_be_merged_is_said_in_one_line(
    whole: jp.Sweep, tmp_path: Path, monkeypatch, capsys
) -> None:
    early, late = part_of(whole, "0:2", tmp_path / "early"), part_of(whole, "1:3", tmp_path / "late")
    unfinished = tmp_path / "unfinished"
    RunFolder.create(unfinished, replace(SPEC, seeds="7:8"), "none")
    out = ("--out", tmp_path / "merged")
    for arguments, said in (
        ((early, *out), "runs: a merge needs two or more folders"),
        ((early, late, *out), f"seeds: 1 is in both {early} and {late}"),
        ((early, unfinished, *out), "results.parquet is missing; finish the run with --resume first"),
        ((early, tmp_path, *out), "it holds no spec.json"),
    ):
        monkeypatch.setattr(sys, "argv", ["experiments.merge", *map(str, arguments)])
        with pytest.raises(SystemExit) as leaving:
            run_command(command.Arguments, command.main)
        printed = capsys.readouterr()
        assert leaving.value.code == 2 and said in printed.err and printed.err.count("\n") == 1
        assert not (tmp_path / "merged").exists()


def test_the_command_reports_the_merged_run_and_nothing_of_it_can_be_resumed(
    whole: jp.Sweep, tmp_path: Path, monkeypatch, capsys
) -> None:
    out = tmp_path / "merged"
    parts = part_of(whole, "0:2", tmp_path / "a"), part_of(whole, "5:6", tmp_path / "b")
    monkeypatch.setattr(sys, "argv", ["experiments.merge", *map(str, parts), "--out", str(out)])
    run_command(command.Arguments, command.main)
    printed = " ".join(capsys.readouterr().out.split())
    assert "3 seeds (0:2,5:6) of 2 runs" in printed
    assert "(3 seeds, 7 needed)" in printed  # two arms share the error
    assert {path.suffix for path in out.iterdir()} >= {".png", ".svg", ".csv", ".parquet", ".json"}
    assert "returns" in charts_of(out)
    monkeypatch.setattr(sys, "argv", ["experiments.sweep", "--resume", str(out)])
    with pytest.raises(SystemExit):
        run_command(sweep_command.Arguments, sweep_command.main)
    assert "was merged from finished runs" in capsys.readouterr().err


def test_a_merge_that_is_stopped_leaves_nothing_and_can_be_made_again(
    whole: jp.Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = [part_of(whole, "0:2", tmp_path / "a"), part_of(whole, "5:6", tmp_path / "b")]

    def stopped(folder: RunFolder, name: str, table: pl.DataFrame) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(RunFolder, "write_table", stopped)
        merge(parts, tmp_path / "merged")
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}
    (tmp_path / "merged.part").mkdir()  # of a merge that was killed
    assert merge(parts, tmp_path / "merged").folder == tmp_path / "merged"
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b", "merged"}
    with pytest.raises(jp.SpecError, match="merged exists"):
        merge(parts, tmp_path / "merged")


def test_the_shares_of_planned_looks_add_up_to_the_error() -> None:
    plan, spent = Plan(24, None), []
    for count in (12, 18, 24):
        plan, share = plan.next(count, 0.05)
        spent.append(share)
    assert spent == pytest.approx([0.025, 0.0125, 0.0125])
    assert plan.looks == (12, 18, 24)
    for looked, count, said in (
        ((12,), 12, "24 are planned and 12 were looked at, so a look at 12 is none of the plan"),
        ((), 25, "planned_seeds: 24 are planned, and a look at 25 is at more than those"),
        ((), 6, "a look at 6 of 24 planned ones has error 0.013, at which 8 are needed"),
    ):
        with pytest.raises(jp.SpecError, match=said):
            Plan(24, None, looked).next(count, 0.05)
    assert Plan(24, None).next(8, 0.05)[1] == pytest.approx(0.05 / 3)
    three = "a look at 8 of 24 planned ones has error 0.017, at which 9 are needed"
    with pytest.raises(jp.SpecError, match=three):
        Plan(24, None).next(8, 0.05, families=3)


def test_a_later_look_has_the_rest_of_the_error(whole: jp.Sweep, tmp_path: Path) -> None:
    early, late, last = (
        part_of(whole, seeds, tmp_path / seeds.replace(":", "-")) for seeds in ("0:8", "12:20", "8:12")
    )
    first = merge([early, last], tmp_path / "first", planned_seeds=20)
    assert first.spec.error == pytest.approx(0.05 * 12 / 20)
    assert jp.Population.load(tmp_path / "first").error == first.spec.error
    with pytest.raises(jp.SpecError, match="planned_seeds: 30 differs from the 20 planned at the first look"):
        merge([tmp_path / "first", late], tmp_path / "other", planned_seeds=30)
    second = merge([late, tmp_path / "first"], tmp_path / "second")
    assert second.spec.error == pytest.approx(0.05 * 8 / 20)
    assert_frame_equal(second.results, whole.results)
    assert_frame_equal(second.verdicts, sweet_spots(whole.regret, alpha=second.spec.error))
    about = json.loads((tmp_path / "second" / "spec.json").read_text())["merged"]
    assert (about["seeds"], about["looks"]) == (20, [12, 20])
    assert not (tmp_path / "other").exists()


def test_shifted_dynamics_are_put_together_and_judged_anew_with_the_error_of_the_run(
    whole: jp.Sweep, tmp_path: Path
) -> None:
    """Handmade returns; six pairs decide at an error of 0.5, which two arms share, not at the default."""
    spec = replace(SPEC, env="hopper", schedule="gradual", shift_episodes=1, verdict_error=0.5, seeds=6)
    everyone = sweeps.job(spec).everyone
    number = {tuple(who.values())[1:]: who["member"] for who in everyone.columns()}
    renumber = {
        who["member"]: number[tuple(who.values())[1:]]
        for who in whole.population.members.columns()
        if who["seed"] < 6
    }
    tables = {
        name: getattr(whole, name)
        .filter(pl.col("member").is_in(list(renumber)))
        .with_columns(pl.col("member").replace_strict(renumber))
        .sort("member", maintain_order=True)
        for name in TABLES
        if name != "curves"
    } | {"shifts": shifts_of(everyone)}
    parts = []
    for seeds in ("3:6", "0:3"):
        part = replace(spec, seeds=seeds)
        folder = RunFolder.create(tmp_path / seeds.replace(":", "-"), part, "native")
        (learners,) = jax.eval_shape(lambda part=part: sweeps.start(sweeps.job(part))).learners
        agents = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), learners.agent)
        checkpoint.save(folder.population, 2, Saved(agents, np.zeros(len(everyone.seed) // 2, bool)))
        rows = np.flatnonzero(np.isin(everyone.seed, part.seed_numbers)).tolist()
        new = {old: place for place, old in enumerate(rows)}
        for name, table in tables.items():
            kept = table.filter(pl.col("member").is_in(rows))
            folder.write_table(name, kept.with_columns(pl.col("member").replace_strict(new)))
        folder.write_table("curves", whole.curves.clear())
        parts.append(folder.path)
    shifted = merge(parts, tmp_path / "merged").shifted
    assert shifted is not None
    assert_frame_equal(shifted.shifts, tables["shifts"])
    assert_frame_equal(shifted.summary, summarise_shifts(tables["shifts"]))
    assert_frame_equal(shifted.verdicts, shift_verdicts(shifted.summary, 0.5))
    assert shifted.verdicts["p"].null_count() == 0
    written = pl.read_parquet(tmp_path / "merged" / "shift_verdicts.parquet")
    assert_frame_equal(written, shifted.verdicts)


def shifts_of(everyone: Members) -> pl.DataFrame:
    """Two points of every member."""
    rows = [
        who
        | {"task": "hopper", "physics": "native", "sparsity": who["sparsity_asked"], "point": point}
        | {"parameter": ("nominal", "mass")[point], "factor": 1.0 + point}
        | dict.fromkeys(("mass", "friction", "gravity", "damping", "gear"), 1.0)
        | {"episodes": 1, "return_mean": float(7 * who["member"] % 11 + point), "length_mean": 9.0}
        | dict.fromkeys(("return_std", "return_min", "return_median"), 0.0)
        | {"failed": 0, "policy": "mode", "charge": "clipped", "diverged": False}
        for who in everyone.columns()
        for point in (0, 1)
    ]
    return pl.DataFrame(rows, schema=SHIFTS)
