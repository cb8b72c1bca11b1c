"""The two action distributions. Each method takes and returns one example; the caller batches."""

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int, PRNGKeyArray

LOG_2PI = 1.8378770664093453


class Gaussian(struct.PyTreeNode):
    """`N(mean, diag(exp(log_std))^2)`: the spread does not depend on the state."""

    mean: Float[Array, "*batch act"]
    log_std: Float[Array, "*batch act"]

    def sample(self, key: PRNGKeyArray) -> Float[Array, " act"]:
        """One draw."""
        return self.mean + jnp.exp(self.log_std) * jax.random.normal(key, self.mean.shape)

    def mode(self) -> Float[Array, " act"]:
        """The most likely action: the mean."""
        return self.mean

    def log_prob(self, action: Float[Array, " act"]) -> Float[Array, ""]:
        """Log-density of an action."""
        z = (action - self.mean) * jnp.exp(-self.log_std)
        return -0.5 * jnp.sum(z**2 + 2 * self.log_std + LOG_2PI)

    def entropy(self) -> Float[Array, ""]:
        """Differential entropy."""
        return jnp.sum(self.log_std + 0.5 * (LOG_2PI + 1))

    def kl(self, other: "Gaussian") -> Float[Array, ""]:
        """`KL(self || other)`."""
        ratio = jnp.exp(2 * (self.log_std - other.log_std))
        z = (self.mean - other.mean) * jnp.exp(-other.log_std)
        return 0.5 * jnp.sum(ratio + z**2 - 1 - jnp.log(ratio))


class Categorical(struct.PyTreeNode):
    """`softmax(logits)` over the actions 0 ... n-1."""

    logits: Float[Array, "*batch act"]

    def sample(self, key: PRNGKeyArray) -> Int[Array, ""]:
        """One draw."""
        return jax.random.categorical(key, self.logits)

    def mode(self) -> Int[Array, ""]:
        """The most likely action (the first of equals)."""
        return jnp.argmax(self.logits)

    def log_prob(self, action: Int[Array, ""]) -> Float[Array, ""]:
        """Log-probability of an action."""
        return jax.nn.log_softmax(self.logits)[action]

    def entropy(self) -> Float[Array, ""]:
        """Entropy in nats."""
        log_p = jax.nn.log_softmax(self.logits)
        return -jnp.sum(jnp.exp(log_p) * log_p)

    def kl(self, other: "Categorical") -> Float[Array, ""]:
        """`KL(self || other)`."""
        log_p, log_q = jax.nn.log_softmax(self.logits), jax.nn.log_softmax(other.logits)
        return jnp.sum(jnp.exp(log_p) * (log_p - log_q))


Distribution = Gaussian | Categorical


def divergence(one: Distribution, other: Distribution) -> Float[Array, ""]:
    """`KL(one || other)` of two distributions of the same kind. Raises TypeError for different kinds."""
    if isinstance(one, Gaussian) and isinstance(other, Gaussian):
        return one.kl(other)
    if isinstance(one, Categorical) and isinstance(other, Categorical):
        return one.kl(other)
    raise TypeError(f"no divergence between {type(one).__name__} and {type(other).__name__}")
