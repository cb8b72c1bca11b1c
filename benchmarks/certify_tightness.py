"""How far are the bounds from what an attack finds? On published agents, pruned without retraining.

    python -m benchmarks.certify_tightness

writes benchmarks/results/certify_tightness.md. Needs ../shared/released_agents.
"""

from functools import partial
from pathlib import Path

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.machine import machine_line
from jaxprune import bounds

AGENTS = Path(__file__).parents[2] / "shared" / "released_agents"
RESULT = Path(__file__).parent / "results" / "certify_tightness.md"
STATES, STARTS, STEPS = 200, 10, 50
SAMPLES, SAMPLED = (
    8,
    ("IBP", "CROWN"),
)  # other samples of states, and the bounds that are cheap enough for all
VICTIMS = {
    "Hopper PPO": ("model-ppo-hopper", "Hopper-v4", 0.075),
    "HalfCheetah PPO": ("model-ppo-halfcheetah", "HalfCheetah-v4", 0.15),
    "HalfCheetah SA-PPO": ("model-sappo-convex-halfcheetah", "HalfCheetah-v4", 0.15),
}
REFERENCE = {  # auto_LiRPA on the same agents: IBP, CROWN, alpha-CROWN (20 iterations), by sparsity
    "Hopper PPO": {
        0: (9.9, 1.68, 1.61),
        0.5: (6.6, 1.57, 1.50),
        0.7: (4.6, 1.51, 1.45),
        0.9: (1.8, 1.23, 1.20),
    },
    "HalfCheetah PPO": {
        0: (9.8, 2.59, 2.43),
        0.5: (7.4, 2.21, 2.04),
        0.7: (5.4, 1.93, 1.77),
        0.9: (2.4, 1.39, 1.32),
    },
    "HalfCheetah SA-PPO": {
        0: (1.15, 1.21, 1.08),
        0.5: (1.11, 1.21, 1.08),
        0.7: (1.08, 1.18, 1.07),
        0.9: (1.04, 1.08, 1.03),
    },
}
BOUNDS = {
    "IBP": bounds.interval_bound,
    "CROWN": bounds.crown_bound,
    "alpha-CROWN": bounds.alpha_crown_bound,
    "splitting": partial(bounds.branching_bound, parts=128),
}


def load(name):
    """Layers, std and the observation filter of a published agent."""
    arrays = np.load(AGENTS / f"{name}.npz")
    parts = ("affine_layers.0", "affine_layers.1", "final_mean")
    layers = [tuple(arrays[f"policy_model/{part}.{kind}"] for kind in ("weight", "bias")) for part in parts]
    return layers, np.exp(arrays["policy_model/log_stdev"]), arrays["obs_mean"], arrays["obs_std"]


def visited_states(name, task, seed):
    """States of one deterministic episode after another from this seed on, thinned, in normalised units."""
    layers, _, mean, std = load(name)
    env = gymnasium.make(task)
    seen, over = [], True
    while len(seen) < 5 * STATES:
        if over:
            observation, _ = env.reset(seed=seed)
            seed += 1
        hidden = np.clip((observation - mean) / (std + 1e-8), -10, 10).astype(np.float32)
        seen.append(hidden)
        for weight, bias in layers[:-1]:
            hidden = np.tanh(weight @ hidden + bias)
        action = np.clip(layers[-1][0] @ hidden + layers[-1][1], -1, 1)
        observation, _, terminated, truncated, _ = env.step(action)
        over = terminated or truncated
    return jnp.asarray(np.stack(seen[::5]))


def pruned(layers, sparsity):
    """The smallest `round(sparsity n)` weights of each kernel set to zero."""

    def masked(weight):
        zeroed = weight.ravel().copy()
        zeroed[np.argsort(np.abs(zeroed), kind="stable")[: round(sparsity * weight.size)]] = 0
        return jnp.asarray(zeroed.reshape(weight.shape))

    return tuple((masked(weight), jnp.asarray(bias)) for weight, bias in layers)


@jax.jit
def found_distance(layers, states, eps, key):
    """Largest distance that MAD (sign ascent) finds at each state."""

    def at(state, key):
        def distance(offset):
            change = bounds.forward(layers, state + offset) - bounds.forward(layers, state)
            return jnp.sqrt(jnp.sum(change**2) + 1e-20)

        def step(offset, _):
            return jnp.clip(offset + eps / 10 * jnp.sign(jax.grad(distance)(offset)), -eps, eps), None

        starts = eps * jax.random.uniform(key, (STARTS, state.size), minval=-1)
        ends = jax.vmap(lambda start: jax.lax.scan(step, start, None, STEPS)[0])(starts)
        return jnp.max(jax.vmap(distance)(ends))

    return jax.vmap(at)(states, jax.random.split(key, len(states)))


@partial(jax.jit, static_argnames="name")
def deltas(name, layers, states, eps):
    return jax.vmap(lambda state: BOUNDS[name](layers, state, eps).euclidean)(states)


def ratios(net, states, eps, names):
    """Mean of what MAD finds, and the mean of each bound over it."""
    distance = found_distance(net, states, eps, jax.random.key(0))
    bounds = {name: deltas(name, net, states, eps) for name in names}
    assert all(np.all(bound >= distance) for bound in bounds.values())
    return float(distance.mean()), [float(bound.mean() / distance.mean()) for bound in bounds.values()]


def sample_row(victim):
    """How much the ratios of the dense agent depend on which states it visited."""
    name, task, eps = VICTIMS[victim]
    layers, std, _, _ = load(name)
    net = bounds.in_std_units(pruned(layers, 0), jnp.asarray(std))
    rows = []
    for sample in range(SAMPLES):
        distance, found = ratios(net, visited_states(name, task, 100 * (sample + 1)), eps, SAMPLED)
        rows.append([distance, *found])
    cells = [
        f"{np.mean(column):.3f} ({min(column):.3f} to {max(column):.3f})"
        for column in zip(*rows, strict=True)
    ]
    return f"| {victim} | {' | '.join(cells)} |"


def main():
    header = " | ".join(f"{name} (asked)" for name in BOUNDS)
    lines = [
        "# Tightness: mean bound on delta / mean distance found by MAD",
        "",
        f"{STATES} visited states, l_inf, normalised space, float32; MAD: {STARTS} starts, {STEPS} steps. "
        "Asked: auto_LiRPA on the same agents (its states differ), and 1.3 / 1.8 for the best bound, dense. "
        "CROWN, alpha-CROWN (20 steps) and splitting (128 parts) take all actions jointly.",
        "",
        machine_line("python -m benchmarks.certify_tightness"),
        "",
        f"| agent, eps | sparsity | MAD delta | {header} |",
        "|" + "---|" * (3 + len(BOUNDS)),
    ]
    best_asked = {"Hopper PPO": "1.3", "HalfCheetah PPO": "1.8"}
    for victim, (name, task, eps) in VICTIMS.items():
        layers, std, _, _ = load(name)
        states = visited_states(name, task, seed=0)
        for sparsity, asked in REFERENCE[victim].items():
            net = bounds.in_std_units(pruned(layers, sparsity), jnp.asarray(std))
            distance, found = ratios(net, states, eps, BOUNDS)
            goals = [*asked, best_asked.get(victim, "-") if sparsity == 0 else "-"]
            cells = [f"{ratio:.3f} ({goal})" for ratio, goal in zip(found, goals, strict=True)]
            lines.append(f"| {victim}, {eps} | {sparsity} | {distance:.2f} | {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    lines += [
        "",
        f"Dense agents on {SAMPLES} other samples of {STATES} states, mean (least to largest):",
        "",
        f"| agent | MAD delta | {' | '.join(SAMPLED)} |",
        "|" + "---|" * (2 + len(SAMPLED)),
        *(sample_row(victim) for victim in VICTIMS),
    ]
    RESULT.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
