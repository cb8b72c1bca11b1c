"""What it gives to spread members over several devices that JAX makes of one processor.

`python -m benchmarks.cpu_devices` writes benchmarks/results/cpu_devices.md. While the physics of one half
steps, the networks of the other learn. How many devices there are is decided when JAX starts, so that each
count has processes of its own, in turns, and in each training and `mujoco.rollout` take turns as well.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import jax
import numpy as np

from benchmarks.adversary_throughput import measure as adversaries
from benchmarks.machine import machine_line
from benchmarks.sweep_throughput import raw_rollout, record, seconds
from jaxprune import SweepSpec, envs
from jaxprune.job import job
from jaxprune.sweep import segment, start

RESULT = Path(__file__).parent / "results" / "cpu_devices.md"
COUNTS = (1, 2)
PROCESSES = 2
"""Of each count and each kind of training."""

ROUNDS = 3
"""Of a process."""

WARM_UP_ITERATIONS, ITERATIONS = 10, 4
"""Of a sweep before the first round, and in each."""

Rates = list[tuple[float, float]]
"""Environment steps per second of training and of the physics alone, round by round."""


def sweep() -> Rates:
    """The README's first command."""
    spec = SweepSpec()
    asked = job(spec)
    training = jax.jit(partial(segment, asked, WARM_UP_ITERATIONS))(start(asked))
    (learners,) = training.learners
    of_all = jax.jit(jax.vmap(partial(record, asked.env, spec.unroll)))
    states, actions = of_all(learners.agent.pruned(), learners.workers.state, learners.key)
    train = partial(jax.jit(partial(segment, asked, ITERATIONS)), training)
    physics = partial(raw_rollout, asked.env, states, np.asarray(actions))
    jax.block_until_ready(train())
    steps = spec.unroll * spec.environments * asked.everyone.size
    return [(ITERATIONS * steps / seconds(train), steps / seconds(physics)) for _ in range(ROUNDS)]


KINDS: dict[str, Callable[[], Rates]] = {
    "hopper, ten members of a sweep": sweep,
    "halfcheetah, 24 adversaries of SA-RL": lambda: adversaries(
        envs.make("halfcheetah", "native"), "sa-rl", ROUNDS
    ),
}


def main() -> None:
    """Measure and write the table."""
    found: dict[tuple[str, int], Rates] = {}
    for _ in range(PROCESSES):
        for kind in KINDS:
            for count in COUNTS:
                found.setdefault((kind, count), []).extend(_of_process(kind, count))
    RESULT.write_text(report(found))
    print(RESULT.read_text())


def _of_process(kind: str, count: int) -> Rates:
    """What a process with so many devices measures."""
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": str(count)}
    command = [sys.executable, "-m", "benchmarks.cpu_devices", kind]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def report(found: dict[tuple[str, int], Rates]) -> str:
    """The result as Markdown."""
    rows = []
    for (kind, count), rates in found.items():
        shares = [trained / physics for trained, physics in rates]
        speed = median(trained for trained, _ in rates) / 1e3
        share = f"{median(shares):.0%} ({min(shares):.0%} .. {max(shares):.0%})"
        rows.append(f"| {kind} | {count} | {speed:.1f} | {share} |")
    return f"""# Members over devices that JAX makes of one processor

{machine_line("python -m benchmarks.cpu_devices")}

Native physics. Shares are of `mujoco.rollout` on the states and actions of the training, in turns with it; \
{PROCESSES} processes of {ROUNDS} rounds each, medians (smallest .. largest).

| training | devices | thousand env steps/s | share of the physics alone |
|---|---|---|---|
{chr(10).join(rows)}
"""


if __name__ == "__main__":
    if sys.argv[1:]:
        print(json.dumps(KINDS[sys.argv[1]]()))
    else:
        main()
