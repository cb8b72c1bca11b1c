"""Seconds per call of the local bounds: 10 members x 1000 states, 2 x 64 tanh, after compilation.

    python -m benchmarks.certify_speed

writes benchmarks/results/certify_speed.md.
"""

import time
from pathlib import Path

import jax
import numpy as np

from benchmarks.machine import machine_line
from jaxprune.bounds import BOUNDS

RESULT = Path(__file__).parent / "results" / "certify_speed.md"
MEMBERS, STATES, SIZES = 10, 1000, (11, 64, 64, 3)
RUNS = {"interval": (0.1, 9), "crown": (1, 5), "alpha-crown": (30, 3)}
"""Bound: seconds asked, repetitions."""


def member(key):
    keys = jax.random.split(key, len(SIZES))
    shapes = zip(SIZES[1:], SIZES[:-1], strict=True)
    return tuple(
        (jax.random.normal(key, shape) / shape[1] ** 0.5, jax.numpy.zeros(shape[0]))
        for key, shape in zip(keys, shapes, strict=False)
    )


def main():
    networks = jax.vmap(member)(jax.random.split(jax.random.key(0), MEMBERS))
    states = jax.random.normal(jax.random.key(1), (MEMBERS, STATES, SIZES[0]))
    lines = [
        f"# Speed: {MEMBERS} members x {STATES} states, {SIZES}, l_inf, bound on delta",
        "",
        machine_line("python -m benchmarks.certify_speed"),
        "",
        "| bound | asked (s) | median (s) | least (s) | largest (s) |",
        "|---|---|---|---|---|",
    ]
    for name, (asked, repetitions) in RUNS.items():
        bound = BOUNDS[name]

        def delta(layers, state, bound=bound):
            return bound(layers, state, 0.075).euclidean

        run = jax.jit(jax.vmap(jax.vmap(delta, in_axes=(None, 0))))
        jax.block_until_ready(run(networks, states))
        seconds = []
        for _ in range(repetitions):
            start = time.perf_counter()
            jax.block_until_ready(run(networks, states))
            seconds.append(time.perf_counter() - start)
        lines.append(
            f"| {bound.in_words()} | {asked} | {np.median(seconds):.3f} | {min(seconds):.3f} "
            f"| {max(seconds):.3f} |"
        )
        print(lines[-1], flush=True)
    RESULT.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
