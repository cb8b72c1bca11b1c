import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprune.training import shuffle


@pytest.mark.parametrize("size", [1, 7, 2048])
def test_orders_are_those_of_the_random_numbers(size):
    key = jax.random.key(3)
    made = jax.jit(lambda key: shuffle.orders(key, 4, size))(key)
    assert made.dtype == jnp.int32
    assert np.array_equal(made, np.argsort(jax.random.bits(key, (4, size)), axis=-1, kind="stable"))


def test_equal_numbers_keep_their_order(monkeypatch):
    drawn = jnp.asarray([[5, 2**32 - 1, 5, 0, 2**32 - 1, 5]], jnp.uint32)
    monkeypatch.setattr(jax.random, "bits", lambda key, shape: drawn)
    assert shuffle.orders(jax.random.key(0), 1, 6).tolist() == [[3, 0, 2, 5, 1, 4]]


def test_every_member_has_the_orders_that_it_has_alone():
    keys = jax.random.split(jax.random.key(1), 3)
    together = jax.vmap(lambda key: shuffle.orders(key, 2, 50))(keys)
    for key, orders in zip(keys, together, strict=True):
        assert np.array_equal(orders, shuffle.orders(key, 2, 50))
