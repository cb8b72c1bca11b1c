"""No two uses of a seed draw from the same key, not even by splitting or folding in further."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprune import streams

SEEDS = range(8)
CHILDREN = 64


def bits(keys):
    return [tuple(row) for row in np.asarray(jax.random.key_data(keys)).reshape(-1, 2).tolist()]


def test_numbering_and_splitting_meet_without_a_tag():
    # what makes tags necessary: if this ever changes, the module's explanation is out of date
    key = jax.random.key(0)
    assert bits(jax.random.fold_in(key, 1)) == bits(jax.random.split(key, 4)[1])


def test_all_streams_of_all_seeds_and_what_they_split_into_are_different():
    found = []
    for seed in SEEDS:
        root = jax.random.key(seed)
        found += bits(root) + bits(jax.random.split(root, CHILDREN))
    for seed, domain in product(SEEDS, streams.DOMAINS):
        key = streams.key(seed, domain)
        found += bits(key) + bits(jax.random.split(key, CHILDREN))
        found += bits(jax.random.split(jax.random.split(key, 4)[1], CHILDREN))
    assert len(set(found)) == len(found)


def test_a_seed_may_be_traced():
    traced = jax.jit(jax.vmap(lambda seed: streams.key(seed, "visits")))(jnp.arange(3))
    assert bits(traced) == [bit for seed in range(3) for bit in bits(streams.key(seed, "visits"))]


def test_tags_are_out_of_the_reach_of_a_split():
    tags = [int(streams.tag(domain)) for domain in streams.DOMAINS]
    assert min(tags) >= 2**31
    assert len(set(tags)) == len(tags)


def test_an_unknown_use_is_no_stream():
    with pytest.raises(KeyError, match="trainin"):
        streams.key(0, "trainin")
