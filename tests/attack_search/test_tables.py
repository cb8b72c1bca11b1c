"""What an attack search did to a run, as the tables of a sweep, from handmade tallies."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

from jaxprune.analysis import STRONGEST, Student
from jaxprune.attack_search import EFFORTS, AttackSearchSpec, of_a_run
from jaxprune.attack_search.tables import results_table, transfer_table
from jaxprune.budget import Budget
from jaxprune.envs import make
from jaxprune.evaluation import Tally
from jaxprune.policy import agent
from jaxprune.spec import SweepSpec
from tests.populations import population

ENV = make("probe/linear")
NAMES = ["none", "random", "critic", "mad"]


def tally(total):
    """Episodes of these returns, `[member, attacker or attack, episode]`, each with counts of its own."""
    zero = np.zeros(total.shape, np.int32)
    length, failed, outside = (
        np.random.default_rng(i).permutation(total.size).reshape(total.shape) for i in range(3)
    )
    return Tally(zero == 1, total, length, zero == 0, failed, outside, total, total)


@pytest.fixture(name="tables", scope="module")
def _tables():
    """The search's own table, and what is made of it for a run of two seeds and sparsities."""
    rng = np.random.default_rng(0)
    attackers = {"none": 1, "random": 1, "critic": 3, "mad": 2}
    selection = [tally(rng.normal(0, 5, (4, count, 6))) for count in attackers.values()]
    # The last member falls to two attacks alike, where the first name counts.
    selection[2].total[3, 1] = selection[1].total[3, 0] = -50.0
    fresh = tally(rng.normal(0, 5, (4, len(NAMES), 8)))
    one = agent.init(jax.random.key(0), 4, 1, hidden=(2,))
    agents = jax.tree.map(lambda leaf: jnp.stack([leaf] * 4), one)
    spec = AttackSearchSpec(attacks="random,critic,mad", eps=(0.3,), episodes=8, selection_episodes=6)
    run = SweepSpec(env="probe/linear", seeds=2, sparsities="0,0.5")
    everyone = population(agents, ENV, Budget(0.3), run)
    results = results_table(spec, everyone, NAMES, selection, fresh)
    return results, *of_a_run(results, everyone)


def test_the_regret_is_under_the_attack_that_the_search_called_strongest(tables):
    results, kinds, regret = tables
    own = results.filter(attack=STRONGEST, episode_set="fresh").sort("member")
    ours = regret.filter(attack=STRONGEST).sort("member")
    for column, name in {
        "found_by": "found_by",
        "return_mean": "attacked_return",
        "attackers_tried": "attackers_tried",
        "return_std": "return_std",
    }.items():
        assert own[column].to_list() == ours[name].to_list()
    assert own["found_by"].n_unique() > 1 and own["found_by"][3] == "critic"
    # Not the smallest of the returns that it reports.
    smallest = kinds.filter(pl.col("attack") != "none").group_by("member").agg(pl.min("return_mean"))
    assert (ours["attacked_return"] > smallest.sort("member")["return_mean"]).any()


def test_a_run_is_told_of_every_kind_of_attack_on_fresh_episodes(tables):
    results, kinds, _ = tables
    fresh = results.filter(pl.col("attack") != STRONGEST, episode_set="fresh")
    assert kinds["return_mean"].to_list() == fresh["return_mean"].to_list()
    assert kinds["selection_mean"].to_list() == fresh["selection_mean"].to_list()
    assert kinds.select("member", "seed", "sparsity_asked").unique(maintain_order=True).rows() == [
        (0, 0, 0.0),
        (1, 0, 0.5),
        (2, 1, 0.0),
        (3, 1, 0.5),
    ]


def test_intervals_over_episodes_are_students(tables):
    row = tables[0].row(0, named=True)
    rng = np.random.default_rng(0)
    episodes = rng.normal(0, 5, (4, 1, 6))[0, 0]
    assert (row["return_mean"], row["return_low"], row["return_high"]) == pytest.approx(
        Student().mean(episodes)
    )


def test_every_count_is_of_the_episodes_of_its_row(tables):
    fresh = tables[0].filter(episode_set="fresh", member=2)
    shape = (4, len(NAMES), 8)
    length, failed, outside = (
        np.random.default_rng(i).permutation(np.prod(shape)).reshape(shape)[2] for i in range(3)
    )
    for place, name in enumerate(NAMES):
        row = fresh.row(by_predicate=pl.col("attack") == name, named=True)
        assert (row["length_mean"], row["failed"], row["outside_ball"]) == (
            length[place].mean(),
            failed[place].sum(),
            outside[place].sum(),
        )


def test_a_transfer_is_the_row_of_its_pair_and_the_column_of_its_attack():
    """Two seeds at two sparsities; the own attacker's numbers are those of the results."""
    rng = np.random.default_rng(3)
    fresh, moved = (tally(rng.normal(0, 5, (4, count, 8))) for count in (4, 2))
    one = agent.init(jax.random.key(0), 4, 1, hidden=(2,))
    mask = {name: jnp.stack([jnp.ones_like(leaf["kernel"])] * 4) for name, leaf in one.policy.items()}
    mask["layer_0"] = mask["layer_0"].at[1::2].set(0.0)
    agents = jax.tree.map(lambda leaf: jnp.stack([leaf] * 4), one).replace(mask=mask)
    everyone = population(agents, ENV, trained_by=SweepSpec(env="probe/linear", seeds=2, sparsities="0,0.5"))
    spec = AttackSearchSpec(attacks="sarsa,random,sa-rl", eps=(0.3,), transfer=True)
    table = transfer_table(spec, everyone, ["none", "sarsa", "random", "sa-rl"], fresh, moved)
    pairs = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 2), (2, 3), (3, 2), (3, 3)]
    assert table.select("from_member", "to_member", "attack").rows() == [
        (*pair, name) for pair in pairs for name in ("sarsa", "sa-rl")
    ]
    for row in table.iter_rows(named=True):
        origin, target = row["from_member"], row["to_member"]
        column = ("sarsa", "sa-rl").index(row["attack"])
        source, place = (moved, ([(0, 1), (1, 0), (2, 3), (3, 2)].index((origin, target)), column)) if (
            origin != target
        ) else (fresh, (origin, 1 + 2 * column))  # fmt: skip
        student = Student().mean(source.total[place])
        assert (row["return_mean"], row["return_low"], row["return_high"]) == student
        assert row["outside_ball"] == source.outside[place].sum() and row["episodes"] == 8
        assert (row["from_sparsity"] > 0, row["to_sparsity"] > 0) == (origin % 2 == 1, target % 2 == 1)
        assert row["seed"] == origin // 2 and row["arm"] == "ppo"


def test_the_smaller_efforts_are_parts_of_the_published_searches():
    """Those of SA-RL (arXiv 2101.08452) and of robust sarsa (arXiv 2003.08938), written out once more."""
    adversaries = product(
        (0, 1), (0.2, 0.4), (0, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3), (3e-4, 1e-3, 3e-3), (3e-5, 1e-4, 3e-4)
    )
    critics = product((0.02, 0.05, 0.1, 0.15, 0.2, 0.3), (0.1, 0.3, 1.0, 3.0, 10.0))

    def written(settings):
        return {tuple(f"{number:.4g}" for number in setting) for setting in settings}

    def tried(name):
        of, critic = EFFORTS[name].adversaries, EFFORTS[name].critics
        value_rate = of.learning_rate * of.value_rate
        leaves = (of.anneal, of.clip, of.entropy_weight, of.learning_rate, value_rate)
        return tuple(written(zip(*each, strict=True)) for each in (leaves, (critic.eps, critic.weight)))

    whole = written(adversaries), written(critics)
    assert tried("published") == whole
    for name, counts in (("small", (12, 4)), ("quick", (2, 2))):
        assert tuple(map(len, tried(name))) == counts
        assert all(part < every for part, every in zip(tried(name), whole, strict=True))
