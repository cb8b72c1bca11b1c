"""Probes with finitely many states, `probe/tabular` and `probe/chain`, and their exact solutions.

A policy is a matrix [state, action] of probabilities. The adversary of a state-adversarial MDP (Zhang et al.,
2020, https://arxiv.org/abs/2003.08938) shows the policy another state in place of the true one, out of the
true one's neighbours. Every solution is about the discounted return of an episode without horizon, in
float64. They are NumPy functions, for the host: under `vmap`, jaxlib's linear solves can hang.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxprune.envs.api import ActionSpace, Environment, EnvState, Transition
from jaxprune.envs.episode import begin, proceed

Policy = Float[np.ndarray, "state action"]
Values = Float[np.ndarray, " state"]
Shown = Int[np.ndarray, " state"]


@dataclass(frozen=True)
class MDP:
    """transition: P(next | state, action); what its last axis lacks to 1 is the probability that the episode
    ends. reward: of (state, action), in [0, 1]. Episodes start in a uniformly drawn state.
    """

    transition: Float[np.ndarray, "state action state"]
    reward: Float[np.ndarray, "state action"]


def random_mdp(states: int = 6, actions: int = 3, seed: int = 0) -> MDP:
    """Rewards uniform in [0, 1], next states from a flat Dirichlet distribution; no episode ends."""
    rng = np.random.default_rng(seed)
    return MDP(rng.dirichlet(np.ones(states), (states, actions)), rng.uniform(size=(states, actions)))


def chain(states: int = 5) -> MDP:
    """A row of states. Action 0 goes left, 1 right; from the last state, 1 brings reward 1 and the end."""
    left, right = np.eye(states, k=-1), np.eye(states, k=1)
    left[0, 0] = 1.0
    reward = np.zeros((states, 2))
    reward[-1, 1] = 1.0
    return MDP(np.stack([left, right], axis=1), reward)


def ring(states: int) -> Bool[np.ndarray, "state state"]:
    """Neighbours [true, shown] on a circle: the state itself and the two beside it."""
    place = np.arange(states)
    distance = (place[:, None] - place) % states
    return (distance <= 1) | (distance == states - 1)


def action_values(mdp: MDP, values: Values, discount: float) -> Float[np.ndarray, "state action"]:
    """Q(s, a) = r(s, a) + discount * sum_s' P(s' | s, a) V(s')."""
    return mdp.reward + discount * mdp.transition @ values


def policy_values(mdp: MDP, policy: Policy, discount: float) -> Values:
    """V of a policy: the solution of V = r + discount P V under its actions."""
    moves = np.einsum("sa,san->sn", policy, mdp.transition)
    rewards = np.einsum("sa,sa->s", policy, mdp.reward)
    return np.linalg.solve(np.eye(len(rewards)) - discount * moves, rewards)


def optimal_values(mdp: MDP, discount: float, tolerance: float = 1e-12) -> Values:
    """V of the best policy, by value iteration to within `tolerance` (largest error); discount < 1."""
    values, error = np.zeros(len(mdp.reward)), np.inf
    while error > tolerance:
        improved = action_values(mdp, values, discount).max(axis=1)
        error = np.abs(improved - values).max() * discount / (1 - discount)
        values = improved
    return values


def attacked(policy: Policy, shown: Shown) -> Policy:
    """The policy as it acts when state s is shown as `shown[s]`."""
    return policy[shown]


def optimal_adversary(
    mdp: MDP, policy: Policy, neighbours: Bool[np.ndarray, "state state"], discount: float
) -> tuple[Shown, Values]:
    """The adversary that minimises the values of a fixed policy in every state at once, and these values.

    By policy iteration on the adversary's own MDP, whose actions are the neighbours to show and whose reward
    is the negated one; exact, because that MDP is finite.
    """
    shown = np.arange(len(policy))
    while True:
        values = policy_values(mdp, attacked(policy, shown), discount)
        # [true, shown]: value of showing a state now and going on as before
        options = np.where(neighbours, action_values(mdp, values, discount) @ policy.T, np.inf)
        best = options.argmin(axis=1)
        better = options[np.arange(len(shown)), best] < values - 1e-12
        if not better.any():
            return shown, values
        shown = np.where(better, best, shown)


def worst_mean(chances: Float[np.ndarray, " next"], values: Values, eps: float) -> float:
    """The least mean of `values` over all distributions q with KL(q || chances) <= eps, in nats.

    It is that of `q ~ chances exp(-values / beta)`, whose divergence falls as beta grows; beta by bisection.
    What `chances` lack to 1 has the value 0.
    """
    p, v = np.append(chances, max(0.0, 1.0 - chances.sum())), np.append(values, 0.0)
    p, v = p[p > 1e-12], v[p > 1e-12]

    def tilted(beta: float) -> Float[np.ndarray, " next"]:
        weights = p * np.exp(-(v - v.min()) / beta)
        return weights / weights.sum()

    low, high = 1e-6 * (np.ptp(v) + 1e-12), 1e9 * (np.ptp(v) + 1e-12)
    for _ in range(100):
        beta = np.sqrt(low * high)
        q = tilted(beta)
        if np.sum(q * np.log(np.maximum(q, 1e-300) / p)) > eps:
            low = beta
        else:
            high = beta
    return float(tilted(high) @ v)


def kl_robust_values(
    mdp: MDP, policy: Policy, eps: float, discount: float, tolerance: float = 1e-10
) -> Values:
    """V of a policy where, in every state and action, the worst of the transitions within KL `eps` is met.

    `V(s) = sum_a policy(a | s) (r(s, a) + discount min_{KL(q || P(. | s, a)) <= eps} q V)`, by iteration to
    within `tolerance`; discount < 1.
    """
    values, error = np.zeros(len(mdp.reward)), np.inf
    while error > tolerance:
        worst = np.apply_along_axis(worst_mean, -1, mdp.transition, values, eps)
        improved = np.sum(policy * (mdp.reward + discount * worst), axis=1)
        error = np.abs(improved - values).max() * discount / (1 - discount)
        values = improved
    return values


class Walk(struct.PyTreeNode):
    """place: the state's number. luck: uniform numbers drawn at the reset, one for each step's transition."""

    place: Int[Array, "*batch"]
    luck: Float[Array, "*batch horizon"]


def environment(task: str, mdp: MDP, horizon: int) -> Environment:
    """An MDP as an environment. Its observation is one-hot; after an end it shows the last state."""
    states, actions = mdp.reward.shape
    cumulative = mdp.transition.cumsum(axis=-1)
    cumulative[np.isclose(cumulative, 1.0, rtol=0.0, atol=1e-9)] = 1.0  # rounding must not end an episode
    ends = bool((cumulative[..., -1] < 1.0).any())
    cumulative, rewards = (jnp.asarray(table, jnp.float32) for table in (cumulative, mdp.reward))

    def reset(key: PRNGKeyArray) -> EnvState:
        place_key, luck_key = jax.random.split(key)
        place = jax.random.randint(place_key, (), 0, states)
        return begin(Walk(place, jax.random.uniform(luck_key, (horizon,))), jax.nn.one_hot(place, states))

    def step(state: EnvState, action: Int[Array, ""]) -> tuple[EnvState, Transition]:
        walk = state.physics
        drawn = (cumulative[walk.place, action] <= walk.luck[state.time]).sum(dtype=jnp.int32)
        ended = drawn == states
        place = jnp.where(ended, walk.place, drawn)
        return proceed(
            state,
            walk.replace(place=place),
            observation=jax.nn.one_hot(place, states),
            reward=rewards[walk.place, action],
            terminated=ended,
            horizon=horizon,
        )

    return Environment(
        task=task,
        physics="none",
        observation_size=states,
        action_space=ActionSpace(actions, discrete=True),
        horizon=horizon,
        reset=reset,
        step=step,
        reward_range=(0.0, 1.0),
        terminates=ends,
    )
