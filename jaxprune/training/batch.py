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
    """Steps of one iteration, every array [B, ...]. Normalised observations and scaled rewards.

    x, x_next: the true observations. s_hat: what the policy was shown at x. value: of s_hat. next_value: of
    what came next; 0 where the task ended.
    """

    x: Float[Array, "*batch obs"]
    s_hat: Float[Array, "*batch obs"]
    action: Float[Array, "*batch act"] | Int[Array, "*batch"]
    reward: Float[Array, "*batch"]
    x_next: Float[Array, "*batch obs"]
    terminated: Bool[Array, "*batch"]
    value: Float[Array, "*batch"]
    next_value: Float[Array, "*batch"]
