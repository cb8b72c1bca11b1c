"""Scores order the weights: by size, or by a lottery whose tickets are fixed by the key."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprune import SpecError
from jaxprune.pruning import score

KEY = jax.random.key(0)


def weights(seed=0, shape=(20, 10)):
    rng = np.random.default_rng(seed)
    return {f"layer_{i}": jnp.asarray(rng.normal(size=shape), jnp.float32) for i in range(2)}


def test_magnitude_is_the_absolute_weight():
    found = score("magnitude", {"layer_0": jnp.asarray([[-2.0, 0.5], [0.0, -0.1]])}, KEY)
    np.testing.assert_array_equal(found["layer_0"], np.float32([[2.0, 0.5], [0.0, 0.1]]))


def test_random_keeps_its_order_with_the_same_key_whatever_the_weights():
    one, other = score("random", weights(0), KEY), score("random", weights(1), KEY)
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


def test_random_has_another_order_with_another_key():
    one, other = score("random", weights(), KEY), score("random", weights(), jax.random.key(1))
    assert not np.array_equal(one["layer_0"], other["layer_0"])


def test_random_draws_each_layer_afresh():
    found = score("random", weights(), KEY)
    assert abs(np.corrcoef(np.ravel(found["layer_0"]), np.ravel(found["layer_1"]))[0, 1]) < 0.35


def test_random_has_no_ties():
    found = score("random", weights(shape=(64, 64)), KEY)
    assert len(np.unique(found["layer_0"])) > 0.99 * 64 * 64


def test_random_tells_nothing_of_the_weights():
    network = weights(shape=(64, 64))
    found = score("random", network, KEY)
    correlation = np.corrcoef(np.ravel(found["layer_0"]), np.abs(np.ravel(network["layer_0"])))[0, 1]
    assert abs(correlation) < 5 / 64


def test_an_unknown_score_is_refused_by_name():
    with pytest.raises(SpecError, match=r"score.*'magnitud'.*'magnitude'"):
        score("magnitud", weights(), KEY)
