"""At which sparsities pruning pays: the sweet spots, and the pruning paper's own choice."""

from typing import NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Float

from jaxprune.analysis.regret import STRONGEST
from jaxprune.analysis.signflip import FLIPS, adjusted_p, needed_pairs
from jaxprune.analysis.statistics import DEFAULT_INTERVAL, Student
from jaxprune.analysis.tables import BUDGET, FAMILY

SWEET = "sweet"
WORSE = "worse"
NOT_SHOWN = "not shown"

_CELL = (*BUDGET, "sparsity_asked")
_HYPOTHESES = {"attacked": _CELL, "clean": ("sparsity_asked",)}  # there is one for each value of these
_RETURNS = ("clean_return", "attacked_return", "dense_clean_return", "dense_attacked_return")
_NUMBERS = (
    *("attacked_difference", "attacked_sd", "attacked_low", "attacked_high", "attacked_p"),
    *("clean_difference", "clean_sd", "clean_low", "clean_high", "clean_margin", "clean_p"),
)


class _Test(NamedTuple):
    """Of one hypothesis: `mean` of what was tested, and its adjusted `p`, None where pairs are too few."""

    mean: float | None
    p: float | None

    def shows(self, sign: int, alpha: float) -> bool:
        if self.mean is None or self.p is None:
            return False
        return self.p <= alpha and sign * self.mean > 0


# Long for what it explains: the hypotheses, the verdicts and every column of the table.
def sweet_spots(
    regret: pl.DataFrame,
    interval: Student = DEFAULT_INTERVAL,
    clean_tolerance: float = 0.05,
    alpha: float = 0.05,
    flips: int = FLIPS,
) -> pl.DataFrame:
    """Whether each sparsity is a sweet spot under the strongest attack, tested with family-wise error alpha.

    There are two kinds of hypotheses, about differences between a member and its dense twin (same seed):

    - of each budget and sparsity above 0: attacked return minus the twin's attacked return is 0;
    - of each sparsity above 0: `clean - dense_clean + clean_tolerance |dense_clean|` is 0.

    All of them are tested together, paired by seed, by `adjusted_p`: the probability that any true one is
    rejected is at most `alpha` over all sparsities, budgets and both kinds. The verdict is

    - "sweet": the attacked difference and the clean one are both rejected and positive,
    - "worse": the attacked difference is rejected and negative,
    - "not shown": neither,
    - "undecided (N seeds, M needed)": fewer pairs than can reject anything; "undecided (no dense twin)".

    Members that have diverged, and those whose twin has, are left out. Families of members have no seeds in
    common that could be flipped together: their p values are multiplied by the number of families. (Not by
    Holm's falling factors: a family in which something is rejected may hold true hypotheses yet and needs its
    share of alpha itself.)

    Args:
        regret: the table made by `decompose`; only its "strongest" rows count.
        interval: gives the intervals, of each difference alone: they are not corrected for how many there
            are, and decide nothing.
        clean_tolerance: the share of the dense clean return that may be lost.
        alpha: the family-wise error.
        flips: the most flips of signs, see `adjusted_p`.

    Returns:
        One row per family x budget x sparsity above 0, and a placebo for every family x budget (`placebo`
        true, sparsity 0, last): dense members against dense members of the next seed, over disjoint pairs of
        seeds. It shows what a difference of nothing looks like, and has a test of its own. Columns beside
        those: `sparsity`, `seeds` (how many pairs), the mean of the paired `attacked_difference` with its
        standard deviation `attacked_sd`, interval `attacked_low`, `attacked_high` and adjusted
        `attacked_p`; `clean_difference`, `clean_sd`, `clean_low`, `clean_high`, `clean_margin` (minus what
        may be lost, on average) and `clean_p`, of the difference above that margin; all in units of
        return, member minus dense; and `verdict`.
    """
    strongest = _strongest_rows(regret)
    pruned = strongest.filter(pl.col("sparsity_asked") > 0)
    families = max(1, pruned.select(FAMILY).n_unique())
    judge = _Judge(interval, clean_tolerance, alpha, flips, families)
    rows = []
    for family, members in pruned.group_by(FAMILY):
        same = [pl.col(name) == value for name, value in zip(FAMILY, family, strict=True)]
        dense = strongest.filter(*same, pl.col("sparsity_asked") == 0)
        rows += [(*family, False, *row) for row in judge.rows(members, "seed")]
        rows += [(*family, True, *row) for row in judge.rows(_placebo(dense), "pair")]
    return _verdicts(rows, regret)


def _verdicts(rows: list[tuple], regret: pl.DataFrame) -> pl.DataFrame:
    """The table of these rows, in the order of `sweet_spots`."""
    schema = (
        {name: regret.schema[name] for name in FAMILY}
        | {"placebo": pl.Boolean()}
        | {name: regret.schema[name] for name in (*_CELL, "sparsity")}
        | {"seeds": pl.Int64()}
        | dict.fromkeys(_NUMBERS, pl.Float64())
        | {"verdict": pl.String()}
    )
    return pl.DataFrame(rows, schema=schema, orient="row").sort(*FAMILY, *BUDGET, "placebo", "sparsity_asked")


def best_average_score(regret: pl.DataFrame) -> pl.DataFrame:
    """The pruning paper's choice: the sparsity with the highest mean of normalised clean and attacked return.

    `average_score = (normalised_clean + normalised_attacked) / 2`, averaged over seeds, under the strongest
    attack (Pedley et al. 2025, arXiv 2510.12939; the normalisation is that of `decompose`). An estimate: the
    highest of several means is too high, and there is always one.

    Returns:
        One row per family x budget: `sparsity_asked`, `sparsity`, `average_score`, `dense_average_score`
        (null without dense members), `seeds` and `chosen_again`, the share of the seeds without which the
        choice is the same (null for one seed). A tie goes to the lower sparsity. Diverged members do not
        count. Where returns cannot be normalised there is no row.
    """
    scores = (
        _strongest_rows(regret)
        .filter(~pl.col("diverged"))
        .with_columns(average_score=(pl.col("normalised_clean") + pl.col("normalised_attacked")) / 2)
        .drop_nulls("average_score")
    )
    place = (*FAMILY, *BUDGET)
    rows = [(*where, *_choice(members)) for where, members in scores.group_by(place)]
    names = ("sparsity_asked", "sparsity", "average_score", "dense_average_score", "chosen_again")
    schema = (
        {name: regret.schema[name] for name in place}
        | {"seeds": pl.Int64()}
        | dict.fromkeys(names, pl.Float64())
    )
    return pl.DataFrame(rows, schema=schema, orient="row").sort(place)


def _choice(members: pl.DataFrame) -> tuple[int, float, float, float, float | None, float | None]:
    """The columns of one row of `best_average_score` from `seeds` on."""
    scores = _matrix(members, "average_score", ("sparsity_asked",))
    asked = np.array([place for (place,) in scores.columns])
    values = scores.values[:, np.argsort(asked)]
    asked = np.sort(asked)
    average = _nanmean(values)
    best = int(np.argmax(average))
    again = None
    if len(values) > 1:
        without = [_nanmean(np.delete(values, seed, axis=0)) for seed in range(len(values))]
        again = float(np.mean([np.nanargmax(means) == best for means in without]))
    achieved = members.filter(pl.col("sparsity_asked") == asked[best]).select(pl.mean("sparsity")).item()
    dense = float(average[0]) if asked[0] == 0 else None
    return (len(values), float(asked[best]), achieved, float(average[best]), dense, again)


def _nanmean(values: Float[np.ndarray, "seed sparsity"]) -> Float[np.ndarray, " sparsity"]:
    """The mean over the seeds there are, NaN where there is none, without a warning."""
    known = ~np.isnan(values)
    count = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _strongest_rows(regret: pl.DataFrame) -> pl.DataFrame:
    return regret.filter(pl.col("attack") == STRONGEST)


def _placebo(dense: pl.DataFrame) -> pl.DataFrame:
    """Every other dense member in the place of a pruned one, the next seed's in that of its twin.

    Disjoint pairs, because the differences round a circle of seeds add up to nothing by themselves.
    """
    kept = dense.filter(~pl.col("diverged"))
    rank = (pl.col("seed").rank("dense").cast(pl.Int64) - 1).alias("rank")
    kept = kept.with_columns(rank).with_columns(pair=pl.col("rank") // 2)
    own = pl.col("clean_return", "attacked_return")
    twin = kept.filter(pl.col("rank") % 2 == 1).select("pair", *BUDGET, own.name.prefix("next_"))
    paired = (
        kept.filter(pl.col("rank") % 2 == 0)
        .join(twin, on=["pair", *BUDGET], how="left")
        .with_columns(
            seed="pair", dense_clean_return="next_clean_return", dense_attacked_return="next_attacked_return"
        )
    )
    return paired.select(dense.columns)


class _Judge(NamedTuple):
    """Settings of `sweet_spots`."""

    interval: Student
    clean_tolerance: float
    alpha: float
    flips: int
    families: int

    def rows(self, members: pl.DataFrame, what: str) -> list[tuple]:
        """For each budget and sparsity of one family, the columns of `sweet_spots` from `norm` on.

        what: is counted in the verdict.
        """
        returns = members.with_columns(
            attacked=pl.col("attacked_return") - pl.col("dense_attacked_return"),
            clean=pl.col("clean_return")
            - pl.col("dense_clean_return")
            + self.clean_tolerance * pl.col("dense_clean_return").abs(),
        )
        tests = self._tests(_pairs(returns))
        rows = []
        for cell, group in returns.group_by(_CELL):
            pairs = _pairs(group)
            evidence = self._evidence(pairs)
            attacked = tests.get(("attacked", *cell), _Test(None, None))
            clean = tests.get(("clean", cell[-1]), _Test(None, None))
            evidence |= {"attacked_p": attacked.p, "clean_p": clean.p}
            verdict = self._verdict(attacked, clean, _counted(pairs.height, what))
            if group["dense_clean_return"].is_null().all() and what == "seed":
                verdict = "undecided (no dense twin)"
            numbers = (evidence.get(name) for name in _NUMBERS)
            rows.append((*cell, group["sparsity"].mean(), pairs.height, *numbers, verdict))
        return rows

    def _tests(self, pairs: pl.DataFrame) -> dict[tuple, _Test]:
        """All hypotheses of a family, tested together."""
        needed = needed_pairs(self.alpha, self.families)
        tables = {about: _matrix(pairs, about, names) for about, names in _HYPOTHESES.items()}
        names = [(about, *column) for about, table in tables.items() for column in table.columns]
        values = np.concatenate([table.values for table in tables.values()], axis=1)
        enough = (~np.isnan(values)).sum(axis=0) >= needed
        tested = values[:, enough]
        if not tested.size:
            return {}
        p = np.minimum(1.0, self.families * adjusted_p(tested, self.flips))
        means = np.nanmean(tested, axis=0)
        kept = (name for name, is_tested in zip(names, enough, strict=True) if is_tested)
        return {name: _Test(float(mean), float(one)) for name, mean, one in zip(kept, means, p, strict=True)}

    def _evidence(self, pairs: pl.DataFrame) -> dict[str, float | None]:
        """Means, spreads and intervals of the paired differences; none where there are no pairs."""
        evidence: dict[str, float | None] = {}
        if pairs.is_empty():
            return evidence
        for about in ("attacked", "clean"):
            member, dense = f"{about}_return", f"dense_{about}_return"
            estimate = self.interval.paired_difference(pairs[member], pairs[dense])
            difference = pl.col(member) - pl.col(dense)
            evidence |= {
                f"{about}_difference": estimate.mean,
                f"{about}_sd": pairs.select(difference.std()).item(),
                f"{about}_low": estimate.low,
                f"{about}_high": estimate.high,
            }
        scale = pairs.select(pl.col("dense_clean_return").abs().mean()).item()
        return evidence | {"clean_margin": -self.clean_tolerance * scale}

    def _verdict(self, attacked: _Test, clean: _Test, pairs: str) -> str:
        if attacked.p is None:
            return f"undecided ({pairs}, {needed_pairs(self.alpha, self.families)} needed)"
        if attacked.shows(+1, self.alpha) and clean.shows(+1, self.alpha):
            return SWEET
        return WORSE if attacked.shows(-1, self.alpha) else NOT_SHOWN


def _pairs(members: pl.DataFrame) -> pl.DataFrame:
    """The members that can be compared with their twins."""
    return members.filter(~pl.col("diverged")).drop_nulls(_RETURNS)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


class _Matrix(NamedTuple):
    """values: NaN where there is none. columns: what each stands for."""

    values: Float[np.ndarray, "seed column"]
    columns: list[tuple]


def _matrix(rows: pl.DataFrame, value: str, columns: tuple[str, ...]) -> _Matrix:
    """`value` by seed and by the values of `columns`. Where several rows share a place they agree."""
    seeds = {seed: place for place, seed in enumerate(rows["seed"].unique().sort())}
    places = {place: index for index, place in enumerate(rows.select(columns).unique().sort(columns).rows())}
    values = np.full((len(seeds), len(places)), np.nan)
    for seed, number, *place in rows.select("seed", value, *columns).iter_rows():
        values[seeds[seed], places[tuple(place)]] = number
    return _Matrix(values, list(places))
