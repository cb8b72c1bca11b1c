"""Gradient attacks against policies whose best perturbation is known, and against random ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprune.attacks import (
    Critic,
    Fgsm,
    Mad,
    MadLangevin,
    PaAd,
    SaRl,
    Sarsa,
    SarsaMad,
    Uniform,
    action_difference,
    ascend,
)
from jaxprune.attacks import critic as critic_rule
from jaxprune.attacks import mad as mad_rules
from jaxprune.attacks import pa_ad as pa_ad_rule
from jaxprune.attacks import sarsa as sarsa_rules
from jaxprune.attacks.pa_ad import push
from jaxprune.budget import Ball
from tests.attacks.victims import (
    ACT,
    OBS,
    WEIGHTS,
    every_attack,
    linear_network,
    linear_victim,
    random_network,
    random_victim,
    shown,
    stack,
)

W = WEIGHTS[:, 0]
EPS = 0.25
BEST = {"linf": EPS * np.sign(W), "l2": EPS * W / np.linalg.norm(W)}
POINT = jnp.linspace(-0.5, 0.5, OBS)
RISING = np.array([[0.0]] * OBS + [[1.0]], np.float32)
"""A critic `Q(s, a) = a`."""


def perturbation(attack, victim, norm):
    return shown(attack, jax.random.key(3), victim, POINT, EPS, norm) - POINT


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(
    "attack", [Mad(), Fgsm(), MadLangevin(temperature=1e-6)], ids=lambda attack: attack.name
)
def test_action_difference_of_a_linear_policy_is_pushed_to_either_end(attack, norm):
    offset = perturbation(attack, linear_victim(), norm)
    side = np.sign(W @ np.asarray(offset))
    np.testing.assert_allclose(offset, side * BEST[norm], atol=1e-6)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(
    ("attack", "side"),
    [
        (Critic(), -1),
        (Sarsa(linear_network(RISING)), -1),
        (Sarsa(linear_network(-RISING)), 1),
        (PaAd(linear_network(np.zeros((OBS, 1), np.float32))), 0),
    ],
)
def test_signed_objectives_of_a_linear_policy_are_optimal(attack, side, norm):
    offset = perturbation(attack, linear_victim(), norm)
    if side:
        np.testing.assert_allclose(offset, side * BEST[norm], atol=1e-6)
    else:
        # A director without an opinion: anything in the ball is as good as anything else.
        assert Ball(EPS, norm).contains(POINT, POINT + offset)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_categorical_sarsa_pushes_towards_the_worse_action(norm):
    """Both actions are worth much more or less from state to state, but Q reads the true one."""
    critic = linear_network(np.repeat(-10 * WEIGHTS, 2, axis=1))
    critic["layer_0"]["bias"] = jnp.array([1.0, -1.0])
    offset = perturbation(Sarsa(critic), linear_victim(discrete=True), norm)
    np.testing.assert_allclose(offset, -BEST[norm], atol=1e-6)


@pytest.mark.parametrize("asked", [1.0, -1.0])
@pytest.mark.parametrize("discrete", [False, True])
def test_director_moves_the_action_where_it_points(asked, discrete):
    """The published actor steps the other way."""
    director = linear_network(np.zeros((OBS, 2 if discrete else 1), np.float32))
    director["layer_0"]["bias"] = jnp.array([asked, 0.0] if discrete else [asked])
    offset = perturbation(PaAd(director), linear_victim(discrete=discrete), "linf")
    np.testing.assert_allclose(offset, asked * BEST["linf"], atol=1e-6)


def test_director_moves_random_policies_where_it_points():
    def gain(key, victim):
        keys = jax.random.split(key, 3)
        point, direction = jax.random.normal(keys[0], (OBS,)), jax.random.normal(keys[1], (ACT,))
        moved = push(victim, point, direction)
        return moved(ascend(keys[2], moved, point, Ball(0.1), 10)), moved(point)

    victims = stack([random_victim(seed) for seed in range(100)])
    reached, clean = jax.jit(jax.vmap(gain))(jax.random.split(jax.random.key(0), 100), victims)
    np.testing.assert_array_equal(clean, 0)
    assert jnp.all(reached > 0)


@pytest.mark.parametrize("discrete", [False, True])
def test_mad_beats_noise_and_one_step_never_falls_below_its_start(discrete):
    def differences(key, victim):
        point_key, key = jax.random.split(key)
        point = jax.random.normal(point_key, (OBS,))
        difference = action_difference(victim, point)
        reach = lambda attack: difference(shown(attack, key, victim, point, 0.2))  # noqa: E731
        return tuple(map(reach, (Mad(), MadLangevin(), Fgsm(), Uniform())))

    victims = stack([random_victim(seed, discrete=discrete) for seed in range(200)])
    found = jax.jit(jax.vmap(differences))(jax.random.split(jax.random.key(1), 200), victims)
    mad, langevin, fgsm, noise = map(np.asarray, found)
    assert np.all(mad > noise)
    assert np.all(langevin > 0)
    assert mad.mean() >= max(fgsm.mean(), langevin.mean())
    assert np.mean(mad >= fgsm * (1 - 1e-5)) > 0.9


def test_ascent_returns_the_best_of_what_it_tried():
    """A wavy gain, whose last iterate is not its best: twelve points are tried, the best one is returned."""
    ball, seen = Ball(1.0), []

    def gain(point):
        jax.debug.callback(lambda x: seen.append(np.asarray(x)), point)
        return -jnp.sum(jnp.sin(40 * point))

    best = ascend(jax.random.key(0), gain, jnp.zeros(OBS), ball, 10)
    jax.effects_barrier()
    values = [-np.sum(np.sin(40 * point)) for point in seen]
    assert len(seen) == 12
    np.testing.assert_allclose(-np.sum(np.sin(40 * best)), max(values), rtol=1e-4)


def test_mad_is_blind_to_the_scale_of_the_spread():
    point = jnp.linspace(-1.0, 1.0, OBS)
    found = [
        shown(Mad(), jax.random.key(5), random_victim(4, log_std=s), point, 0.1) for s in (-100.0, 0.0, 100.0)
    ]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_action_difference_is_the_divergence_up_to_the_smallest_spread():
    victim = random_victim(0)
    victim = victim.replace(agent=victim.agent.replace(log_std=jnp.array([-1.0, 0.0, 0.5])))
    point, other = jnp.zeros(OBS), jnp.ones(OBS)
    kl = victim.distribution(point).kl(victim.distribution(other))
    np.testing.assert_allclose(
        action_difference(victim, point)(other), 2 * jnp.exp(-1.0) ** 2 * kl, rtol=1e-5
    )


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum()


def test_categorical_gains_are_those_of_the_probabilities():
    """MAD: `KL(pi(.|x) || pi(.|s_hat))`, and not the other way round. PA-AD: how far probabilities move."""
    victim, point, other = random_victim(0, discrete=True), jnp.zeros(OBS), jnp.full(OBS, 3.0)
    p, q = (softmax(np.float64(victim.output(x))) for x in (point, other))
    kl = np.sum(p * np.log(p / q))
    assert abs(kl - np.sum(q * np.log(q / p))) > 0.05 * kl
    np.testing.assert_allclose(action_difference(victim, point)(other), kl, rtol=1e-4)
    direction = jnp.array([1.0, -0.5, 0.25])
    np.testing.assert_allclose(push(victim, point, direction)(other), (q - p) @ direction, rtol=1e-4)


def climbed(monkeypatch, rule, victim, key=None):
    """What `ascend` is given by a rule at the point: the gain, how many steps, and the noise."""
    given = []

    def seen(key, gain, x, ball, steps, noise=None):
        given.append((gain, steps, noise))
        return x

    for module in (critic_rule, mad_rules, pa_ad_rule, sarsa_rules):
        monkeypatch.setattr(module, "ascend", seen)
    rule.perturb(jax.random.key(2) if key is None else key, victim, POINT, Ball(EPS), ())
    return given.pop()


@pytest.mark.parametrize(
    "rule", [rule for rule in every_attack(0) if hasattr(rule, "steps")], ids=lambda rule: rule.name
)
def test_a_rule_climbs_as_many_steps_as_it_is_asked_for(rule, monkeypatch):
    """Ten as published; one for the actor of PA-AD, which pays them at every step of its training."""
    assert rule.steps == (1 if rule.name == "pa-ad" else 10)
    assert climbed(monkeypatch, rule, random_victim(0))[1] == rule.steps
    assert climbed(monkeypatch, rule.replace(steps=7), random_victim(0))[1] == 7


def test_the_gains_of_robust_sarsa_are_its_formulas(monkeypatch):
    """`-Q`, and `(1 - w) (-Q) + w D / act`; the critic's activation is the one that is asked for."""
    victim, critic, other = random_victim(0), random_network(9, OBS + ACT, 16, 1), POINT + 1
    action, clean = victim.output(other), victim.output(POINT)
    first, last = critic["layer_0"], critic["layer_1"]
    hidden = np.concatenate([POINT, action]) @ first["kernel"] + first["bias"]
    q = (np.maximum(hidden, 0) @ last["kernel"] + last["bias"])[0]
    difference = np.sum((action - clean) ** 2)
    for rule, gain in (
        (Sarsa(critic, activation="relu"), -q),
        (SarsaMad(critic, 0.25, activation="relu"), -0.75 * q + 0.25 * difference / ACT),
    ):
        found = climbed(monkeypatch, rule, victim)[0](other)
        np.testing.assert_allclose(found, gain, rtol=1e-4)


def test_langevin_noise_falls_with_the_steps_and_is_drawn_anew_at_each(monkeypatch):
    """`sqrt(2 T eps / steps) / (k + 2)`, here with T = 4 and three steps."""

    def drawn(key):
        _, steps, noise = climbed(monkeypatch, MadLangevin(4.0, 3), linear_victim(), key)
        return jax.vmap(noise)(jnp.arange(steps))

    noise = np.asarray(jax.vmap(drawn)(jax.random.split(jax.random.key(0), 4000)))  # [draw, step, obs]
    expected = np.sqrt(2 * 4.0 * EPS / 3) / np.array([2, 3, 4])
    np.testing.assert_allclose(noise.std(axis=(0, 2)), expected, rtol=0.03)
    of_steps = np.corrcoef(noise.transpose(1, 0, 2).reshape(3, -1))
    np.testing.assert_allclose(of_steps, np.eye(3), atol=0.05)


def test_the_mixture_ends_at_its_parts():
    victim, point = random_victim(0), jnp.zeros(OBS)
    critic = random_network(9, OBS + ACT, 1)
    show = lambda attack: shown(attack, jax.random.key(1), victim, point, 0.1)  # noqa: E731
    np.testing.assert_allclose(show(SarsaMad(critic, 0.0)), show(Sarsa(critic)), atol=1e-6)
    np.testing.assert_allclose(show(SarsaMad(critic, 1.0)), show(Mad()), atol=1e-6)


def test_sarsa_lies_to_the_policy_and_not_to_the_critic():
    """A critic that reads the state only is flat in what is shown: no gradient, the random start is kept."""
    reads_state = np.concatenate([WEIGHTS, np.zeros((1, 1), np.float32)])
    offset = perturbation(Sarsa(linear_network(reads_state)), linear_victim(), "linf")
    assert np.max(np.abs(offset)) <= EPS / 10


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_learned_adversary_is_scaled_into_the_ball(norm):
    network = linear_network(np.zeros((OBS, OBS), np.float32))
    network["layer_0"]["bias"] = jnp.array([0.5, -0.25, 3.0, -4.0, 0.0])
    expected = {
        "linf": EPS * np.array([0.5, -0.25, 1.0, -1.0, 0.0]),
        "l2": EPS * np.array([0.5, -0.25, 3.0, -4.0, 0.0]) / np.sqrt(25.3125),
    }
    offset = perturbation(SaRl(network), linear_victim(), norm)
    np.testing.assert_allclose(offset, expected[norm], atol=1e-6)


def test_a_learned_adversary_has_the_activation_it_is_asked_for():
    network, victim = random_network(5, OBS, 16, OBS), random_victim(0)
    first, last = network["layer_0"], network["layer_1"]
    action = np.maximum(POINT @ first["kernel"] + first["bias"], 0) @ last["kernel"] + last["bias"]
    offset = perturbation(SaRl(network, activation="relu"), victim, "linf")
    np.testing.assert_allclose(offset, EPS * np.clip(action, -1, 1), atol=1e-6)
