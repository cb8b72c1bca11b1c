"""What the certificates of a population say: a table by sparsity, and the verdicts."""

import polars as pl
from rich.table import Table

from jaxprune.analysis import audit, distance_quantity, without_diverged
from jaxprune.report.attacked_returns import attacked_returns_words
from jaxprune.report.console import plain_table
from jaxprune.report.numbers import counted, number
from jaxprune.report.words import Words

TIGHTEST, FOUND = "tightest", "mad"  # rows of the audit that have a sentence of their own
BALLS = {"own": "the policy's own ball", "dense": "the dense twin's raw ball"}


def audit_words(
    *,
    states: pl.DataFrame,
    members: pl.DataFrame,
    above: pl.DataFrame,
    certificates: pl.DataFrame,
    returns: pl.DataFrame,
    smoothing: pl.DataFrame | None,
    votes: pl.DataFrame | None,
    attacked_returns: pl.DataFrame | None,
    confidence: float,
    post_hoc: bool,
) -> Words:
    """The bounds by sparsity of one arm, how often pruning raised them, and the verdicts.

    Members that diverged are named first, and left out with those whose dense twin they are of all that
    follows but the alarm.

    Args:
        states: every bound at every state.
        members: `at_the_same_states` of them.
        above: `against_dense` of them.
        certificates: of every member on its own clean states.
        returns: of every member's clean episodes.
        smoothing: lower limits on smoothed returns, if there are any.
        votes: certified actions of smoothed categorical policies, if there are any.
        attacked_returns: certified returns under attack at every step, if there are any.
        confidence: of what was estimated over episodes.
        post_hoc: whether pruned and dense policies are the same weights with and without a mask, so that what
            differs is the work of pruning.
    """
    alarm = [*diverged_lines(members), *alarm_lines(states)]
    members, certificates, returns = map(without_diverged, (members, certificates, returns))
    if balls_coincide(members):
        members, above = members.filter(ball="own"), above.filter(ball="own")
    if members.is_empty():
        return Words(alarm)
    tables = [sparsity_table(members, certificates, returns)]
    if above.height:
        tables += [change_table(above), bound_table(members, above)]
    lines = [theorem_line(certificates), *tight_lines(above, post_hoc)]
    lines += distrust_lines(members, certificates, confidence)
    if smoothing is not None:
        smoothing = without_diverged(smoothing)
        tables.append(smoothing_table(smoothing))
        lines += smoothing_lines(smoothing)
    if votes is not None:
        tables.append(votes_table(without_diverged(votes)))
    if attacked_returns is not None:
        words = attacked_returns_words(attacked_returns)
        tables += words.tables
        lines += words.lines
    return Words(alarm, tables, lines)


def diverged_lines(members: pl.DataFrame) -> list[str]:
    """Who diverged in training and counts in no comparison, nor does what stands beside it."""
    rows = members.filter("diverged").unique("member").sort("member")
    if rows.is_empty():
        return []
    names = (
        f"{row['member']} (seed {row['seed']}, sparsity {row['sparsity_asked']:g})"
        for row in rows.iter_rows(named=True)
    )
    return [f"DIVERGED in training, left out with all that is compared with them: members {', '.join(names)}"]


def alarm_lines(states: pl.DataFrame) -> list[str]:
    """The alarm, if at any state of any member an attack found more than a bound allows in the same ball."""
    wrong = states.filter(pl.col("kind") == "bound", pl.col("found") > pl.col("value"))
    if wrong.is_empty():
        return []
    excess = pl.col("found") / pl.col("value")
    worst = wrong.sort(excess, descending=True).row(0, named=True)
    return [
        f"WRONG: {wrong.height} bounds (member x state x bound) lie below what the attack found; the "
        f"worst is {worst['bound']} of member {worst['member']} at state {worst['state']} in the ball "
        f"{worst['ball']}: {worst['value']:.7g}, found {worst['found']:.7g}"
    ]


def balls_coincide(members: pl.DataFrame) -> bool:
    """Whether the ball `dense` says nothing new: every policy reads through the filter of its dense twin."""
    key = ["member", "bound"]
    own, dense = (members.filter(ball=ball).select(*key, "value", "found") for ball in BALLS)
    return own.join(dense, on=key, how="semi").sort(key).equals(dense.sort(key))


def sparsity_table(members: pl.DataFrame, certificates: pl.DataFrame, returns: pl.DataFrame) -> Table:
    """A row per sparsity, means over its members: bounds and attack at the same states, F, value gap, return.

    "monotone" is the smallest monotone bound, in every ball.
    """
    balls = _balls(members)
    table = plain_table(f"mean bound on {members['quantity'][0]} at the same states, by ball")
    of_ball = [f"{ball}\n{column}" for ball in balls for column in ("monotone", "tightest", "found")]
    of_policy = f"{returns['policy'][0]}\nreturn"
    for column in ("sparsity", *of_ball, "F", "value gap", of_policy):
        table.add_column(column, justify="right")
    for (asked,), rows in members.group_by("sparsity_asked", maintain_order=True):
        cells = []
        for ball in balls:
            mean = dict(rows.filter(ball=ball).group_by("bound").agg(pl.mean("value")).iter_rows())
            monotone = [mean[name] for name in rows.filter("monotone")["bound"].unique() if name in mean]
            cells += [min(monotone, default=None), mean.get(TIGHTEST), mean.get(FOUND)]
        about = certificates.filter(pl.col("sparsity_asked") == asked)
        tv = about.filter(pl.col("bound") == TIGHTEST, pl.col("quantity") == "tv")
        gaps = about.filter(pl.col("bound") == "horizon_gap")
        vacuous = " vacuous" if gaps.height and gaps["vacuous"].all() else ""
        table.add_row(
            f"{rows['sparsity'].mean():.2f}",
            *map(number, cells),
            number(tv.select(pl.mean("value")).item()),
            number(gaps.select(pl.mean("value")).item()) + vacuous,
            number(returns.filter(pl.col("sparsity_asked") == asked).select(pl.mean("return_mean")).item()),
        )
    return table


def change_table(against: pl.DataFrame) -> Table:
    """A row per sparsity: at which share of a policy's states pruning raised and lowered what, by ball.

    Shares are means over the policies. "monotone" is of the monotone bound that rose at most states; "proven"
    counts states within all policies.
    """
    balls = _balls(against)
    table = plain_table(
        "pruned against dense at the same state: share of states up/down, count proven up/down"
    )
    table.add_column("sparsity", justify="right")
    table.add_column("policies", justify="right")
    for ball in balls:
        for column in ("monotone\nup", "tightest\nup/down", "attack\nup/down", "proven\nup/down"):
            table.add_column(f"{ball}\n{column}", justify="right")
    for (asked,), rows in against.group_by("sparsity_asked", maintain_order=True):
        cells = []
        for ball in balls:
            here = rows.filter(ball=ball)
            tightest, found = (
                here.row(by_predicate=pl.col("bound") == name, named=True) for name in (TIGHTEST, FOUND)
            )
            rose = here.filter("monotone")["share_above"].max()
            cells += [
                "-" if rose is None else f"{rose:.0%}",
                *(f"{row['share_above']:.0%}/{row['share_below']:.0%}" for row in (tightest, found)),
                f"{tightest['proven_above']}/{tightest['proven_below']}",
            ]
        table.add_row(f"{asked:.2f}", str(rows["members"].max()), *cells)
    return table


def bound_table(members: pl.DataFrame, against: pl.DataFrame) -> Table:
    """A row per bound, over all sparsities and by ball: mean tightness, and how often it is above dense.

    "proven" counts the policies in which at least one state is.
    """
    balls = _balls(against)
    count = members.filter(pl.col("sparsity_asked") > 0)["member"].n_unique()
    table = plain_table(
        f"the same over all sparsities: share of states up/down, mean of {count} policies (m: monotone), "
        "and policies with a state proven up/down"
    )
    table.add_column("bound")
    for ball in balls:
        for column in ("bound\n/ found", "up/down", "policies\nproven", "largest\nratio"):
            table.add_column(f"{ball}\n{column}", justify="right")
    weighted = ((pl.col(f"share_{side}") * pl.col("members")).sum() for side in ("above", "below"))
    shares = (total / pl.sum("members") for total in weighted)
    sums = against.group_by("monotone", "kind", "bound", "ball").agg(
        pl.sum("members_proven_above", "members_proven_below"),
        pl.max("largest_ratio"),
        **dict(zip(("above", "below"), shares, strict=True)),
    )
    order = {"by": ["kind", "monotone", "bound"], "descending": [False, True, False], "maintain_order": True}
    for (bound,), rows in sums.sort(**order).group_by("bound", maintain_order=True):
        cells = []
        for ball in balls:
            row = rows.row(by_predicate=pl.col("ball") == ball, named=True)
            same = members.filter(bound=bound, ball=ball)
            value, found = same.select(pl.mean("value", "found")).row(0)
            proven = f"{row['members_proven_above']}/{row['members_proven_below']}"
            cells += [
                number(value / found if found else None),
                f"{row['above']:.0%}/{row['below']:.0%}",
                proven if row["kind"] == "bound" else "-",
                number(row["largest_ratio"]),
            ]
        table.add_row(f"{bound} (m)" if rows["monotone"][0] else bound, *cells)
    return table


def _balls(table: pl.DataFrame) -> list[str]:
    """The balls of a table, the policy's own first."""
    return [ball for ball in BALLS if ball in table["ball"]]


def smoothing_table(smoothing: pl.DataFrame) -> Table:
    """A row per member: its return under the noise, and what no adversary of the budget can take it below."""
    first = smoothing.row(0, named=True)
    lowest = number(first["lowest"])
    table = plain_table(
        f"smoothed, sigma {first['sigma']:g}: limits under an l2 budget of {first['budget']:g} per episode; "
        f"all {first['simultaneous']} hold together with confidence {first['confidence']:g}"
    )
    mean = f"mean of\nmax(R, {lowest})"
    for column in (
        "member",
        "sparsity",
        "episodes",
        "mean R",
        f"R below\n{lowest}",
        mean,
        f"certified\n{mean}",
    ):
        table.add_column(column, justify="right")
    for column in ("tau", "certified\nP(R >= tau)"):
        table.add_column(column, justify="right")
    for row in smoothing.iter_rows(named=True):
        table.add_row(
            str(row["member"]),
            f"{row['sparsity_asked']:.2f}",
            str(row["episodes"]),
            number(row["return_mean"]),
            f"{row['share_below_lowest']:.1%}",
            *(number(row[name]) for name in ("mean_max_lowest", "certified_mean_max_lowest", "threshold")),
            number(row["certified_probability"]),
        )
    return table


def smoothing_lines(smoothing: pl.DataFrame) -> list[str]:
    """How the smoothed budget compares with the audited ball, and the best pruned and dense limits."""
    first = smoothing.row(0, named=True)
    factor = first["audited_over_budget"]
    times = "" if factor is None else f", {number(factor)} times as much"
    lines = [
        f"smoothed budget: {number(first['budget'])} in l2 over an episode; the audited ball at every step "
        f"of the horizon amounts to {number(first['audited_budget'])}{times}"
    ]
    name = "certified_mean_max_lowest"
    ordered = smoothing.sort(name, descending=True)
    best = [
        f"{kind} {number(rows[name][0])} (member {rows['member'][0]}, sparsity {rows['sparsity_asked'][0]:g})"
        for kind, rows in (
            ("pruned", ordered.filter(pl.col("sparsity_asked") > 0)),
            ("dense", ordered.filter(pl.col("sparsity_asked") == 0)),
        )
        if rows.height
    ]
    if smoothing.height > 1:
        lines.append(
            f"largest certified mean of max(R, {number(first['lowest'])}): {', '.join(best)}; the limits "
            "hold together, so that the largest may be named, but a larger limit proves no larger mean"
        )
    return lines


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


def tight_lines(above: pl.DataFrame, post_hoc: bool) -> list[str]:
    """How often, how much and where at worst pruning raised the tightest bound, and what the attack found."""
    if above.is_empty():
        return [
            "no pruned member has a dense twin (sparsity 0) that it can be compared with, so nothing is said "
            "about what pruning changed"
        ]
    lines = []
    for ball in _balls(above):
        here = above.filter(ball=ball)
        tightest, found = (here.filter(bound=name) for name in (TIGHTEST, FOUND))
        lines += [
            f"tight verdict, {BALLS[ball]}: the tightest bound {_rises(tightest)}",
            f"attack, {BALLS[ball]}: the largest distance found {_rises(found)}",
            *_proofs(tightest, post_hoc),
        ]
    return lines


def _proofs(tightest: pl.DataFrame, post_hoc: bool) -> list[str]:
    """Where a bound on one policy and an attack on the other prove which of them can be moved further."""
    policies = tightest["members"].sum()
    worse, better = (
        "there pruning has made the policy less robust for sure",
        "there pruning has made the policy more robust for sure",
    )
    if not post_hoc:
        worse = "there this policy moves further at this state"
        better = "there this policy moves less far at this state"
    lines = []
    for side, what, so in (
        (
            "above",
            "the attack found more on the pruned policy than the dense one's tightest bound allows",
            worse,
        ),
        (
            "below",
            "the tightest bound of the pruned policy is below what the attack found on the dense one",
            better,
        ),
    ):
        members, states = tightest[f"members_proven_{side}"].sum(), tightest[f"proven_{side}"].sum()
        if members:
            lines.append(
                f"in {members} of {counted(policies, 'pruned policy')} "
                f"({counted(states, 'state')} within them) {what}: {so}"
                + ("" if post_hoc else " (trained separately, so that pruning need not be the cause)")
            )
    return lines


def _rises(rows: pl.DataFrame) -> str:
    members, seeds = rows.select(pl.sum("members"), pl.max("seeds")).row(0)
    above, states = rows["states_above"].sum(), rows["states"].sum()
    whose = counted(members, "pruned policy")
    if not above:
        return f"rose at none of {counted(states, 'state')} of {whose}"
    worst = rows.sort("largest_ratio", nulls_last=True, descending=True).row(0, named=True)
    factor = "from zero" if worst["largest_ratio"] is None else f"{number(worst['largest_ratio'])}-fold"
    shares = f"{rows['share_above'].min():.0%} to {rows['share_above'].max():.0%}"
    last = rows.sort("sparsity_asked").row(-1, named=True)
    limits = ""
    if last["share_above_low"] is not None:
        limits = f", 95 % interval {last['share_above_low']:.0%}..{last['share_above_high']:.0%}"
    return (
        f"rose in the mean over states for {rows['members_above'].sum()} of {whose}; at "
        f"{shares} of a policy's states by sparsity, at sparsity {last['sparsity_asked']:g} at "
        f"{last['share_above']:.0%} (fell at {last['share_below']:.0%}; {_seeds(seeds)}{limits}); at worst "
        f"{factor}, at sparsity {worst['sparsity_asked']:g}"
    )


def _seeds(count: int) -> str:
    return "one seed" if count == 1 else f"mean over {count} seeds"


def distrust_lines(members: pl.DataFrame, certificates: pl.DataFrame, confidence: float) -> list[str]:
    """What the reader must know before believing the numbers."""
    gaps = certificates.filter(pl.col("quantity") == "return")
    estimates = (gaps["kind"] == "estimate").sum()
    bounds = members.filter(pl.col("kind") == "bound")
    lines = [
        f"same states: {members['states'].max()} that the dense policy of each seed visits; they follow one "
        "another and are not independent",
    ]
    compared = members.filter(pl.col("sparsity_asked") > 0)["dense"].is_not_null().any()
    if compared and _balls(members) == ["own"]:
        lines.append("ball: one and the same in raw observations for all policies of a seed")
    elif compared:
        lines.append(
            "balls: own has eps in the units of each policy's own filter, dense is the raw ball of the dense "
            "twin; both filters clip at 10 standard deviations, each at its own, so that beyond them the two "
            "are not centred on the same point"
        )
    if gaps.height:
        lines += [
            "F and the value gap (undiscounted return) are about the states that each member's stochastic "
            "policy visits itself, until it falls",
            f"value gaps hold with confidence {confidence:g} over the episodes; {gaps['vacuous'].sum()} of "
            f"{gaps.height} are vacuous",
        ]
    else:
        lines.append(
            "no F and no value gap: they are about the stochastic policy, and the deterministic one played"
        )
    lines.append(f"arithmetic of the bounds: {'; '.join(bounds['arithmetic'].unique().sort())}")
    if estimates:
        lines.append("the task does not bound its reward, so the value gaps are estimates, no bounds")
    return lines
