"""Small chains in which everything is known: the law of clean episodes, and what the best adversary leaves.

In state s the action goes right with the chance `policy(mean[s])`, and otherwise left: for a Gaussian policy,
of deviation 1, that is where it is positive. An adversary moves the mean by at most `shift[s]`. Two ways at
every step make a binary tree of episodes, all of which are listed, so the adversary may go by all of the
past. An extreme move is always best, since the chance of right grows with it. State 0 is the end.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr


@dataclass(frozen=True)
class Chains:
    """Many of them, [case, ...]. to, reward: of going left (0) or right (1)."""

    mean: np.ndarray
    shift: np.ndarray
    to: np.ndarray
    reward: np.ndarray
    steps: int
    chance: Callable[[np.ndarray], np.ndarray] = ndtr

    @property
    def states(self):
        """The state of each node at each depth, [case, 2^depth]; all episodes start in the last state."""
        case = np.arange(len(self.mean))[:, None]
        at = np.full((len(self.mean), 1), self.mean.shape[1] - 1)
        for _ in range(self.steps):
            yield at
            at = self.to[case, at].reshape(len(at), -1)

    def of_nodes(self, table, states):
        return table[np.arange(len(table))[:, None], states]

    def clean(self, policy=None):
        """Probability [case, episode], rewards and shifts [case, episode, step] of all episodes.

        policy: chance of going right by mean, if not the policy's own.
        """
        probability, rewards, shifts = np.ones((len(self.mean), 1)), [], []
        for depth, states in enumerate(self.states):
            right = (policy or self.chance)(self.of_nodes(self.mean, states))
            probability = np.stack([probability * (1 - right), probability * right], axis=-1)
            probability = probability.reshape(len(states), -1)
            rewards.append(
                self.of_nodes(self.reward, states)
                .reshape(len(states), -1)
                .repeat(2 ** (self.steps - depth - 1), axis=1)
            )
            shifts.append(self.of_nodes(self.shift, states).repeat(2 ** (self.steps - depth), axis=1))
        return probability, np.stack(rewards, axis=-1), np.stack(shifts, axis=-1)

    def attacked(self, value):
        """The least mean of a value of episodes, [case, episode], that an adversary can bring about."""
        for states in reversed(list(self.states)):
            left, right = value[:, 0::2], value[:, 1::2]
            mean, shift = self.of_nodes(self.mean, states), self.of_nodes(self.shift, states)
            chances = self.chance(np.stack([mean - shift, mean + shift]))
            value = (chances * right + (1 - chances) * left).min(axis=0)
        return value[:, 0]


def random_chains(rng, cases, *, states=5, steps=8, largest=0.6, chance=ndtr):
    """Whole-numbered rewards of -1 to 3, a few of them ending; at the end nothing is earned or spent."""
    mean = rng.normal(0.5, 1.0, (cases, states))
    shift = largest * rng.uniform(size=(cases, 1)) * rng.uniform(size=(cases, states))
    to, reward = rng.integers(0, states, (cases, states, 2)), rng.integers(-1, 4, (cases, states, 2))
    shift[:, 0], to[:, 0], reward[:, 0] = 0, 0, 0
    return Chains(mean, shift, to, reward.astype(float), steps, chance)
