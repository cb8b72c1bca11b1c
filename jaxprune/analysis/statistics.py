"""Means over seeds and how sure one may be of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl


class Estimate(NamedTuple):
    """A mean with its confidence interval; `low` and `high` are None when one value gives no interval."""

    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Bootstrap:
    """The seeded percentile bootstrap of a mean (Efron & Tibshirani 1993, ch. 13).

    Draw `n` of the `n` values with replacement `resamples` times; the interval runs between the
    `(1 - confidence) / 2` quantiles of the means of the draws, counted from either end. Its draws depend on
    `seed` and on `n` alone, so equal inputs give equal intervals.

    With few seeds it is too narrow. Up to three values, the 95 % interval is just their range, and one
    that excludes zero says no more than that all differences have one sign, which happens by chance
    alone in one case out of `2^(n-1)`: print the number of seeds beside every interval.

    Raises:
        ValueError: `confidence` is outside (0, 1), or `resamples` is below 1.
    """

    confidence: float = 0.95
    resamples: int = 10_000
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.confidence < 1:
            raise ValueError(f"confidence={self.confidence}: must lie between 0 and 1, such as 0.95")
        if self.resamples < 1:
            raise ValueError(f"resamples={self.resamples}: must be at least 1, such as 10000")

    def mean(self, values: npt.ArrayLike) -> Estimate:
        """The mean of `values` `[seed]` and its interval, which is None for a single value.

        Raises:
            ValueError: there are no values.
        """
        sample = _sample(values)
        if sample.size == 1:
            return Estimate(float(sample[0]), None, None)
        draws = np.random.default_rng(self.seed).integers(sample.size, size=(self.resamples, sample.size))
        tail = (1 - self.confidence) / 2
        low, high = np.quantile(sample[draws].mean(axis=1), (tail, 1 - tail))
        return Estimate(float(sample.mean()), float(low), float(high))

    def paired_difference(self, treated: npt.ArrayLike, control: npt.ArrayLike) -> Estimate:
        """The mean of `treated - control` `[seed]` and its interval; entry i of both has the same seed.

        Raises:
            ValueError: the two have different lengths, or none.
        """
        one, other = _sample(treated), _sample(control)
        if one.size != other.size:
            raise ValueError(f"paired difference: {one.size} values against {other.size}; pair them by seed")
        return self.mean(one - other)


DEFAULT_BOOTSTRAP = Bootstrap()


def interquartile_mean(values: npt.ArrayLike) -> float:
    """The mean without the `floor(n / 4)` smallest and the `floor(n / 4)` largest values.

    Agarwal et al., NeurIPS 2021 (arXiv 2108.13264). Below four values nothing is left out.

    Raises:
        ValueError: there are no values.
    """
    ordered = np.sort(_sample(values))
    cut = ordered.size // 4
    return float(ordered[cut : ordered.size - cut].mean())


def across_seeds(
    table: pl.DataFrame, by: Sequence[str], column: str, bootstrap: Bootstrap = DEFAULT_BOOTSTRAP
) -> pl.DataFrame:
    """One row per group: the columns `by`, then `seeds`, `mean`, `low`, `high`, `interquartile_mean`.

    Each row of `table` is one seed of its group. Nulls are left out of the mean and of `seeds`; a group of
    nulls only has null for its mean. Groups are sorted by `by`.
    """
    rows = []
    for group, members in table.group_by(by):
        values = members[column].drop_nulls().to_numpy()
        estimate = bootstrap.mean(values) if values.size else (None, None, None)
        middle = interquartile_mean(values) if values.size else None
        rows.append((*group, values.size, *estimate, middle))
    schema = {name: table.schema[name] for name in by} | {
        "seeds": pl.Int64(),
        "mean": pl.Float64(),
        "low": pl.Float64(),
        "high": pl.Float64(),
        "interquartile_mean": pl.Float64(),
    }
    return pl.DataFrame(rows, schema=schema, orient="row").sort(by)


def _sample(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    sample = np.asarray(values, dtype=np.float64).ravel()
    if sample.size == 0:
        raise ValueError("a mean over seeds needs at least one value, and there are none")
    return sample
