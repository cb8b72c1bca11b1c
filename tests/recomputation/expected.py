"""Every number of a run's tables once more: each table from what lies below it, down to the saved weights.

`expected` of a table is `{key: {column: Range or exact value}}`; `disagreements` compares it with the rows of
the CSV file. What is written here uses plain loops, the formulas of the documentation, and no line of the
library.
"""

from collections.abc import Mapping
from itertools import product
from math import sqrt
from statistics import fmean, median, pstdev, stdev
from typing import Any, NamedTuple

import numpy as np

from tests.recomputation import chance, hopper
from tests.recomputation.folder import Row, Run
from tests.recomputation.hopper import Condition, Episode
from tests.recomputation.policy import Policy, Seen

BUDGET = ("norm", "space", "eps")
FAMILY = ("task", "physics", "arm", "schedule", "score", "scope")

KEYS = {
    "episodes": ("member", "attack", "eps", "episode"),
    "sampled": ("member",),
    "results": ("member", "attack", "eps"),
    "certificates": ("member", "eps", "bound", "quantity"),
    "regret": ("member", "attack", "eps"),
    "verdicts": ("placebo", "eps", "sparsity_asked"),
}


class Range(NamedTuple):
    """Where a number of a table must lie."""

    low: float
    high: float


def near(value: float, relative: float, absolute: float = 0.0) -> Range:
    reach = relative * abs(value) + absolute
    return Range(value - reach, value + reach)


FLOAT64 = 1e-12
"""Relative, of means and differences that both sides make of the same float64 numbers, in another order."""

FLOAT32 = 1e-6
"""Relative, of what was computed in float32 and is in float64 here: eight units in the last place."""


def exact(value: float | None) -> Range | None:
    return None if value is None else near(value, FLOAT64, 1e-9)


Expected = dict[tuple, dict[str, Any]]


def disagreements(name: str, rows: list[Row], expected: Expected) -> list[str]:
    """What a table says otherwise: rows that are missing, or too many, and numbers out of their range."""
    found = {tuple(row[column] for column in KEYS[name]): row for row in rows}
    problems = [] if len(found) == len(rows) else ["rows share a key"]
    problems += [f"missing {key}" for key in expected.keys() - found.keys()]
    problems += [f"unknown {key}" for key in found.keys() - expected.keys()]
    for key in expected.keys() & found.keys():
        for column, right in expected[key].items():
            value = found[key][column]
            if isinstance(right, Range):
                agrees = value is not None and right.low <= value <= right.high
            else:
                agrees = value == right
            if not agrees:
                problems.append(f"{name}.{column} of {key}: {value}, not {right}")
    return sorted(problems)


# --- episodes and sampled: from the weights, the seeds and MuJoCo ---------------------------------------


PLAYED = 1e-5
"""Relative, of a return: sums of float32 in another order and another tanh, through 200 steps of a body that
falls. Seen: 6e-7 for "none" and "random", 8e-6 for "mad".

An attack that maximises is discontinuous where two points are equally good, so a few of its episodes may go
another way: of "mad", nineteen in twenty must agree that closely.
"""


class Played(NamedTuple):
    """Of one member. under: {(attack, eps): episodes}. sampled: its episodes of sampled actions."""

    under: dict[tuple[str, float], list[Episode]]
    sampled: list[Episode]


def conditions(run: Run) -> list[tuple[str, float]]:
    return [("none", 0.0), *product(run.spec["attacks"], run.spec["eps"])]


def play(run: Run) -> list[Played]:
    spec = run.spec
    count = spec["episodes"] + spec["selection_episodes"]
    played = []
    for member, policy in enumerate(run.agents):
        victim, seed = Seen(policy, spec["space"]), run.seed(member)
        under = [Condition(attack, eps, spec["norm"]) for attack, eps in conditions(run)]
        starts = chance.draws(seed, "evaluation", count, spec["norm"], hopper.SIZES)
        episodes = hopper.play(victim, starts, under, spec["charge"])
        starts = chance.draws(seed, "visits", spec["certify_episodes"], spec["norm"], hopper.SIZES)
        clean = Condition("none", 0.0, spec["norm"], sampled=True)
        (sampled,) = hopper.play(victim, starts, [clean], spec["charge"])
        played.append(Played(dict(zip(conditions(run), episodes, strict=True)), sampled))
    return played


def episodes(run: Run, played: list[Played], attacks: tuple[str, ...] = ("none", "random")) -> Expected:
    """The episodes under these attacks."""
    return {
        (member, attack, eps, number): {
            "return": near(one.total, PLAYED, PLAYED),
            "length": one.length,
            "terminated": one.terminated,
            "failed": False,
            "episode_set": "fresh" if number < run.spec["episodes"] else "selection",
        }
        for member, of_member in enumerate(played)
        for (attack, eps), ones in of_member.under.items()
        if attack in attacks
        for number, one in enumerate(ones)
    }


def sampled(run: Run, played: list[Played]) -> Expected:
    """Means and spreads of the clean episodes of sampled actions."""
    return {
        (member,): {
            "seed": run.seed(member),
            "sparsity_asked": run.sparsity(member),
            "policy": "sampled",
            "episodes": len(of_member.sampled),
            "return_mean": near(fmean(one.total for one in of_member.sampled), PLAYED, PLAYED),
            "return_std": near(pstdev(one.total for one in of_member.sampled), PLAYED, PLAYED),
            "length_mean": exact(fmean(one.length for one in of_member.sampled)),
            "diverged": False,
        }
        for member, of_member in enumerate(played)
    }


# --- results: from the episodes and the weights ---------------------------------------------------------


def achieved(policy: Policy) -> float:
    """The share of weights that are exactly zero."""
    zeros = sum(np.count_nonzero(weight == 0) for weight, _ in policy.layers)
    return zeros / sum(weight.size for weight, _ in policy.layers)


def family(run: Run) -> dict[str, str]:
    spec = run.spec
    score = {"auto": "random" if spec["schedule"] == "static" else "magnitude"}.get(spec["score"])
    return {
        "task": spec["env"],
        "physics": run.physics,
        "arm": "ppo",
        "schedule": spec["schedule"],
        "score": score or spec["score"],
        "scope": spec["scope"],
    }


def results(run: Run) -> Expected:
    """What the episodes in their table add up to. Their returns are float32, as are the sums over steps."""
    of = {}
    for row in run.tables["episodes"]:
        of.setdefault((row["member"], row["attack"], row["eps"], row["episode_set"]), []).append(row)
    rows = {}
    for member, (attack, eps) in product(range(len(run.agents)), conditions(run)):
        fresh = of[member, attack, eps, "fresh"]
        totals = [row["return"] for row in fresh]
        rows[member, attack, eps] = family(run) | {
            "seed": run.seed(member),
            "sparsity_asked": run.sparsity(member),
            "sparsity": near(achieved(run.agents[member]), FLOAT32),
            "norm": run.spec["norm"],
            "space": run.spec["space"],
            "episodes": run.spec["episodes"],
            "return_mean": exact(fmean(totals)),
            "return_std": exact(pstdev(totals)),
            "return_min": exact(min(totals)),
            "return_median": near(median(totals), FLOAT32),
            "length_mean": near(fmean(row["length"] for row in fresh), FLOAT32),
            "failed": sum(row["failed"] for row in fresh),
            "outside_ball": 0,
            "attackers_tried": attack != "none",
            "selection_mean": exact(fmean(row["return"] for row in of[member, attack, eps, "selection"])),
            "policy": "mode",
            "charge": run.spec["charge"],
            "diverged": False,
        }
    return rows


# --- regret: from the results ---------------------------------------------------------------------------


def regret(run: Run) -> Expected:
    """The three terms of every member and attack, and of the strongest attack of each member and budget."""
    results = {(row["member"], row["attack"], row["eps"]): row for row in run.tables["results"]}
    members = range(len(run.agents))
    clean = {member: results[member, "none", 0.0]["return_mean"] for member in members}
    best = clean[max(members, key=lambda member: results[member, "none", 0.0]["selection_mean"])]
    chosen, attacked = {}, {}
    for member, eps in product(members, run.spec["eps"]):
        found_by = min(
            sorted(run.spec["attacks"]), key=lambda attack: results[member, attack, eps]["selection_mean"]
        )
        chosen[member, "strongest", eps] = found_by
        for attack in run.spec["attacks"]:
            chosen[member, attack, eps] = attack
    for (member, attack, eps), found_by in chosen.items():
        attacked[member, attack, eps] = results[member, found_by, eps]["return_mean"]
    rows = {}
    for (member, attack, eps), found_by in chosen.items():
        row = results[member, found_by, eps]
        dense, under = clean[run.dense_twin(member)], attacked[member, attack, eps]
        dense_under = attacked[run.dense_twin(member), attack, eps]
        numbers = {
            "best_return": best,
            "clean_return": clean[member],
            "attacked_return": under,
            "dense_clean_return": dense,
            "dense_attacked_return": dense_under,
            "clean_regret": best - dense,
            "pruning_loss": dense - clean[member],
            "robustness_gap": clean[member] - under,
            "total": best - under,
            "robustness_gain": (dense - dense_under) - (clean[member] - under),
            "normalised_clean": clean[member] / best if best > 0 else None,
            "normalised_attacked": under / best if best > 0 else None,
            "return_std": row["return_std"],
            "sparsity": row["sparsity"],
        }
        rows[member, attack, eps] = family(run) | {
            "seed": run.seed(member),
            "sparsity_asked": run.sparsity(member),
            "norm": run.spec["norm"],
            "space": run.spec["space"],
            "episodes": run.spec["episodes"],
            "attackers_tried": len(run.spec["attacks"]) if attack == "strongest" else 1,
            "found_by": found_by,
            "diverged": False,
            **{name: exact(number) for name, number in numbers.items()},
        }
    return rows


# --- verdicts: from the regret --------------------------------------------------------------------------

STUDENT_975 = {2: 12.706205, 3: 4.3026527, 4: 3.1824463, 6: 2.5705818, 8: 2.3646243}
"""97.5 % quantiles of Student's t by the number of values, from a printed table."""

CLEAN_TOLERANCE, ALPHA, NEEDED = 0.05, 0.05, 6


class Pairs(NamedTuple):
    """Members against others, one entry a pair, in the order of the seeds."""

    attacked: list[float]
    attacked_other: list[float]
    clean: list[float]
    clean_other: list[float]

    def attacked_difference(self) -> list[float]:
        return [a - b for a, b in zip(self.attacked, self.attacked_other, strict=True)]

    def clean_difference(self) -> list[float]:
        return [a - b for a, b in zip(self.clean, self.clean_other, strict=True)]

    def above_margin(self) -> list[float]:
        """What is tested of the clean returns: the difference and the share that may be lost."""
        kept = [CLEAN_TOLERANCE * abs(other) for other in self.clean_other]
        return [d + k for d, k in zip(self.clean_difference(), kept, strict=True)]


def verdicts(run: Run) -> Expected:
    """The sweet spots by all 2^n flips, and the placebo of the dense members of neighbouring seeds."""
    rows = {}
    for placebo in (False, True):
        cells = _placebo(run) if placebo else _against_dense(run)
        p = _adjusted(cells)
        for (eps, sparsity), pairs in cells.items():
            attacked, clean = p.get(("attacked", eps, sparsity)), p.get(("clean", sparsity))
            count = len(pairs.clean)
            rows[placebo, eps, sparsity] = family(run) | {
                "norm": run.spec["norm"],
                "space": run.spec["space"],
                "seeds": count,
                **_evidence("attacked", pairs.attacked_difference()),
                **_evidence("clean", pairs.clean_difference()),
                "attacked_p": exact(attacked),
                "clean_p": exact(clean),
                "clean_margin": exact(-CLEAN_TOLERANCE * fmean(abs(other) for other in pairs.clean_other)),
                "verdict": _verdict(pairs, attacked, clean, "pair" if placebo else "seed"),
            }
    return rows


def _strongest(run: Run) -> dict[tuple[float, int, float], Row]:
    """{(eps, seed, sparsity): row}."""
    return {
        (row["eps"], row["seed"], row["sparsity_asked"]): row
        for row in run.tables["regret"]
        if row["attack"] == "strongest"
    }


def _pairs(members: list[Row], others: list[Row]) -> Pairs:
    return Pairs(
        [row["attacked_return"] for row in members],
        [row["attacked_return"] for row in others],
        [row["clean_return"] for row in members],
        [row["clean_return"] for row in others],
    )


def _against_dense(run: Run) -> dict[tuple[float, float], Pairs]:
    strongest, seeds = _strongest(run), range(run.spec["seeds"])
    return {
        (eps, sparsity): _pairs(
            [strongest[eps, seed, sparsity] for seed in seeds], [strongest[eps, seed, 0.0] for seed in seeds]
        )
        for eps, sparsity in product(run.spec["eps"], run.spec["sparsities"])
        if sparsity > 0
    }


def _placebo(run: Run) -> dict[tuple[float, float], Pairs]:
    """Dense members of seeds 0, 2, ... against those of 1, 3, ..."""
    strongest, seeds = _strongest(run), range(run.spec["seeds"])
    return {
        (eps, 0.0): _pairs(
            [strongest[eps, seed, 0.0] for seed in seeds[:-1:2]],
            [strongest[eps, seed, 0.0] for seed in seeds[1::2]],
        )
        for eps in run.spec["eps"]
    }


def _adjusted(cells: Mapping[tuple[float, float], Pairs]) -> dict[tuple, float]:
    """Two-sided p values of all hypotheses together, by step-down over every flip of the pairs' signs.

    The attacked difference of each budget and sparsity, and once for each sparsity the clean one above its
    margin. Statistic: Student's |t|, as `|sum d| / sqrt(sum d^2)`, which orders the flips alike.
    """
    count = len(next(iter(cells.values())).clean)
    if count < NEEDED:
        return {}
    hypotheses = {("attacked", *cell): pairs.attacked_difference() for cell, pairs in cells.items()}
    hypotheses |= {("clean", sparsity): pairs.above_margin() for (_, sparsity), pairs in cells.items()}

    def statistic(values: list[float], signs: tuple[int, ...]) -> float:
        size = sqrt(sum(value**2 for value in values))
        return abs(sum(sign * value for sign, value in zip(signs, values, strict=True))) / size if size else 0

    observed = {name: statistic(values, (1,) * count) for name, values in hypotheses.items()}
    left = sorted(hypotheses, key=observed.get, reverse=True)
    flips = list(product((1, -1), repeat=count))
    flipped = {name: [statistic(values, signs) for signs in flips] for name, values in hypotheses.items()}
    p, before = {}, 0.0
    while left:
        name = left[0]
        largest = [max(flipped[other][flip] for other in left) for flip in range(len(flips))]
        hits = sum(value >= observed[name] - 1e-9 for value in largest)
        before = p[name] = max(before, hits / len(flips))
        left = left[1:]
    return p


def _evidence(about: str, differences: list[float]) -> dict[str, Range]:
    """Mean, spread and Student's interval; its quantile is printed to eight digits."""
    mean, sd = fmean(differences), stdev(differences)
    reach = STUDENT_975[len(differences)] * sd / sqrt(len(differences))
    return {
        f"{about}_difference": exact(mean),
        f"{about}_sd": exact(sd),
        f"{about}_low": near(mean - reach, 0, 1e-7 * reach + 1e-9),
        f"{about}_high": near(mean + reach, 0, 1e-7 * reach + 1e-9),
    }


def _verdict(pairs: Pairs, attacked: float | None, clean: float | None, what: str) -> str:
    if attacked is None:
        count = len(pairs.clean)
        return f"undecided ({count} {what}{'s' if count != 1 else ''}, {NEEDED} needed)"
    gained = fmean(pairs.attacked_difference()) > 0
    kept = clean <= ALPHA and fmean(pairs.above_margin()) > 0
    if attacked <= ALPHA and gained and kept:
        return "sweet"
    return "worse" if attacked <= ALPHA and not gained else "not shown"
