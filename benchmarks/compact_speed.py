"""How much faster the smaller network of a policy without three quarters of its units is.

`python -m benchmarks.compact_speed` writes benchmarks/results/compact_speed.md. The calls follow one another
in one program, each from what the last one gave, so that neither dispatch nor dead code is timed. Both
networks take turns in every round.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from benchmarks.machine import machine_line
from jaxprune.policy import Agent, agent, compact, kernels
from jaxprune.pruning import masks, score

RESULT = Path(__file__).parent / "results" / "compact_speed.md"
CALLS, ROUNDS = 2000, 15
FEATURES, ACTIONS, REMOVED = 17, 6, 0.75
WIDTHS, BATCHES = (64, 256), (1, 256)


def main() -> None:
    """Measure and write the table."""
    rows = [_row(width, batch) for width in WIDTHS for batch in BATCHES]
    RESULT.write_text(report(rows))
    print(RESULT.read_text())


def _row(width: int, batch: int) -> str:
    fresh = agent.init(jax.random.key(0), FEATURES, ACTIONS, hidden=(width, width))
    ranked = score("magnitude").of(kernels(fresh.policy), jax.random.key(0))
    pruned = fresh.replace(mask=masks.lowest_removed(ranked, REMOVED, "unit")).pruned()
    small = compact(pruned)
    x = jax.random.normal(jax.random.key(1), (batch, FEATURES))
    outputs = [np.asarray(jax.vmap(one.output)(x)) for one in (pruned, small)]
    runs = [_repeated(one, x) for one in (pruned, small)]
    seconds = [[run() for run in runs] for _ in range(ROUNDS)]
    ratios = sorted(large / little for large, little in seconds)
    large, little = (1e6 * median(column) / CALLS for column in zip(*seconds, strict=True))
    cells = (
        f"2 x {width}",
        batch,
        f"{large:.2f}",
        f"{little:.2f}",
        f"{median(ratios):.2f} ({ratios[0]:.2f} .. {ratios[-1]:.2f})",
        f"{np.abs(outputs[0] - outputs[1]).max():.1e}",
    )
    return f"| {' | '.join(map(str, cells))} |"


def _repeated(one: Agent, x: Array) -> Callable[[], float]:
    """Seconds of `CALLS` calls, each from observations moved by the output before."""

    def call(x: Array, _: None) -> tuple[Array, None]:
        return x + 1e-3 * jnp.sum(jax.vmap(one.output)(x), axis=-1, keepdims=True), None

    run = jax.jit(partial(jax.lax.scan, call, length=CALLS)).lower(x).compile()
    jax.block_until_ready(run(x))

    def seconds() -> float:
        began = time.perf_counter()
        jax.block_until_ready(run(x))
        return time.perf_counter() - began

    return seconds


def report(rows: list[str]) -> str:
    """The result as Markdown."""
    return f"""# Speed of a policy without three quarters of its units

{machine_line("python -m benchmarks.compact_speed")}

{FEATURES} features, {ACTIONS} actions, `--scope unit` at {REMOVED:.0%}, then `policy.compact`. {CALLS} \
calls after one another in one program, {ROUNDS} rounds; medians, ratios within a round (least .. most). \
Asked: twice as fast.

| network | batch | with the mask, us | compact, us | times faster | largest difference of the outputs |
|---|---|---|---|---|---|
{chr(10).join(rows)}
"""


if __name__ == "__main__":
    main()
