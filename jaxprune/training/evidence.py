"""What scores of weights are told of a batch: gradients, curvature, sizes of inputs, Fisher information."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxprune.policy import ACTIVATIONS, Agent, Kernels, kernels
from jaxprune.precision import PRECISION
from jaxprune.pruning.scores import CURVATURE, FISHER, GRADIENTS, INPUTS
from jaxprune.training import ppo
from jaxprune.training.batch import Batch
from jaxprune.training.ppo import Hyperparameters

Vectors = dict[str, Float[Array, "... _width"]]
"""By layer: something of its inputs, or of its outputs."""


def evidence(
    names: tuple[str, ...], agent: Agent, batch: Batch, hyper: Hyperparameters
) -> dict[str, Kernels]:
    """What is asked for, of a batch, at the weights of the agent with its mask on.

    What is learned for one sparsity is not among it, see `hydra`.
    """
    found: dict[str, Callable[[], Kernels]] = {
        GRADIENTS: lambda: ppo.gradients(agent, batch, hyper),
        INPUTS: lambda: inputs(agent, batch),
        FISHER: lambda: fisher(agent, batch),
        CURVATURE: lambda: curvature(agent, batch, hyper),
    }
    return {name: found[name]() for name in names if name in found}


def inputs(agent: Agent, batch: Batch) -> Kernels:
    """`sqrt(E_B x_i^2)` of each input i of a layer, for every weight [i, o] that it goes through."""
    policy = agent.pruned().policy
    squares = jax.vmap(lambda x: _forward(agent, x, _still(agent))[1])(batch.x)
    return {
        name: jnp.broadcast_to(jnp.sqrt(jnp.mean(square**2, axis=0))[:, None], policy[name]["kernel"].shape)
        for name, square in squares.items()
    }


def fisher(agent: Agent, batch: Batch) -> Kernels:
    """`E_B E_a (d log pi(a|x) / d w)^2`, the expectation over the actions in closed form.

    With outputs z and pre-activations y of a layer, `d z_j / d w_io = h_i d z_j / d y_o`. For a Gaussian of
    mean z the expectation is `sum_j (d z_j / d w)^2 / sigma_j^2`; for logits z it is the variance of
    `d z_a / d w` under pi: `sum_a pi_a (d log pi_a / d w)^2`.
    """

    def of_state(x: Float[Array, " obs"]) -> Kernels:
        weighted, hidden = _weighted_slopes(agent, x)
        return {name: jnp.outer(hidden[name] ** 2, jnp.sum(weighted[name] ** 2, axis=0)) for name in hidden}

    total = jax.lax.map(of_state, batch.x, batch_size=256)
    return jax.tree.map(lambda each: each.mean(0), total)


def curvature(agent: Agent, batch: Batch, hyper: Hyperparameters) -> Kernels:
    """`H g` of PPO's loss over the whole batch, by the masked kernels."""
    pruned = agent.pruned()

    def of_weights(weights: Kernels) -> Float[Array, ""]:
        policy = {name: layer | {"kernel": weights[name]} for name, layer in pruned.policy.items()}
        return ppo.loss(ppo.trainable(pruned.replace(policy=policy)), pruned, batch, hyper)[0]

    return hessian_gradient(of_weights, kernels(pruned.policy))


def hessian_gradient(loss: Callable[[Kernels], Float[Array, ""]], weights: Kernels) -> Kernels:
    """`H g` with g the gradient of the loss at the weights and H its Hessian, which is never made."""
    slope = jax.grad(loss)
    return jax.jvp(slope, (weights,), (slope(weights),))[1]


def _weighted_slopes(agent: Agent, x: Float[Array, " obs"]) -> tuple[Vectors, Vectors]:
    """By layer: the slopes [row, neuron] whose squares are to be summed, and the inputs [in]."""

    def rows(nudges: Vectors) -> tuple[Float[Array, " row"], Vectors]:
        z, hidden = _forward(agent, x, nudges)
        if agent.log_std is not None:
            return z * jnp.exp(-agent.log_std), hidden
        log_prob = jax.nn.log_softmax(z)
        # The weight of each row is the root of its probability, a constant.
        return jnp.sqrt(jnp.exp(jax.lax.stop_gradient(log_prob))) * log_prob, hidden

    return jax.jacrev(rows, has_aux=True)(_still(agent))


def _still(agent: Agent) -> Vectors:
    """No nudge to any pre-activation."""
    return {name: jnp.zeros_like(layer["bias"]) for name, layer in agent.policy.items()}


def _forward(agent: Agent, x: Float[Array, " obs"], nudges: Vectors) -> tuple[Float[Array, " out"], Vectors]:
    """The outputs of the pruned network, nudged at its pre-activations, and what goes into each layer."""
    policy, seen = agent.pruned().policy, {}
    for index in range(len(policy)):
        name = f"layer_{index}"
        seen[name] = x
        kernel, bias = policy[name]["kernel"], policy[name]["bias"]
        x = jnp.matmul(x, kernel, precision=PRECISION) + bias + nudges[name]
        if index < len(policy) - 1:
            x = ACTIVATIONS[agent.activation](x)
    return x, seen
