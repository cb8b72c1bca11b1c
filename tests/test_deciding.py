"""`benchmarks.deciding`: calls that belong together, and those that do not."""

from dataclasses import fields, replace

import polars as pl
import pytest

import jaxprune as jp
from benchmarks import deciding, deciding_report
from benchmarks.deciding import Arguments
from jaxprune.analysis import decompose
from jaxprune.run_folder import RunFolder
from tests.report import conftest as synthetic

USUAL = Arguments()
OTHER = {
    "task": "hopper",
    "schedule": "gradual",
    "score": "random",
    "scope": "erk",
    "arm": "sa-convex",
    "steps": 600_000,
    "attack_steps": 100_000,
    "learned_under": "mjx",
}


@pytest.fixture(name="out")
def _out(tmp_path, monkeypatch):
    for module in (deciding, deciding_report):
        monkeypatch.setattr(module, "SHARDS", tmp_path / "shards")
    monkeypatch.setattr(deciding, "REPORT", tmp_path / "report.md")
    return tmp_path


def test_only_seeds_and_place_may_differ_within_an_experiment():
    assert {field.name for field in fields(Arguments)} == {*OTHER, "seeds", "out"}
    experiments = {replace(USUAL, **{field: other}).experiment for field, other in OTHER.items()}
    assert len(experiments | {USUAL.experiment}) == 1 + len(OTHER)
    assert replace(USUAL, seeds="6:12").experiment == USUAL.experiment
    assert replace(USUAL, seeds="6:12").name == "halfcheetah-posthoc-magnitude-ppo-6_12"


def test_a_seed_is_in_one_shard_only_and_all_are_searched_alike(out):
    (out / "shards").mkdir()
    searched = deciding.about(USUAL, out)
    searched.write_csv(out / "shards" / f"{USUAL.experiment}-0_3-about.csv")
    pl.DataFrame({"seed": [0, 1, 2]}).write_csv(out / "shards" / f"{USUAL.experiment}-0_3-results.csv")
    deciding.check_new(replace(USUAL, seeds="3:6"))
    deciding.check_new(replace(USUAL, seeds="0:3", steps=600_000))
    with pytest.raises(jp.SpecError, match="seeds: 2 is in halfcheetah-posthoc-magnitude-ppo-0_3-results"):
        deciding.check_new(replace(USUAL, seeds="2:6"))
    pl.DataFrame({"search": ["guesses"], "learned_on": [None]}).write_csv(
        out / "shards" / f"{USUAL.experiment}-0_3-about.csv"
    )
    with pytest.raises(jp.SpecError, match="were searched for by guesses; now by 12 settings each, 198,656"):
        deciding.check_new(replace(USUAL, seeds="3:6"))


def test_a_search_is_told_in_words():
    halved = deciding.described(deciding.search(USUAL))
    assert halved == (
        "12 settings each, 198,656 steps by successive halving in 5 rungs (the first ends after 6 iterations "
        "of PPO), the strongest of every rung as it was there, and one warm start"
    )
    whole = deciding.described(deciding.search(replace(USUAL, learned_under="mjx", attack_steps=24_576)))
    assert whole == "12 settings each, 24,576 steps, all to the end"


def test_a_folder_with_another_run_is_not_gone_on_with(out):
    spec = jp.SweepSpec(env="probe/linear", sparsities="0,0.5")
    RunFolder.create(out / "run", spec, "none")
    with pytest.raises(jp.SpecError, match="holds another run"):
        deciding.shard(replace(USUAL, task="probe/linear"), out / "run")


def quick(arguments):
    return jp.AttackSearchSpec(
        attacks="random,sa-rl",
        search="quick",
        steps=arguments.attack_steps,
        rungs=2,
        warm_starts=True,
        transfer=True,
        selection_episodes=2,
        episodes=4,
    )


def test_levels_leave_out_what_diverged_with_its_pair():
    results = synthetic.results(3, budgets=(0.075,)).with_columns(
        diverged=(pl.col("seed") == 0) & (pl.col("sparsity_asked") == 0)
    )
    kept = results.filter(pl.col("seed") > 0)
    bounds = pl.DataFrame({"bound": list(deciding_report.BOUNDS)})
    shards = results.select("seed", "sparsity_asked", value="return_mean").join(bounds, how="cross")
    with_it = deciding_report._levels("name", decompose(results), shards)
    assert with_it == deciding_report._levels("name", decompose(kept), shards.filter(pl.col("seed") > 0))


@pytest.mark.slow
def test_a_shard_leaves_its_tables_and_a_report_and_goes_on_where_it_was(out, monkeypatch):
    monkeypatch.setattr(deciding, "search", quick)
    asked = replace(
        USUAL, task="probe/linear", seeds="0:2", steps=2**15, attack_steps=2**15, out=out / "runs"
    )
    deciding.main(asked)
    kept = {path.name.rpartition("-")[2]: pl.read_csv(path) for path in (out / "shards").glob("*.csv")}
    assert set(kept) == {"results.csv", "certificates.csv", "effort.csv", "transfer.csv", "about.csv"}
    assert "2 seeds" in (out / "report.md").read_text()
    found = kept["results.csv"].filter(pl.col("attack") == "sa-rl").sort("member")["return_mean"]
    own = kept["transfer.csv"].filter(pl.col("found_for") == pl.col("sparsity_asked"))
    assert own.sort("seed", "sparsity_asked")["return_mean"].to_list() == found.to_list()
    again = deciding.shard(asked, out / "runs" / asked.name)
    assert again["results"]["return_mean"].round(6).to_list() == kept["results.csv"]["return_mean"].to_list()
