"""The table of certificates once more, from the weights and the states that sampled actions visit."""

from functools import partial
from math import ceil, erf, sqrt
from statistics import fmean

import numpy as np

from tests.recomputation import chance
from tests.recomputation.bounds import AT_A_STATE, EVERYWHERE
from tests.recomputation.expected import SEARCH_STARTS, SEARCHED_STATES, Expected, Played, Range, achieved
from tests.recomputation.folder import Run
from tests.recomputation.hopper import FEATURES
from tests.recomputation.policy import Policy, Seen, mad

MONOTONE = {"frobenius", "path", "induced_one", "induced_inf", "absolute_spectral"}


def outward(value: float) -> Range:
    """A bound in float32, rounded outwards, whose value in real arithmetic is this one.

    It may not lie below, but for the float32 of the visited states (1e-6). Above it may lie by the rounding
    that it provides for: 2e-3 at the smallest budgets here, where pre-activations of size 1 are known to 1e-6.
    """
    return Range(value * (1 - 1e-6), value * (1 + 3e-3))


def total_variation(delta: float) -> float:
    """Of two Gaussians of one spread whose means are delta standard deviations apart."""
    return erf(delta / (2 * sqrt(2)))


def certificates(run: Run, played: list[Played]) -> Expected:
    """All rows on distances and on total variation."""
    rows = {}
    longest = max(one.length for of_member in played for one in of_member.sampled)
    # The states are recorded in chunks, until the last episode of the whole population has ended.
    recorded = ceil(longest / chance.CHUNK) * chance.CHUNK
    places = range(0, recorded, max(1, recorded // SEARCHED_STATES))
    for member in range(len(run.agents)):
        for eps in run.spec["eps"]:
            rows |= _of_member(run, played[member], member, eps, places)
    return rows


def _of_member(run: Run, played: Played, member: int, eps: float, places: range) -> Expected:
    agent, unmasked, twin = run.agents[member], run.unmasked[member], run.agents[run.dense_twin(member)]
    visits = [one.seen for one in played.sampled]
    bounds = partial(_bounds, run, visits=visits, eps=eps)
    own, action = bounds(agent, np.exp(agent.log_std)), bounds(agent, np.ones_like(agent.log_std))
    dense = bounds(agent, np.exp(twin.log_std))
    whole, whole_action = bounds(unmasked, np.exp(agent.log_std)), bounds(unmasked, np.ones_like(agent.log_std))
    searched = partial(_mean_over_searched, stride=places.step)
    about = {
        "seed": run.seed(member),
        "sparsity_asked": run.sparsity(member),
        "sparsity": Range(achieved(agent) - 1e-6, achieved(agent) + 1e-6),
        "norm": run.spec["norm"],
        "space": run.spec["space"],
        "policy": "sampled",
        "diverged": False,
    }
    rows = {}

    def row(bound: str, quantity: str, value: Range, **more) -> None:
        rows[member, eps, bound, quantity] = about | {"value": value, "monotone": bound in MONOTONE} | more

    for name in own:
        row(name, "delta", outward(searched(own[name])), unmasked=outward(searched(whole[name])))
        row(name, "delta_action", outward(searched(action[name])), unmasked=outward(searched(whole_action[name])))
        row(name, "delta_dense", outward(searched(dense[name])), unmasked=None)
        row(name, "tv", outward(_discounted(run, own[name])), unmasked=None)
    row("tightest", "tv", outward(_discounted(run, tightest(own))), unmasked=None)
    row("tightest", "tv_dense", outward(_discounted(run, tightest(dense))), unmasked=None)
    found = _found(run, agent, run.seed(member), visits, eps, places)
    row("mad", "delta", Range(found * (1 - MAD_TOLERANCE), found * (1 + MAD_TOLERANCE)), kind="estimate")
    return rows


MAD_TOLERANCE = 1e-4
"""Relative, of the mean over some 50 states of the largest distance found: now and then two points are equally
good in float32, and the other one is taken."""

AtVisits = list[list[float]]
"""[episode][time], a number at every visited state."""


def _bounds(run: Run, policy: Policy, std: np.ndarray, visits: list[np.ndarray], eps: float) -> dict[str, AtVisits]:
    """Every bound at every visited state, in these standard deviations.

    In the raw space the filter is a part of the network: its first layer is divided by the filter's std, and
    the state is what the filter has cut, times the std.
    """
    layers = [(np.float64(weight), np.float64(bias)) for weight, bias in policy.layers]
    layers[-1] = layers[-1][0] / np.float64(std)[:, None], layers[-1][1] / np.float64(std)
    stretch = np.float64(policy.std) if run.spec["space"] == "raw" else np.ones(FEATURES)
    layers[0] = layers[0][0] / stretch, layers[0][1]
    norm = run.spec["norm"]
    everywhere = {name: bound(layers, eps, norm) for name, bound in EVERYWHERE.items()}
    values = {name: [[bound] * len(seen) for seen in visits] for name, bound in everywhere.items()}
    for name, bound in AT_A_STATE.items():
        values[name] = [
            [bound(layers, policy.normalised(np.float64(state)) * stretch, eps, norm) for state in seen]
            for seen in visits
        ]
    return values


def tightest(bounds: dict[str, AtVisits]) -> AtVisits:
    """The smallest bound at each state."""
    return [
        [min(at_state) for at_state in zip(*of_episode, strict=True)]
        for of_episode in zip(*bounds.values(), strict=True)
    ]


def _mean_over_searched(values: AtVisits, stride: int) -> float:
    """Over every `stride`-th state of each episode, all of them counted alike."""
    return fmean(value for of_episode in values for value in of_episode[::stride])


def _discounted(run: Run, deltas: AtVisits) -> float:
    """`F`: the mean over episodes of `(1 - gamma) sum_t gamma^t TV_t`."""
    gamma = run.spec["discount"]
    return fmean(
        (1 - gamma) * sum(gamma**t * total_variation(delta) for t, delta in enumerate(of_episode))
        for of_episode in deltas
    )


def _found(run: Run, agent: Policy, seed: int, visits: list[np.ndarray], eps: float, places: range) -> float:
    """Mean over the searched states of the largest distance that MAD reaches from five starts."""
    norm, victim, largest = run.spec["norm"], Seen(agent, run.spec["space"]), []
    starts = chance.search_starts(seed, len(places), len(visits), SEARCH_STARTS, norm, FEATURES)
    for episode, seen in enumerate(visits):
        for place, observed in enumerate(seen[:: places.step]):
            point = victim.point(observed)
            clean = victim.output(point)
            shown = [mad(victim, point, start, eps, norm) for start in starts[place, episode]]
            changes = [(victim.output(one) - clean) / np.exp(agent.log_std) for one in shown]
            largest.append(max(np.linalg.norm(np.float64(change)) for change in changes))
    return fmean(largest)
