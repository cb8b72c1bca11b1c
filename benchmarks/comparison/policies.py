"""The policies that both sides attack and bound: ten seeds of Hopper, trained a little, in one small file."""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxprune import SweepSpec, attacks, evaluation, streams
from jaxprune.attacks import Victim
from jaxprune.budget import Ball
from jaxprune.evaluation import Condition
from jaxprune.job import job
from jaxprune.policy import Agent, networks, normalizer
from jaxprune.policy.networks import Layers
from jaxprune.sweep import finished, segment, start

MEMBERS, STATES, EPISODES = 10, 1000, 10


class Policies(NamedTuple):
    """As `benchmarks/peers/policies.py` reads them; all arrays [member, ...].

    weights, biases: of each layer. std: of the actions. mean, scale: of the observation filter. states:
    visited by the clean deterministic policy, behind the filter.
    """

    weights: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]
    std: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    states: np.ndarray

    @property
    def members(self) -> int:
        """How many policies there are."""
        return len(self.std)

    def layers(self) -> Layers:
        """The networks, leaves [member]."""
        return tuple((jnp.asarray(w), jnp.asarray(b)) for w, b in zip(self.weights, self.biases, strict=True))

    def agents(self) -> Agent:
        """The same as agents, leaves [member]. Their value network is their policy: nobody asks it."""
        network = {
            f"layer_{i}": {"kernel": weight.swapaxes(1, 2), "bias": bias}
            for i, (weight, bias) in enumerate(self.layers())
        }
        spread = jnp.asarray(self.scale) - normalizer.LEAST_STD
        seen = normalizer.Normalizer(jnp.asarray(self.mean), spread**2, jnp.ones(self.members))
        return Agent(network, jnp.log(jnp.asarray(self.std)), network, seen)

    def save(self, file: Path) -> None:
        """Write the file."""
        arrays = {f"weight_{i}": weight for i, weight in enumerate(self.weights)}
        arrays |= {f"bias_{i}": bias for i, bias in enumerate(self.biases)}
        rest = {name: getattr(self, name) for name in ("std", "mean", "scale", "states")}
        np.savez(file, **arrays, **rest)

    @classmethod
    def load(cls, file: Path) -> "Policies":
        """Read the file."""
        arrays = dict(np.load(file))
        count = sum(name.startswith("weight_") for name in arrays)
        weights, biases = (tuple(arrays[f"{kind}_{i}"] for i in range(count)) for kind in ("weight", "bias"))
        return cls(weights, biases, *(arrays[name] for name in ("std", "mean", "scale", "states")))


def load_or_make(file: Path, iterations: int) -> Policies:
    """The policies of a file; trained for so many iterations and written there, if there is none."""
    if not file.is_file():
        made(iterations).save(file)
    return Policies.load(file)


def made(iterations: int) -> Policies:
    """Ten dense seeds after so many iterations, and states that they visit."""
    asked = job(SweepSpec(seeds=MEMBERS, sparsities=(0.0,)))
    population = finished(asked, jax.jit(partial(segment, asked, iterations))(start(asked)))
    agents = population.agents.pruned()
    clean = evaluation.for_all(Condition(attacks.make("none"), Ball(jnp.zeros(1))), MEMBERS)
    keys = jax.vmap(partial(streams.key, domain="visits"))(jnp.asarray(population.members.seed))
    _, visits = evaluation.play(asked.env, Victim(agents), (clean,), keys, EPISODES, record=EPISODES)
    scale, mean = normalizer.std(agents.normalizer), agents.normalizer.mean
    seen = np.stack([thinned(*each) for each in zip(visits.observation, visits.alive, strict=True)])
    states = jax.vmap(jax.vmap(normalizer.normalise, in_axes=(None, 0)))(agents.normalizer, jnp.asarray(seen))
    arrays = (jnp.exp(agents.log_std), mean, scale, states)
    weights, biases = zip(*jax.vmap(networks.layers)(agents.policy), strict=True)
    of_layers = (tuple(map(np.asarray, each)) for each in (weights, biases))
    return Policies(*of_layers, *map(np.asarray, arrays))


def thinned(observation: np.ndarray, alive: np.ndarray) -> np.ndarray:
    """`STATES` of the states [time, episode, obs] in which the episode was alive; some twice if few."""
    visited = observation[alive]
    return visited[np.linspace(0, len(visited) - 1, STATES).round().astype(int)]
