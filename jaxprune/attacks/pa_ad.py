"""The director and the actor of PA-AD: where to push the action, and how to get it there."""

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, PRNGKeyArray

from jaxprune.attacks.api import Victim
from jaxprune.attacks.ascent import Gain, ascend
from jaxprune.attacks.learned import Learned
from jaxprune.budget import Ball
from jaxprune.policy import Categorical
from jaxprune.precision import PRECISION


def push(victim: Victim, x: Float[Array, " obs"], direction: Float[Array, " act"]) -> Gain:
    """How far the victim's action has moved along `direction` when it is shown another point.

    Gaussian: `<mu(s_hat) - mu(x), d>`, in action units times the length of d.
    Categorical: `<pi(.|s_hat) - pi(.|s), d>`: d asks for more of the actions with a high entry.
    """
    if isinstance(victim.distribution(x), Categorical):
        act = lambda s_hat: jax.nn.softmax(victim.output(s_hat))  # noqa: E731
    else:
        act = victim.output
    clean = act(x)
    return lambda s_hat: jnp.dot(act(s_hat) - clean, direction, precision=PRECISION)


class PaAd(Learned):
    """PA-AD (Sun et al., ICLR 2022, arXiv 2106.05087).

    The director's mean, [obs] -> [act], is a direction in action space; the actor is `ascend` on the `push`
    along it: length times cosine in one number. The published actor is a single sign step on cosine plus
    length, and its code takes that step against the direction.
    """

    steps: int = struct.field(pytree_node=False, default=10)
    name: str = struct.field(pytree_node=False, default="pa-ad")

    def show(
        self,
        key: PRNGKeyArray,
        victim: Victim,
        x: Float[Array, " obs"],
        ball: Ball,
        action: Float[Array, " act"],
    ) -> Float[Array, " obs"]:
        """The point tried that pushes the action furthest where the director points."""
        return ascend(key, push(victim, x, action), x, ball, self.steps)

    def action_size(self, observation_size: int, action_size: int) -> int:
        """Length of the director's action, against a victim of these sizes: one number per action."""
        return action_size
