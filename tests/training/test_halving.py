"""Halving stops the weaker half of each victim's adversaries, and changes nothing for those that go on."""

from dataclasses import replace
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxprune.attacks import ATTACKS, Victim
from jaxprune.budget import Ball
from jaxprune.envs import make
from jaxprune.policy import agent as policies
from jaxprune.training import halving, search
from jaxprune.training.halving import halved, rung_ends, rung_sizes, stronger_half
from jaxprune.training.member import Recipe
from jaxprune.training.search import Search

LINEAR = make("probe/linear")
RECIPE = Recipe(environments=4, unroll=16, epochs=1, minibatches=2, hidden=(16, 16), filter=False)
SETTINGS = search.grid((1, 0), (0.2,), (0,), (1e-3, 1e-2), (3e-4,))
ITERATIONS = 9
JUDGED = np.array([[4.0, 1.0, 3.0, 2.0], [1.0, 4.0, 2.0, 3.0]])
"""What the four adversaries of two victims leave of the return, if the judge is to be believed."""


@pytest.fixture(name="victims", scope="module")
def _victims():
    keys = jax.random.split(jax.random.key(1), 2)
    return Victim(jax.vmap(lambda key: policies.init(key, 4, 1, hidden=(5,)))(keys))


def asked(victims, chunk=8, folder=None):
    adversary = ATTACKS["sa-rl"].rule()
    ball = Ball(jnp.float32(0.3))
    return Search(LINEAR, victims, ball, adversary, SETTINGS, RECIPE, ITERATIONS, 3, chunk, folder=folder)


@pytest.fixture(name="unhalved", scope="module")
def _unhalved(victims):
    """The networks of all, leaves [victim, setting]."""
    ball = Ball(jnp.float32(0.3))
    return search.train(
        LINEAR, victims, ball, ATTACKS["sa-rl"].rule(), SETTINGS, RECIPE, ITERATIONS, 3, 8
    ).network


def judge(_rung, setting, _adversaries):
    return np.take_along_axis(JUDGED, setting, axis=1)


def assert_same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_survivors_are_trained_bit_for_bit_as_if_nobody_had_been_stopped(victims, unhalved):
    found = halved(asked(victims), 2, judge)
    assert found.setting[:, :2].tolist() == [[1, 3], [0, 2]]
    assert found.iterations[:2].tolist() == [9, 9]
    where = np.arange(2)[:, None], found.setting[:, :2]
    survivors = jax.tree.map(lambda leaf: leaf[:, :2], found.networks.policy)
    assert_same(survivors, jax.tree.map(lambda leaf: leaf[where], unhalved))


def test_the_strongest_of_every_rung_is_kept_bit_for_bit_as_it_was_there(victims):
    """Of three rungs, two of which are not the last; the judge changes its mind between them."""
    changing = {1: JUDGED, 2: -JUDGED}
    found = halved(
        asked(victims), 3, lambda rung, setting, _: np.take_along_axis(changing[rung], setting, axis=1)
    )
    # the stronger halves are 1, 3 and 0, 2; of those 3 and 2 are weakest for the first judge
    assert found.setting.tolist() == [[3, 1, 3], [2, 0, 2]]
    assert found.iterations.tolist() == [9, 2, 4]
    for column, iterations in ((1, 2), (2, 4)):
        setting = found.setting[:, [column]]
        then = asked(victims).advance(setting, iterations, search.networks, "anywhere")
        assert_same(jax.tree.map(lambda leaf, at=column: leaf[:, [at]], found.networks), then)


def test_one_rung_is_the_whole_search_bit_for_bit(victims, unhalved):
    def never(*_):
        raise AssertionError

    found = halved(asked(victims), 1, never)
    assert found.setting.tolist() == [[0, 1, 2, 3], [0, 1, 2, 3]]
    assert found.iterations.tolist() == [9] * 4
    assert_same(found.networks.policy, unhalved)


def test_a_stop_at_a_rung_changes_nothing(victims, tmp_path, monkeypatch):
    turns = []

    def counted(*arguments):
        turns.append(arguments[4:6])
        return learned(*arguments)

    def stop(rung, setting, adversaries):
        if rung == 2:
            raise KeyboardInterrupt
        return judge(rung, setting, adversaries)

    learned = search._learned
    whole = halved(asked(victims), 3, judge)
    monkeypatch.setattr(search, "_learned", counted)
    with pytest.raises(KeyboardInterrupt):
        halved(asked(victims, folder=tmp_path), 3, stop)
    assert turns == [(0, 2), (2, 4)]
    assert_same(halved(asked(victims, folder=tmp_path), 3, judge), whole)
    assert turns == [(0, 2), (2, 4), (4, 9)]


@pytest.mark.parametrize("seconds", [0.0, 1e6])
def test_a_turn_that_was_stopped_goes_on_from_where_it_was(victims, unhalved, tmp_path, monkeypatch, seconds):
    """By Ctrl-C, which keeps what there is, or by a crash some time after it was kept."""
    stopped, segment, begun = (KeyboardInterrupt if seconds else MemoryError), search._segment, []

    def heard(_steps, _returns):
        if len(begun) == 2:
            raise stopped

    def noted(*arguments):
        begun.append(arguments[-3:-1])
        return segment(*arguments)

    monkeypatch.setattr(search, "SEGMENT", 2)
    monkeypatch.setattr(search, "SECONDS_BETWEEN_CHECKPOINTS", seconds)
    monkeypatch.setattr(search, "_segment", noted)
    kept = replace(asked(victims, folder=tmp_path), heard=heard)
    with pytest.raises(stopped):
        kept.advance(kept.every_setting, ITERATIONS, search.networks, "rung-1")
    (part,) = (tmp_path / "rung-1").iterdir()
    assert part == search.so_far(tmp_path / "rung-1" / "turn-0")
    learned = kept.advance(kept.every_setting, ITERATIONS, search.networks, "rung-1")
    assert begun[:2] == [(0, 2), (2, 4)] and begun[2] == ((4, 6) if seconds else (2, 4))
    assert_same(learned.policy, unhalved)
    assert [folder.name for folder in (tmp_path / "rung-1").iterdir()] == ["turn-0"]


def test_the_judge_is_shown_who_got_there_as_they_are_then(victims):
    seen = {}

    def remember(rung, setting, adversaries):
        seen[rung] = setting, adversaries.network
        return judge(rung, setting, adversaries)

    halved(asked(victims), 2, remember)
    (setting, network), *others = seen.values()
    assert not others
    first = halved(asked(victims), 1, judge).networks  # of other length, so other annealing, for 0 and 1
    then = asked(victims).advance(setting, 4, search.networks, "anywhere")
    assert_same(network, then.policy)
    assert np.any(network["layer_0"]["kernel"] != first.policy["layer_0"]["kernel"])


def test_a_warm_start_has_anothers_networks_and_everything_else_anew(victims, unhalved):
    everything = asked(victims).advance(asked(victims).every_setting, ITERATIONS, search.networks, "anywhere")
    donors = jax.tree.map(lambda leaf: leaf[np.array([1, 0]), np.array([2, 3])], everything)
    begun = asked(victims).from_others(donors, np.array([2, 3]), jax.random.key(9))
    assert_same(search.networks(begun), jax.tree.map(lambda leaf: leaf[:, None], donors))
    np.testing.assert_array_equal(begun.hyper.learning_rate.ravel(), SETTINGS.learning_rate[[2, 3]])
    assert begun.returns.count.tolist() == [[0], [0]]
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(begun.optimiser_state))
    np.testing.assert_array_equal(*jax.random.key_data(begun.key))  # the same for both victims
    fresh = asked(victims)._begin(victims, np.array([2, 3]))
    assert np.all(jax.random.key_data(fresh.key) != jax.random.key_data(begun.key)[:, 0])


@given(st.integers(1, 300), st.integers(1, 9))
def test_rungs_double_their_length_and_halve_their_adversaries(count, rungs):
    iterations = 2 ** (rungs - 1) * 3 + 1
    ends, sizes = rung_ends(iterations, rungs), rung_sizes(count, rungs)
    assert (len(ends), ends[-1], sizes[0]) == (rungs, iterations, count)
    assert all(later in (2 * earlier, 2 * earlier + 1) for earlier, later in pairwise(ends))
    assert all(later == max(1, earlier // 2) for earlier, later in pairwise(sizes))
    places = stronger_half(np.arange(2 * count).reshape(2, count) % 7.0)
    assert places.shape == (2, max(1, count // 2))


def test_of_equal_adversaries_the_first_goes_on_and_of_one_that_one():
    assert stronger_half(np.array([[2.0, 1.0, 1.0, 1.0], [1.0, 3.0, np.nan, 2.0]])).tolist() == [
        [1, 2],
        [0, 3],
    ]
    assert stronger_half(np.array([[5.0], [6.0]])).tolist() == [[0], [0]]
    assert halving.stronger_half(np.array([[3.0, 2.0, 1.0]])).tolist() == [[2]]
