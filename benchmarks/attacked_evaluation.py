"""What an attack costs: speed of evaluation under MAD against clean evaluation, in one run.

`python -m benchmarks.attacked_evaluation` writes benchmarks/results/attacked_evaluation.md.
"""

import time
from functools import partial
from pathlib import Path
from statistics import median

import jax
import jax.numpy as jnp

from benchmarks.machine import machine_line
from jaxprune import attacks, evaluation
from jaxprune.attacks import Victim
from jaxprune.budget import Ball
from jaxprune.envs import make
from jaxprune.evaluation import Condition
from jaxprune.policy import agent as agents

RESULT = Path(__file__).parent / "results" / "attacked_evaluation.md"
TASKS = {"hopper": 0.075, "halfcheetah": 0.15}
MEMBERS, EPISODES, STEPS, ROUNDS = 10, 20, 50, 7


def main() -> None:
    """Measure both tasks and write the table."""
    rows = [row(task, eps) for task, eps in TASKS.items()]
    RESULT.write_text(f"""# Evaluation under MAD against clean evaluation

{machine_line("python -m benchmarks.attacked_evaluation")}

{MEMBERS} members (2 x 64 tanh, untrained) x {EPISODES} episodes on native physics, {STEPS} steps from \
the reset, MAD with 10 steps. {ROUNDS} rounds, both measured in each; the share is per round. Asked: at \
least 60 %.

| task | clean, thousand steps/s | MAD, thousand steps/s | share, median | spread |
|---|---|---|---|---|
{chr(10).join(rows)}
""")
    print(RESULT.read_text())


def row(task: str, eps: float) -> str:
    """Speeds of one task as a row of the table."""
    env = make(task, "native")
    keys = jax.random.split(jax.random.key(0), MEMBERS)
    members = jax.vmap(lambda key: agents.init(key, env.observation_size, env.action_space.size))(keys)
    runs = {name: prepared(env, members, keys, name, eps) for name in ("none", "mad")}
    speeds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            began = time.perf_counter()
            jax.block_until_ready(run())
            speeds[name].append(MEMBERS * EPISODES * STEPS / (time.perf_counter() - began))
    shares = [attacked / clean for clean, attacked in zip(speeds["none"], speeds["mad"], strict=True)]
    clean, attacked = (median(values) / 1e3 for values in speeds.values())
    return (
        f"| {task} | {clean:.1f} | {attacked:.1f} | {median(shares):.0%} "
        f"| {min(shares):.0%} .. {max(shares):.0%} |"
    )


def prepared(env, members, keys, name: str, eps: float):
    """A compiled evaluation of `STEPS` steps under one attack, from the same starts at every call."""
    conditions = (Condition(attacks.make(name), Ball(jnp.full(1, eps))),)

    def begin(agent, key):
        return evaluation.begin(env, Victim(agent), conditions, key, EPISODES)

    def advance(agent, now):
        return evaluation.advance(env, Victim(agent), conditions, now, STEPS, 0)[0].tally.total

    run = partial(jax.jit(jax.vmap(advance)), members, jax.jit(jax.vmap(begin))(members, keys))
    jax.block_until_ready(run())
    return run


if __name__ == "__main__":
    main()
