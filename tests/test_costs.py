"""The cost model against hand-counted networks, what it was fitted to, and a sweep that is run."""

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

import jaxprune as jp
from benchmarks import scaling
from benchmarks.scaling_fit import coefficients, predicted, temporary
from benchmarks.scaling_rows import PARTS, asked_of
from jaxprune import costs, plan, speeds
from jaxprune import sweep as sweeps
from jaxprune.coefficients import SECONDS
from jaxprune.costs import Recipe, Sizes
from jaxprune.plan import Phase
from tests.compiled import as_users_compile

SIZES, RECIPE = Sizes(2, (3, 4), 1), Recipe(environments=2, unroll=5, epochs=3, minibatches=2)


def test_multiplications_are_counted_as_by_hand():
    assert SIZES.policy == 2 * 3 + 3 * 4 + 4 * 1
    assert SIZES.both == 2 * SIZES.policy  # the action has the size of a value
    # From each layer back: 3 rows through 2x3, 4 through 3x4 and 2x3, 1 through all.
    assert SIZES.bounded == 3 * 6 + 4 * 18 + 1 * 22
    assert SIZES.slopes == 2 * (3 * 4 + 4 * 1)
    # 7 members take 10 steps each, act once with each network and learn from each step three times.
    amounts = costs.training(7, RECIPE, SIZES)
    assert amounts["product"] == 70 * 44 + 3 * 3 * 70 * 44
    assert (amounts["updating"], amounts["looping"]) == (7 * 3 * 2, 5)
    assert costs.playing(10, SIZES, "mad")["attacking product"] == 10 * 22 * 31
    assert costs.playing(10, SIZES, "random")["gradient"] == 0


def test_costs_are_sums_of_amounts():
    both = costs.added({"a": 1.0, "b": 2.0}, {"b": 3.0, "c": 4.0})
    assert both == {"a": 1.0, "b": 5.0, "c": 4.0}
    assert costs.cost(both, {"a": 10.0, "b": 1.0, "c": 0.5}) == 17.0


def test_what_regularisers_add_is_added():
    assert costs.over_ppo(()) == 0
    assert costs.over_ppo(("kl", "sa-sgld")) == pytest.approx(0.4 + 3.3)
    assert costs.over_ppo(("of somebody else",)) == costs.UNMEASURED
    doubled, plain = costs.training(7, RECIPE, SIZES, 1.0), costs.training(7, RECIPE, SIZES)
    assert doubled["product"] == 2 * plain["product"] and doubled["looping"] == plain["looping"]


@pytest.fixture(name="measured", scope="module")
def _measured() -> list[dict]:
    return list(pl.read_csv(scaling.TABLE).iter_rows(named=True))


def test_every_measured_time_is_predicted_within_30_percent(measured):
    assert {row["part"] for row in measured} == set(PARTS)
    far = {asked_of(row): predicted(row) / row["processor_s"] for row in measured}
    assert all(1 / 1.3 <= ratio <= 1.3 for ratio in far.values()), far


def test_every_measured_memory_is_predicted_within_30_percent(measured):
    far = {
        asked_of(row): temporary(row) / row["temporary_mib"] for row in measured if row["part"] == "training"
    }
    assert len(far) > 5 and all(1 / 1.3 <= ratio <= 1.3 for ratio in far.values()), far


def test_the_coefficients_are_those_of_the_table():
    table = pl.read_csv(scaling.TABLE)
    assert coefficients(table) == Path(scaling.COEFFICIENTS).read_text()


def test_phases_take_the_cores_that_they_can_use(monkeypatch):
    monkeypatch.setattr(plan, "available_cores", lambda: 4)
    monkeypatch.setattr(costs, "CORES", {"network": 2.0, "compiling": 1.0})
    phase = Phase(physics=8.0, network=6.0, compiling=5.0)
    assert phase.seconds("native") == 2 + 3 + 5
    assert phase.seconds("none") == 4 + 3 + 5
    monkeypatch.setattr(plan, "available_cores", lambda: 1)
    assert phase.seconds("native") == 8 + 6 + 5


def test_the_estimate_is_linear_in_the_parts_of_a_sweep(monkeypatch):
    monkeypatch.setattr(speeds, "physics_seconds", lambda env, count: 1e-3)
    monkeypatch.setattr(speeds, "slowness", lambda: 2.0)

    def estimate(**changed) -> dict[str, Phase]:
        phases = plan.estimate(sweeps.job(jp.SweepSpec(env="hopper", steps=20_480, **changed))).phases
        assert phases is not None
        return phases

    one, three = estimate(episodes=10), estimate(episodes=20, arms="ppo,sa-convex", shift_episodes=1)
    assert list(one) == ["training", "evaluation", "visits", "certificates"]
    assert list(three) == ["training", "evaluation", "visits", "shifts", "certificates"]
    assert one["training"].physics == pytest.approx(1e-3 * 10 * 20_480)
    assert three["training"].physics == pytest.approx(2 * one["training"].physics)
    # Another arm is another loop of 10 iterations x 128 steps, which a regulariser makes no longer.
    over, loop = costs.OVER_PPO["sa-convex"], 2.0 * SECONDS["looping"] * 10 * 128
    expected = 2 * one["training"].network + over * (one["training"].network - loop)
    assert three["training"].network == pytest.approx(expected)
    # Twice the members and 20 + 10 instead of 10 + 10 episodes.
    assert three["evaluation"].network == pytest.approx(3 * one["evaluation"].network)
    assert three["certificates"].network == pytest.approx(2 * one["certificates"].network)
    assert three["shifts"].physics == pytest.approx(costs.LIVING * 1e-3 * 20 * 95 * 1000)


@pytest.mark.slow
def test_a_sweep_takes_what_was_said(tmp_path):
    """Processor seconds, which other programs change little. No episode of this task ends before its end."""
    spec = jp.SweepSpec(env="halfcheetah", sparsities="0,0.5", steps=40_960, episodes=4, selection_episodes=2)
    with as_users_compile():
        job = sweeps.job(replace(spec, certify_episodes=2))
        said = plan.estimate(job)
        jp.sweep.run(job.spec, tmp_path / "run")
    took = pl.read_json(tmp_path / "run" / "phases.json")
    assert said.processor == pytest.approx(took["processor"].sum(), rel=0.3), (said.phases, took)
