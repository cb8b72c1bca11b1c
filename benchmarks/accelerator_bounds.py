"""The bounds on an accelerator, whether they are the processor's and hold there, and how fast they are.

    python -m benchmarks.accelerator_bounds

adds the rows of this machine to benchmarks/results/accelerator_bounds.csv and compares all that are there
with those of the first machine, in benchmarks/results/accelerator_bounds.md. Networks and states are drawn
by NumPy, the same on every machine.
"""

import time
from itertools import pairwise
from pathlib import Path
from statistics import median

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from jaxtyping import Array, Float, Key

from benchmarks.machine import machine_line
from jaxprune.attacks import ascend
from jaxprune.bounds import BOUNDS, evaluation_error
from jaxprune.budget import Ball
from jaxprune.policy import Layers

RESULTS = Path(__file__).parent / "results"
TABLE, REPORT = RESULTS / "accelerator_bounds.csv", RESULTS / "accelerator_bounds.md"
NETWORKS, STATES, SIZES = 10, 1000, (11, 64, 64, 3)
EPS = 0.075
ROUNDS, SLOW = 5, 10.0
"""Rounds, and the seconds from which one is enough."""


def main() -> None:
    """Measure, keep and report."""
    now = measured()
    before = [pl.read_csv(TABLE)] if TABLE.is_file() else []
    pl.concat([*before, now]).write_csv(TABLE)
    REPORT.write_text(report())
    print(REPORT.read_text())


def measured() -> pl.DataFrame:
    """A row per bound and network."""
    networks, states = drawn()
    found = np.asarray(jax.jit(jax.vmap(jax.vmap(moved, (None, 0, 0)), (0, 0, 0)))(networks, states, _keys()))
    rows = []
    for bound in BOUNDS.values():

        def delta(layers: Layers, state: Float[Array, " obs"], bound=bound) -> Float[Array, ""]:
            if bound.local:
                return bound(layers, state, EPS).euclidean
            # A global bound is about the exact network; this machine's differs from it by that much.
            error = evaluation_error(layers, state, EPS).euclidean
            return bound(layers, EPS).euclidean + error

        began = time.perf_counter()
        run = jax.jit(jax.vmap(jax.vmap(delta, (None, 0)))).lower(networks, states).compile()
        compiled = time.perf_counter() - began
        seconds: list[float] = []
        while True:
            began = time.perf_counter()
            values = jax.block_until_ready(run(networks, states))
            seconds.append(time.perf_counter() - began)
            if len(seconds) == ROUNDS or seconds[0] > SLOW:
                break
        values = np.asarray(values, np.float64)
        rows += [
            {
                "bound": bound.in_words(),
                "network": network,
                "mean": values[network].mean(),
                "largest": values[network].max(),
                "attack_over_bound": (found[network] / values[network]).max(),
                "attack_mean": float(found[network].mean(dtype=np.float64)),
                "compile_s": compiled,
                "seconds": median(seconds),
                "device": jax.devices()[0].device_kind,
                "machine": machine_line("python -m benchmarks.accelerator_bounds"),
            }
            for network in range(NETWORKS)
        ]
        print(rows[-1], flush=True)
    return pl.DataFrame(rows)


def drawn() -> tuple[Layers, Float[Array, "network state obs"]]:
    """Networks of a policy's sizes, leaves [network], and states for each."""
    rng = np.random.default_rng(0)
    layers = tuple(
        (
            jnp.asarray(rng.standard_normal((NETWORKS, out, given)) / given**0.5, jnp.float32),
            jnp.asarray(rng.standard_normal((NETWORKS, out)) / 10, jnp.float32),
        )
        for given, out in pairwise(SIZES)
    )
    return layers, jnp.asarray(rng.standard_normal((NETWORKS, STATES, SIZES[0])), jnp.float32)


def _keys() -> Key[Array, "network state"]:
    return jax.random.split(jax.random.key(0), (NETWORKS, STATES))


def moved(layers: Layers, state: Float[Array, " obs"], key: Key[Array, ""]) -> Float[Array, ""]:
    """How far an attack moves the outputs: from below what a bound says from above."""

    def output(x: Float[Array, " obs"]) -> Float[Array, " act"]:
        *hidden, (last, bias) = layers
        for weight, shift in hidden:
            x = jnp.tanh(jnp.matmul(weight, x, precision="highest") + shift)
        return jnp.matmul(last, x, precision="highest") + bias

    def gain(x: Float[Array, " obs"]) -> Float[Array, ""]:
        return jnp.sum((output(x) - output(state)) ** 2)

    return jnp.sqrt(gain(ascend(key, gain, state, Ball(EPS), steps=10)))


def report() -> str:
    """All machines, as Markdown."""
    table = pl.read_csv(TABLE)
    machines = table["machine"].unique(maintain_order=True).to_list()
    first = table.filter(machine=machines[0])
    lines = []
    for machine in machines:
        for (bound,), rows in table.filter(machine=machine).group_by("bound", maintain_order=True):
            reference = first.filter(bound=bound)
            numbers, theirs = (each.select("mean", "largest").to_numpy() for each in (rows, reference))
            differs = np.abs(numbers / theirs - 1).max()
            lines.append(
                f"| {rows['device'][0]} | {bound} | {rows['mean'].mean():.4f} "
                f"| {'-' if machine == machines[0] else f'{differs:.1e}'} "
                f"| {rows['attack_over_bound'].max():.3f} | {rows['compile_s'][0]:.1f} "
                f"| {1000 * rows['seconds'][0]:.2f} |"
            )
    attacks = " and ".join(
        f"{table.filter(machine=machine, bound=first['bound'][0])['attack_mean'].mean():.5f}"
        for machine in machines
    )
    return f"""# The bounds on an accelerator

{chr(10).join(machines)}

{NETWORKS} random networks {SIZES}, tanh, {STATES} states each, l_inf ball of {EPS}, bounds on delta; \
products at the highest precision. "Differs": the largest relative difference to the first machine, over \
networks, of the mean and of the largest bound. A bound of the whole space carries the error of the computed \
network at each state. "Attack over bound": the largest over all states; above 1 a bound would be wrong. The \
attack moves the outputs by {attacks} on average. Milliseconds are for all networks and states, median of \
{ROUNDS} rounds, or one of over {SLOW:g} s.

| device | bound | mean | differs | attack over bound | compile, s | ms |
|---|---|---|---|---|---|---|
{chr(10).join(lines)}
"""


if __name__ == "__main__":
    main()
