"""Certified actions of a whole population of categorical policies (CROP): votes under Gaussian noise.

Each policy votes at each state with the actions it would take on `s + N(0, sigma^2 I)`, in the space of the
budget; the action with most votes is certified within an l2 radius (`bounds.smoothing`).
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from jaxprune import kept
from jaxprune.attacks import Victim
from jaxprune.bounds import certified_vote
from jaxprune.certification.smoothing import SmoothingSpec
from jaxprune.certification.stages import Stage, unkept
from jaxprune.population import Members


def certify_votes(
    spec: SmoothingSpec,
    victims: Victim,
    members: Members,
    observation: Float[np.ndarray, "member state obs"],
    keys: Key[Array, " member"],
    confidence: float,
    stage: Stage = unkept,
) -> pl.DataFrame:
    """One row per member x state: the action with most votes, and how far no perturbation changes it.

    Each radius holds with the given confidence by itself, not all of them together. `dense_action` and
    `dense_radius` are those of the dense twin at the same state. stage: told of the votes, and may keep them.

    Raises SpecError for too few votes.
    """

    def cast() -> kept.Arrays:
        votes = _all_votes(spec.smoothing_sigma, spec.smoothing_votes, victims, observation, keys)
        return {"votes": jax.device_get(votes)}

    votes = stage("votes", "votes of every member", cast)["votes"]
    kind = {"sigma": spec.smoothing_sigma, "confidence": confidence}
    rows = [
        {
            **members.columns()[member],
            "state": state,
            "space": victims.space,
            **kind,
            "votes": spec.smoothing_votes,
            **certified_vote(counts, **kind)._asdict(),
            "share": counts.max() / counts.sum(),
        }
        for member, per_state in enumerate(votes)
        for state, counts in enumerate(per_state)
    ]
    table = pl.DataFrame(rows)
    dense = table.filter(pl.col("sparsity_asked") == 0).unique(["arm", "seed", "state"], keep="first")
    return table.join(
        dense.select("arm", "seed", "state", dense_action="action", dense_radius="radius"),
        on=["arm", "seed", "state"],
        how="left",
        maintain_order="left",
    )


@partial(jax.jit, static_argnums=1)
def _all_votes(
    sigma: Float[Array, ""],
    count: int,
    victims: Victim,
    observation: Float[Array, "member state obs"],
    keys: Key[Array, " member"],
) -> Int[Array, "member state act"]:
    def of_member(victim: Victim, states: Array, key: PRNGKeyArray) -> Array:
        return jax.lax.map(
            lambda at: _votes(victim, sigma, count, *at), (states, jax.random.split(key, len(states)))
        )

    return jax.vmap(of_member)(victims, observation, keys)


def _votes(
    victim: Victim,
    sigma: Float[Array, ""],
    count: int,
    observation: Float[Array, " obs"],
    key: PRNGKeyArray,
) -> Int[Array, " act"]:
    """How often each action is the policy's most likely one under the noise."""
    x = victim.to_space(observation)
    noise = sigma * jax.random.normal(key, (count, x.size))
    actions = jax.vmap(lambda z: victim.distribution(x + z).mode())(noise)
    return jnp.bincount(actions, length=victim.output(x).size)
