"""Seconds that certification takes in the default sweep, tight bounds included, compilation included.

`python -m benchmarks.certify_sweep` writes benchmarks/results/certify_sweep.md. The states are made up, for
10 members x 5 episodes of full length: no sweep of Hopper can have more.
"""

import time
from pathlib import Path

import jax
import numpy as np

from benchmarks.machine import machine_line
from jaxprune import Population, SweepSpec, certification, population
from jaxprune.evaluation import Visits
from jaxprune.policy import agent

RESULT = Path(__file__).parent / "results" / "certify_sweep.md"
ASKED = 25.0


def main():
    spec = SweepSpec()
    env, members = population.environment(spec), population.members(spec)
    sizes = env.observation_size, env.action_space.size
    count, shape = members.size, (env.horizon, spec.certify_episodes)
    agents = jax.vmap(lambda key: agent.init(key, *sizes))(jax.random.split(jax.random.key(0), count))
    observation = np.random.default_rng(0).normal(size=(count, *shape, sizes[0])).astype(np.float32)
    visits = Visits(observation, np.ones((count, *shape), bool))
    (budget,) = spec.budgets
    everyone = Population(members, env, agents, np.zeros(count, bool), budget, spec)
    wall, processor = time.perf_counter(), time.process_time()
    certified = certification.certify(everyone, visits)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    line = (
        f"| {', '.join(certified.distance)} | {np.prod(certified.tv.shape):,} | {ASKED:g} | {wall:.1f} "
        f"| {processor:.1f} |"
    )
    print(line)
    RESULT.write_text(
        "# Certification in the default sweep (Hopper, 10 members), compilation included\n\n"
        f"{machine_line('python -m benchmarks.certify_sweep')}\n\n"
        "| bounds, pruned and unmasked | states | asked at most (s) | took (s) | processor (s) |\n"
        f"|---|---|---|---|---|\n{line}\n"
    )


if __name__ == "__main__":
    main()
