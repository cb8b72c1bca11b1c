"""Published agents pruned post hoc: attacked by attackers that were looked for, and certified.

    python -m benchmarks.released --agents A.npz B.npz --env halfcheetah

prunes every agent by magnitude at several sparsities without retraining, looks for attackers of each (as
`benchmarks.deciding` does), bounds how far a perturbation moves it, and keeps the numbers of the task in
`benchmarks/results/released/`. The report is made of all tasks that are there. What was stopped goes on where
it was.

Each agent is one policy: the tables are examples, and nothing in them is a finding about pruning.
"""

from dataclasses import dataclass
from pathlib import Path

import polars as pl
import tyro

import jaxprune as jp
from benchmarks.machine import machine_line
from benchmarks.victims import from_files
from experiments.command import in_one_line
from jaxprune import device
from jaxprune.analysis import CLEAN, STRONGEST
from jaxprune.certification import CertificationSpec, SmoothingSpec
from jaxprune.progress import Update
from jaxprune.report.numbers import low_to_high, number

RESULTS = Path(__file__).parent / "results"
TASKS, REPORT = RESULTS / "released", RESULTS / "released.md"

BOUNDS = {"path": "path bound (monotone)", "crown": "CROWN", "mad": "largest found"}
"""Of what certification says of the shift of the mean action, what the report tells."""


@dataclass(frozen=True)
class Arguments:
    """Which agents, of which task, and how hard attackers are looked for."""

    agents: tuple[Path, ...]
    """Files of agents of one task."""
    env: str = "halfcheetah"
    """Their task."""
    sparsities: str = "0,0.3,0.5,0.7,0.9"
    """At which they are pruned."""
    attack_steps: int = 200_000
    """Environment steps of training per adversary that is trained to the end."""
    out: Path = Path("runs/released")
    """Where the attackers are kept."""


def main(arguments: Arguments) -> None:
    """Attack and certify the agents of a task, and write the report of all tasks."""
    device.keep_compiled()
    TASKS.mkdir(exist_ok=True)
    looked_at(arguments).write_csv(TASKS / f"{arguments.env}.csv", float_precision=6)
    REPORT.write_text(report())
    print(REPORT.read_text())


def looked_at(arguments: Arguments) -> pl.DataFrame:
    """A row per agent and sparsity."""
    population = from_files(arguments.agents, arguments.env, arguments.sparsities)
    search = jp.AttackSearchSpec(
        search="small", steps=arguments.attack_steps, rungs=5, warm_starts=True, episodes=20
    )
    folder = arguments.out / arguments.env
    folder.mkdir(parents=True, exist_ok=True)
    fresh = jp.attack_search.run(search, population, show, folder).results.filter(episode_set="fresh")
    certified = jp.certification.run(CertificationSpec(bounds="crown"), SmoothingSpec(), population, show)
    tried = fresh.filter(attack=STRONGEST).select("member", "attackers_tried")
    distances = certified.members.filter(pl.col("bound").is_in(BOUNDS), ball="own")
    table = (
        pl.DataFrame(
            {
                "member": range(population.members.size),
                "agent": [arguments.agents[file].stem for file in population.members.seed],
                "sparsity": population.members.sparsity,
                "eps": population.budget.largest,
            }
        )
        .join(_returns(fresh, CLEAN, "clean"), on="member")
        .join(_returns(fresh, STRONGEST, "attacked"), on="member")
        .join(tried, on="member")
        .join(distances.pivot("bound", index="member", values="value"), on="member")
    )
    return table.sort("member").drop("member")


def _returns(results: pl.DataFrame, attack: str, name: str) -> pl.DataFrame:
    """Mean return and its interval under one attack, in columns of that name."""
    renamed = {"return_mean": name, "return_low": f"{name}_low", "return_high": f"{name}_high"}
    return results.filter(attack=attack).select("member", *renamed).rename(renamed)


def show(update: Update) -> None:
    """One line of progress."""
    print(f"{update.phase}: {update.steps_done:,} steps, {update.steps_per_second:,.0f} a second", flush=True)


def report() -> str:
    """All tasks, as Markdown."""
    tasks = {file.stem: pl.read_csv(file) for file in sorted(TASKS.glob("*.csv"))}
    parts = [
        _agent(task, name, agent)
        for task, table in tasks.items()
        for (name,), agent in table.group_by("agent", maintain_order=True)
    ]
    return f"""# Published agents, pruned post hoc

{machine_line("python -m benchmarks.released")}

Magnitude pruning within each layer, no retraining, native physics, l_inf budgets in the normalised space. \
Raw undiscounted returns of the deterministic policy on 20 fresh episodes, with 95 % intervals (Student's \
t) over those. Attacked: under the strongest attacker found for this policy at this sparsity on 10 other \
episodes, among random, critic, MAD, robust sarsa (four critics, alone and with MAD), SA-RL and PA-AD with \
12 settings each by successive halving and one warm start. Shifts of the mean action, delta, in standard \
deviations of the dense policy: means over 200 states that the dense policy visits, bounds from above and \
the largest that MAD finds. Every agent is one policy, so these are examples; a sparsity that looks better \
here may be luck of the search.

{chr(10).join(parts)}"""


def _agent(task: str, name: str, rows: pl.DataFrame) -> str:
    """The table of one agent, a column per sparsity."""
    lines = [
        _row(f"sparsity ({rows['attackers_tried'].max()} attackers tried)", rows["sparsity"].to_list()),
        "|---" * (1 + rows.height) + "|",
        *(
            _row(
                kind,
                [
                    f"{number(mean)} {low_to_high(low, high)}"
                    for mean, low, high in rows.select(kind, f"{kind}_low", f"{kind}_high").iter_rows()
                ],
            )
            for kind in ("clean", "attacked")
        ),
        *(
            _row(f"{about}, delta", [number(value) for value in rows[bound]])
            for bound, about in BOUNDS.items()
        ),
    ]
    return "\n".join([f"## {task}, {name}, eps {rows['eps'][0]:g}", "", *lines, ""])


def _row(first: str, cells: list) -> str:
    return f"| {' | '.join([first, *map(str, cells)])} |"


if __name__ == "__main__":
    with in_one_line():
        main(tyro.cli(Arguments))
