"""What one iteration of PPO learns from."""

from flax import struct
from jaxtyping import Array, Bool, Float, Int


class Batch(struct.PyTreeNode):
    """Samples of one iteration, every array [B, ...]. `x` is the normalised observation."""

    x: Float[Array, "*batch obs"]
    action: Float[Array, "*batch act"] | Int[Array, "*batch"]
    log_prob: Float[Array, "*batch"]
    advantage: Float[Array, "*batch"]
    value_target: Float[Array, "*batch"]


class Transitions(struct.PyTreeNode):
    """Steps of one iteration, every array [B, ...]. Normalised observations and scaled rewards."""

    x: Float[Array, "*batch obs"]
    action: Float[Array, "*batch act"] | Int[Array, "*batch"]
    reward: Float[Array, "*batch"]
    x_next: Float[Array, "*batch obs"]
    terminated: Bool[Array, "*batch"]
