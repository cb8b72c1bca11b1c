"""Small populations on the probes: a whole training as one program, compiled once per recipe."""

from functools import partial

import jax
import jax.numpy as jnp

from jaxprune.pruning import schedule
from jaxprune.training import learner as learners
from jaxprune.training.member import Recipe
from jaxprune.training.ppo import Hyperparameters

TINY = Recipe(environments=4, unroll=8, epochs=2, minibatches=2, hidden=(8,), schedule=schedule("micro"))


def hyperparameters(**changed):
    return jax.tree.map(jnp.float32, Hyperparameters(**changed))


def _train(seed, sparsity, hyper, env, recipe, iterations):
    def step(learner, iteration):
        return learners.iterate(env, recipe, learner, iteration, iterations)

    first = learners.init(env, recipe, jax.random.key(seed), sparsity, hyper)
    return jax.lax.scan(step, first, jnp.arange(iterations))


@partial(jax.jit, static_argnames=("env", "recipe", "iterations"))
def _train_all(seeds, sparsities, hyper, env, recipe, iterations):
    def one(seed, sparsity):
        return _train(seed, sparsity, hyper, env, recipe, iterations)

    return jax.vmap(one)(seeds, sparsities)


def alone(env, recipe, seed, sparsity, iterations, **hyper):
    """One member trained without a member axis: (learner, progress [iteration])."""
    train = jax.jit(partial(_train, env=env, recipe=recipe, iterations=iterations))
    return train(jnp.int32(seed), jnp.float32(sparsity), hyperparameters(**hyper))


def together(env, recipe, seeds, sparsities, iterations, **hyper):
    """A population: (learners [member], progress [member, iteration])."""
    leaves = jnp.asarray(seeds), jnp.asarray(sparsities, jnp.float32), hyperparameters(**hyper)
    return _train_all(*leaves, env=env, recipe=recipe, iterations=iterations)


def numbers(tree):
    """The leaves of a tree as arrays of numbers, PRNG keys as their bits."""
    return [
        jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
        for leaf in jax.tree.leaves(tree)
    ]
