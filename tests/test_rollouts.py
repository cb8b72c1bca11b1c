"""Episodes moment by moment: they are the evaluation's own, and their states account for their returns."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprune import SpecError, attacks, envs, evaluation, streams
from jaxprune.attacks import Victim
from jaxprune.budget import Ball
from jaxprune.envs.mujoco import native
from jaxprune.envs.mujoco.engine import embody
from jaxprune.envs.mujoco.runners import hopper
from jaxprune.evaluation import Condition, for_all
from jaxprune.policy import agent as agents
from jaxprune.rollouts import Moments, roll_out

# Where nothing is charged for effort, positions alone say what was earned.
TASK = replace(hopper, effort=0.0)
ENV = embody(TASK, native.engine(TASK), "native", horizon=1000, charge="clipped")
PERIOD = 0.008
EPS = jnp.asarray([0.3])
CONDITIONS = tuple(
    for_all(Condition(attacks.make(name), Ball(eps)), 2) for name, eps in (("none", 0 * EPS), ("random", EPS))
)
KEYS = jnp.broadcast_to(streams.key(5, "evaluation"), (2,))


@pytest.fixture(name="victims", scope="module")
def _victims() -> Victim:
    """Two of which nobody has trained, so that they fall soon."""
    draw = jax.vmap(lambda key: agents.init(key, ENV.observation_size, ENV.action_space.size, hidden=(4,)))
    return Victim(draw(jax.random.split(jax.random.key(0), 2)))


@pytest.fixture(name="moments", scope="module")
def _moments(victims: Victim) -> Moments:
    return roll_out(ENV, victims, CONDITIONS, KEYS, steps=1000)


def test_they_are_the_episodes_of_the_evaluation(victims: Victim, moments: Moments) -> None:
    tally, _ = evaluation.play(ENV, victims, CONDITIONS, KEYS, episodes=1)
    np.testing.assert_array_equal(moments.total[:, -1], tally.total[..., 0])
    np.testing.assert_array_equal(moments.alive.sum(axis=1), tally.length[..., 0])
    np.testing.assert_array_equal(moments.terminated[:, -1], tally.terminated[..., 0])
    assert tally.terminated.all()
    # Four episodes, and no two of them alike.
    assert len(np.unique(tally.total)) == 4


def test_the_states_account_for_the_return_at_every_moment(moments: Moments) -> None:
    """One for each step that was survived, and the way that was made, over the time of a step."""
    forward = (moments.qpos[..., 0] - moments.qpos[:, :1, :, 0]) / PERIOD
    survived = np.cumsum(moments.alive, axis=1) - moments.alive
    np.testing.assert_allclose(moments.total, forward + survived, rtol=1e-4, atol=1e-3)


def test_all_begin_in_the_start_state_of_their_key(moments: Moments) -> None:
    reset_key, _, _ = jax.random.split(KEYS[0], 3)
    start = ENV.reset(jax.random.split(reset_key, 1)[0]).physics
    for name in ("qpos", "qvel"):
        first = getattr(moments, name)[:, 0]
        np.testing.assert_array_equal(first, np.broadcast_to(getattr(start, name), first.shape))
    assert (moments.total[:, 0] == 0).all() and moments.alive[:, 0].all()


def test_who_has_fallen_stays_where_he_is(moments: Moments) -> None:
    lengths = moments.alive.sum(axis=1)
    for member, row in np.ndindex(2, 2):
        after = moments.qpos[member, lengths[member, row] :, row]
        np.testing.assert_array_equal(after, np.broadcast_to(after[0], after.shape))
        before = moments.qpos[member, lengths[member, row] - 1, row]
        assert not np.array_equal(before, after[0])


def test_no_more_steps_are_looked_at_than_asked_for(victims: Victim, moments: Moments) -> None:
    few = roll_out(ENV, victims, CONDITIONS, KEYS, steps=7)
    assert few.total.shape == (2, 8, 2)
    jax.tree.map(lambda part, whole: np.testing.assert_array_equal(part, whole[:, :8]), few, moments)


def test_what_mujoco_does_not_move_is_refused_in_one_line(victims: Victim) -> None:
    with pytest.raises(SpecError, match="watch: probe/linear on none has no body that MuJoCo moves"):
        roll_out(envs.make("probe/linear"), victims, CONDITIONS, KEYS, 3)
