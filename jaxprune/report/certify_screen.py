"""What a certification says on one screen: the verdicts, and one table by sparsity. The page has the rest."""

import polars as pl
from rich.table import Table

from jaxprune.analysis import without_diverged
from jaxprune.report.attacked_returns import larger_kind
from jaxprune.report.audit import (
    FOUND,
    TIGHTEST,
    alarm_lines,
    diverged_lines,
    smoothing_lines,
    theorem_line,
    tight_lines,
)
from jaxprune.report.console import plain_table
from jaxprune.report.numbers import counted, number
from jaxprune.report.words import Words

RADII = 3
"""Columns of certified returns, of the smallest radii."""

OWN = pl.col("ball") == "own"


def certify_screen_words(
    *,
    states: pl.DataFrame,
    members: pl.DataFrame,
    above: pl.DataFrame,
    certificates: pl.DataFrame,
    returns: pl.DataFrame,
    smoothing: pl.DataFrame | None,
    attacked_returns: pl.DataFrame | None,
    post_hoc: bool,
) -> Words:
    """Alarms; whether masks raised monotone bounds, what pruning did to the tightest, what is certified.

    In every policy's own ball. Args: as `audit_words`.
    """
    alarms = [*diverged_lines(members), *alarm_lines(states)]
    members, certificates, returns = map(without_diverged, (members, certificates, returns))
    members, above = members.filter(OWN), above.filter(OWN)
    if members.is_empty():
        return Words(alarms)
    lines = [theorem_line(certificates), *_pruning_lines(above, post_hoc)]
    limits = None if attacked_returns is None else _limits(without_diverged(attacked_returns))
    if limits is not None:
        lines.append(_limits_line(limits))
    if smoothing is not None:
        lines.append(smoothing_lines(without_diverged(smoothing))[-1])
    return Words(alarms, [_table(members, above, returns, limits)], lines)


def _pruning_lines(above: pl.DataFrame, post_hoc: bool) -> list[str]:
    """For how many pruned policies the tightest bound rose, and how many were proven to be moved further."""
    if above.is_empty():
        return tight_lines(above, post_hoc)
    counts = above.filter(bound=TIGHTEST).select(
        pl.sum("members", "members_above", "members_proven_above", "members_proven_below")
    )
    of, rose, further, less = counts.row(0)
    apart = "" if post_hoc else " (trained apart, so that pruning need not be why)"
    return [
        f"tight verdict: in the mean the tightest bound rose for {rose} of {counted(of, 'pruned policy')}; "
        f"at some state proven easier to attack than dense: {further}, harder: {less}{apart}"
    ]


def _limits(attacked_returns: pl.DataFrame) -> pl.DataFrame:
    """By radius, arm and sparsity: means over seeds of what is certified and of the clean value of the same.

    At each radius that of the two quantities is taken of which a larger share is certified; `how` says which.
    """
    of_radii = []
    for _, rows in attacked_returns.sort("eps").group_by("eps", maintain_order=True):
        kind = larger_kind(rows)
        means = rows.group_by("eps", "arm", "sparsity_asked").agg(
            pl.first("confidence"),
            certified=pl.mean(kind.certified),
            clean=pl.mean(kind.clean),
            share=kind.share.mean(),
        )
        of_radii.append(means.with_columns(how=pl.lit(kind.how)))
    return pl.concat(of_radii)


def _limits_line(limits: pl.DataFrame) -> str:
    """What is certified at the smallest radius: of the dense policies, and where it is most."""
    smallest = limits.filter(pl.col("eps") == pl.col("eps").min()).sort("certified", descending=True)
    first, several = smallest.row(0, named=True), limits["arm"].n_unique() > 1
    kinds = {"dense": pl.col("sparsity_asked") == 0, "pruned": pl.col("sparsity_asked") > 0}
    best = ", ".join(
        f"{kind} {number(row['certified'])} of {number(row['clean'])}"
        + _place(row["arm"] if several else "", row["sparsity_asked"] if kind == "pruned" else None)
        for kind, condition in kinds.items()
        for row in smallest.filter(condition).head(1).iter_rows(named=True)
    )
    return (
        f"certified{first['how']}, eps {first['eps']:g} at every step, sampled actions, confidence "
        f"{first['confidence']:g} of all together: {best}; more is no proof of more return"
    )


def _place(arm: str, sparsity: float | None) -> str:
    """Of which arm, and at which sparsity, as far as that is to be told."""
    told = [*filter(None, [arm]), *([] if sparsity is None else [f"at {sparsity:.2f}"])]
    return f" ({', '.join(told)})" if told else ""


def _table(
    members: pl.DataFrame, above: pl.DataFrame, returns: pl.DataFrame, limits: pl.DataFrame | None
) -> Table:
    """A row per arm and sparsity, means over its members; shares and counts are of states."""
    arms = members["arm"].unique(maintain_order=True).to_list()
    certified = {} if limits is None else _by_place(limits)
    radii = {} if limits is None else _radii(limits)
    quantity, shares = members["quantity"][0], "; certified: % of clean" if radii else ""
    table = plain_table(f"mean bounds on {quantity} at the same states, own balls{shares}")
    for column in ("arm", "sparsity")[len(arms) == 1 :]:
        table.add_column(column, justify="right")
    for column in (
        *("monotone", "tightest", "found"),
        "tightest\nup/down",
        "proven\nup/down",
        f"{returns['policy'][0]}\nreturn",
        *(f"{how.strip() or 'certified'}\neps {eps:g}" for eps, how in radii.items()),
    ):
        table.add_column(column, justify="right")
    for (arm, asked), rows in members.group_by("arm", "sparsity_asked", maintain_order=True):
        place = {"arm": arm, "sparsity_asked": asked}
        mean = dict(rows.group_by("bound").agg(pl.mean("value")).iter_rows())
        monotone = [mean[name] for name in rows.filter("monotone")["bound"].unique()]
        table.add_row(
            *([arm] if len(arms) > 1 else []),
            f"{rows['sparsity'].mean():.2f}",
            *map(number, (min(monotone, default=None), mean.get(TIGHTEST), mean.get(FOUND))),
            *_changes(above.filter(bound=TIGHTEST, **place)),
            number(returns.filter(**place).select(pl.mean("return_mean")).item()),
            *(certified.get((eps, arm, asked), "-") for eps in radii),
        )
    return table


def _radii(limits: pl.DataFrame) -> dict[float, str]:
    """The smallest radii, and how what is certified there is set apart."""
    return dict(limits.select("eps", "how").unique().sort("eps").head(RADII).iter_rows())


def _by_place(limits: pl.DataFrame) -> dict[tuple[float, str, float], str]:
    """The certified mean and its share of the clean one, by radius, arm and sparsity."""
    rows = limits.select("eps", "arm", "sparsity_asked", "certified", "share").iter_rows()
    return {
        (eps, arm, asked): number(value) + ("" if share is None else f" {share:.0%}")
        for eps, arm, asked, value, share in rows
    }


def _changes(tightest: pl.DataFrame) -> tuple[str, str]:
    """At which share of the states the bound rose and fell, and at how many states a change is proven."""
    if tightest.is_empty():
        return "", ""
    row = tightest.row(0, named=True)
    return (
        f"{row['share_above']:.0%}/{row['share_below']:.0%}",
        f"{row['proven_above']}/{row['proven_below']}",
    )
