"""Certified returns from an environment to the table, a thousand times, beside an optimal adversary."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
from scipy.special import ndtr

from jaxprune import envs
from jaxprune.budget import Budget
from jaxprune.certification.attacked_return import attacked_returns
from jaxprune.certification.return_spec import ReturnSpec
from jaxprune.certification.spent import Spent, spent
from jaxprune.envs.episode import begin, proceed
from jaxprune.policy import Agent, normalizer
from tests.populations import population

PLACES, HORIZON, TIMES = 5, 100, 1000
RADII, SCALES = (0.1, 0.4), (1.0, 1.05)
SLOPE, OFFSET = -0.5, 1.5


def row_of_places() -> envs.Environment:
    """Go right where the action is positive, left where it is not; earn the number of the place, 0 to 4."""

    def reset(key):
        return begin(jnp.full(1, 2.0), jnp.full(1, 2.0))

    def step(state, action):
        place = jnp.clip(state.physics + jnp.where(action > 0, 1.0, -1.0), 0.0, PLACES - 1.0)
        return proceed(
            state,
            place,
            observation=place,
            reward=place[0],
            terminated=jnp.zeros((), bool),
            horizon=HORIZON,
            watched=action,
        )

    rewards = (0.0, PLACES - 1.0)
    return envs.Environment(
        "row", "none", 1, envs.ActionSpace(1), HORIZON, reset, step, reward_range=rewards, terminates=False
    )


def agents(count: int) -> Agent:
    """`a ~ N(-0.5 x + 1.5, 1)`, so many times."""
    network = {"layer_0": {"kernel": jnp.full((1, 1), SLOPE), "bias": jnp.full(1, OFFSET)}}
    one = Agent(network, jnp.zeros(1), network, normalizer.init((1,)))
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), one)


def left(scale: float, eps: float, last: Callable[[np.ndarray], np.ndarray]) -> float:
    """The least mean of a function of the return over all adversaries, which know place and sum so far."""
    one = jax.tree.map(lambda leaf: leaf[0], agents(1))
    seen = jnp.arange(PLACES, dtype=jnp.float32)[:, None]
    mean = np.asarray(jax.vmap(lambda x: one.output(one.normalise(x)))(seen), float)[:, 0]
    right = ndtr((mean + eps * abs(SLOPE) * np.array([[-1], [1]])) / scale)[:, :, None]
    most = HORIZON * (PLACES - 1)
    value = np.broadcast_to(last(np.arange(most + 1.0)), (PLACES, most + 1))
    for _ in range(HORIZON):
        # Entering a place earns its number; sums beyond the most cannot be reached.
        entered = np.stack([np.pad(value[p, p:], (0, p), mode="edge") for p in range(PLACES)])
        up, down = entered[[*range(1, PLACES), PLACES - 1]], entered[[0, *range(PLACES - 1)]]
        value = (right * up + (1 - right) * down).min(axis=0)
    return float(value[2, 0])


@pytest.mark.slow
def test_everything_that_is_certified_holds_as_often_as_promised():
    env, spec = row_of_places(), ReturnSpec(40, RADII, SCALES, return_blocks=2, return_attacked=1)
    everyone = population(agents(TIMES), env, Budget(RADII[-1]))
    keys = jax.random.split(jax.random.key(0), TIMES)
    made = {scale: spent(spec, everyone, keys, lambda *_: None, scale) for scale in SCALES}
    for scale, one in made.items():
        # The bounds are those of a line, rounded up, and the sums those of a hundred steps.
        paid = HORIZON * (np.array(RADII) * SLOPE / scale) ** 2
        np.testing.assert_allclose(one.squares.sum(-1), np.tile(paid[:, None], (TIMES, 1, 40)), rtol=1e-3)
    alone, confidence = population(agents(1), env, Budget(RADII[-1])), 0.2
    each, searched = spec.each(confidence, 1), spec.each_sequence(confidence, 1)
    assert (each, searched) == (pytest.approx(0.9), pytest.approx(0.6))
    tables = []
    for time in range(TIMES):
        of_one = {scale: Spent(*(leaf[time : time + 1] for leaf in one)) for scale, one in made.items()}
        means = attacked_returns(spec, alone, of_one, confidence).means
        tables.append(means.with_columns(time=pl.lit(time)))
    means = pl.concat(tables)
    mean_left = {(scale, eps): left(scale, eps, lambda earned: earned) for scale in SCALES for eps in RADII}
    thresholds = np.unique(np.ceil(means["threshold"].to_numpy()))
    reached = {
        (scale, eps, t): left(scale, eps, lambda earned, t=t: (earned >= t).astype(float))
        for scale in SCALES
        for eps in RADII
        for t in thresholds
    }
    assert set(means["std"]) == set(SCALES)
    for eps in RADII:
        rows = means.filter(eps=eps).to_dicts()
        truth = np.array([mean_left[row["std"], eps] for row in rows])
        for column in ("certified_mean", "certified_blocks", "certified_kl"):
            assert np.mean([row[column] for row in rows] <= truth) >= each
        chance = np.array([reached[row["std"], eps, np.ceil(row["threshold"])] for row in rows])
        assert np.mean([row["certified_probability"] for row in rows] <= chance) >= each
        assert np.mean([row["certified_blocks"] for row in rows]) > 0.1 * truth.mean()
    claimed = means.filter(pl.col("eps") <= pl.col("largest_eps_25"))
    wrong = [mean_left[row["std"], row["eps"]] < row["asked_mean"] for row in claimed.to_dicts()]
    assert claimed["time"].n_unique() > TIMES / 2
    assert claimed.filter(pl.Series(wrong))["time"].n_unique() <= (1 - searched) * TIMES
