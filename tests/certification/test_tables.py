"""The rows about returns, by hand: limits on F and on what an adversary can cost, from TV at each state."""

from dataclasses import replace

import numpy as np
import pytest

import jaxprune as jp
from jaxprune import envs
from jaxprune.budget import Budget
from jaxprune.certification import Certified, certificates
from jaxprune.evaluation import Tally, Visits
from tests import lines
from tests.populations import population

HORIZON, EPISODES, GAMMA, CONFIDENCE, MOST = 8, 40, 0.9, 0.8, 0.06


def of_member(rng):
    """Bounds on TV [time, episode], and how many steps each episode had; some are cut by the horizon."""
    return rng.uniform(0, 0.05, (HORIZON, EPISODES)).astype(np.float32), rng.integers(2, 9, EPISODES)


def table(reward_range, terminates):
    """Of two members, the second of whom is looked at."""
    rng = np.random.default_rng(0)
    members = [of_member(rng) for _ in range(2)]
    env = replace(
        envs.make("probe/linear"), horizon=HORIZON, reward_range=reward_range, terminates=terminates
    )
    tv, length = (np.stack(parts) for parts in zip(*members, strict=True))
    alive = np.arange(HORIZON)[:, None] < length[:, None]
    rewards = np.sort(rng.uniform(0.5, 2.0, (2, 2, 1, EPISODES)), axis=0)  # the lowest and the highest
    none, nothing = np.zeros((2, 1, EPISODES), bool), {"path": np.ones(2)}
    tally = Tally(none, rewards[0], length[:, None], none, none, 0 * length[:, None], *rewards)
    found = Certified(
        *(nothing,) * 6,
        expected_dense_tv=np.ones(2),
        tv=tv,
        most_tv=np.array([0.9, MOST], np.float32),
        found=np.ones(2),
        violated={"path": np.zeros(2, int)},
    )
    everyone = population(lines.population(1.0, 1.0), env, Budget(0.1))
    everyone = replace(everyone, trained_by=jp.SweepSpec(env="probe/linear", discount=GAMMA))
    visits = Visits(np.zeros((2, HORIZON, EPISODES, 4), np.float32), alive)
    rows = certificates(everyone, (Budget(0.1),), (found,), visits, tally, CONFIDENCE)
    by_name = {(row["bound"], row["quantity"]): row for row in rows.filter(member=1).to_dicts()}
    return by_name, np.where(alive[1], tv[1], 0), length[1], rewards[:, 1]


def limit(samples):
    """The smaller of Hoeffding's and Bernstein's, each at half of the error."""
    count, error = samples.size, 1 - CONFIDENCE
    hoeffding = MOST * np.sqrt(np.log(2 / error) / (2 * count))
    term = np.log(4 / error)
    bernstein = np.sqrt(2 * samples.var(ddof=1) * term / count) + 7 * MOST * term / (3 * (count - 1))
    return min(samples.mean() + min(hoeffding, bernstein), MOST)


@pytest.mark.parametrize("terminates", [True, False])
@pytest.mark.parametrize("reward_range", [None, (-1.0, 2.0)])
def test_the_limits_are_those_of_the_task_the_discount_and_the_confidence(reward_range, terminates):
    found, tv, length, (lows, highs) = table(reward_range, terminates)
    time = np.arange(HORIZON)[:, None]
    goes_on = (length >= HORIZON) | (not terminates)
    discounted = (1 - GAMMA) * (GAMMA**time * tv).sum(0) + np.where(goes_on, GAMMA**length * MOST, 0)
    left = (HORIZON - time) / np.sum(HORIZON - time)
    low, high = reward_range or (lows.min(), highs.max())
    span = max(high, 0) - min(low, 0) if terminates else high - low
    of_f, of_return = limit(discounted), limit((left * tv).sum(0))
    wanted = {
        ("tightest", "tv_limit"): (of_f, 1),
        ("value_gap", "return"): (span / (1 - GAMMA) ** 2 * of_f, span / (1 - GAMMA)),
        ("horizon_gap", "return"): (span * np.sum(HORIZON - time) * of_return, span * HORIZON),
    }
    for name, (value, all_there_is) in wanted.items():
        row = found[name]
        assert row["value"] == pytest.approx(value, rel=1e-4), name
        assert row["vacuous"] == (value >= all_there_is) and row["confidence"] == CONFIDENCE
        # Without a range of rewards that the task gives, a gap goes by those that were seen.
        known = name[1] == "tv_limit" or reward_range is not None
        assert row["kind"] == ("bound" if known else "estimate")
    assert of_f < MOST and of_return < MOST  # the episodes say more than what holds everywhere
