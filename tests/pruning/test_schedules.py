"""When weights go: the sparsity each schedule asks for, and what happens to its masks as weights change."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxprune import SpecError
from jaxprune.pruning import SCHEDULES, SCOPES, masks, schedule
from jaxprune.pruning.schedules import round_of

SHAPES = {"layer_0": (11, 16), "layer_1": (16, 6)}
SIZE = sum(rows * columns for rows, columns in SHAPES.values())
ITERATIONS = 20

shares = st.integers(0, 999).map(lambda i: float(np.float32(i / 1000)))


def random_weights(rng):
    return {name: jnp.asarray(rng.normal(size=shape), jnp.float32) for name, shape in SHAPES.items()}


def simulate(name, target, scope="layer", seed=0, iterations=ITERATIONS):
    """The flat mask before training and after each iteration, in which all weights change at will."""
    rng = np.random.default_rng(seed)
    mask = jax.tree.map(jnp.ones_like, random_weights(rng))
    next_mask = jax.jit(schedule(name).mask, static_argnames="scope")
    history = []
    for done in range(iterations + 1):
        magnitude = jax.tree.map(jnp.abs, random_weights(rng))
        mask = next_mask(mask, magnitude, target, done / iterations, scope=scope)
        history.append(np.concatenate([np.ravel(m) for m in mask.values()]))
    return np.stack(history)


def asked(name, target, progress):
    return float(schedule(name).sparsity(target, progress))


@pytest.mark.parametrize("name", SCHEDULES)
@settings(max_examples=20, deadline=None)
@given(target=shares)
def test_every_schedule_ends_at_its_target(name, target):
    assert asked(name, target, 1.0) == np.float32(target)


@pytest.mark.parametrize("name", SCHEDULES)
@settings(max_examples=20, deadline=None)
@given(target=shares, pair=st.tuples(shares, shares))
def test_every_schedule_only_ever_asks_for_more_up_to_the_target(name, target, pair):
    early, late = (asked(name, target, progress) for progress in sorted(pair))
    assert 0.0 <= early <= late + 1e-6
    assert late <= target + 1e-6


@pytest.mark.parametrize(
    ("progress", "wanted"),
    # p = (progress - 0.2) / 0.6, then 0.8 (1 - (1 - p)^3)
    [(0.0, 0.0), (0.2, 0.0), (0.35, 0.4625), (0.5, 0.7), (0.65, 0.7875), (0.8, 0.8), (1.0, 0.8)],
)
def test_gradual_follows_the_cubic_of_zhu_and_gupta(progress, wanted):
    np.testing.assert_allclose(asked("gradual", 0.8, progress), wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("progress", "wanted"), [(0.0, 0.0), (0.19, 0.0), (0.2, 0.8), (0.21, 0.8), (1.0, 0.8)]
)
def test_oneshot_prunes_all_at_a_fifth_of_the_training(progress, wanted):
    np.testing.assert_allclose(asked("oneshot", 0.8, progress), wanted)


@pytest.mark.parametrize(("progress", "wanted"), [(0.0, 0.0), (0.5, 0.0), (0.999, 0.0), (1.0, 0.8)])
def test_posthoc_prunes_when_all_training_is_done(progress, wanted):
    np.testing.assert_allclose(asked("posthoc", 0.8, progress), wanted)


@pytest.mark.parametrize("progress", [0.0, 0.5, 1.0])
def test_static_is_at_its_target_from_the_start(progress):
    np.testing.assert_allclose(asked("static", 0.8, progress), 0.8)


@pytest.mark.parametrize(
    ("progress", "wanted"),
    # half of the weights are left after each quarter of the way to 80 %: 1 - 0.0625^(progress / 0.8)
    [(0.0, 0.0), (0.2, 0.5), (0.4, 0.75), (0.6, 0.875), (0.8, 0.9375), (1.0, 0.9375)],
)
def test_micro_removes_the_same_share_of_what_is_left_and_is_done_at_80_percent(progress, wanted):
    np.testing.assert_allclose(asked("micro", 0.9375, progress), wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("progress", "wanted"),
    # the same share of what is left after each of four rounds, the fifth being that of the last ticket
    [(0.0, 0.0), (0.19, 0.0), (0.2, 0.5), (0.41, 0.75), (0.6, 0.875), (0.8, 0.9375), (1.0, 0.9375)],
)
def test_a_lottery_removes_the_same_share_of_what_is_left_after_every_round(progress, wanted):
    np.testing.assert_allclose(asked("lottery", 0.9375, progress), wanted, atol=1e-6)


@pytest.mark.parametrize("iterations", [5, 7, 10, 35, 293, 4882])
def test_a_round_begins_with_the_first_iteration_that_reaches_it_however_quotients_are_rounded(iterations):
    rounds = jax.vmap(round_of)(jnp.arange(iterations + 1) / iterations)
    np.testing.assert_array_equal(rounds, [min(5 * i // iterations, 4) for i in range(iterations + 1)])


@pytest.mark.parametrize("scope", SCOPES)
def test_micro_keeps_a_constant_share_of_the_survivors_in_every_iteration(scope):
    target, until = 0.9, round(0.8 * ITERATIONS)
    survivors = simulate("micro", target, scope).sum(1)
    share = (1 - target) ** (1 / until)
    # half a weight of rounding wherever they are counted, or of a unit with its 11 + 6, before and after
    rounding = {"neuron": sum(columns for _, columns in SHAPES.values()), "unit": 11 + 6}
    atol = rounding.get(scope, len(SHAPES))
    np.testing.assert_allclose(survivors[1 : until + 1], share * survivors[:until], atol=atol)
    assert np.all(survivors[until:] == survivors[-1])


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("name", SCHEDULES)
def test_every_simulated_training_ends_with_the_exact_count(name, scope):
    removed = SIZE - simulate(name, 0.7, scope)[-1].sum()
    if scope in ("global", "erk"):
        assert removed == round(0.7 * SIZE)
    elif scope == "unit":
        assert removed == round(0.7 * 16) * (11 + 6)
    elif scope == "neuron":
        assert removed == sum(neurons * round(0.7 * inputs) for inputs, neurons in SHAPES.values())
    else:
        assert removed == sum(round(0.7 * rows * columns) for rows, columns in SHAPES.values())


def test_units_that_are_gone_for_good_count_for_no_other():
    """The second time, the smallest of those that are left go, by what is left of their weights."""
    rng = np.random.default_rng(0)
    shapes = {"layer_0": (3, 8), "layer_1": (8, 8), "layer_2": (8, 2)}
    first, second = (
        {name: rng.uniform(0.1, 1, size=shape) for name, shape in shapes.items()} for _ in range(2)
    )
    mask, lost = (
        {name: np.ones(shape) for name, shape in shapes.items()},
        {"layer_0": set(), "layer_1": set()},
    )
    for scores, target in ((first, 0.25), (second, 0.5)):
        left = {name: scores[name] * mask[name] for name in shapes}
        for into, out in (("layer_0", "layer_1"), ("layer_1", "layer_2")):
            size = np.linalg.norm(left[into], axis=0) * np.linalg.norm(left[out], axis=1)
            others = [unit for unit in np.argsort(size) if unit not in lost[into]]
            lost[into] |= set(others[: round(8 * target) - len(lost[into])])
        found = schedule("oneshot").mask(
            {name: jnp.asarray(m, jnp.float32) for name, m in mask.items()},
            {name: jnp.asarray(s, jnp.float32) for name, s in scores.items()},
            target,
            1.0,
            "unit",
        )
        mask = {name: np.asarray(m) for name, m in found.items()}
        for name, units in lost.items():
            assert set(np.flatnonzero((mask[name] == 0).all(axis=0))) == units


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("name", [name for name in SCHEDULES if schedule(name).for_good])
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), target=shares)
def test_what_is_removed_for_good_never_returns_however_weights_change(name, scope, seed, target):
    history = simulate(name, target, scope, seed)
    assert np.all(np.diff(history, axis=0) <= 0)


def test_only_gradual_set_and_rigl_let_weights_return():
    assert {name for name in SCHEDULES if schedule(name).for_good} == {
        "micro",
        "oneshot",
        "static",
        "posthoc",
        "lottery",
        "lottery-fresh",
    }


def test_weights_may_return_under_gradual():
    assert np.any(np.diff(simulate("gradual", 0.7), axis=0) > 0)


@pytest.mark.parametrize("scope", SCOPES)
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), target=shares)
def test_gradual_never_changes_its_mask_once_it_has_reached_the_target(scope, seed, target):
    history = simulate("gradual", target, scope, seed, iterations=25)
    reached = history[20:]  # 20 of 25 iterations are 80 %
    assert np.all(reached == reached[0])


def test_gradual_settles_also_where_no_iteration_ends_at_exactly_80_percent():
    history = simulate("gradual", 0.7, iterations=7)  # 57 %, 71 %, 86 %, 100 %
    assert np.any(history[4] != history[5])
    np.testing.assert_array_equal(history[6], history[7])


def test_gradual_always_removes_the_smallest_weights_of_the_moment():
    rng = np.random.default_rng(0)
    mask = masks.lowest_removed(jax.tree.map(jnp.abs, random_weights(rng)), 0.3)
    scores = jax.tree.map(jnp.abs, random_weights(rng))
    found = schedule("gradual").mask(mask, scores, 0.8, 0.5)
    wanted = masks.lowest_removed(scores, 0.7)
    for name in SHAPES:
        np.testing.assert_array_equal(found[name], wanted[name])


def test_micro_removes_the_smallest_of_the_survivors():
    mask = {"layer_0": jnp.asarray([[0.0, 1.0, 1.0, 1.0]])}
    scores = {"layer_0": jnp.asarray([[9.0, 3.0, 1.0, 2.0]])}
    found = schedule("micro").mask(mask, scores, 0.5, 1.0)
    np.testing.assert_array_equal(found["layer_0"], [[0.0, 1.0, 0.0, 1.0]])


@pytest.mark.parametrize("name", [name for name in SCHEDULES if schedule(name).during_training])
def test_it_is_dense_until_it_says_so_and_no_longer(name):
    until = schedule(name).dense_until
    assert asked(name, 0.8, until + 1e-3) > 0
    assert until == 0 or asked(name, 0.8, until - 1e-3) == 0


def test_only_posthoc_trains_dense():
    assert [name for name in SCHEDULES if not schedule(name).during_training] == ["posthoc"]


@pytest.mark.parametrize("name", SCHEDULES)
def test_one_compilation_serves_every_target_and_moment(name):
    scores = random_weights(np.random.default_rng(0))
    run = jax.jit(lambda target, progress: schedule(name).mask(scores, scores, target, progress))
    for target, progress in [(0.0, 0.0), (0.5, 0.3), (0.9, 1.0)]:
        run(jnp.float32(target), jnp.float32(progress))
    assert run._cache_size() == 1


def test_an_unknown_schedule_is_refused_by_name():
    with pytest.raises(SpecError, match=r"schedule.*'gradul'.*'gradual'"):
        schedule("gradul")
