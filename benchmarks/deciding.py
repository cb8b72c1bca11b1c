"""The experiment that can decide: many seeds, attackers that were looked for, verdicts at planned looks.

    python -m benchmarks.deciding --task halfcheetah --seeds 0:6

trains so many seeds at five sparsities, looks for attackers of every member (successive halving, warm starts
from the dense twin) and keeps two small tables in `benchmarks/results/deciding/`. Every call adds seeds to
its experiment, on any machine; the report is made of all that are there, and none is run twice. What was
stopped goes on where it was.

Verdicts are given on the seeds 0:12 and on 0:24 and on no others, each with half of the error of 5 %: who
looks after every shard finds effects that are not there.
"""

from dataclasses import dataclass
from pathlib import Path

import polars as pl
import tyro

import jaxprune as jp
from benchmarks.machine import machine_line
from jaxprune import device
from jaxprune.analysis import RESULTS as RESULTS_SCHEMA
from jaxprune.analysis import STRONGEST, Student, decompose, detectable_difference, sweet_spots
from jaxprune.merging import Plan
from jaxprune.progress import Update
from jaxprune.report import figures, returns_figure
from jaxprune.report.numbers import low_to_high, number, signed

RESULTS = Path(__file__).parent / "results"
SHARDS, REPORT = RESULTS / "deciding", RESULTS / "deciding.md"

LOOKS, ERROR = (12, 24), 0.05

BOUNDS = {"path": "path bound (monotone)", "crown": "CROWN", "mad": "largest found"}
"""Of the certificates, what the report tells of the shift of the mean action, delta."""


@dataclass(frozen=True)
class Arguments:
    """One more shard of an experiment: seeds of one task, schedule, score and arm."""

    task: str = "halfcheetah"
    """Task."""
    seeds: str = "0:6"
    """Which seeds, first:stop without the stop."""
    schedule: str = "posthoc"
    """When weights go."""
    score: str = "magnitude"
    """Which weights go first."""
    arm: str = "ppo"
    """Training arm."""
    steps: int = 1_000_000
    """Environment steps of training per member."""
    attack_steps: int = 200_000
    """Environment steps of training per adversary that is trained to the end."""
    out: Path = Path("runs/deciding")
    """Where the runs are kept."""


def main(arguments: Arguments) -> None:
    """Do the shard if it is not there yet, and write the report of all."""
    device.keep_compiled()
    name = (
        "-".join((arguments.task, arguments.schedule, arguments.score, arguments.arm, arguments.seeds))
        .replace(":", "_")
        .replace("/", "-")
    )
    if not (SHARDS / f"{name}-results.csv").is_file():
        for table, rows in shard(arguments, arguments.out / name).items():
            SHARDS.mkdir(exist_ok=True)
            rows.write_csv(SHARDS / f"{name}-{table}.csv", float_precision=6)
    REPORT.write_text(report())


def shard(arguments: Arguments, folder: Path) -> dict[str, pl.DataFrame]:
    """Train and attack: the results of the attack search, and the certificates' means over states."""
    spec = jp.SweepSpec(
        env=arguments.task,
        arms=arguments.arm,
        seeds=arguments.seeds,
        steps=arguments.steps,
        sparsities="0,0.3,0.5,0.7,0.9",
        schedule=arguments.schedule,
        score=arguments.score,
    )
    if not (folder / "results.parquet").is_file():
        (jp.sweep.resume(folder, _show) if folder.is_dir() else jp.sweep.run(spec, folder, _show))
    population = jp.Population.load(folder)
    search = jp.AttackSearchSpec(
        search="small",
        steps=arguments.attack_steps,
        rungs=5,
        warm_starts=True,
        episodes=20,
    )
    found = jp.attack_search.run(search, population, _show, folder / "attackers").results
    results, _ = jp.attack_search.of_a_run(found, population)
    certificates = pl.read_parquet(folder / "certificates.parquet").filter(
        pl.col("quantity") == "delta", pl.col("bound").is_in(BOUNDS)
    )
    return {
        "results": results,
        "certificates": certificates.select("seed", "sparsity_asked", "bound", "value", "unmasked"),
    }


def _show(update: Update) -> None:
    print(f"{update.phase}: {update.steps_done:,} steps, {update.steps_per_second:,.0f} a second", flush=True)


def report() -> str:
    """All experiments, as Markdown; their figures beside it."""
    experiments: dict[str, list[Path]] = {}
    for path in sorted(SHARDS.glob("*-results.csv")):
        experiments.setdefault(path.name.rpartition("-results.csv")[0].rpartition("-")[0], []).append(path)
    parts = [_experiment(name, paths) for name, paths in experiments.items()]
    return f"""# The experiment that can decide

{machine_line("python -m benchmarks.deciding")}

Raw undiscounted returns of the deterministic policy on 20 fresh episodes, means over seeds with 95 % \
intervals (Student's t, each by itself). Under attack: every member under the strongest attacker found for \
it on other episodes, among random, critic, MAD, robust sarsa (four critics, alone and with MAD), SA-RL and \
PA-AD with 12 settings each by successive halving and one warm start. Verdicts: exact sign-flip test, \
family-wise over sparsities and over clean and attacked returns, at {LOOKS[0]} and {LOOKS[1]} seeds, each \
look with {ERROR / 2:.1%} of the error.

{chr(10).join(parts)}"""


def _experiment(name: str, paths: list[Path]) -> str:
    """The part of the report about one experiment."""
    results = pl.concat([pl.read_csv(path, schema_overrides=RESULTS_SCHEMA) for path in paths])
    seeds = results["seed"].unique().sort().to_list()
    # Members were numbered shard by shard.
    who = (
        results.select("seed", "sparsity_asked")
        .unique()
        .sort("seed", "sparsity_asked")
        .with_row_index("member")
    )
    results = results.drop("member").join(who, on=["seed", "sparsity_asked"]).cast({"member": pl.Int64})
    regret = decompose(results.select(RESULTS_SCHEMA.names()).cast(RESULTS_SCHEMA))
    strongest = regret.filter(attack=STRONGEST)
    certificates = pl.concat(
        [pl.read_csv(path.with_name(path.name.replace("-results", "-certificates"))) for path in paths]
    )
    figure = returns_figure(results.select(RESULTS_SCHEMA.names()).cast(RESULTS_SCHEMA), name)
    file = figures.save(figure, SHARDS / f"{name}.png").name
    sparsities = strongest["sparsity_asked"].unique().sort().to_list()
    lines = [
        _row(f"{name}, {len(seeds)} seeds", [f"{sparsity:g}" for sparsity in sparsities]),
        "|---" * (1 + len(sparsities)) + "|",
        _row("clean", [_mean(strongest, sparsity, "clean_return") for sparsity in sparsities]),
        _row("attacked", [_mean(strongest, sparsity, "attacked_return") for sparsity in sparsities]),
        _row("attackers tried", [str(strongest["attackers_tried"].max())] * len(sparsities)),
    ]
    for bound, about in BOUNDS.items():
        values = [
            certificates.filter(bound=bound, sparsity_asked=sparsity)["value"].mean()
            for sparsity in sparsities
        ]
        lines.append(_row(f"{about}, delta", [number(value) for value in values]))
    return "\n".join(
        [f"## {name}", "", *lines, "", _verdicts(regret, seeds), "", f"![returns](deciding/{file})", ""]
    )


def _verdicts(regret: pl.DataFrame, seeds: list[int]) -> str:
    """The verdict of the last planned look. A look at n seeds is at those below n, whatever came first."""
    reached = [look for look in LOOKS if set(range(look)) <= set(seeds)]
    if not reached:
        return f"No verdict yet: the first look is at the seeds 0:{LOOKS[0]}, {len(seeds)} are there."
    plan = Plan(LOOKS[-1], None, tuple(LOOKS[: len(reached) - 1]))
    _, share = plan.next(reached[-1], ERROR)
    judged = sweet_spots(regret.filter(pl.col("seed") < reached[-1]), alpha=share)
    lines = [
        f"Look at {reached[-1]} seeds, error {share:.1%}:",
        "",
        _row(
            "sparsity",
            [
                "attacked, minus dense",
                "sd of pairs",
                "adjusted p",
                "clean, minus dense",
                "may be lost",
                "adjusted p, against that",
                "verdict",
            ],
        ),
        "|---" * 8 + "|",
    ]
    lines += [_row(*_judged(row)) for row in judged.iter_rows(named=True)]
    pruned = judged.filter(~pl.col("placebo")).height
    seen = detectable_difference(reached[-1], pruned, alpha=share)
    return "\n".join(
        [*lines, "", f"With 80 % power, differences from {seen:.1f} standard deviations are seen."]
    )


def _judged(row: dict) -> tuple[str, list[str]]:
    """The cells of one verdict."""
    interval = low_to_high(row["attacked_low"], row["attacked_high"])
    return "placebo" if row["placebo"] else f"{row['sparsity']:.2f}", [
        f"{signed(row['attacked_difference'])} {interval}",
        number(row["attacked_sd"]),
        number(row["attacked_p"]),
        f"{signed(row['clean_difference'])} {low_to_high(row['clean_low'], row['clean_high'])}",
        number(row["clean_margin"]),
        number(row["clean_p"]),
        row["verdict"],
    ]


def _mean(strongest: pl.DataFrame, sparsity: float, column: str) -> str:
    values = strongest.filter(pl.col("sparsity_asked") == sparsity)[column].to_numpy()
    mean, low, high = Student().mean(values)
    return f"{number(mean)} {low_to_high(low, high)}"


def _row(first: str, cells: list[str]) -> str:
    return f"| {' | '.join([first, *cells])} |"


if __name__ == "__main__":
    main(tyro.cli(Arguments))
