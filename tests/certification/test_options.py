"""Every option of an audit and of its smoothing acts, and rows of its tables are computed again.

The policies are linear and optimal behind filters and with spreads of their own, so how far a ball moves
each of them is a formula, and every bound of one layer is that number.
"""

from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

import jaxprune as jp
from jaxprune import certification, envs, evaluation, streams
from jaxprune.attacks import Mad, Nothing, Victim
from jaxprune.bounds import BOUNDS, certified_mean_return, certified_return_probability
from jaxprune.budget import Ball, Budget
from jaxprune.certification import CertificationSpec, SmoothingSpec, procedure, visited
from jaxprune.certification.smoothing import Noise, certify_returns
from jaxprune.certification.states import look
from jaxprune.certification.units import in_units
from jaxprune.certification.voting import certify_votes
from jaxprune.envs.probes import HORIZON
from jaxprune.evaluation import Condition
from jaxprune.policy import agent as policies
from jaxprune.population import Members, Population, members
from tests import lines

ENV = envs.make("probe/linear")
WIDER, LOG_STD = (1.0, 1.2, 0.9, 1.1), (0.5, -0.3, 0.2, 0.9)
TRAINED = jp.SweepSpec(
    env="probe/linear", seeds=2, sparsities=(0.0, 0.5), eps=(0.3, 0.05), norm="l2", space="raw", discount=0.9
)
SPEC = CertificationSpec(
    eps=0.2,
    norm="l2",
    bounds="crown,interval",
    states=7,
    starts=2,
    search_steps=3,
    episodes=3,
    confidence=0.9,
    seed=4,
)
SMOOTHING = SmoothingSpec(
    smoothing_sigma=0.3, smoothing_budget=0.1, smoothing_episodes=60, smoothing_lowest=25.0
)
MEMBER, SEED, TWIN = 3, 1, 2
"""Seed 1 at sparsity 0.5, and the dense member of that seed."""


def agents():
    return lines.population(*WIDER).replace(log_std=jnp.asarray(LOG_STD)[:, None])


def population() -> Population:
    """The members of a run, under its largest budget."""
    return Population(
        members(TRAINED), ENV, agents(), np.zeros(4, bool), Budget(0.3, "l2", "raw"), trained_by=TRAINED
    )


def unheard(tally: evaluation.Tally, steps: int) -> None:
    """Nobody asks for the progress."""


@pytest.fixture(name="heard", scope="module")
def _heard():
    """The confidence that the certificates of a run were asked for."""
    heard, certificates = [], procedure.certificates
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            procedure, "certificates", lambda *given: heard.append(given[-1]) or certificates(*given)
        )
        yield heard


@pytest.fixture(name="found", scope="module")
def _found(heard):
    return certification.run(SPEC, SMOOTHING, population())


def one(table: pl.DataFrame, **where: object) -> dict:
    """The only row that is so, as a dictionary."""
    return table.row(by_predicate=pl.all_horizontal(pl.col(k) == v for k, v in where.items()), named=True)


def moved(ball_of: int, spread_of: int, eps: float = 0.2, norm: str = "l2") -> float:
    """The distance in the ball of one member's filter and in the standard deviations of another."""
    return lines.shift(eps, norm, "normalised", WIDER[ball_of]) / np.exp(LOG_STD[spread_of])


def stream(number: int) -> jax.Array:
    """The member's key for clean episodes, the search, smoothing or the votes."""
    return jax.random.split(jax.random.fold_in(streams.key(4, "audit"), SEED), 4)[number]


def played(condition: Condition, key: jax.Array, episodes: int) -> np.ndarray:
    agent = jax.tree.map(lambda leaf: leaf[MEMBER], agents())

    @jax.jit
    def play():
        now = evaluation.begin(ENV, Victim(agent), (condition,), key, episodes)
        return evaluation.advance(ENV, Victim(agent), (condition,), now, HORIZON, 0)[0]

    return np.float64(play().tally.total[0])


# --- the tables -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ball", "ball_of"), [("own", MEMBER), ("dense", TWIN)])
@pytest.mark.parametrize("bound", ["path", "crown", "tightest", "mad"])
def test_the_distances_at_the_states(found, ball, ball_of, bound):
    """In the standard deviations of the dense twin."""
    known, of_twin = moved(ball_of, TWIN), moved(TWIN, TWIN)
    rows = found.states.filter(member=MEMBER, ball=ball, bound=bound)
    assert rows["state"].to_list() == [*range(7)]
    for row in rows.iter_rows(named=True):
        assert (row["seed"], row["sparsity_asked"], row["norm"], row["space"]) == (1, 0.5, "l2", "normalised")
        assert (row["quantity"], row["eps"]) == ("delta_dense", pytest.approx(0.2))
        for column, wanted in (
            ("value", known),
            ("found", known),
            ("dense", of_twin),
            ("dense_found", of_twin),
        ):
            assert row[column] == pytest.approx(wanted, rel=1e-3), column
    mean = one(found.members, member=MEMBER, ball=ball, bound=bound)
    assert (mean["states"], mean["seed"], mean["sparsity_asked"]) == (7, 1, 0.5)
    for column, wanted in (("value", known), ("found", known), ("dense", of_twin), ("tightness", 1.0)):
        assert mean[column] == pytest.approx(wanted, rel=1e-3), column


def test_pruned_above_dense(found):
    """In its own ball each pruned member moves further; in the twin's ball as far as the twin."""
    row = one(found.audit, ball="own", bound="crown", sparsity_asked=0.5)
    assert (row["members"], row["members_above"], row["states"], row["states_above"]) == (2, 2, 14, 14)
    assert row["largest_ratio"] == pytest.approx(1.1 / 0.9, rel=1e-3)
    assert one(found.audit, ball="dense", bound="crown", sparsity_asked=0.5)[
        "largest_ratio"
    ] == pytest.approx(1.0, rel=1e-3)


def test_the_clean_returns_are_those_of_sampled_actions(found):
    total = played(Condition(Nothing(), Ball(jnp.zeros(1), "l2"), "sampled"), stream(0), 3)
    row = one(found.returns, member=MEMBER)
    assert (row["seed"], row["sparsity_asked"], row["policy"], row["episodes"]) == (1, 0.5, "sampled", 3)
    assert row["return_mean"] == pytest.approx(total.mean(), rel=1e-4)
    assert row["return_std"] == pytest.approx(total.std(), rel=1e-3)
    assert row["return_mean"] < HORIZON - 1


def test_the_certificates_are_about_the_ball_and_the_discount_asked_for(found):
    rows = found.certificates.filter(member=MEMBER)
    assert set(rows.select("seed", "norm", "space").rows()) == {(1, "l2", "normalised")}
    own = moved(MEMBER, MEMBER)
    assert one(rows, bound="path", quantity="delta")["value"] == pytest.approx(own, rel=1e-3)
    tv = float(jax.scipy.special.erf(own / np.sqrt(8)))
    f = one(rows, bound="tightest", quantity="tv")["value"]
    assert f == pytest.approx(tv * (1 - 0.9**HORIZON), rel=1e-3)


@pytest.fixture(name="smoothed", scope="module")
def _smoothed():
    """Returns of the member under the noise, of the deterministic policy."""
    return played(Condition(Noise(0.3), Ball(jnp.full(1, jnp.inf), "l2")), stream(2), 60)


def test_the_smoothed_returns(found, smoothed):
    """All eight limits hold together with 90 %. The threshold is half of what the dense twin returns."""
    threshold = one(found.returns, member=TWIN)["return_mean"] / 2
    adversary = {"budget": 0.1, "sigma": 0.3, "confidence": 1 - 0.1 / 8}
    counted = np.maximum(smoothed, 25.0)
    wanted = {
        "sigma": 0.3,
        "budget": 0.1,
        "confidence": 0.9,
        "simultaneous": 8,
        "episodes": 60,
        "lowest": 25.0,
        "return_mean": smoothed.mean(),
        "share_below_lowest": (smoothed < 25.0).mean(),
        "mean_max_lowest": counted.mean(),
        "certified_mean_max_lowest": certified_mean_return(counted, lowest=25.0, **adversary),
        "threshold": threshold,
        "certified_probability": certified_return_probability(smoothed, threshold, **adversary),
        "audited_budget": 0.2 * np.sqrt(HORIZON),
        "audited_over_budget": 2 * np.sqrt(HORIZON),
    }
    row = one(found.smoothing, member=MEMBER)
    assert (row["seed"], row["sparsity_asked"], row["space"]) == (1, 0.5, "normalised")
    assert {name: row[name] for name in wanted} == pytest.approx(wanted, rel=1e-4)
    assert 0 < wanted["share_below_lowest"] < 1, "the lowest return counted makes no difference"


# --- the options ----------------------------------------------------------------------------------------

CHECKS: dict[tuple[str, ...], Callable[..., None]] = {}
"""What is known of the options, by their fields."""


def option(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    def register(check: Callable[..., None]) -> Callable[..., None]:
        CHECKS[names] = check
        return check

    return register


@option("eps", "norm", "space")
def _(found, heard):
    """Without a budget, the largest of the run in its own norm and space; the tests above have 0.2 in l2."""
    assert replace(SPEC, eps="published").applied_to(population()).budget == Budget(0.3, "l2", "raw")
    for norm, space in (("linf", "normalised"), ("l2", "raw")):
        asked = replace(SPEC, norm=norm, space=space).applied_to(population())
        assert asked.budget == Budget(0.2, norm, space)
        agent = jax.tree.map(lambda leaf: leaf[MEMBER], agents())
        bounds, found_there = jax.jit(partial(look, replace(SPEC, bounds="interval"), norm, space))(
            agent, jnp.ones((2, 4)), jnp.float32(0.2), jax.random.key(0)
        )
        known = lines.shift(0.2, norm, space, WIDER[MEMBER]) / np.exp(LOG_STD[MEMBER])
        for value in (bounds["path"], bounds["interval"], found_there):
            np.testing.assert_allclose(value, known, rtol=1e-3)


@option("bounds")
def _(found, heard):
    local = {name for name in found.states["bound"].unique() if name in BOUNDS and BOUNDS[name].local}
    assert local == {"crown", "interval"}
    assert [*replace(SPEC, bounds="jacobian, crown").local] == ["jacobian", "crown"]
    costly = replace(SPEC, bounds="alpha-crown:7, branching:3, interval")
    assert {name: bound.effort for name, bound in costly.local.items()} == {
        "alpha-crown": 7,
        "branching": 3,
        "interval": None,
    }
    assert costly.to_dict()["bounds"] == ("alpha-crown:7", "branching:3", "interval")


@option("units")
def _(found, heard):
    wanted = {"own": LOG_STD, "dense": (0.5, 0.5, 0.2, 0.2), "action": (0, 0, 0, 0)}
    for units, log_std in wanted.items():
        quantity, measured = in_units(units, population())
        np.testing.assert_allclose(measured.log_std[:, 0], log_std, rtol=1e-6)
        assert quantity == {"own": "delta", "dense": "delta_dense", "action": "delta_action"}[units]
    assert found.states["quantity"].unique().to_list() == ["delta_dense"]


@option("states")
def _(found, heard):
    for member in range(4):
        assert found.states.filter(member=member, ball="own", bound="crown").height == 7


def curved():
    """A policy whose action difference has several maxima."""
    agent = policies.init(jax.random.key(3), 4, 1, hidden=(5,))
    return agent.replace(policy=jax.tree.map(lambda leaf: 3.0 * leaf + 0.2, agent.policy))


@option("starts", "search_steps")
def _(found, heard):
    states = jnp.asarray(np.random.default_rng(0).normal(size=(6, 4)), jnp.float32)
    keys, agent, results = jax.random.split(jax.random.key(1), 6), curved(), {}
    for starts, steps in ((4, 2), (1, 2), (4, 8)):
        search = partial(
            visited.largest_distance,
            Victim(agent),
            ball=Ball(0.8),
            search=Mad(steps),
            starts=starts,
        )
        results[starts, steps] = jax.jit(jax.vmap(search))(states, keys)

    def moved(key, state):
        s_hat, _ = Mad(2).perturb(key, Victim(agent), agent.normalise(state), Ball(0.8), ())
        change = agent.output(s_hat) - agent.output(agent.normalise(state))
        return jnp.abs(change[0]) * jnp.exp(-agent.log_std[0])

    each = jax.vmap(jax.random.split, (0, None))(keys, 4)
    from_each = jax.jit(jax.vmap(jax.vmap(moved, (0, None))))(each, states)  # [state, start]
    np.testing.assert_allclose(results[4, 2], from_each.max(axis=1), rtol=1e-4)
    assert (from_each.max(axis=1) > from_each.mean(axis=1) + 1e-3).any()
    one_program = jax.jit(
        partial(look, replace(SPEC, starts=4, search_steps=2, bounds="interval"), "linf", "normalised")
    )
    _, reached = one_program(agent, states, jnp.float32(0.8), jax.random.key(1))
    np.testing.assert_allclose(reached, results[4, 2], rtol=1e-4)
    for other in ((1, 2), (4, 8)):
        assert np.abs(results[4, 2] - results[other]).max() > 1e-3


@option("policy", "episodes", "seed")
def _(found, heard):
    """Which clean episodes are played; the returns above are those of the stream of seed 4."""

    def stop(env, victims, conditions, keys, episodes, record, heard, chunk):
        (condition,) = conditions
        raise KeyboardInterrupt(condition.policy, episodes, record, keys)

    for policy, episodes, seed in (("mode", 5, 4), ("sampled", 3, 8)):
        spec = replace(SPEC, policy=policy, episodes=episodes, seed=seed)
        with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt) as heard_of:
            patch.setattr(procedure, "play_in_chunks", stop)
            certification.run(spec, SmoothingSpec(), population())
        *asked, keys = heard_of.value.args
        assert asked == [policy, episodes, episodes]
        of_seed = jax.random.fold_in(streams.key(seed, "audit"), SEED)
        assert keys[MEMBER] == jax.random.split(of_seed, 4)[0]
    assert found.returns["episodes"].to_list() == [3] * 4
    assert {"tv", "return"} < set(found.certificates["quantity"])
    mode = procedure.of_policy(found.certificates, "mode")
    assert not {"tv", "return"} & set(mode["quantity"])
    assert mode["policy"].unique().to_list() == ["mode"]


@option("confidence")
def _(found, heard):
    """See also the smoothed returns above."""
    assert heard[0] == 0.9
    assert found.smoothing["confidence"].to_list() == [0.9] * 4


def limits(**change: object) -> dict:
    """The smoothed returns of the member by itself."""
    victims = Victim(jax.tree.map(lambda leaf: leaf[MEMBER:], agents()))
    who, keys = Members(np.array([SEED]), np.array([0.5]), np.array(["ppo"])), stream(2)[None]
    spec = replace(SMOOTHING, **change)
    table = certify_returns(spec, ENV, victims, who, keys, np.array([20.0]), 0.9, 1.0, unheard)
    return table.row(0, named=True)


@option("smoothing_sigma", "smoothing_budget", "smoothing_episodes", "smoothing_lowest")
def _(found, heard):
    base = limits()
    for change in (
        {"smoothing_sigma": 0.1},
        {"smoothing_budget": 0.3},
        {"smoothing_episodes": 30},
        {"smoothing_lowest": None},
    ):
        row = limits(**change)
        sigma, budget = change.get("smoothing_sigma", 0.3), change.get("smoothing_budget", 0.1)
        count = change.get("smoothing_episodes", 60)
        lowest = change.get("smoothing_lowest", 25.0) or 0.0
        total = played(Condition(Noise(sigma), Ball(jnp.full(1, jnp.inf), "l2")), stream(2), count)
        limit = certified_mean_return(
            np.maximum(total, lowest), lowest=lowest, budget=budget, sigma=sigma, confidence=0.95
        )
        assert row["return_mean"] == pytest.approx(total.mean(), rel=1e-4)
        assert row["certified_mean_max_lowest"] == pytest.approx(limit, rel=1e-4)
        assert row["certified_mean_max_lowest"] != pytest.approx(base["certified_mean_max_lowest"], rel=1e-3)
    assert limits(smoothing_sigma=0.1)["return_mean"] > base["return_mean"]
    assert limits(smoothing_budget=0.3)["certified_mean_max_lowest"] < base["certified_mean_max_lowest"]


@option("smoothing_votes")
def _(found, heard):
    agent = policies.init(jax.random.key(0), 4, 3, hidden=(), discrete=True)
    victims = Victim(jax.tree.map(lambda leaf: leaf[None], agent))
    state, key = np.float32([[[0.5, -1.0, 0.3, 0.2]]]), jax.random.key(9)
    for count in (40, 200):
        spec = replace(SMOOTHING, smoothing_votes=count)
        table = certify_votes(
            spec, victims, Members(np.zeros(1), np.zeros(1), np.array(["ppo"])), state, key[None], 0.9
        )
        noise = 0.3 * jax.random.normal(jax.random.split(key, 1)[0], (count, 4))
        actions = np.asarray(jax.vmap(agent.output)(state[0, 0] + noise)).argmax(1)
        votes = np.bincount(actions, minlength=3)
        row = table.row(0, named=True)
        assert (row["votes"], row["action"]) == (count, votes.argmax())
        assert row["share"] == pytest.approx(votes.max() / count)


def test_every_option_is_checked():
    """Whoever adds a field says here which number it changes."""
    assert sorted(name for names in CHECKS for name in names) == sorted(
        field.name for field in (*fields(CertificationSpec), *fields(SmoothingSpec))
    )


@pytest.mark.parametrize("names", CHECKS, ids=",".join)
def test_the_options_act(names, found, heard):
    CHECKS[names](found, heard)
