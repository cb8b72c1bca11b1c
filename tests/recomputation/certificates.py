"""The table of certificates once more, from the weights and the states that sampled actions visit."""

from math import ceil, erf, log, sqrt
from statistics import fmean, variance
from typing import NamedTuple

import numpy as np

from tests.recomputation import chance
from tests.recomputation.bounds import AT_A_STATE, EVERYWHERE
from tests.recomputation.expected import FLOAT32, Expected, Played, Range, achieved, near
from tests.recomputation.folder import Run
from tests.recomputation.hopper import FEATURES, HORIZON, Episode
from tests.recomputation.policy import Policy, Seen, mad

MONOTONE = {"frobenius", "path", "induced_one", "induced_inf", "absolute_spectral"}
SEARCHED_STATES, SEARCH_STARTS = 50, 5
CONFIDENCE = 0.95

OUTWARD = 3e-3
"""Relative, how far a bound in float32 may lie above its value in real arithmetic: it provides for the
rounding of pre-activations of size 1, some 1e-6 each, at distances from 1e-3 on. Below it may only lie by
what the float32 of the visited states makes of it, `FLOAT32`."""

SEARCHED = 1e-4
"""Relative, of the mean over some 30 states of the largest distance found: now and then two points are
equally good in float32, and the other one is taken."""


def outward(value: float) -> Range:
    return Range(value * (1 - FLOAT32), value * (1 + OUTWARD))


AtVisits = list[list[float]]
"""[episode][time], a number at every visited state."""


class Visits(NamedTuple):
    """Of one member. recorded: the steps for which the states of all episodes are kept."""

    episodes: list[Episode]
    recorded: int

    @property
    def stride(self) -> int:
        return max(1, self.recorded // SEARCHED_STATES)

    def searched(self, values: AtVisits) -> list[float]:
        """Those at every `stride`-th state of each episode."""
        return [value for of_episode in values for value in of_episode[:: self.stride]]


def certificates(run: Run, played: list[Played]) -> Expected:
    """All rows, of every member and budget."""
    rows = {}
    longest = max(one.length for of_member in played for one in of_member.sampled)
    # The states are recorded in chunks, until the last episode of the whole population has ended.
    recorded = ceil(longest / chance.CHUNK) * chance.CHUNK
    for member, of_member in enumerate(played):
        visits = Visits(of_member.sampled, recorded)
        for eps in run.spec["eps"]:
            of_budget = _distances(run, visits, member, eps) | _returns(run, visits, member, eps)
            about = {
                "seed": run.seed(member),
                "sparsity_asked": run.sparsity(member),
                "sparsity": near(achieved(run.agents[member]), FLOAT32),
                "norm": run.spec["norm"],
                "space": run.spec["space"],
                "policy": "sampled",
                "diverged": False,
            }
            rows |= {(member, eps, *name): about | row for name, row in of_budget.items()}
    return rows


def _distances(run: Run, visits: Visits, member: int, eps: float) -> dict[tuple[str, str], dict]:
    """{(bound, quantity): row} of the distances and of their expected total variation."""
    agent, whole, twin = run.agents[member], run.unmasked[member], run.agents[run.dense_twin(member)]
    std, ones = np.exp(agent.log_std), np.ones_like(agent.log_std)
    own = _bounds(run, agent, std, visits, eps)
    action = _bounds(run, agent, ones, visits, eps)
    dense = _bounds(run, agent, np.exp(twin.log_std), visits, eps)
    whole_own, whole_action = (_bounds(run, whole, unit, visits, eps) for unit in (std, ones))
    found = _found(run, agent, run.seed(member), visits, eps)

    def over_searched(values: AtVisits) -> Range:
        return outward(fmean(visits.searched(values)))

    rows = {}
    for name in own:
        kind = {"kind": "bound", "monotone": name in MONOTONE}
        rows |= {
            (name, "delta"): kind
            | {
                "value": over_searched(own[name]),
                "unmasked": over_searched(whole_own[name]),
                "violated": sum(f > b for f, b in zip(found, visits.searched(own[name]), strict=True)),
            },
            (name, "delta_action"): kind
            | {"value": over_searched(action[name]), "unmasked": over_searched(whole_action[name])},
            (name, "delta_dense"): kind | {"value": over_searched(dense[name]), "unmasked": None},
        }
    estimate = {"kind": "estimate", "monotone": False, "unmasked": None}
    for name, bound in (own | {"tightest": _tightest(own)}).items():
        rows[name, "tv"] = estimate | {
            "value": outward(_discounted(run, bound)),
            "monotone": name in MONOTONE,
        }
    rows["tightest", "tv_dense"] = estimate | {"value": outward(_discounted(run, _tightest(dense)))}
    rows["mad", "delta"] = estimate | {"value": near(fmean(found), SEARCHED)}
    return rows


_KNOWN: dict[tuple, dict[str, AtVisits]] = {}


def _bounds(run: Run, policy: Policy, std: np.ndarray, visits: Visits, eps: float) -> dict[str, AtVisits]:
    """Every bound at every visited state, in these standard deviations. Computed once where asked again.

    In the raw space the filter is a part of the network: its first layer is divided by the filter's std, and
    the state is what the filter has cut, times the std.
    """
    seen = [one.seen for one in visits.episodes]
    arrays = (*(array for layer in policy.layers for array in layer), policy.mean, policy.std, std, *seen)
    asked = (run.spec["norm"], run.spec["space"], eps, *(array.tobytes() for array in arrays))
    if asked not in _KNOWN:
        layers = [(np.float64(weight), np.float64(bias)) for weight, bias in policy.layers]
        layers[-1] = layers[-1][0] / np.float64(std)[:, None], layers[-1][1] / np.float64(std)
        stretch = np.float64(policy.std) if run.spec["space"] == "raw" else np.ones(FEATURES)
        layers[0] = layers[0][0] / stretch, layers[0][1]
        states = [[policy.normalised(np.float64(state)) * stretch for state in states] for states in seen]
        norm = run.spec["norm"]
        values = {}
        for name, bound in EVERYWHERE.items():
            anywhere = bound(layers, eps, norm)
            values[name] = [[anywhere] * len(of_episode) for of_episode in states]
        for name, bound in AT_A_STATE.items():
            values[name] = [[bound(layers, state, eps, norm) for state in one] for one in states]
        _KNOWN[asked] = values
    return _KNOWN[asked]


def _tightest(bounds: dict[str, AtVisits]) -> AtVisits:
    """The smallest bound at each state."""
    return [
        [min(at_state) for at_state in zip(*of_episode, strict=True)]
        for of_episode in zip(*bounds.values(), strict=True)
    ]


def _found(run: Run, agent: Policy, seed: int, visits: Visits, eps: float) -> list[float]:
    """The largest distance that MAD reaches from five starts, at each searched state."""
    norm, victim, largest = run.spec["norm"], Seen(agent, run.spec["space"]), []
    places = len(range(0, visits.recorded, visits.stride))
    starts = chance.search_starts(seed, places, len(visits.episodes), SEARCH_STARTS, norm, FEATURES)
    for episode, one in enumerate(visits.episodes):
        for place, observed in enumerate(one.seen[:: visits.stride]):
            point = victim.point(observed)
            shown = [mad(victim, point, start, eps, norm) for start in starts[place, episode]]
            changes = [victim.output(other) - victim.output(point) for other in shown]
            largest.append(
                max(np.linalg.norm(np.float64(change / np.exp(agent.log_std))) for change in changes)
            )
    return largest


# --- what follows for returns ---------------------------------------------------------------------------


def total_variation(delta: float) -> float:
    """Of two Gaussians of one spread whose means are delta standard deviations apart."""
    return erf(delta / (2 * sqrt(2)))


def _discounted(run: Run, deltas: AtVisits) -> float:
    """`F`: the mean over episodes of `(1 - gamma) sum_t gamma^t TV_t`."""
    gamma = run.spec["discount"]
    return fmean(
        (1 - gamma) * sum(gamma**t * total_variation(delta) for t, delta in enumerate(of_episode))
        for of_episode in deltas
    )


def _returns(run: Run, visits: Visits, member: int, eps: float) -> dict[tuple[str, str], dict]:
    """{(bound, quantity): row} of the limits on F and on the loss of return.

    Hopper bounds no reward, so the range is that of the rewards seen, with the 0 after a fall, and the gaps
    are estimates. An episode that the recording has cut counts with the largest TV from there on.
    """
    agent, gamma = run.agents[member], run.spec["discount"]
    own = _bounds(run, agent, np.exp(agent.log_std), visits, eps)
    most = total_variation(min(own[name][0][0] for name in EVERYWHERE))
    tv = [[total_variation(delta) for delta in of_episode] for of_episode in _tightest(own)]
    cut = [len(of_episode) >= visits.recorded for of_episode in tv]
    discounted = [
        (1 - gamma) * sum(gamma**t * value for t, value in enumerate(values))
        + (gamma ** len(values) * most if more else 0)
        for values, more in zip(tv, cut, strict=True)
    ]
    left = [HORIZON - t for t in range(HORIZON)]
    weighted = [
        (
            sum(steps * value for steps, value in zip(left, values, strict=False))
            + (most * sum(left[len(values) :]) if more else 0)
        )
        / sum(left)
        for values, more in zip(tv, cut, strict=True)
    ]
    rewards = [reward for one in visits.episodes for reward in one.rewards]
    span = max(max(rewards), 0) - min(min(rewards), 0)
    expected = upper_limit(discounted, most)
    return {
        ("tightest", "tv_limit"): _limit(expected, 1) | {"kind": "bound"},
        ("value_gap", "return"): _limit(span / (1 - gamma) ** 2 * expected, span / (1 - gamma)),
        ("horizon_gap", "return"): _limit(span * sum(left) * upper_limit(weighted, most), span * HORIZON),
    }


def _limit(value: float, all_there_is: float) -> dict:
    """Upper limits inherit the outward rounding of the bounds; rewards are known to 1e-5 (a float32 position
    over 0.008 s)."""
    return {
        "value": Range(value * (1 - 3e-5), value * (1 + OUTWARD)),
        "vacuous": value >= all_there_is,
        "kind": "estimate",
        "confidence": CONFIDENCE,
        "monotone": False,
        "unmasked": None,
    }


def upper_limit(samples: list[float], most: float) -> float:
    """Of the mean of numbers in [0, most]: the smaller of Hoeffding's and the empirical Bernstein limit."""
    n, error = len(samples), 1 - CONFIDENCE
    hoeffding = most * sqrt(log(2 / error) / (2 * n))
    bernstein = sqrt(2 * variance(samples) * log(4 / error) / n) + 7 * most * log(4 / error) / (3 * (n - 1))
    return min(fmean(samples) + min(hoeffding, bernstein), most)
