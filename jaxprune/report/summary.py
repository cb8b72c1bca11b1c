"""The tables a sweep ends with, and the verdicts below them: all of them, or what fits on one screen."""

import polars as pl
from rich.table import Table

from jaxprune.analysis import (
    BUDGET,
    CLEAN,
    DEFAULT_INTERVAL,
    STRONGEST,
    Student,
    across_seeds,
    distance_quantity,
    smallest_bound,
    validate,
    without_diverged,
)
from jaxprune.report.budgets import budgets
from jaxprune.report.console import plain_table
from jaxprune.report.figures import heading
from jaxprune.report.numbers import low_to_high, number, signed
from jaxprune.report.verdict import ALPHA, alarms, findings, sweet_spot_lines
from jaxprune.report.words import Words

_VALUE_GAP = "horizon_gap"  # of the bounds on return, the one on the undiscounted return that the tables show
Cell = tuple[str, float]
"""Arm and sparsity asked."""
_SPARSITIES_PER_TABLE = 8  # so many columns of returns fit beside the attack and its budget


def sweep_words(
    results: pl.DataFrame,
    regret: pl.DataFrame,
    certificates: pl.DataFrame,
    spots: pl.DataFrame,
    interval: Student = DEFAULT_INTERVAL,
    *,
    alpha: float = ALPHA,
    arms: int = 1,
    everyone: pl.DataFrame | None = None,
) -> Words:
    """What was found of a population: alarms, returns by attack, two tables per budget, the verdicts.

    Means are over seeds, with Student's interval below them when there are several; members that have
    diverged, or whose dense twin has, are in none of them. All tables fit into 100 columns.

    Args:
        results: of one family of members.
        regret: of the same members, by `decompose`.
        certificates: of the same members; may be empty.
        spots: the rows about them in the table of verdicts, by `sweet_spots`.
        interval: gives the intervals.
        alpha: the family-wise error of that table.
        arms: in how many training arms it has tests.
        everyone: the results of all arms, among which the best policy was chosen; those above for None.

    Raises:
        ValueError: a table is malformed, or `results` holds several families of members.
    """
    validate(results, "results")
    validate(certificates, "certificates")
    tables = [
        *attack_tables(results),
        *budget_tables(regret, certificates, interval),
        *difference_tables(spots),
    ]
    lines = findings(results, regret, certificates, spots, alpha=alpha, arms=arms, everyone=everyone)
    return Words(alarms(results, certificates), tables, lines)


def screen_words(
    results: pl.DataFrame,
    regret: pl.DataFrame,
    certificates: pl.DataFrame,
    spots: pl.DataFrame,
    *,
    alpha: float = ALPHA,
) -> Words:
    """The same on one screen: alarms, one table at the largest budget, and the verdicts of every arm.

    Args: as `sweep_words`, but of all arms.
    """
    arms = results["arm"].unique(maintain_order=True).to_list()
    lines = []
    for arm in arms:
        told = sweet_spot_lines(spots.filter(pl.col("arm") == arm, ~pl.col("placebo")), alpha, len(arms))
        lines += told if len(arms) == 1 else [f"{arm}: {line}" for line in told]
    about = heading(results.with_columns(arm=pl.lit(arms[0] if len(arms) == 1 else f"{len(arms)} arms")))
    tables = [_screen_table(about, regret, certificates, spots)] if regret.height else []
    return Words(alarms(results, certificates), tables, lines)


def _screen_table(about: str, regret: pl.DataFrame, certificates: pl.DataFrame, spots: pl.DataFrame) -> Table:
    """A row per arm and sparsity, means over seeds, under the strongest attack of the largest budget."""
    rows = without_diverged(regret.filter(pl.col("attack") == STRONGEST))
    largest = budgets(rows.filter(pl.col("eps") == pl.col("eps").max()))
    name, budget = next(iter(largest.items()), ("no attack", pl.lit(value=False)))
    rows, spots = rows.filter(budget), spots.filter(budget, ~pl.col("placebo"))
    certificates = without_diverged(certificates).filter(budget)
    distance = distance_quantity(certificates)
    bounds = (smallest_bound(part, distance) for part in (certificates, certificates.filter("monotone")))
    tight, monotone = (_means(part, "value") for part in bounds)
    clean, attacked = (_means(rows, f"{what}_return") for what in ("clean", "attacked"))
    by = pl.col("found_by")
    # The one that is strongest for most members, and how many others are for some.
    found_by = {
        (arm, asked): f"{most} +{others}" if others else most
        for arm, asked, most, others in rows.group_by("arm", "sparsity_asked")
        .agg(by.mode().sort().first(), others=by.n_unique() - 1)
        .iter_rows()
    }
    judged = {(row["arm"], row["sparsity_asked"]): row for row in spots.iter_rows(named=True)}
    table = plain_table(f"{about}\nstrongest attack, {name}")
    arms = rows["arm"].n_unique()
    for column in ("arm", "sparsity")[arms == 1 :]:
        table.add_column(column, justify="right")
    bound = [f"tight\n{distance}", f"monotone\n{distance}"]
    for column in ("clean", "attacked", "by", "minus\ndense", "p", *bound):
        table.add_column(column, justify="right")
    table.add_column("verdict")
    for (arm, asked), achieved in sorted(_means(rows, "sparsity").items()):
        cell = (arm, asked)
        spot = judged.get(cell, {})
        numbers = (clean, attacked), (tight, monotone)
        returns, limits = ([number(each.get(cell)) for each in pair] for pair in numbers)
        table.add_row(
            *([arm] if arms > 1 else []),
            f"{achieved:.2f}",
            *returns,
            found_by[cell],
            signed(spot["attacked_difference"]) if spot else "",
            number(spot["attacked_p"]) if spot else "",
            *limits,
            # Why it is undecided stands in the sentence.
            spot.get("verdict", "dense" if asked == 0 else "").partition(" (")[0],
        )
    return table


def _means(rows: pl.DataFrame, column: str) -> dict[Cell, float]:
    """The mean over seeds, by arm and sparsity asked."""
    means = rows.group_by("arm", "sparsity_asked").agg(pl.mean(column))
    return {(arm, asked): mean for arm, asked, mean in means.iter_rows()}


def attack_tables(results: pl.DataFrame) -> list[Table]:
    """Mean return over seeds for every attack and budget (rows) at every sparsity achieved (columns)."""
    results = without_diverged(results)
    place = ("attack", *BUDGET, "sparsity_asked")
    means = {
        tuple(key): mean for *key, mean in results.group_by(place).agg(pl.mean("return_mean")).iter_rows()
    }
    rows = (
        results.select("attack", *BUDGET)
        .unique()
        .sort(pl.col("attack") != CLEAN, "space", "norm", "eps", "attack")
    )
    columns = list(_achieved(results).items())
    tables = []
    for start in range(0, len(columns), _SPARSITIES_PER_TABLE):
        shown = columns[start : start + _SPARSITIES_PER_TABLE]
        table = plain_table("mean return by attack, at each sparsity", "attack", "budget")
        for _, achieved in shown:
            table.add_column(f"{achieved:.2f}", justify="right")
        for attack, norm, space, eps in rows.iter_rows():
            budget = "" if attack == CLEAN else f"{eps:g} {norm} {space}"
            returns = (number(means.get((attack, norm, space, eps, asked))) for asked, _ in shown)
            table.add_row(attack, budget, *returns)
        tables.append(table)
    return tables


def budget_tables(
    regret: pl.DataFrame, certificates: pl.DataFrame, interval: Student = DEFAULT_INTERVAL
) -> list[Table]:
    """For each budget, a row per sparsity: what the strongest attack did, and the best bounds.

    "by" names the attack, "gap" is the robustness gap and "gain" the dense twin's gap minus it. "tight" is
    the smallest sound bound on the policies' distance and "monotone" the smallest monotone one, with their
    names; "value gap" bounds the loss of return of the policy named below it (`sampled` or `mode` actions).
    It is called vacuous where it exceeds all that can be lost, and an estimate where the task does not bound
    its reward.
    """
    rows = without_diverged(regret.filter(pl.col("attack") == STRONGEST))
    certificates = without_diverged(certificates)
    return [
        _budget_table(name, rows.filter(budget), certificates.filter(budget), interval)
        for name, budget in budgets(rows).items()
    ]


def _budget_table(name: str, regret: pl.DataFrame, certificates: pl.DataFrame, interval: Student) -> Table:
    distance = distance_quantity(certificates)
    tight = _bounds(smallest_bound(certificates, distance))
    monotone = _bounds(smallest_bound(certificates.filter("monotone"), distance))
    gaps = _value_gaps(certificates.filter(pl.col("bound") == _VALUE_GAP))
    columns = {
        "clean": _estimates(regret, "clean_return", interval),
        "attacked": _estimates(regret, "attacked_return", interval),
        "by": _joined(regret, "found_by"),
        "gap": _estimates(regret, "robustness_gap", interval),
        "gain": _estimates(regret, "robustness_gain", interval),
        **_headed(f"tight\n{distance}", tight),
        **_headed(f"monotone\n{distance}", monotone),
        **_headed("value\ngap", gaps),
    }
    table = plain_table(f"strongest attack, {name}")
    table.add_column("sparsity", justify="right")
    for column in columns:
        table.add_column(column, justify="right")
    for asked, achieved in _achieved(regret).items():
        table.add_row(f"{achieved:.2f}", *(cells.get(asked, "-") for cells in columns.values()))
    return table


def difference_tables(spots: pl.DataFrame) -> list[Table]:
    """For each budget, a row per sparsity of `sweet_spots`, and the placebo: differences, p values, verdict.

    p values are adjusted for all sparsities and budgets, that of the clean return is about the difference
    plus 5 % of the dense return; the intervals below the differences are of each alone.
    """
    return [_difference_table(name, spots.filter(budget)) for name, budget in budgets(spots).items()]


def _difference_table(name: str, spots: pl.DataFrame) -> Table:
    table = plain_table(f"member minus dense twin, {name}")
    for column in ("sparsity", "pairs", "attacked", "p", "clean", "p of clean\n+ 5% dense", "verdict"):
        table.add_column(column, justify="left" if column == "verdict" else "right")
    for row in spots.iter_rows(named=True):
        cells = []
        for about in ("attacked", "clean"):
            mean, low, high, p = (row[f"{about}_{name}"] for name in ("difference", "low", "high", "p"))
            cells += [f"{signed(mean)}\n{low_to_high(low, high)}".rstrip(), number(p)]
        place = "placebo" if row["placebo"] else f"{row['sparsity']:.2f}"
        table.add_row(place, str(row["seeds"]), *cells, row["verdict"])
    return table


def _headed(title: str, cells: dict[float, str]) -> dict[str, dict[float, str]]:
    """The column under its title; what stands below the number in every cell moves into the title."""
    below = {cell.partition("\n")[2] for cell in cells.values()}
    if len(below) != 1:
        return {title: cells}
    numbers = {asked: cell.partition("\n")[0] for asked, cell in cells.items()}
    return {"\n".join([title, *below]).rstrip(): numbers}


def _achieved(table: pl.DataFrame) -> dict[float, float]:
    """Sparsity asked -> sparsity achieved, its mean over seeds, in rising order."""
    return dict(table.group_by("sparsity_asked").agg(pl.mean("sparsity")).sort("sparsity_asked").iter_rows())


def _estimates(rows: pl.DataFrame, column: str, interval: Student) -> dict[float, str]:
    """The text of each sparsity's cell: the mean over seeds, and its interval on the next line."""
    estimates = across_seeds(rows, ["sparsity_asked"], column, interval)
    return {
        row["sparsity_asked"]: f"{number(row['mean'])}\n{low_to_high(row['low'], row['high'])}".rstrip()
        for row in estimates.iter_rows(named=True)
    }


def _joined(rows: pl.DataFrame, column: str) -> dict[float, str]:
    """The different names in a column, which differ where the seeds do."""
    names = rows.group_by("sparsity_asked").agg(pl.col(column).unique().sort().str.join("\n"))
    return dict(names.iter_rows())


def _bounds(rows: pl.DataFrame) -> dict[float, str]:
    """The mean over seeds, and on the next lines the bounds it came from."""
    names = _joined(rows, "bound")
    means = rows.group_by("sparsity_asked").agg(pl.mean("value"))
    return {asked: f"{number(mean)}\n{names[asked]}" for asked, mean in means.iter_rows()}


def _value_gaps(rows: pl.DataFrame) -> dict[float, str]:
    """The mean over seeds, and on the next lines whose it is and what is wrong with it."""
    gaps = rows.group_by("sparsity_asked").agg(
        pl.mean("value"),
        pl.col("policy").unique().sort(),
        pl.sum("vacuous"),
        (pl.col("kind") == "bound").all(),
        pl.len(),
    )
    return {
        asked: "\n".join([number(mean), *policies, *_caveats(vacuous, sound, seeds)])
        for asked, mean, policies, vacuous, sound, seeds in gaps.iter_rows()
    }


def _caveats(vacuous: int, sound: bool, seeds: int) -> list[str]:
    caveats = [] if sound else ["estimate"]
    if vacuous:
        caveats.append("vacuous" if vacuous == seeds else f"vacuous {vacuous}/{seeds}")
    return caveats
