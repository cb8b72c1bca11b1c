"""Every certificate of one agent: each bound pruned and unpruned, and what it means for the policy.

The bounds that are monotone in `|W|` stand beside the tight ones, and beside both what an attack found.
"""

from collections.abc import Mapping
from functools import reduce

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float

from jaxprune.bounds.catalogue import Bound, at_every_state, at_one_state
from jaxprune.bounds.change import Change
from jaxprune.bounds.divergence import (
    categorical_kl_bound,
    categorical_tv_bound,
    gaussian_kl,
    gaussian_tv,
)
from jaxprune.bounds.evaluation_error import evaluation_error
from jaxprune.bounds.network import in_std_units
from jaxprune.bounds.path import path_bound
from jaxprune.bounds.rounding import outward, unit
from jaxprune.policy import Agent, Layers, normalizer
from jaxprune.policy import layers as layers_of

TIGHTEST = "tightest"
"""The name of the smallest of all bounds, taken state by state."""

ARITHMETIC = "float32, rounded outwards"

ROWS_AT_ONCE = 50
"""Rows of states bounded side by side: more need more memory, since each holds matrices."""


class Distances(struct.PyTreeNode):
    """Bounds on the distance between the policy and itself under attack, by bound.

    Gaussian: on `delta`, in standard deviations of the policy. Categorical: on the span of the change
    of the logits.
    everywhere: one number per global bound, of the exact network. visited: [time, episode], each local bound
    at each state, of the network as computed. error: [time, episode], what computing adds to a global bound.
    anywhere: one number, the smallest bound that holds for the network as computed at every state there is.
    """

    everywhere: dict[str, Float[Array, "*batch"]]
    visited: dict[str, Float[Array, "*batch time episode"]]
    error: Float[Array, "*batch time episode"]
    anywhere: Float[Array, "*batch"]

    def at_states(self) -> dict[str, Float[Array, "*batch time episode"]]:
        """Every bound at each state, all of the network as computed."""
        return {
            name: bound[..., None, None] + self.error for name, bound in self.everywhere.items()
        } | self.visited

    def tightest(self) -> Float[Array, "*batch time episode"]:
        """The smallest bound at each state; the minimum of sound bounds is sound. NaN says nothing."""
        return reduce(jnp.fmin, self.at_states().values())


def distances(
    agent: Agent,
    std: Float[Array, " act"] | None,
    observation: Float[Array, "time episode obs"],
    eps: Float[Array, ""],
    *,
    norm: str,
    space: str,
    local: Mapping[str, Bound] | None = None,
) -> Distances:
    """All bounds for one agent and one budget; one that is not asked for only if it holds for the activation.

    std: the standard deviations that delta is measured in (the policy's own, the dense policy's, or ones for
    action units); None for a categorical policy. Batched over std alone, the program bounds the hidden
    layers once, because they do not depend on it.
    observation: raw units. eps: in the units of `space`. local: the bounds wanted at each state; left out,
    those that are cheap.
    """
    layers = layers_of(agent.pruned().policy)
    if std is not None:
        layers = in_std_units(layers, std)
    x = jax.vmap(jax.vmap(agent.normalise))(observation)
    farthest = jnp.maximum(jnp.max(jnp.abs(x), axis=(0, 1)), agent.normalizer.clip)
    filtering = farthest_filtering = None
    if space == "raw":
        mean, deviation = agent.normalizer.mean, normalizer.std(agent.normalizer)
        layers, x = _in_raw_units(layers, x, deviation)
        filtering = _raw_rounding(observation, mean)
        # Farther out, the filter's clip hides both what is true and what is shown.
        farthest = farthest * deviation
        farthest_filtering = _raw_rounding(2 * (jnp.abs(mean) + farthest + eps), mean)

    def size(change: Change) -> Float[Array, ""]:
        return change.span if std is None else change.euclidean

    def filtered(blur: Float[Array, " obs"] | None) -> Float[Array, ""] | float:
        # No array of zeros where the filter adds nothing: some CPU compilers read it before it is written.
        return 0.0 if blur is None else size(path_bound(layers, blur, activation=agent.activation))

    kind = {"norm": norm, "activation": agent.activation}
    at_each = at_one_state(agent.activation) if local is None else local

    def at(
        seen: tuple[Float[Array, " obs"], Float[Array, " obs"] | None],
    ) -> tuple[dict[str, Float[Array, ""]], Float[Array, ""]]:
        x, blur = seen
        extra = filtered(blur)
        bounds = {name: size(bound(layers, x, eps, **kind)) + extra for name, bound in at_each.items()}
        return bounds, size(evaluation_error(layers, x, eps, **kind)) + extra

    rows = min(ROWS_AT_ONCE, len(x))
    visited, error = jax.lax.map(jax.vmap(at), (x, filtering), batch_size=rows)
    everywhere = {
        name: size(bound(layers, eps, **kind)) for name, bound in at_every_state(agent.activation).items()
    }
    most_error = size(evaluation_error(layers, farthest, eps, **kind)) + filtered(farthest_filtering)
    return Distances(everywhere, visited, error, reduce(jnp.fmin, everywhere.values()) + most_error)


def total_variation(distance: Float[Array, "*shape"], *, categorical: bool) -> Float[Array, "*shape"]:
    """The bound on TV that follows from a bound on the distance; 1 where there is none (NaN)."""
    tv = categorical_tv_bound(distance) if categorical else gaussian_tv(distance)
    return jnp.fmin(outward(tv, 0), 1.0)


def divergence(distance: Float[Array, "*shape"], *, categorical: bool) -> Float[Array, "*shape"]:
    """The bound on the KL divergence, in nats, that follows from a bound on the distance."""
    return categorical_kl_bound(distance) if categorical else outward(gaussian_kl(distance), 0)


def discounted_mean(
    values: Float[Array, "time episode"], alive: Bool[Array, "time episode"], discount: float
) -> Float[Array, ""]:
    """`E_{s ~ d}[value]` over visited states: `(1 - discount) sum_t discount^t`, zero after the end.

    The estimate behind `F(theta)`, with TV bounds as values.
    """
    weights = (1 - discount) * discount ** jnp.arange(values.shape[0], dtype=values.dtype)
    return jnp.mean(jnp.sum(jnp.where(alive, values, 0.0) * weights[:, None], axis=0))


def _in_raw_units(
    layers: Layers, x: Float[Array, "time episode obs"], std: Float[Array, " obs"]
) -> tuple[Layers, Float[Array, "time episode obs"]]:
    """The same network on `x std`: a raw budget is a ball there.

    The filter's clip only brings points nearer coordinate by coordinate, and both balls contain every such
    contraction, so the ball around the clipped point holds whatever the networks can be shown.
    """
    (weight, bias), *rest = layers
    return ((weight / std, bias), *rest), x * std


def _raw_rounding(
    observation: Float[Array, "*batch obs"], mean: Float[Array, " obs"]
) -> Float[Array, "*batch obs"]:
    """How far the filter's rounding can move what the networks see, in raw units.

    `observation + offset` and `- mean` are rounded in proportion to what is added, however small their
    difference and the budget are: for the true and for the shown observation.
    """
    return 8 * unit(observation.dtype) * (jnp.abs(observation) + jnp.abs(mean))
