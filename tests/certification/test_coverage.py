"""Certified returns from an environment to the table, a thousand times, beside an optimal adversary.

Actions are drawn from N(0, scale^2) and added up. After 50 steps and after 100 the sum wins a prize if it is
above a line. An attack of radius eps moves the mean of an action by up to eps |SLOPE|; whatever an adversary
does, no sum is smaller than under that move to the left at every step, so this takes most of both prizes.
It is one move of `sqrt(steps) eps |SLOPE| / scale` standard deviations of the sum, and for a half-space the
filter allows no more than that. So what is left is a formula, and but for the number of episodes and the
first prize, which is small, limits on it have no slack: they are wrong if half of the shift is paid for. The
KL gap of the whole shift leaves nothing at the larger radius; that of half of it leaves too much as well.
"""

from collections.abc import Mapping

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

TIMES, FAULTY_TIMES = 1000, 100
RADII, SCALES = (0.1, 0.4), (1.0, 1.05)
SPEC = ReturnSpec(240, RADII, SCALES, return_blocks=2, return_attacked=1)
CONFIDENCE = 0.2
SLOPE = -0.5
PAID_AFTER, PRIZES = np.array([50, 100]), np.array([1.0, 9.0])
LINES = -np.sqrt(PAID_AFTER)  # one standard deviation below the mean of the sum
HORIZON = int(PAID_AFTER[-1])


def two_prizes() -> envs.Environment:
    """The same is seen whatever the sum is: an attack changes the action that it is on, and no later one."""
    times, lines = jnp.asarray(PAID_AFTER, jnp.int32), jnp.asarray(LINES, jnp.float32)
    prizes, seen = jnp.asarray(PRIZES, jnp.float32), jnp.ones(1)

    def reset(key):
        return begin(jnp.zeros(1), seen)

    def step(state, action):
        total = state.physics + action
        won = (state.time + 1 == times) & (total > lines)
        return proceed(
            state,
            total,
            observation=seen,
            reward=jnp.where(won, prizes, 0.0).sum(),
            terminated=jnp.zeros((), bool),
            horizon=HORIZON,
            watched=action,
        )

    rewards = (0.0, float(PRIZES.max()))
    return envs.Environment(
        "prizes", "none", 1, envs.ActionSpace(1), HORIZON, reset, step, reward_range=rewards, terminates=False
    )


def agents(count: int) -> Agent:
    """`a ~ N(-0.5 x + 0.5, 1)`, so many times; x is 1."""
    network = {"layer_0": {"kernel": jnp.full((1, 1), SLOPE), "bias": jnp.full(1, -SLOPE)}}
    one = Agent(network, jnp.zeros(1), network, normalizer.init((1,)))
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), one)


def chances(scale: float, eps: float) -> np.ndarray:
    """Of either prize, under the worst adversary."""
    return ndtr((-LINES - PAID_AFTER * eps * abs(SLOPE)) / (np.sqrt(PAID_AFTER) * scale))


def certified(made: Mapping[float, Spent], times: int, paid: float = 1.0) -> pl.DataFrame:
    """The rows of so many repetitions, where this share of each shift is paid for."""
    alone, tables = population(agents(1), two_prizes(), Budget(RADII[-1])), []
    for time in range(times):
        of_one = {scale: Spent(*(leaf[time : time + 1] for leaf in one)) for scale, one in made.items()}
        bought = {scale: one._replace(squares=paid**2 * one.squares) for scale, one in of_one.items()}
        means = attacked_returns(SPEC, alone, bought, CONFIDENCE).means
        tables.append(means.with_columns(time=pl.lit(time)))
    return pl.concat(tables)


def held(means: pl.DataFrame, eps: float) -> dict[str, float]:
    """The share of repetitions in which each limit is no larger than what is left."""
    rows = means.filter(eps=eps)
    left = np.array([chances(scale, eps) for scale in rows["std"]])
    means_left = dict.fromkeys(("certified_mean", "certified_blocks", "certified_kl"), left @ PRIZES)
    # The first prize does not reach the threshold, the second does.
    assert rows["threshold"].is_between(*PRIZES, closed="right").all()
    truth = {**means_left, "certified_probability": left[:, 1]}
    return {column: float(np.mean(rows[column].to_numpy() <= most)) for column, most in truth.items()}


def claims_held(means: pl.DataFrame) -> dict[str, float]:
    """The share of repetitions in which what is asked for is left up to the largest radius, by each mean."""
    left = [chances(row["std"], row["eps"]) @ PRIZES for row in means.to_dicts()]
    short = means.filter(pl.Series(left) < means["asked_mean"])  # the same of blocks: no reward is negative
    times = means["time"].n_unique()
    return {
        column: 1 - short.filter(pl.col("eps") <= pl.col(column))["time"].n_unique() / times
        for column in ("largest_eps_25", "largest_eps_25_blocks")
    }


@pytest.mark.slow
def test_everything_that_is_certified_holds_as_often_as_promised():
    everyone = population(agents(TIMES), two_prizes(), Budget(RADII[-1]))
    keys = jax.random.split(jax.random.key(0), TIMES)
    made = {scale: spent(SPEC, everyone, keys, lambda *_: None, scale) for scale in SCALES}
    for scale, one in made.items():
        # The bounds are those of a line, rounded up, and the sums those of a hundred steps.
        paid = HORIZON * (np.array(RADII) * SLOPE / scale) ** 2
        shape = (TIMES, 1, SPEC.return_episodes)
        np.testing.assert_allclose(one.squares.sum(-1), np.tile(paid[:, None], shape), rtol=1e-3)
        np.testing.assert_allclose((one.rewards > 0).mean((0, 1)), chances(scale, 0.0), atol=3e-3)
    each, searched = SPEC.each(CONFIDENCE, 1), SPEC.each_sequence(CONFIDENCE, 1)
    assert (each, searched) == (pytest.approx(0.9), pytest.approx(0.6))
    means = certified(made, TIMES)
    assert set(means["std"]) == set(SCALES)
    for eps in RADII:
        assert min(held(means, eps).values()) >= each
    assert min(claims_held(means).values()) >= searched
    assert np.mean(means["largest_eps_25"].to_numpy() > 0) > 0.5  # there are claims
    for share in (0.5, 0.0):
        faulty = certified(made, FAULTY_TIMES, paid=share)
        assert max(held(faulty, RADII[-1]).values()) < 0.5
        assert max(claims_held(faulty).values()) < 0.5
