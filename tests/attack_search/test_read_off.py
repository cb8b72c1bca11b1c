"""What `benchmarks.halving` reads off a search without stops is what halving would have found."""

from dataclasses import replace
from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from benchmarks.halving import Found, Watched, drawn, halved
from benchmarks.watched_search import watched
from jaxprune import AttackSearchSpec, attack_search
from jaxprune.analysis import STRONGEST
from jaxprune.attack_search import EFFORTS, Effort
from jaxprune.attack_search.effort import RECIPE
from jaxprune.attacks import ATTACKS, Victim
from jaxprune.budget import Ball
from jaxprune.envs import make
from jaxprune.policy import agent as policies
from jaxprune.training import halving, sarsa, search
from jaxprune.training.search import Search
from tests import lines
from tests.populations import population

ENV = make("probe/linear")
RECIPE = RECIPE.replace(environments=4, unroll=16, epochs=1, minibatches=2, hidden=(8,))
SETTINGS = search.grid((1,), (0.2, 0.4), (0,), (1e-2, 3e-2, 1e-1), (3e-4,))
RUNGS = 3
ITERATIONS = 2 ** (RUNGS - 1)


def table(seed):
    """Random returns of one victim under six adversaries."""
    deciding, selection, fresh = np.random.default_rng(seed).normal(size=(3, RUNGS, 6))
    return Watched("somebody", np.array([1, 2, 4]), deciding, selection, fresh, np.ones_like(fresh))


@pytest.fixture(name="asked", scope="module")
def _asked():
    victims = Victim(
        jax.vmap(lambda key: policies.init(key, 4, 1, hidden=(5,)))(jax.random.split(jax.random.key(1), 2))
    )
    adversary, ball = ATTACKS["sa-rl"].rule(), Ball(jnp.float32(0.3))
    return Search(ENV, victims, ball, adversary, SETTINGS, RECIPE, ITERATIONS, 3, 12)


@pytest.mark.parametrize("rungs", [1, 2, 3])
def test_those_who_are_stopped_are_those_that_training_stops(asked, rungs):
    tables = [table(seed) for seed in (4, 5)]

    def judge(rung, setting, _):
        at = RUNGS - rungs + rung - 1
        return np.stack([one.deciding[at, own] for one, own in zip(tables, setting, strict=True)])

    survivors = halving.halved(asked, rungs, judge).setting
    for one, own in zip(tables, survivors, strict=True):
        strongest = own[one.selection[-1, own].argmin()]
        assert halved(one, rungs) == Found(strongest, RUNGS - 1)


@pytest.mark.parametrize("seed", range(5))
def test_an_earlier_one_is_chosen_where_selection_finds_it_stronger(seed):
    one = table(seed)
    first = one.deciding[0].argmin()
    half = np.sort(one.deciding[0].argsort()[:3])
    second = half[one.deciding[1, half].argmin()]
    end = halved(one, RUNGS)
    expected = min(
        [
            (one.selection[2, end.setting], end),
            (one.selection[0, first], (first, 0)),
            (one.selection[1, second], (second, 1)),
        ]
    )[1]
    assert halved(one, RUNGS, earlier=True) == expected


@pytest.mark.parametrize("count", [1, 2, 4, 6])
def test_the_draws_are_all_there_are(count):
    one = table(0)
    draws = [min(drawn, key=one.selection[-1].__getitem__) for drawn in combinations(range(6), count)]
    returns, chance = drawn(one, count)
    assert chance.sum() == pytest.approx(1.0)
    assert returns @ chance == pytest.approx(np.mean(one.fresh[-1, draws]))


def test_the_share_is_that_of_the_command():
    spec = AttackSearchSpec(attacks="sa-rl", search="published", steps=65_536, rungs=5)
    steps = np.array(spec.rung_steps)
    nothing = np.zeros((5, 216))
    one = Watched("somebody", steps, nothing, nothing, nothing, nothing)
    assert one.share(5) == spec.training_steps / (216 * 65_536)
    assert one.share(1) == 1.0


def test_few_settings_pay_for_what_each_rung_adds():
    one = table(2)
    # Six learn one step, three another and one the last two; in two rungs six learn two, three the others.
    assert [one.training(rungs) for rungs in (3, 2, 1)] == [11, 18, 24]


@pytest.fixture(name="everyone", scope="module")
def _everyone():
    return population(lines.population(1.0, 1.5), ENV)


@pytest.fixture(name="spec", scope="module")
def _spec():
    with pytest.MonkeyPatch.context() as patch:
        critics = sarsa.grid(eps=(0.1,), weight=(0.1,))
        patch.setitem(EFFORTS, "quick", Effort(SETTINGS, critics, recipe=RECIPE))
        yield AttackSearchSpec(
            attacks="sa-rl",
            eps=(0.2,),
            search="quick",
            steps=ITERATIONS * RECIPE.steps,
            episodes=20,
            chunk=12,
        )


def test_the_end_is_that_of_the_command_and_watching_changes_nothing(spec, everyone):
    *_, end = watched(replace(spec, rungs=RUNGS), everyone)
    (alone,) = watched(spec, everyone)
    assert_frame_equal(end.drop("rung"), alone.drop("rung"))
    found = attack_search.run(spec, everyone)
    chosen = (
        found.tried.filter(attack="sa-rl")
        .sort("member", "return_mean")
        .group_by("member", maintain_order=True)
        .first()
    )
    reported = found.results.filter(attack=STRONGEST, episode_set="fresh").sort("member")["return_mean"]
    for victim, setting, mean in zip(range(2), chosen["attacker"], reported, strict=True):
        row = end.row(by_predicate=(pl.col("victim") == victim) & (pl.col("setting") == setting), named=True)
        every = (4 * row["deciding"] + 6 * row["selection"] + 10 * row["fresh"]) / 20
        assert every == pytest.approx(mean, rel=1e-5)
