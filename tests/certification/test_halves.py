"""What one half of the episodes chooses for the other, against optimal adversaries of laws that are known."""

import numpy as np
import pytest

from jaxprune.bounds import largest_radius
from jaxprune.certification.halves import SHARE, best_of, halves
from jaxprune.certification.return_spec import ReturnSpec
from jaxprune.certification.spent import Spent
from tests.bounds.attacked_chains import Chains, random_chains

HORIZON = 100  # two stretches, of four steps of a chain each
SCALES, RADII = (1.0, 1.4), (1.0, 5.0)
ends = np.array([0, 4])


def scaled(chains: Chains, scale: float, radius: float) -> Chains:
    """With so many standard deviations, under so many times the shift."""
    return Chains(chains.mean / scale, radius * chains.shift / scale, chains.to, chains.reward, chains.steps)


class Known:
    """A chain at every scale: clean episodes to draw from, and what the best adversary leaves."""

    def __init__(self, seed: int, lowest: float):
        self.chains, self.lowest = random_chains(np.random.default_rng(seed), 1, largest=0.5), lowest
        self.law = {scale: scaled(self.chains, scale, 1.0).clean() for scale in SCALES}

    def left(self, scale: float, radius: float, blocks: int) -> float:
        """Of the mean of `sum_k max(G_k, lowest_k)`, by dynamic programming."""
        rewards = self.law[scale][1]
        sums = np.add.reduceat(rewards, ends if blocks == 2 else [0], axis=-1)
        counted = np.maximum(sums, self.lowest / blocks).sum(axis=-1)
        return float(scaled(self.chains, scale, radius).attacked(counted)[0])

    def drawn(self, rng: np.random.Generator, scale: float, episodes: int) -> Spent:
        probability, rewards, shifts = (part[0] for part in self.law[scale])
        seen = rng.choice(len(probability), episodes, p=probability / probability.sum())
        squares = np.stack([np.add.reduceat((eps * shifts[seen]) ** 2, ends, axis=-1) for eps in RADII])
        nothing = np.zeros((1, len(RADII), 1, len(ends)))
        return Spent(np.add.reduceat(rewards[seen], ends, axis=-1)[None], squares[None], nothing)


def spec(episodes: int) -> ReturnSpec:
    return ReturnSpec(
        return_episodes=episodes, return_eps=RADII, return_std=SCALES, return_blocks=2, return_attacked=1
    )


@pytest.mark.parametrize("times", [30, pytest.param(1000, marks=pytest.mark.slow)])
def test_what_is_certified_at_the_scale_chosen_holds_as_often_as_promised(times):
    """Both limits at the last radius, each at its confidence; and the search for the largest radius."""
    known, rng, confidence = Known(9, lowest=-2.0), np.random.default_rng(0), 0.8
    asked_for, last = spec(40), len(RADII) - 1
    left = {(s, e, b): known.left(s, e, b) for s in SCALES for e in RADII for b in (1, 2)}
    held, unpaid, claims, scales = [], [], [], set()
    for _ in range(times):
        made = {scale: known.drawn(rng, scale, 40) for scale in SCALES}
        best = [best_of(asked_for, made, (0, r), -2.0, HORIZON, confidence) for r in range(len(RADII))]
        scales |= {one.scale for one in best}
        held.append(
            [
                kind.limit(confidence) <= left[best[last].scale, RADII[last], blocks]
                for kind, blocks in ((best[last].whole, 1), (best[last].parts, 2))
            ]
        )
        # Episodes that say nothing of what attacks cost are found out.
        free = {scale: one._replace(squares=0 * one.squares) for scale, one in made.items()}
        one = best_of(asked_for, free, (0, last), -2.0, HORIZON, confidence)
        unpaid.append(one.whole.limit(confidence) <= left[one.scale, RADII[last], 1])
        asked = halves(asked_for, made[1.0], (0, 0), 1, -2.0, HORIZON).asked
        limits = np.array([one.whole.limit(confidence) for one in best])
        found = largest_radius(np.array(RADII), limits, asked)
        claimed = [place for place, eps in enumerate(RADII) if eps <= found]
        claims.append((found, all(left[best[r].scale, RADII[r], 1] >= asked for r in claimed)))
    assert (np.mean(held, axis=0) >= confidence).all()
    assert np.mean([right for _, right in claims]) >= confidence
    assert len(scales) > 1  # episodes decide
    assert any(found > 0 for found, _ in claims)
    assert np.mean(unpaid) < confidence


def test_a_scale_chosen_by_the_half_that_is_certified_breaks_the_promise():
    """Eight scales return 1 in 46 of 100 episodes each: the best of so many looks better."""
    rng, confidence, scales = np.random.default_rng(0), 0.3, tuple(1.0 + np.arange(8))

    def limit(made: dict[float, Spent], *among: float) -> float:
        asked_for = ReturnSpec(return_episodes=12, return_eps=(0.0,), return_std=among, return_blocks=1)
        return best_of(asked_for, made, (0, 0), 0.0, 50, confidence).whole.limit(confidence)

    def drawn() -> Spent:
        returned = (rng.uniform(size=(1, 12, 1)) < 0.46).astype(float)
        return Spent(returned, np.zeros((1, 1, 12, 1)), np.zeros((1, 1, 1, 1)))

    cases = [{scale: drawn() for scale in scales} for _ in range(12)]
    assert np.mean([limit(made, *scales) > 0.46 for made in cases]) <= 1 - confidence
    assert (
        np.mean([max(limit(made, scale) for scale in scales) > 0.46 for made in cases]) > 1 - confidence + 0.1
    )


def test_half_is_asked_for_by_hand():
    made = Spent(
        np.array([[[8.0, -8.0], [4.0, 4.0], [1.0, 1.0]]]), np.zeros((1, 1, 3, 2)), np.zeros((1, 1, 1, 2))
    )
    whole = halves(ReturnSpec(3), made, (0, 0), 1, -2.0, HORIZON)
    assert whole.certifying.returns.tolist() == [[2.0]] and whole.clean == 2
    assert whole.asked == -2 + SHARE * ((0 + 8) / 2 + 2)
    parts = halves(ReturnSpec(3), made, (0, 0), 2, -2.0, HORIZON)
    assert parts.lowest.tolist() == [-1, -1] and parts.clean == 2
    assert parts.asked == -2 + SHARE * ((8 - 1 + 4 + 4) / 2 + 2)
    # Where nothing but the lowest is returned, no radius leaves a share of more than that.
    poor = halves(ReturnSpec(3), made._replace(rewards=-made.rewards - 9), (0, 0), 1, -2.0, HORIZON)
    assert poor.asked > -2 == poor.clean
