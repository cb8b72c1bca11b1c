"""The report of the experiment that can decide, made of the shards that are there.

Verdicts are given on the seeds 0:12 and on 0:24 and on no others, each with half of the error of 5 %: who
looks after every shard finds effects that are not there. Every experiment has an error of its own.
"""

from pathlib import Path

import polars as pl

from benchmarks.machine import machine_line
from jaxprune.analysis import (
    RESULTS,
    STRONGEST,
    Student,
    best_average_score,
    decompose,
    detectable_difference,
    sweet_spots,
    without_diverged,
)
from jaxprune.merging import Plan
from jaxprune.report import figures, returns_figure
from jaxprune.report.numbers import low_to_high, number, signed

FOLDER = Path(__file__).parent / "results"
SHARDS, REPORT = FOLDER / "deciding", FOLDER / "deciding.md"

LOOKS, ERROR = (12, 24), 0.05

BOUNDS = {"path": "path bound (monotone)", "crown": "CROWN", "mad": "largest found"}
"""Of the certificates, what the report tells of the shift of the mean action, delta."""

ABOUT = pl.Schema({"search": pl.String, "learned_on": pl.String})
"""Of a shard: how attackers were searched for, and the machine on which was learned, if it was another."""

BEFORE = (
    "12 settings each, 198,656 steps by successive halving in 5 rungs (the first ends after 6 iterations of "
    "PPO), only as the survivors were at the end, and one warm start"
)
"""How they were searched for in shards that do not say it."""

RETURNS = {
    "clean_return": "clean",
    "attacked_return": "attacked",
    "clean_regret": "regret: best policy minus dense, clean",
    "pruning_loss": "+ pruning loss",
    "robustness_gap": "+ robustness gap",
}


def shards() -> dict[str, list[Path]]:
    """The files of results of every experiment."""
    experiments: dict[str, list[Path]] = {}
    for path in sorted(SHARDS.glob("*-results.csv")):
        experiments.setdefault(path.name.removesuffix("-results.csv").rpartition("-")[0], []).append(path)
    return experiments


def report() -> str:
    """All experiments, as Markdown; their figures beside it."""
    parts = [_experiment(name, paths) for name, paths in shards().items()]
    return f"""# The experiment that can decide

{machine_line("python -m benchmarks.deciding")}

Raw undiscounted returns of the deterministic policy on 20 fresh episodes, means over seeds with 95 % \
intervals (Student's t, each by itself). Under attack: every member under the strongest attacker found for \
it on other episodes, among random, critic, MAD, robust sarsa (four critics, alone and with MAD), SA-RL and \
PA-AD. Where these two were searched for by halving, the order at the end of the first rung says little of \
the last. The best policy is the member of the experiment with the largest clean return on other episodes; \
the three terms add up to its clean minus the attacked return. Verdicts: exact sign-flip test, family-wise \
over sparsities and over clean and attacked returns, at {LOOKS[0]} and {LOOKS[1]} seeds, each look with \
{ERROR / 2:.1%} of the error; every experiment has its own error of {ERROR:.0%}.

{chr(10).join(parts)}"""


def searched(path: Path) -> str:
    """How the attackers of a shard were searched for: by its file of results."""
    return _about(path)["search"]


def _about(path: Path) -> dict[str, str | None]:
    """The row of the table `ABOUT` of a shard: by its file of results."""
    for about in _kept([path], "about"):
        return about.cast(ABOUT).row(0, named=True)
    return {"search": BEFORE, "learned_on": None}


def _experiment(name: str, paths: list[Path]) -> str:
    """The part of the report about one experiment."""
    results = _renumbered(pl.concat([pl.read_csv(path, schema_overrides=RESULTS) for path in paths])).select(
        RESULTS.names()
    )
    seeds = results["seed"].unique().sort().to_list()
    regret = decompose(results)
    figure = figures.save(returns_figure(results, name), SHARDS / f"{name}.png").name
    parts = [
        f"## {name}",
        f"SA-RL and PA-AD: {searched(paths[0])}.",
        *_elsewhere(paths),
        _levels(name, regret, pl.concat(_kept(paths, "certificates"))),
        _average(regret),
        _verdicts(regret, seeds),
        *_search(paths),
        f"![returns](deciding/{figure})\n",
    ]
    return "\n\n".join(parts)


def _renumbered(results: pl.DataFrame) -> pl.DataFrame:
    """Members were numbered shard by shard."""
    who = results.select("seed", "sparsity_asked").unique().sort("seed", "sparsity_asked")
    numbered = who.with_row_index("member").cast({"member": pl.Int64})
    return results.drop("member").join(numbered, on=["seed", "sparsity_asked"])


def _elsewhere(paths: list[Path]) -> list[str]:
    """The machines on which members and adversaries learned, if those were others."""
    machines = dict.fromkeys(machine for path in paths if (machine := _about(path)["learned_on"]))
    return [f"Members and adversaries learned under MJX. {machine}" for machine in machines]


def _kept(paths: list[Path], table: str) -> list[pl.DataFrame]:
    """A further table of the shards that have it."""
    files = [path.with_name(path.name.replace("-results.csv", f"-{table}.csv")) for path in paths]
    return [pl.read_csv(file) for file in files if file.is_file()]


def _levels(name: str, regret: pl.DataFrame, certificates: pl.DataFrame) -> str:
    """Returns, terms of the regret and bounds by sparsity."""
    strongest = without_diverged(regret.filter(attack=STRONGEST))
    certificates = certificates.join(strongest, on=["seed", "sparsity_asked"], how="semi")
    sparsities = strongest["sparsity_asked"].unique().sort().to_list()
    of = [strongest.filter(sparsity_asked=sparsity) for sparsity in sparsities]
    lines = _head(
        f"{name}, {strongest['seed'].n_unique()} seeds", [f"{sparsity:g}" for sparsity in sparsities]
    )
    lines += [_row(about, [_mean(rows[column]) for rows in of]) for column, about in RETURNS.items()]
    lines.append(_row("attackers tried", [_range(rows["attackers_tried"]) for rows in of]))
    for bound, about in BOUNDS.items():
        of_bound = [certificates.filter(bound=bound, sparsity_asked=sparsity) for sparsity in sparsities]
        lines.append(_row(f"{about}, delta", [_plain_mean(rows["value"]) for rows in of_bound]))
    return "\n".join(lines)


def _average(regret: pl.DataFrame) -> str:
    """The choice of the pruning paper, which is always one and no verdict."""
    (best,) = best_average_score(regret).iter_rows(named=True)
    return (
        "The mean of normalised clean and attacked return (the pruning paper's choice, no verdict) is "
        f"highest at {best['sparsity_asked']:g}: {best['average_score']:.3f} (dense "
        f"{best['dense_average_score']:.3f}). Without any one seed the choice is the same "
        f"{best['chosen_again']:.0%} of the time."
    )


def _verdicts(regret: pl.DataFrame, seeds: list[int]) -> str:
    """The verdict of the last planned look. A look at n seeds is at those below n, whatever came first."""
    reached = [look for look in LOOKS if set(range(look)) <= set(seeds)]
    if not reached:
        return f"No verdict yet: the first look is at the seeds 0:{LOOKS[0]}, {len(seeds)} are there."
    plan = Plan(LOOKS[-1], None, tuple(LOOKS[: len(reached) - 1]))
    _, share = plan.next(reached[-1], ERROR)
    judged = sweet_spots(regret.filter(pl.col("seed") < reached[-1]), alpha=share)
    lines = _head(
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
    )
    lines += [_row(*_judged(row)) for row in judged.iter_rows(named=True)]
    pruned = judged.filter(~pl.col("placebo")).height
    seen = detectable_difference(reached[-1], pruned, alpha=share)
    table = "\n".join(lines)
    return (
        f"Look at {reached[-1]} seeds, error {share:.1%}:\n\n{table}\n\n"
        f"With 80 % power, differences from {seen:.1f} standard deviations are seen."
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


def _search(paths: list[Path]) -> list[str]:
    """What the search was worth, of the shards that kept it."""
    parts = ((_effort, "effort"), (_transfer, "transfer"))
    return [part(pl.concat(kept)) for part, table in parts if (kept := _kept(paths, table))]


def _effort(effort: pl.DataFrame) -> str:
    """The strongest attacker found against the steps of all, with the extrapolation."""
    by = ("attack", "steps", "total_steps", "attackers", "extrapolated")
    means = effort.group_by(by).agg(pl.mean("return_mean")).sort("attack", "total_steps")
    lines = _head("attack", ["steps of each", "of all together", "return left"])
    lines += [
        _row(
            row["attack"],
            [
                f"{row['steps']:,}",
                f"{row['total_steps']:,}",
                number(row["return_mean"]) + (" (extrapolated)" if row["extrapolated"] else ""),
            ],
        )
        for row in means.iter_rows(named=True)
    ]
    members = effort.filter(pl.struct("attack", "steps") == pl.struct("attack", "steps").first()).height
    about = f"The strongest found against what was trained, by rungs, means over {members} members:"
    return f"{about}\n\n" + "\n".join(lines)


def _transfer(transfer: pl.DataFrame) -> str:
    """The matrix of every learned attack: a row per victim, a column per sparsity it was found for."""
    origins = transfer["found_for"].unique().sort().to_list()
    tables = []
    for attack in transfer["attack"].unique(maintain_order=True):
        lines = _head(f"{attack}, victim", [f"found for {origin:g}" for origin in origins])
        for victim in origins:
            on_it = transfer.filter(attack=attack, sparsity_asked=victim)
            cells = [_plain_mean(on_it.filter(found_for=origin)["return_mean"]) for origin in origins]
            lines.append(_row(f"{victim:g}", cells))
        tables.append("\n".join(lines))
    seeds = transfer["seed"].n_unique()
    of = "one seed" if seeds == 1 else f"means over {seeds} seeds"
    about = f"Returns under attackers found for a sibling, the same fresh episodes, {of}:"
    return "\n\n".join([about, *tables])


def _mean(values: pl.Series) -> str:
    mean, low, high = Student().mean(values.to_numpy())
    return f"{number(mean)} {low_to_high(low, high)}"


def _plain_mean(values: pl.Series) -> str:
    return number(float(values.to_numpy().mean()))


def _range(values: pl.Series) -> str:
    low, high = values.min(), values.max()
    return str(low) if low == high else f"{low} to {high}"


def _head(first: str, cells: list[str]) -> list[str]:
    return [_row(first, cells), "|---" * (1 + len(cells)) + "|"]


def _row(first: str, cells: list[str]) -> str:
    return f"| {' | '.join([first, *cells])} |"
