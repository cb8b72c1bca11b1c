"""Every certificate of one agent: each bound pruned and unpruned, and what it means for the policy.

The bounds that are monotone in `|W|` stand beside the tight ones, and beside both what an attack found.
"""

from collections.abc import Callable, Mapping
from functools import reduce

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float

from jaxprune.bounds.activations import activation_named
from jaxprune.bounds.change import Change
from jaxprune.bounds.crown import crown_bound
from jaxprune.bounds.divergence import (
    categorical_kl_bound,
    categorical_tv_bound,
    gaussian_kl,
    gaussian_tv,
)
from jaxprune.bounds.evaluation_error import evaluation_error
from jaxprune.bounds.interval import interval_bound
from jaxprune.bounds.jacobian import jacobian_bound
from jaxprune.bounds.lipschitz import eclipse_bound, spectral_product
from jaxprune.bounds.network import Layers, in_std_units
from jaxprune.bounds.norms import (
    absolute_spectral_product,
    frobenius_product,
    induced_inf_product,
    induced_one_product,
    path_bound,
)
from jaxprune.bounds.rounding import outward, unit
from jaxprune.policy import Agent, normalizer
from jaxprune.policy import layers as layers_of

Bounds = Mapping[str, Callable[..., Change]]
"""Bounds by the name they carry in tables."""

GLOBAL_BOUNDS: Bounds = {
    "frobenius": frobenius_product,
    "induced_one": induced_one_product,
    "induced_inf": induced_inf_product,
    "absolute_spectral": absolute_spectral_product,
    "path": path_bound,
    "spectral": spectral_product,
    "eclipse": eclipse_bound,
}
"""Bounds that hold at every state."""

LOCAL_BOUNDS: Bounds = {"interval": interval_bound, "jacobian": jacobian_bound, "crown": crown_bound}
"""Bounds at one state that are cheap enough for every state of a sweep."""

MONOTONE = frozenset({"frobenius", "induced_one", "induced_inf", "absolute_spectral", "path"})
"""Bounds that no mask can raise."""

TIGHTEST = "tightest"
"""The name of the smallest of all bounds, taken state by state."""

ARITHMETIC = "float32, rounded outwards"

ROWS_AT_ONCE = 50
"""Rows of states bounded side by side: more need more memory, since each holds matrices."""


@struct.dataclass
class Distances:
    """Bounds on the distance between the policy and itself under attack, by bound.

    Gaussian: on `delta`, in standard deviations of the policy. Categorical: on the span of the change
    of the logits.
    everywhere: one number per global bound, of the exact network. visited: [time, episode], each local bound
    at each state, of the network as computed. error: [time, episode], what computing adds to a global bound.
    anywhere: one number, the smallest bound that holds for the network as computed at every state there is.
    """

    everywhere: dict[str, Float[Array, "..."]]
    visited: dict[str, Float[Array, "..."]]
    error: Float[Array, "..."]
    anywhere: Float[Array, "..."]

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
    local: Bounds = LOCAL_BOUNDS,
) -> Distances:
    """All bounds for one agent and one budget; a global one only where it holds for the activation.

    std: the standard deviations that delta is measured in (the policy's own, the dense policy's, or ones for
    action units); None for a categorical policy. Batched over std alone, the program bounds the hidden
    layers once, because they do not depend on it.
    observation: raw units. eps: in the units of `space`. local: the bounds wanted at each state.
    """
    layers = layers_of(agent.pruned().policy)
    if std is not None:
        layers = in_std_units(layers, std)
    states = jax.vmap(jax.vmap(agent.normalise))(observation)
    farthest = jnp.maximum(jnp.max(jnp.abs(states), axis=(0, 1)), normalizer.CLIP)
    filtering = farthest_filtering = None
    if space == "raw":
        mean, std = agent.normalizer.mean, normalizer.std(agent.normalizer)
        layers, states = _in_raw_units(layers, states, std)
        filtering = _raw_rounding(observation, mean)
        # Farther out, the filter's clip hides both what is true and what is shown.
        farthest = farthest * std
        farthest_filtering = _raw_rounding(2 * (jnp.abs(mean) + farthest + eps), mean)

    def size(change: Change) -> Float[Array, ""]:
        return change.span if std is None else change.euclidean

    def filtered(blur: Float[Array, " obs"] | None) -> Float[Array, ""] | float:
        # No array of zeros where the filter adds nothing: some CPU compilers read it before it is written.
        return 0.0 if blur is None else size(path_bound(layers, blur, activation=agent.activation))

    kind = {"norm": norm, "activation": agent.activation}

    def at(
        seen: tuple[Float[Array, " obs"], Float[Array, " obs"] | None],
    ) -> tuple[dict[str, Float[Array, ""]], Float[Array, ""]]:
        state, blur = seen
        extra = filtered(blur)
        bounds = {name: size(bound(layers, state, eps, **kind)) + extra for name, bound in local.items()}
        return bounds, size(evaluation_error(layers, state, eps, **kind)) + extra

    rows = min(ROWS_AT_ONCE, len(states))
    visited, error = jax.lax.map(jax.vmap(at), (states, filtering), batch_size=rows)
    everywhere = {
        name: size(bound(layers, eps, **kind)) for name, bound in global_bounds(agent.activation).items()
    }
    most_error = size(evaluation_error(layers, farthest, eps, **kind)) + filtered(farthest_filtering)
    return Distances(everywhere, visited, error, reduce(jnp.fmin, everywhere.values()) + most_error)


def global_bounds(activation: str) -> Bounds:
    """The global bounds that hold for an activation: `eclipse` needs slopes in [0, 1].

    Raises:
        SpecError: no slope bound is known for the activation.
    """
    least, steepest = activation_named(activation).slopes
    unit_slopes = least >= 0 and steepest <= 1
    return {name: bound for name, bound in GLOBAL_BOUNDS.items() if unit_slopes or name != "eclipse"}


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
    layers: Layers, states: Float[Array, "*batch obs"], std: Float[Array, " obs"]
) -> tuple[Layers, Float[Array, "*batch obs"]]:
    """The same network on `x std`: a raw budget is a ball there.

    The filter's clip only brings points nearer coordinate by coordinate, and both balls contain every such
    contraction, so the ball around the clipped point holds whatever the networks can be shown.
    """
    (weight, bias), *rest = layers
    return ((weight / std, bias), *rest), states * std


def _raw_rounding(
    observation: Float[Array, "*batch obs"], mean: Float[Array, " obs"]
) -> Float[Array, "*batch obs"]:
    """How far the filter's rounding can move what the networks see, in raw units.

    `observation + offset` and `- mean` are rounded in proportion to what is added, however small their
    difference and the budget are: for the true and for the shown observation.
    """
    return 8 * unit(observation.dtype) * (jnp.abs(observation) + jnp.abs(mean))
