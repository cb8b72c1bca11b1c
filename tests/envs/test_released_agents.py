"""The published HalfCheetah agents and their adversaries return here what they return in Gymnasium."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprune.envs import make

AGENTS = Path(__file__).parents[3] / "shared" / "released_agents"
EPS = 0.15
EPISODES = 20

# returns on Gymnasium's -v4 environment, from the table beside the agents: natural, released adversary
SEEN = {"ppo": (7199, -603), "sappo-convex": (3638, 3027), "atla-ppo": (5609, 3010)}


def layers(arrays, network):
    """[(weight, bias), ...] of a network, from the first layer to the last."""
    names = ("affine_layers.0", "affine_layers.1", "final_mean")
    return [tuple(arrays[f"{network}/{name}.{part}"] for part in ("weight", "bias")) for name in names]


def apply(network, x):
    *hidden, (weight, bias) = network
    for inner_weight, inner_bias in hidden:
        x = jnp.tanh(inner_weight @ x + inner_bias)
    return weight @ x + bias


def returns(arrays, eps, charge="clipped"):
    """[episode] returns of the deterministic victim, its normalised observation moved by the adversary."""
    env = make("halfcheetah", "native", charge=charge)
    policy, adversary = layers(arrays, "policy_model"), layers(arrays, "adversary_policy_model")

    def step(state, _):
        x = (state.observation - arrays["obs_mean"]) / (arrays["obs_std"] + 1e-8)
        x = jnp.clip(x, -10.0, 10.0)
        x = x + eps * jnp.clip(apply(adversary, x), -1.0, 1.0)
        state, transition = env.step(state, apply(policy, x))
        return state, (transition.reward, transition.failed)

    def episode(key):
        _, (rewards, failed) = jax.lax.scan(step, env.reset(key), length=env.horizon)
        return rewards.sum(), failed.any()

    found, failed = jax.jit(jax.vmap(episode))(jax.random.split(jax.random.key(0), EPISODES))
    assert not failed.any()
    return found


def read(victim):
    with np.load(AGENTS / f"attack-{victim}-halfcheetah.npz") as file:
        return {name: np.float32(array) for name, array in file.items()}


needs_agents = pytest.mark.skipif(
    not AGENTS.is_dir(), reason="the released agents are not at ../shared/released_agents"
)


@needs_agents
@pytest.mark.parametrize("victim", SEEN)
def test_returns_are_those_seen_in_gymnasium(victim, record_property):
    arrays = read(victim)
    natural, attacked = (float(returns(arrays, eps).mean()) for eps in (0.0, EPS))
    record_property("returns", (natural, attacked))
    seen_natural, seen_attacked = SEEN[victim]
    assert natural == pytest.approx(seen_natural, rel=0.03)
    assert attacked == pytest.approx(seen_attacked, rel=0.1, abs=120)


@needs_agents
def test_atla_pays_for_the_actions_it_asks_for_where_raw_ones_are_charged(record_property):
    clipped, raw = (returns(read("atla-ppo"), 0.0, charge).mean() for charge in ("clipped", "raw"))
    record_property("returns", (float(clipped), float(raw)))
    assert clipped == pytest.approx(5607, rel=0.015)
    assert raw == pytest.approx(5383, rel=0.015)  # as Gymnasium's own reward adds up to
