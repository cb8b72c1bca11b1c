"""Means over seeds and how sure one may be of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.special import stdtrit


class Estimate(NamedTuple):
    """A mean with its confidence interval; `low` and `high` are None when one value gives no interval."""

    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Student:
    """Student's t interval of a mean, `mean +- t_{n-1} sd / sqrt(n)`.

    It covers as often as it says where the values are independent and normal, for any `n` from 2 on, and
    nearly so for means of many episodes. It is about one mean: where several are looked at, the most
    conspicuous of them is off more often than that.

    Raises:
        ValueError: `confidence` is outside (0, 1).
    """

    confidence: float = 0.95

    def __post_init__(self) -> None:
        if not 0 < self.confidence < 1:
            raise ValueError(f"confidence={self.confidence}: must lie between 0 and 1, such as 0.95")

    def mean(self, values: npt.ArrayLike) -> Estimate:
        """The mean of `values` `[seed]` and its interval, which is None for a single value.

        Raises:
            ValueError: there are no values.
        """
        sample = _sample(values)
        mean = float(sample.mean())
        if sample.size == 1:
            return Estimate(mean, None, None)
        # The quantile alone: the whole of scipy.stats takes a second to import.
        quantile = stdtrit(sample.size - 1, (1 + self.confidence) / 2)
        reach = float(quantile * sample.std(ddof=1) / np.sqrt(sample.size))
        return Estimate(mean, mean - reach, mean + reach)

    def paired_difference(self, treated: npt.ArrayLike, control: npt.ArrayLike) -> Estimate:
        """The mean of `treated - control` `[seed]` and its interval; entry i of both has the same seed.

        Raises:
            ValueError: the two have different lengths, or none.
        """
        one, other = _sample(treated), _sample(control)
        if one.size != other.size:
            raise ValueError(f"paired difference: {one.size} values against {other.size}; pair them by seed")
        return self.mean(one - other)


DEFAULT_INTERVAL = Student()


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
    table: pl.DataFrame, by: Sequence[str], column: str, interval: Student = DEFAULT_INTERVAL
) -> pl.DataFrame:
    """One row per group: the columns `by`, then `seeds`, `mean`, `low`, `high`, `interquartile_mean`.

    Each row of `table` is one seed of its group. Rows marked in a column `diverged`, if there is one, are
    left out, and nulls are left out of the mean and of `seeds`; a group of nulls only has null for its mean.
    Groups are sorted by `by`.
    """
    if "diverged" in table.columns:
        table = table.filter(~pl.col("diverged"))
    rows = []
    for group, members in table.group_by(by):
        values = members[column].drop_nulls().to_numpy()
        estimate = interval.mean(values) if values.size else (None, None, None)
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
