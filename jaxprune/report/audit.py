"""What the certificates of a population say, in the terminal: a table by sparsity, and the verdicts."""

import polars as pl
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jaxprune.analysis import audit, distance_quantity
from jaxprune.report.console import WIDTH, plain_table
from jaxprune.report.numbers import number

TIGHTEST, FOUND = "tightest", "mad"  # rows of the audit that have a sentence of their own


def print_audit(
    console: Console,
    members: pl.DataFrame,
    above: pl.DataFrame,
    certificates: pl.DataFrame,
    returns: pl.DataFrame,
    smoothing: pl.DataFrame | None,
    votes: pl.DataFrame | None,
    confidence: float,
) -> None:
    """Print the bounds by sparsity, how often pruning raised them, and the verdicts.

    Args:
        console: where to.
        members: `at_the_same_states` of the states that were looked at.
        above: `against_dense` of them.
        certificates: of every member on its own clean states.
        returns: of every member's clean episodes.
        smoothing: lower limits on smoothed returns, if there are any.
        votes: certified actions of smoothed categorical policies, if there are any.
        confidence: of what was estimated over episodes.
    """
    tables = [sparsity_table(members, certificates, returns)]
    if above.height:
        tables += [change_table(above), bound_table(members, above)]
    if smoothing is not None:
        tables.append(smoothing_table(smoothing))
    if votes is not None:
        tables.append(votes_table(votes))
    for table in tables:
        console.print("", table, width=WIDTH)
    bullets = Table.grid(padding=(0, 1))
    for line in [
        theorem_line(certificates),
        *tight_lines(above),
        *distrust_lines(members, certificates, confidence),
    ]:
        bullets.add_row("-", Text(line))
    console.print("", bullets, width=WIDTH)


def sparsity_table(members: pl.DataFrame, certificates: pl.DataFrame, returns: pl.DataFrame) -> Table:
    """A row per sparsity, means over its members: bounds and attack at the same states, F, value gap, return.

    "monotone" is the smallest monotone bound; "ratio" is tightest over found.
    """
    table = plain_table(f"mean bound on {members['quantity'][0]} at the same states")
    for column in ("sparsity", "monotone", "tightest", "found", "ratio", "F", "value gap", "clean return"):
        table.add_column(column, justify="right")
    for (asked,), rows in members.group_by("sparsity_asked", maintain_order=True):
        mean = dict(rows.group_by("bound").agg(pl.mean("value")).iter_rows())
        monotone = min(mean[name] for name in rows.filter("monotone")["bound"])
        about = certificates.filter(pl.col("sparsity_asked") == asked)
        tv = about.filter(pl.col("bound") == TIGHTEST, pl.col("quantity") == "tv")
        gaps = about.filter(pl.col("bound") == "horizon_gap")
        vacuous = " vacuous" if gaps["vacuous"].all() else ""
        table.add_row(
            f"{rows['sparsity'].mean():.2f}",
            *(number(value) for value in (monotone, mean[TIGHTEST], mean[FOUND])),
            number(mean[TIGHTEST] / mean[FOUND] if mean[FOUND] else None),
            number(tv["value"].mean()),
            number(gaps["value"].mean()) + vacuous,
            number(returns.filter(pl.col("sparsity_asked") == asked)["return_mean"].mean()),
        )
    return table


def change_table(against: pl.DataFrame) -> Table:
    """A row per sparsity: at how many states pruning raised and lowered what, and where that is proven.

    "monotone" counts for the monotone bound that rose at most states.
    """
    monotone = against.filter("monotone").group_by("sparsity_asked").agg(pl.max("states_above"))
    columns = {
        "states": _by_sparsity(against, TIGHTEST, "states"),
        "monotone\nup": dict(monotone.iter_rows()),
        "tightest\nup": _by_sparsity(against, TIGHTEST, "states_above"),
        "tightest\ndown": _by_sparsity(against, TIGHTEST, "states_below"),
        "attack\nup": _by_sparsity(against, FOUND, "states_above"),
        "attack\ndown": _by_sparsity(against, FOUND, "states_below"),
        "proven\nup": _by_sparsity(against, TIGHTEST, "proven_above"),
        "proven\ndown": _by_sparsity(against, TIGHTEST, "proven_below"),
    }
    table = plain_table("pruned against dense at the same state")
    table.add_column("sparsity", justify="right")
    for column in columns:
        table.add_column(column, justify="right")
    for asked in columns["states"]:
        table.add_row(f"{asked:.2f}", *(str(counts.get(asked, 0)) for counts in columns.values()))
    return table


def _by_sparsity(against: pl.DataFrame, bound: str, column: str) -> dict[float, int]:
    rows = against.filter(pl.col("bound") == bound).sort("sparsity_asked")
    return dict(rows.select("sparsity_asked", column).iter_rows())


def bound_table(members: pl.DataFrame, against: pl.DataFrame) -> Table:
    """A row per bound, over all sparsities: its mean tightness, and how often it is above its dense value."""
    table = plain_table("pruned against dense at the same state, all sparsities")
    table.add_column("bound")
    for column in ("bound\n/ found", "states\nup", "states\ndown", "members\nup", "proven\nup"):
        table.add_column(column, justify="right")
    for column in ("proven\ndown", "largest\nratio"):
        table.add_column(column, justify="right")
    sums = against.group_by("monotone", "kind", "bound").agg(
        pl.sum("states", "states_above", "states_below", "members", "members_above"),
        pl.sum("proven_above", "proven_below"),
        pl.max("largest_ratio"),
    )
    for row in sums.sort("kind", "monotone", "bound", descending=[False, True, False]).iter_rows(named=True):
        same = members.filter(pl.col("bound") == row["bound"])
        found = same["found"].mean()
        proven = (row["proven_above"], row["proven_below"]) if row["kind"] == "bound" else ("-", "-")
        table.add_row(
            f"{row['bound']} (monotone)" if row["monotone"] else row["bound"],
            number(same["value"].mean() / found if found else None),
            f"{row['states_above']} of {row['states']}",
            str(row["states_below"]),
            f"{row['members_above']} of {row['members']}",
            *map(str, proven),
            number(row["largest_ratio"]),
        )
    return table


def smoothing_table(smoothing: pl.DataFrame) -> Table:
    """A row per member: its return under the noise, and what no adversary of the budget can take it below."""
    first = smoothing.row(0, named=True)
    table = plain_table(
        f"smoothed, sigma {first['sigma']:g}: limits under a total l2 budget {first['budget']:g}, "
        f"confidence {first['confidence']:g}"
    )
    for column in ("member", "sparsity", "episodes", "mean return", "certified", "threshold", "probability"):
        table.add_column(column, justify="right")
    for row in smoothing.iter_rows(named=True):
        table.add_row(
            str(row["member"]),
            f"{row['sparsity_asked']:.2f}",
            str(row["episodes"]),
            *(number(row[name]) for name in ("return_mean", "certified_mean", "threshold")),
            number(row["certified_probability"]),
        )
    return table


def votes_table(votes: pl.DataFrame) -> Table:
    """A row per sparsity: how far the smoothed action is certified, and where less far than the dense."""
    first = votes.row(0, named=True)
    table = plain_table(
        f"smoothed actions, sigma {first['sigma']:g}: l2 radius within which none changes; {first['votes']} "
        f"votes per state, confidence {first['confidence']:g} at each state"
    )
    for column in ("sparsity", "states", "certified", "mean radius", "other action", "smaller radius"):
        table.add_column(column, justify="right")
    of_sparsity = votes.group_by("sparsity_asked", maintain_order=True).agg(
        pl.mean("radius"),
        states=pl.len(),
        certified=(pl.col("radius") > 0).sum(),
        other=(pl.col("action") != pl.col("dense_action")).sum(),
        smaller=(pl.col("radius") < pl.col("dense_radius")).sum(),
    )
    for row in of_sparsity.iter_rows(named=True):
        table.add_row(
            f"{row['sparsity_asked']:.2f}",
            str(row["states"]),
            str(row["certified"]),
            number(row["radius"]),
            str(row["other"]),
            str(row["smaller"]),
        )
    return table


def theorem_line(certificates: pl.DataFrame) -> str:
    """Whether masks raised the bounds that no mask can raise.

    In standard deviations of the policies, or in units of the action where those are zero.
    """
    finite = certificates.filter(pl.col("unmasked").is_finite())
    quantity = distance_quantity(finite)
    if finite.filter(pl.col("quantity") == quantity).is_empty():
        quantity = "delta_action"
    rows = audit(finite).filter(pl.col("monotone"), pl.col("quantity") == quantity)
    raised, cases = rows["above_unmasked"].sum(), rows["with_unmasked"].sum()
    if not cases:
        return "theorem: not checked, for no bound is finite"
    if raised:
        return f"theorem: masks raised a monotone bound in {raised} of {cases} cases, which is a DEFECT"
    names = ", ".join(rows["bound"].unique().sort())
    return f"theorem: no mask ever raised a monotone bound ({names}; {cases} cases), as it must be"


def tight_lines(above: pl.DataFrame) -> list[str]:
    """How often, how much and where at worst pruning raised the tightest bound, and what the attack found."""
    if above.is_empty():
        return ["no member is dense (sparsity 0), so nothing can be compared with what pruning started from"]
    tightest = above.filter(pl.col("bound") == TIGHTEST)
    found = above.filter(pl.col("bound") == FOUND)
    lines = [
        f"tight verdict: the tightest bound {_rises(tightest)}",
        f"attack: the largest distance found {_rises(found)}",
    ]
    worse, better = tightest["proven_above"].sum(), tightest["proven_below"].sum()
    if worse:
        lines.append(
            f"at {worse} states x members the attack found more on the pruned policy than the dense one's "
            "tightest bound allows: there pruning has made the policy less robust for sure"
        )
    if better:
        lines.append(
            f"at {better} states x members the tightest bound of the pruned policy is below what the attack "
            "found on the dense one: there pruning has made the policy more robust for sure"
        )
    return lines


def _rises(rows: pl.DataFrame) -> str:
    above, below, states = (rows[name].sum() for name in ("states_above", "states_below", "states"))
    if not above:
        return f"never rose under pruning (0 of {states} states x members)"
    worst = rows.sort("largest_ratio", nulls_last=True, descending=True).row(0, named=True)
    factor = "from zero" if worst["largest_ratio"] is None else f"{number(worst['largest_ratio'])}-fold"
    return (
        f"rose under pruning at {above} of {states} states x members ({above / states:.0%}; it fell at "
        f"{below / states:.0%}), its mean over states for {rows['members_above'].sum()} of "
        f"{rows['members'].sum()} members; at worst {factor}, at sparsity {worst['sparsity_asked']:g}"
    )


def distrust_lines(members: pl.DataFrame, certificates: pl.DataFrame, confidence: float) -> list[str]:
    """What the reader must know before believing the numbers."""
    gaps = certificates.filter(pl.col("quantity") == "return")
    estimates = (gaps["kind"] == "estimate").sum()
    bounds = members.filter(pl.col("kind") == "bound")
    below = bounds.filter(pl.col("value") < pl.col("found")).height
    lines = [
        f"same states: {members['states'].max()} that the dense policy of each seed visits; F and the value "
        "gap (undiscounted return) are about the states that each member visits itself, until it falls",
        f"value gaps hold with confidence {confidence:g} over the episodes; {gaps['vacuous'].sum()} of "
        f"{gaps.height} are vacuous",
        f"arithmetic of the bounds: {', '.join(bounds['arithmetic'].unique())}",
    ]
    if estimates:
        lines.append("the task does not bound its reward, so the value gaps are estimates, no bounds")
    if below:
        lines.append(f"WRONG: {below} mean bounds lie below what the attack found")
    return lines
