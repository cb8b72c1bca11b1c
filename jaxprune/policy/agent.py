"""An agent: everything needed to act, as one pytree. Stacked on axis 0 it is a population."""

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, PRNGKeyArray

from jaxprune.policy import networks, normalizer
from jaxprune.policy.distributions import Categorical, Distribution, Gaussian
from jaxprune.policy.networks import Kernels, Params
from jaxprune.policy.normalizer import Normalizer


class Agent(struct.PyTreeNode):
    """A policy with its mask, its value network and its (frozen) observation filter.

    policy: network from normalised observation to action mean (Gaussian) or logits (categorical), as learned.
    log_std: [act], or None for a categorical policy.
    value: network from normalised observation to one number.
    mask: 0 for every weight of the policy that is pruned, 1 for the others; None where none is. Whatever an
        agent does, it does with its mask on.
    value_mask: the same of the value network.
    """

    policy: Params
    log_std: Float[Array, "*members act"] | None
    value: Params
    normalizer: Normalizer
    mask: Kernels | None = None
    value_mask: Kernels | None = None
    activation: str = struct.field(pytree_node=False, default="tanh")

    @property
    def discrete(self) -> bool:
        """Whether the policy is categorical."""
        return self.log_std is None

    def pruned(self) -> "Agent":
        """The same agent with its masks multiplied into the weights and put away, for use in loops."""
        agent = self
        if self.mask is not None:
            agent = agent.replace(policy=networks.masked(self.policy, self.mask), mask=None)
        if self.value_mask is not None:
            agent = agent.replace(value=networks.masked(self.value, self.value_mask), value_mask=None)
        return agent

    def unmasked(self) -> "Agent":
        """The agent with its masks taken off: what its weights do without pruning."""
        return self.replace(mask=None, value_mask=None)

    def normalise(self, observation: Float[Array, " obs"]) -> Float[Array, " obs"]:
        """Raw observation to the normalised one the networks read."""
        return normalizer.normalise(self.normalizer, observation)

    def output(self, x: Float[Array, " obs"]) -> Float[Array, " act"]:
        """Action mean or logits at a normalised observation."""
        return networks.apply(self.pruned().policy, x, self.activation)

    def distribution(self, x: Float[Array, " obs"]) -> Distribution:
        """Action distribution at a normalised observation."""
        output = self.output(x)
        return Categorical(output) if self.log_std is None else Gaussian(output, self.log_std)

    def state_value(self, x: Float[Array, " obs"]) -> Float[Array, ""]:
        """The value network's estimate at a normalised observation."""
        return networks.apply(self.pruned().value, x, self.activation)[0]


def init(
    key: PRNGKeyArray,
    observation_size: int,
    action_size: int,
    *,
    discrete: bool = False,
    hidden: tuple[int, ...] = (64, 64),
    activation: str = "tanh",
) -> Agent:
    """A fresh agent: orthogonal weights (output gain 0.01 for the policy, 1 for the value), log-std 0."""
    policy_key, value_key = jax.random.split(key)
    return Agent(
        policy=networks.init(policy_key, observation_size, (*hidden, action_size), activation, 0.01),
        log_std=None if discrete else jnp.zeros(action_size),
        value=networks.init(value_key, observation_size, (*hidden, 1), activation, 1.0),
        normalizer=normalizer.init((observation_size,)),
        activation=activation,
    )


def in_filter(agent: Agent, other: Normalizer) -> Agent:
    """The same function of raw observations, read through another filter.

    With own mean and deviation (m, d) and the other filter's (m', d'), `x = (d' / d) x' + (m' - m) / d`. So
    `W x + b` is `W' x' + b'` with `W' = W diag(d' / d)` and `b' = b + W (m' - m) / d`, in the first layer of
    both networks. A ball around x' is then the ball of the other filter's owner, in raw units.

    The two agree up to rounding where neither filter clips; beyond, each keeps its own clip. An agent put
    in its own filter does not change by a bit.
    """
    agent, own = agent.pruned(), normalizer.std(agent.normalizer)
    scale, shift = normalizer.std(other) / own, (other.mean - agent.normalizer.mean) / own

    def read_through(params: Params) -> Params:
        kernel, bias = params["layer_0"]["kernel"], params["layer_0"]["bias"]
        moved = bias + jnp.matmul(shift, kernel, precision=jax.lax.Precision.HIGHEST)
        return params | {"layer_0": {"kernel": kernel * scale[:, None], "bias": moved}}

    return agent.replace(policy=read_through(agent.policy), value=read_through(agent.value), normalizer=other)
