"""Regularisers: values known by hand, what their gradients reach, and that they leave other streams alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprune.errors import SpecError
from jaxprune.policy import Agent, normalizer
from jaxprune.training.arms import read_arm
from jaxprune.training.batch import Batch
from jaxprune.training.regularizers import REGULARIZERS, Moment, Regularizer, add, linear
from jaxprune.training.regularizers.sa_sgld import STEPS, ascend, shift

EPS = 0.3
SLOPES = np.array([[1.0], [-2.0], [0.5], [-0.25]], np.float32)
X = jnp.asarray(np.random.default_rng(0).normal(size=(32, 4)), jnp.float32)
BATCH = Batch(
    x=X,
    action=jnp.zeros((32, 1)),
    log_prob=jnp.zeros(32),
    advantage=jnp.zeros(32),
    value_target=jnp.zeros(32),
)
LATE = Moment(jnp.float32(1.0), jax.random.key(0))


def on_a_line(log_std: float = 0.0) -> Agent:
    """`mu(x) = w . x`, a policy of one action."""
    network = {"layer_0": {"kernel": jnp.asarray(SLOPES), "bias": jnp.zeros(1)}}
    return Agent(network, jnp.full(1, log_std), network, normalizer.init((4,)))


def sa_sgld(agent: Agent, moment: Moment = LATE, **change: float) -> jax.Array:
    record = REGULARIZERS["sa-sgld"]
    leaves = dict(record.leaves) | {"eps": EPS, "kappa": 1.0, "ramp": 0.0} | change
    return record.loss(agent, BATCH, leaves, moment)


@pytest.mark.parametrize("log_std", [0.0, -1.0])
def test_on_a_line_the_ascent_comes_within_one_stride_of_the_edge(log_std: float) -> None:
    """The largest R is `(eps |w|_1 / sigma)^2`; a start on the wrong side lacks one stride."""
    largest = float((EPS * np.abs(SLOPES).sum() / np.exp(log_std)) ** 2)
    found = float(sa_sgld(on_a_line(log_std)))
    assert (1 - 2 / STEPS) ** 2 * largest <= found <= largest * (1 + 1e-5)


def test_no_point_leaves_the_ball_and_the_gradient_goes_through_sigma_unless_detached() -> None:
    agent = on_a_line()
    s_hat = ascend(agent, X, EPS, jax.random.key(1))
    assert float(jnp.abs(s_hat - X).max()) <= EPS + 1e-6

    def of_log_std(log_std: jax.Array, detached: float) -> jax.Array:
        return sa_sgld(agent.replace(log_std=log_std), detach_std=detached)

    slope = jax.grad(of_log_std)(jnp.zeros(1), 0.0)
    # R ~ 1 / sigma^2, so dR / dlog sigma = -2 R.
    np.testing.assert_allclose(slope, [-2 * float(sa_sgld(agent))], rtol=1e-4)
    np.testing.assert_array_equal(jax.grad(of_log_std)(jnp.zeros(1), 1.0), [0.0])


def test_the_clean_action_is_a_constant() -> None:
    """dR / dw with mu(x) held: `2 (w . d) s_hat / sigma^2`, and not `2 (w . d) d`."""
    agent = on_a_line()
    s_hat = ascend(agent, X, EPS, LATE.key)

    def of_weights(kernel: jax.Array) -> jax.Array:
        return sa_sgld(agent.replace(policy={"layer_0": {"kernel": kernel, "bias": jnp.zeros(1)}}))

    slope = jax.grad(of_weights)(jnp.asarray(SLOPES))
    moved = (s_hat - X) @ SLOPES
    np.testing.assert_allclose(
        slope, (2 * moved[:, :, None] * s_hat[:, :, None]).mean(0).T.reshape(4, 1), rtol=1e-3
    )


def test_categorical_policies_pay_twice_the_divergence() -> None:
    network = {
        "layer_0": {
            "kernel": jnp.asarray(np.random.default_rng(1).normal(size=(4, 3)), jnp.float32),
            "bias": jnp.zeros(3),
        }
    }
    agent = Agent(network, None, on_a_line().value, normalizer.init((4,)))
    p, q = (jax.nn.softmax(x @ network["layer_0"]["kernel"]) for x in (X[0], X[1]))
    assert float(shift(agent, X[0], X[1])) == pytest.approx(2 * float(jnp.sum(p * jnp.log(p / q))), rel=1e-4)
    assert float(sa_sgld(agent)) > 0


def test_the_budget_grows_linearly_and_weighs_as_asked() -> None:
    assert [float(linear(jnp.float32(p), 0.5)) for p in (0.0, 0.25, 0.5, 1.0)] == [0.0, 0.5, 1.0, 1.0]
    agent = on_a_line()
    assert float(sa_sgld(agent, eps=0.0)) == 0.0
    early = Moment(jnp.float32(0.0), LATE.key)
    assert float(sa_sgld(agent, early, ramp=0.5)) == 0.0
    assert float(sa_sgld(agent, kappa=3.0)) == pytest.approx(3 * float(sa_sgld(agent)), rel=1e-5)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("sa-sgl", "arm: unknown name 'sa-sgl'; did you mean 'sa-sgld'"),
        ("sa-sgld:kapa=1", "arm: sa-sgld: unknown name 'kapa'; did you mean 'kappa'"),
        ("sa-sgld:kappa=-1", "arm: sa-sgld:kappa '-1' must be a finite number of at least 0"),
        ("sa-sgld:eps", "arm: sa-sgld:eps '' must be a finite number"),
        ("sa-sgld+sa-sgld", "given twice"),
    ],
)
def test_a_mistake_is_named(given: str, said: str) -> None:
    with pytest.raises(SpecError, match=said.replace("+", r"\+")):
        read_arm(given)


def test_an_arm_has_the_numbers_asked_for_and_the_defaults_of_the_others() -> None:
    assert read_arm("ppo") == ((), {})
    regularizers, leaves = read_arm("sa-sgld:kappa=0.3:eps=0.1")
    assert regularizers == (REGULARIZERS["sa-sgld"],)
    assert leaves == {"sa-sgld": dict(REGULARIZERS["sa-sgld"].leaves) | {"kappa": 0.3, "eps": 0.1}}


def test_a_name_is_listed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jaxprune.training.regularizers.REGULARIZERS", dict(REGULARIZERS))
    with pytest.raises(SpecError, match="'sa-sgld' is listed already"):
        add(Regularizer("sa-sgld", "again", {}, lambda *_: jnp.zeros(())))
