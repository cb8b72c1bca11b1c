"""What the strongest attacker found leaves of the return, against the steps that it was trained for."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from jaxprune.analysis.tables import EFFORT

Numbers = npt.NDArray[np.float64]

DRAWS = 1000
LEAST_POINTS = 3
"""Two doublings of the steps, so that one can be compared with the other."""


def strongest_by_steps(rungs: pl.DataFrame, confidence: float = 0.95) -> pl.DataFrame:
    """The table `EFFORT` of a table `RUNGS`.

    Return: the strongest attacker there has been is chosen on each half of a rung's episodes and measured on
    the other half, and the two are averaged, since the smallest of noisy means is smaller than it should be.
    Every attacker counts at every rung that it got to, as it was there: those that grow weaker while they are
    trained are kept by a search as they were.

    Extrapolation to twice the steps, from three rungs on: each doubling brings the same share of what the one
    before has brought, as on a curve `a + b steps^-c`; that of the last three rungs, and at most all of it.

    Interval: percentiles over resamples of the attackers that started. It says how much hangs on the settings
    that happened to be tried. It is an estimate and no confidence interval for the strongest attacker there
    is: the bootstrap of a minimum is inconsistent, and beyond the last rung the form of the curve is assumed.
    """
    tail = 50 * (1 - confidence)
    rows = []
    for (member, attack), own in rungs.group_by("member", "attack", maintain_order=True):
        for point in _points(own):
            low, high = np.percentile(point.drawn, [tail, 100 - tail])
            rows.append(
                {
                    "member": member,
                    "attack": attack,
                    "steps": point.steps,
                    "total_steps": point.total_steps,
                    "attackers": point.attackers,
                    "return_mean": float(point.found),
                    "return_low": float(low),
                    "return_high": float(high),
                    "extrapolated": point.extrapolated,
                }
            )
    return pl.DataFrame(rows, schema=EFFORT)


class _Point(NamedTuple):
    """A point of the curve of one member and attack; `drawn` are its values in resamples of attackers."""

    steps: int
    total_steps: int
    attackers: int
    found: float
    drawn: Numbers
    extrapolated: bool = False


def _points(own: pl.DataFrame) -> list[_Point]:
    """The curve of one member and attack, rung by rung, and what it says of twice the steps."""
    first, second = (_by_rung(own, half) for half in ("return_first", "return_second"))
    rungs = own.group_by("rung").agg(pl.first("steps"), pl.len()).sort("rung")
    steps, alive = rungs["steps"].to_numpy(), rungs["len"].cast(pl.Int64).to_numpy()
    spent = np.cumsum(np.diff(steps, prepend=0) * alive)
    everyone = np.arange(len(first))
    resampled = np.random.default_rng(0).choice(everyone, size=(DRAWS, len(first)))
    found, drawn = _found(first, second, everyone[None]), _found(first, second, resampled)
    points = [_Point(*each) for each in zip(steps, spent, alive, found[0], drawn.T, strict=True)]
    if len(points) >= LEAST_POINTS:
        total = spent[-1] + steps[-1] * alive[-1]
        at_twice, of_draws = _extrapolated(found)[0], _extrapolated(drawn)
        points.append(_Point(2 * steps[-1], total, alive[-1], at_twice, of_draws, extrapolated=True))
    return points


def _by_rung(own: pl.DataFrame, column: str) -> Numbers:
    """A column of one member and attack, [attacker, rung]; infinite after the last rung of an attacker."""
    attacker, rung = own["attacker"].to_numpy(), own["rung"].to_numpy() - 1
    filled = np.full((attacker.max() + 1, rung.max() + 1), np.inf)
    filled[attacker, rung] = own[column].to_numpy()
    return filled


def _found(first: Numbers, second: Numbers, drawn: npt.NDArray[np.int64]) -> Numbers:
    """What the strongest there has been of the attackers `drawn` [draw, attacker] leave, [draw, rung].

    Chosen on one half (`first` and `second`, [attacker, rung]) and measured on the other.
    """
    halves = first[drawn], second[drawn]
    both = [_strongest_so_far(*order) for order in (halves, halves[::-1])]
    return (both[0] + both[1]) / 2


def _strongest_so_far(chosen_on: Numbers, measured_on: Numbers) -> Numbers:
    """The smallest of one up to each rung, as the other measures it, [draw, rung]."""
    found = []
    for rungs in range(1, chosen_on.shape[-1] + 1):
        some, same = (returns[..., :rungs].reshape(len(returns), -1) for returns in (chosen_on, measured_on))
        found.append(np.take_along_axis(same, some.argmin(axis=1)[:, None], axis=1)[:, 0])
    return np.stack(found, axis=1)


def _extrapolated(returns: Numbers) -> Numbers:
    """What twice the steps would leave, [draw], of returns [draw, rung].

    With the last two gains g and g' (what a doubling took off the return): another `g' min(g' / g, 1)`, and
    none where g' is negative.
    """
    before = returns[:, -3] - returns[:, -2]
    gain = np.maximum(returns[:, -2] - returns[:, -1], 0.0)
    share = np.divide(gain, before, out=np.ones_like(gain), where=before > gain)
    return returns[:, -1] - gain * share
