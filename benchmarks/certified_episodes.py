"""How long a policy's episodes take that are behind a certified return, with the bounds of all their states.

    python -m benchmarks.certified_episodes --agent FILE --env hopper

writes benchmarks/results/certified_episodes.md: the first round in a fresh process, which loads or compiles
its programs, and the others. A round is what certified returns need of one policy at one radius: clean
episodes with CROWN at every state, and a few under MAD. What comes after takes milliseconds.
"""

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import tyro

import jaxprune as jp
from benchmarks.machine import machine_line
from experiments.command import in_one_line
from jaxprune import device, streams
from jaxprune.certification import ReturnSpec
from jaxprune.certification.spent import spent
from jaxprune.evaluation import Tally

RESULT = Path(__file__).parent / "results" / "certified_episodes.md"
ASKED = {("hopper", 1000): 40.0}
"""Seconds at most, of so many episodes of a task on two cores, where a limit was set."""


@dataclass(frozen=True)
class Arguments:
    """Whose episodes."""

    agent: Path
    """File of an agent that draws its actions."""
    env: str = "hopper"
    """Task."""
    episodes: int = 1000
    """Clean episodes in a round."""
    eps: float = 0.0075
    """Radius of the l_inf ball at every step, normalised."""
    rounds: int = 5
    """Rounds after the first."""


def main(arguments: Arguments) -> None:
    """Measure, and write the table."""
    device.keep_compiled()
    population = jp.Population.from_agent(arguments.agent, arguments.env, sparsities=(0.0,))
    spec = ReturnSpec(return_episodes=arguments.episodes, return_eps=(arguments.eps,))
    keys = jax.vmap(partial(streams.key, domain="attacked returns"))(jnp.asarray(population.members.seed))
    seconds, steps = [], 0

    def heard(_: Tally, new: int) -> None:
        nonlocal steps
        steps += new

    for _ in range(1 + arguments.rounds):
        steps, began = 0, time.perf_counter()
        spent(spec, population, keys, heard)
        seconds.append(time.perf_counter() - began)
        print(f"{seconds[-1]:.1f} s", flush=True)
    first, *others = seconds
    asked = ASKED.get((arguments.env, arguments.episodes))
    cells = (
        arguments.env,
        f"{arguments.episodes:,}",
        f"{steps:,}",
        "-" if asked is None else f"{asked:g}",
        f"{first:.1f}",
        f"{np.median(others):.1f} ({min(others):.1f} .. {max(others):.1f})",
        f"{steps / np.median(others) / 1000:.1f}",
    )
    command = f"python -m benchmarks.certified_episodes --agent {arguments.agent.name} --env {arguments.env}"
    RESULT.write_text(
        "# Episodes behind a certified return, with the bounds of all their states\n\n"
        f"{machine_line(command)}\n\n"
        f"One policy at one radius; {arguments.rounds} rounds after the first, median (least .. most).\n\n"
        "| task | episodes | steps, those under MAD included | asked at most (s) | first round (s) "
        "| the others (s) | thousand steps/s |\n"
        f"|---|---|---|---|---|---|---|\n| {' | '.join(cells)} |\n"
    )


if __name__ == "__main__":
    with in_one_line():
        main(tyro.cli(Arguments))
