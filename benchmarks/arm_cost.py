"""What training costs in each arm, and what all of them cost in one program.

`python -m benchmarks.arm_cost --arms ppo,atla` writes benchmarks/results/arm_cost.md. The arms take turns in
every round, so that noise of the machine meets them alike.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import jax
import tyro

from benchmarks.machine import machine_line
from experiments.command import in_one_line
from jaxprune import SweepSpec
from jaxprune.job import job
from jaxprune.sweep import segment, start

RESULT = Path(__file__).parent / "results" / "arm_cost.md"
ARMS = "ppo,sa-sgld,sa-convex,radial,wocar,atla,noise,usr,randomised,kl,d2,d2-sampled"
SEEDS, ROUNDS = 4, 5
MIXED = "all of them in one program"


def main(arms: str = ARMS) -> None:
    """Measure and write the table.

    Args:
        arms: training arms, a comma list that holds `ppo`.
    """
    alone = arms.split(",")
    programs = {arm: prepared(arm) for arm in alone} | {MIXED: prepared(arms)}
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(ROUNDS):
        for name, run in programs.items():
            began = time.perf_counter()
            jax.block_until_ready(run())
            seconds[name].append(time.perf_counter() - began)
    RESULT.write_text(report(seconds, alone))
    print(RESULT.read_text())


def prepared(arms: str) -> Callable[[], Any]:
    """One iteration of these arms, compiled, after one that has been done."""
    asked = job(SweepSpec(arms=arms, seeds=SEEDS, sparsities="0"))
    run = jax.jit(partial(segment, asked, 1))
    training = run(start(asked))
    return partial(run, training)


def report(seconds: dict[str, list[float]], alone: list[str]) -> str:
    """The result as Markdown."""
    rows = []
    for name, values in seconds.items():
        ratios = [value / ppo for value, ppo in zip(values, seconds["ppo"], strict=True)]
        spread = f"{median(values):.2f} ({min(values):.2f} .. {max(values):.2f})"
        rows.append(f"| {name} | {spread} | {median(ratios):.2f} |")
    sums = [sum(seconds[arm][i] for arm in alone) for i in range(ROUNDS)]
    over = [mixed / apart - 1 for mixed, apart in zip(seconds[MIXED], sums, strict=True)]
    return f"""# What training costs in each arm

{machine_line(f"python -m benchmarks.arm_cost --arms {','.join(alone)}")}

Hopper, native physics, {SEEDS} members of each arm x 16 environments, one iteration of 128 steps and 10 x 8 \
minibatches after the first; {ROUNDS} rounds, median (smallest .. largest), ratios within a round.

| arm | seconds per iteration | over ppo |
|---|---|---|
{chr(10).join(rows)}

All arms in one program took {median(over):+.0%} ({min(over):+.0%} .. {max(over):+.0%}) against the sum of \
the arms by themselves. Asked: at most +15 %. ATLA's iteration holds one of its adversary as well.
"""


if __name__ == "__main__":
    with in_one_line():
        tyro.cli(main)
