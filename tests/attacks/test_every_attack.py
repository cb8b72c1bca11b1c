"""What must hold for every rule: the ball, the identity at eps = 0, no NaN, one program for every eps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxprune.attacks import Victim
from jaxprune.budget import Ball
from tests.attacks.victims import OBS, every_attack, first_step, random_victim, shown, stack

NAMES = [attack.name for attack in every_attack(0)]
POINT = jnp.linspace(-2.0, 2.0, OBS)


def named(name, seed, *, discrete=False):
    (attack,) = (attack for attack in every_attack(seed, discrete=discrete) if attack.name == name)
    return attack


def numbers(low, high):
    """Without subnormal numbers, which XLA takes for zero."""
    return st.floats(low, high, width=32, allow_subnormal=False)


@pytest.mark.parametrize(
    ("discrete", "norm"), [(False, "linf"), (False, "l2"), (True, "linf")], ids=lambda value: str(value)
)
@pytest.mark.parametrize("name", NAMES)
def test_stays_in_the_ball_and_is_the_identity_without_one(name, discrete, norm):
    @settings(max_examples=10, deadline=None, database=None)
    @given(
        seed=st.integers(0, 2**31 - 2),
        eps=numbers(0, 20),
        entries=st.lists(numbers(-10, 10), min_size=OBS, max_size=OBS),
    )
    def check(seed, eps, entries):
        attack, victim = named(name, seed, discrete=discrete), random_victim(seed, discrete=discrete)
        key, point, radius = jax.random.key(seed), jnp.array(entries, jnp.float32), jnp.float32(eps)
        assert Ball(radius, norm).contains(point, shown(attack, key, victim, point, radius, norm))
        np.testing.assert_array_equal(shown(attack, key, victim, point, 0.0, norm), point)

    check()


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", NAMES)
def test_deterministic_agents_give_no_nan(name, norm):
    """exp(-100) is zero in float32."""
    victim, eps = random_victim(3, log_std=-100.0), jnp.float32(0.1)
    point_hat = shown(named(name, 3), jax.random.key(0), victim, POINT, eps, norm)
    assert Ball(eps, norm).contains(POINT, point_hat)


@pytest.mark.parametrize("name", NAMES)
def test_one_program_serves_every_eps(name):
    attack, victim = named(name, 0), random_victim(0)
    shown(attack, jax.random.key(0), victim, POINT, 0.1)
    programs = first_step._cache_size()
    for eps in (0.0, 0.2, 3.0):
        shown(attack, jax.random.key(0), victim, POINT, eps)
    assert first_step._cache_size() == programs


@pytest.mark.parametrize("name", ["random", "fgsm", "mad-sgld", "sarsa+mad", "sa-rl", "sensor"])
def test_a_batch_equals_its_members(name):
    """Attack, victim, key, point and eps all differ. Tolerance: rounding, summed over eleven steps."""
    attacks, victims = [named(name, seed) for seed in range(3)], [random_victim(seed) for seed in range(3)]
    keys, points = jax.random.split(jax.random.key(0), 3), jnp.stack([POINT, -POINT, POINT**2])
    eps = jnp.array([0.1, 0.2, 0.3])
    together = jax.vmap(shown)(stack(attacks), keys, stack(victims), points, eps)
    alone = jnp.stack([shown(*member) for member in zip(attacks, keys, victims, points, eps, strict=True)])
    np.testing.assert_allclose(together, alone, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_a_constant_policy_acts_the_same(name):
    victim = random_victim(0)
    blind = jax.tree.map(np.zeros_like, victim.agent.policy)
    victim = Victim(victim.agent.replace(policy=blind))
    point_hat = shown(named(name, 2), jax.random.key(2), victim, POINT, 0.5)
    np.testing.assert_array_equal(victim.output(point_hat), victim.output(POINT))


@pytest.mark.parametrize("name", ["fgsm", "mad", "critic", "sarsa", "sa-rl", "random"])
def test_raw_space_is_the_normalised_one_rescaled(name):
    """Sign steps do not see a change of units per feature, as long as nothing is clipped."""
    attack, key = named(name, 7), jax.random.key(1)
    normalised, raw = random_victim(7), random_victim(7, space="raw")
    scale = jnp.sqrt(raw.agent.normalizer.variance)
    in_normalised = shown(attack, key, normalised, normalised.to_space(POINT), 0.1)
    in_raw = shown(attack, key, raw, raw.to_space(POINT), 0.1 * scale)
    np.testing.assert_allclose(raw.normalised(in_raw), in_normalised, atol=1e-5)
