"""PPO's loss as plain NumPy loops."""

import jax
import numpy as np
from scipy import stats


def network(layers, x, mask=None):
    """The output [row, out] of a network with tanh units, its kernels masked."""
    for i, (name, layer) in enumerate(layers.items()):
        kernel = np.asarray(layer["kernel"], np.float64) * (1 if mask is None else np.asarray(mask[name]))
        x = x @ kernel + np.asarray(layer["bias"])
        x = np.tanh(x) if i < len(layers) - 1 else x
    return x


def loss(agent, batch, hyper):
    """Clipped surrogate, value loss and entropy bonus of a whole batch, in float64."""
    hyper = jax.tree.map(float, hyper)
    x, action = np.asarray(batch.x, np.float64), np.asarray(batch.action)
    output = network(agent.policy, x, agent.mask)
    if agent.log_std is None:
        p = np.exp(output) / np.exp(output).sum(1, keepdims=True)
        log_prob = np.log(p[np.arange(len(x)), action])
        entropy = -(p * np.log(p)).sum(1).mean()
    else:
        std = np.exp(np.asarray(agent.log_std, np.float64))
        log_prob = stats.norm.logpdf(action, output, std).sum(1)
        entropy = stats.norm.entropy(0, std).sum()
    ratio = np.exp(log_prob - np.asarray(batch.log_prob))
    advantage = np.asarray(batch.advantage, np.float64)
    advantage = (advantage - advantage.mean()) / advantage.std()
    gain = 0.0
    for rho, a in zip(ratio, advantage, strict=True):
        # a good action earns no more than 1 + clip, a bad one is blamed for no less than 1 - clip
        gain += min(rho, 1 + hyper.clip) * a if a > 0 else max(rho, 1 - hyper.clip) * a
    error = network(agent.value, x)[:, 0] - np.asarray(batch.value_target)
    value = 0.5 * (error**2).mean()
    return -gain / len(x) + hyper.value_weight * value - hyper.entropy_weight * entropy


def gradients(agent, batch, hyper):
    """d loss / d (masked kernel) by central differences, removed weights included."""
    effective = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), agent.pruned().policy)

    def slope(name, place, change=1e-5):
        moved = []
        for by in (change, -change):
            kernel = effective[name]["kernel"].copy()
            kernel[place] += by
            policy = effective | {name: effective[name] | {"kernel": kernel}}
            moved.append(loss(agent.replace(policy=policy, mask=None), batch, hyper))
        return (moved[0] - moved[1]) / (2 * change)

    return {
        name: np.array([slope(name, place) for place in np.ndindex(layer["kernel"].shape)]).reshape(
            layer["kernel"].shape
        )
        for name, layer in effective.items()
    }
