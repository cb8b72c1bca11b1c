"""The pruning audit on populations whose answer is known."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
from scipy.special import erf

import jaxprune as jp
from jaxprune import envs
from jaxprune.analysis import against_dense, at_the_same_states
from jaxprune.bounds import BOUNDS, asked, crown_bound
from jaxprune.budget import Budget
from jaxprune.certification import CertificationSpec, states
from jaxprune.certification.units import UNITS, in_units
from jaxprune.evaluation import Visits
from jaxprune.policy import agent as agents
from jaxprune.population import Members, Population
from jaxprune.report.audit import alarm_lines

QUICK = {"starts": 3, "search_steps": 5, "episodes": 2}
ENV = envs.make("probe/linear")
ALL = ",".join(str(replace(bound, effort=bound.effort and 3)) for bound in BOUNDS.values() if bound.local)
"""All bounds at one state, the costly ones with little effort."""


def random_agent(hidden, spread=0.0):
    agent = agents.init(jax.random.key(0), 4, 1, hidden=hidden)
    policy = jax.tree.map(lambda leaf: 1.5 * leaf + 0.1, agent.policy)
    return agent.replace(policy=policy, log_std=jnp.full(1, spread))


def cancelling_agent():
    """`tanh(x) - tanh(x)`, which nothing can move; half pruned it is `-tanh(x)`."""
    agent = agents.init(jax.random.key(0), 4, 1, hidden=(2,))
    seen = jnp.array([1.0, 0.5, 0.0, 0.0])
    policy = {
        "layer_0": {"kernel": jnp.stack([seen, seen], axis=1), "bias": jnp.zeros(2)},
        "layer_1": {"kernel": jnp.array([[1.0], [-1.0]]), "bias": jnp.zeros(1)},
    }
    return agent.replace(policy=policy)


def looked_at(agent, eps, bounds):
    """Six states of an agent, dense and half pruned."""
    spec = CertificationSpec(**QUICK | {"bounds": bounds})
    population = Population.of_pruned(agent, ENV, "0,0.5", Budget(eps))
    observation = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    keys = jax.random.split(jax.random.key(0), 2)
    return population, states.look_at_all(spec, population, np.stack([observation, observation]), keys)


def two_filters(sparsities=(0.0, 0.5), log_std=(0.0, 0.0), diverged=(False, False)):
    """Two members that are `x_0 + x_1 / 2` of raw observations, the second through a wider filter."""
    agent = agents.init(jax.random.key(0), 4, 1, hidden=())
    kernel = jnp.array([[1.0], [0.5], [0.0], [0.0]])

    def member(deviation, spread):
        seen = agent.normalizer.replace(mean=jnp.full(4, deviation - 1), variance=jnp.full(4, deviation**2))
        bias = jnp.full(1, 1.5 * (deviation - 1))
        policy = {"layer_0": {"kernel": deviation * kernel, "bias": bias}}
        return agent.replace(policy=policy, normalizer=seen, log_std=jnp.full(1, spread))

    pair = (member(1.0, log_std[0]), member(2.0, log_std[1]))
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *pair), sparsities, diverged


def states_of(pair, units="own", **ball):
    """The rows of such a pair at six states."""
    both, sparsities, diverged = pair
    spec = CertificationSpec(**QUICK | {"bounds": "interval,crown", "units": units})
    everyone = Members(np.array([0, 0]), np.array(sparsities), np.array(["ppo"] * 2))
    population = Population(everyone, ENV, both, np.array(diverged), Budget(0.1, **ball))
    observation = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    keys = jax.random.split(jax.random.key(0), 2)
    looked = states.look_at_all(spec, population, np.stack([observation, observation]), keys)
    return states.state_rows(population, looked)


@pytest.fixture(name="cancelling", scope="module")
def _cancelling():
    """A row per member x state x bound of the cancelling agent."""
    return states.state_rows(*looked_at(cancelling_agent(), 0.02, "interval,crown"))


def test_pruning_one_of_two_cancelling_weights_is_seen_by_attack_and_tight_bound_only(cancelling):
    rows = {row["bound"]: row for row in against_dense(cancelling.filter(ball="own")).iter_rows(named=True)}
    for bound in ("mad", "crown", "tightest"):
        assert (rows[bound]["states_above"], rows[bound]["states"]) == (6, 6)
        assert (rows[bound]["members_above"], rows[bound]["members"]) == (1, 1)
    for bound in ("path", "frobenius", "induced_inf", "interval"):
        assert rows[bound]["states_above"] == rows[bound]["members_above"] == 0
    assert (rows["tightest"]["proven_above"], rows["tightest"]["proven_below"]) == (6, 0)
    assert rows["mad"]["proven_above"] is rows["mad"]["proven_below"] is None
    assert rows["mad"]["largest_ratio"] is None  # from nothing


def test_where_all_read_through_one_filter_both_balls_are_the_same(cancelling):
    own, dense = (cancelling.filter(ball=ball).drop("ball") for ball in ("own", "dense"))
    assert own.height > 0 and own.equals(dense)


def test_the_cancelling_policy_does_not_move_and_the_pruned_one_moves_as_far_as_it_can(cancelling):
    found = cancelling.filter(pl.col("bound") == "mad")
    assert (found.filter(pl.col("sparsity_asked") == 0)["value"] == 0).all()
    # The slope of tanh is at most 1: no further than eps (1 + 0.5).
    assert found.filter(pl.col("sparsity_asked") == 0.5)["value"].is_between(0, 0.02 * 1.5).all()


@pytest.mark.parametrize(
    "names",
    ["interval,crown", pytest.param(ALL, marks=pytest.mark.slow)],
)
def test_no_bound_is_below_the_attacked_distance_and_the_tightest_is_the_smallest(names):
    looked = looked_at(random_agent((2,)), 0.3, names)[1]["own"]
    tightest = looked.bounds.pop("tightest")
    local = [asked(name).name for name in names.split(",")]
    assert set(looked.bounds) == {*local, *(name for name, bound in BOUNDS.items() if not bound.local)}
    assert (looked.found > 0).all()
    for name, bound in looked.bounds.items():
        assert (bound >= looked.found).all(), name
    np.testing.assert_array_equal(tightest, np.min([*looked.bounds.values()], axis=0))


def test_tv_and_kl_follow_from_the_distance_where_it_fixes_them(cancelling):
    crown = cancelling.filter(pl.col("bound") == "crown")
    np.testing.assert_allclose(crown["tv"], erf(crown["value"] / np.sqrt(8)), rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(crown["kl"], crown["value"] ** 2 / 2, rtol=1e-5)
    logits = np.array([[0.0, 2.0, np.inf]])
    theirs = np.array([True])
    tv, kl = states.apart("range", "bound", logits, theirs)
    np.testing.assert_allclose(tv, [[0, np.tanh(0.5), 1]], rtol=1e-5, atol=1e-30)  # 0 is rounded up
    np.testing.assert_allclose(kl, [[0, 0.5, np.inf]], rtol=1e-5, atol=1e-30)
    for unknown in (("range", "estimate", logits, theirs), (UNITS["dense"], "bound", logits, ~theirs)):
        assert np.isnan(states.apart(*unknown)).all()


@pytest.mark.parametrize(
    ("units", "known"), [("own", [True, True]), ("dense", [True, False]), ("action", [False, False])]
)
def test_tv_and_kl_are_there_only_in_the_policys_own_standard_deviations(units, known):
    population = two_filters(log_std=(-1.0, 0.5))
    table = states_of(population, units=units)
    for member, theirs in enumerate(known):
        rows = table.filter(member=member)
        assert (rows["tv"].is_null().all(), rows["kl"].is_null().all()) == (not theirs, not theirs)
    crown = table.filter(bound="crown", member=0)
    if units == "own":
        np.testing.assert_allclose(crown["tv"], erf(crown["value"] / np.sqrt(8)), rtol=1e-5)


DENSE_MOVES = {"linf": 0.1 * 1.5, "l2": 0.1 * np.sqrt(1.25)}
"""How far a ball of radius .1 moves `x_0 + x_1 / 2`."""


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_dense_ball_is_the_raw_ball_of_the_twin(norm):
    """Pruned and dense are one function of raw observations, read through filters of deviations 2 and 1."""
    table = states_of(two_filters(), norm=norm)
    exact = table.filter(pl.col("bound").is_in(["path" if norm == "linf" else "frobenius", "crown", "mad"]))
    assert exact.height == 3 * 2 * 2 * 6
    for (member, ball), rows in exact.group_by("member", "ball"):
        # eps in the units of a filter twice as wide is twice as far in raw units.
        moves = (2 if (member, ball) == (1, "own") else 1) * DENSE_MOVES[norm]
        np.testing.assert_allclose(rows["value"], moves, rtol=3e-4)
        np.testing.assert_allclose(rows["dense"], DENSE_MOVES[norm], rtol=3e-4)
    arithmetic = table.filter(pl.col("bound") == "crown").unique(["member", "ball"])
    reread = {(row["member"], row["ball"]): row["arithmetic"] for row in arithmetic.iter_rows(named=True)}
    assert [who for who, name in reread.items() if name == states.REREAD] == [(1, "dense")]
    above = against_dense(table).filter(bound="tightest")
    assert dict(above.select("ball", "proven_above").iter_rows()) == {"own": 6, "dense": 0}


def test_a_planted_unsound_bound_is_alarmed_at_every_state(monkeypatch):
    def half(*layers, **kind):
        return jax.tree.map(lambda size: size / 2, crown_bound(*layers, **kind))

    monkeypatch.setitem(BOUNDS, "crown", replace(BOUNDS["crown"], rule=half))
    table = states_of(two_filters())
    (line,) = alarm_lines(table)
    # crown and with it the tightest, of 2 members in 2 balls at 6 states.
    assert line.startswith(f"WRONG: {2 * 2 * 2 * 6} bounds")
    violated = at_the_same_states(table).filter(pl.col("violated") > 0)
    assert sorted(violated["bound"].unique()) == ["crown", "tightest"]
    assert violated["violated"].unique().to_list() == [6]


def test_a_raw_budget_is_one_ball_for_all():
    table = states_of(two_filters(), space="raw")
    assert table["ball"].unique().to_list() == ["own"]
    found = table.filter(bound="mad")
    np.testing.assert_allclose(found["value"], DENSE_MOVES["linf"], rtol=1e-4)


def test_without_a_dense_twin_there_is_no_ball_of_it():
    table = states_of(two_filters(sparsities=(0.3, 0.5)))
    assert table["ball"].unique().to_list() == ["own"]
    assert table["dense"].is_null().all()


def test_a_row_has_the_sparsity_that_was_achieved_beside_the_one_asked_for():
    """Of four weights a third is one."""
    population = Population.of_pruned(random_agent(()), ENV, "0,0.3", Budget(0.1))
    known, ones = np.ones(2, bool), np.ones((2, 1))
    looked = states.Looked("delta", {"path": ones}, ones, known, known, ["float32"] * 2)
    table = states.state_rows(population, {"own": looked})
    assert set(table.select("sparsity_asked", "sparsity").rows()) == {(0.0, 0.0), (0.3, 0.25)}


def test_who_diverged_is_marked():
    table = states_of(two_filters(diverged=(False, True)))
    assert dict(table.select("member", "diverged").unique().iter_rows()) == {0: False, 1: True}
    assert against_dense(table).is_empty()


def test_the_efforts_of_the_bounds_are_those_asked_for():
    spec = CertificationSpec(bounds="branching:3,crown,alpha-crown,crown")
    assert [*spec.local] == ["branching", "crown", "alpha-crown"]
    efforts = {name: bound.effort for name, bound in spec.local.items()}
    assert efforts == {"branching": 3, "crown": None, "alpha-crown": BOUNDS["alpha-crown"].effort}
    assert spec.to_dict()["bounds"] == spec.bounds == tuple(map(str, spec.local.values()))
    assert CertificationSpec(bounds=spec.bounds) == spec


def test_all_bounds_at_one_state_are_asked_for_unless_some_are_chosen():
    assert [*CertificationSpec().local] == [name for name, bound in BOUNDS.items() if bound.local]


def test_all_members_of_a_seed_are_looked_at_in_the_states_of_its_dense_member():
    everyone = Members(np.array([0, 0, 1, 1]), np.array([0.5, 0.0, 0.0, 0.5]), np.array(["ppo"] * 4))
    observation = np.random.default_rng(0).normal(size=(4, 5, 2, 3)).astype(np.float32)
    alive = np.arange(5)[:, None] < np.array([5, 2])
    visits = Visits(observation, np.broadcast_to(alive, (4, 5, 2)))
    same = states.same_states(visits, everyone, 4)
    np.testing.assert_array_equal(same[0], same[1])
    np.testing.assert_array_equal(same[2], same[3])
    visited = {tuple(state) for state in observation[1][alive]}
    assert all(tuple(state) in visited for state in same[0])
    # Spread over all of them, from the first to the last.
    np.testing.assert_array_equal(same[0], observation[1][alive][[0, 2, 4, 6]])
    assert states.same_states(visits, everyone, 100).shape == (4, 7, 3)  # no more than were visited


def test_only_the_dense_twins_decide_how_many_states_there_are():
    everyone = Members(np.array([0, 0, 1, 1]), np.array([0.0, 0.5, 0.0, 0.5]), np.array(["ppo"] * 4))
    observation = np.random.default_rng(0).normal(size=(4, 5, 1, 3)).astype(np.float32)
    steps = np.array([5, 1, 4, 0])  # alive, by member: the pruned ones fall at once
    visits = Visits(observation, np.arange(5)[:, None] < steps[:, None, None])
    assert states.same_states(visits, everyone, 100).shape == (4, 4, 3)
    # A twin that diverged does not shrink the sample of the others.
    diverged = np.array([False, False, True, False])
    same = states.same_states(visits, everyone, 100, diverged)
    np.testing.assert_array_equal(same[0], observation[0, :, 0])
    assert same.shape == (4, 5, 3)


def test_shifts_are_measured_in_the_spread_asked_for():
    everyone = Members(np.array([0, 0]), np.array([0.0, 0.5]), np.array(["ppo"] * 2))
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), random_agent((2,), -1.0), random_agent((2,), 3.0))
    population = Population(everyone, ENV, both, np.zeros(2, bool), Budget(0.1))
    spreads = {"own": [-1, 3], "dense": [-1, -1], "action": [0, 0]}
    for units, expected in spreads.items():
        quantity, measured = in_units(units, population)
        np.testing.assert_array_equal(measured.log_std[:, 0], expected)
        assert quantity == UNITS[units]


def test_a_categorical_policy_is_measured_by_the_range_of_its_logits():
    agent = random_agent((2,)).replace(log_std=None)
    assert in_units("dense", Population.of_pruned(agent, ENV, "0", Budget(0.1)))[0] == "range"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"bounds": "crwn"}, "did you mean 'crown'"),
        ({"bounds": "interval,crown:5"}, "bounds: 'crown' has no effort to choose"),
        ({"bounds": "alpha-crown:0"}, "bounds: 'alpha-crown' needs a whole number of steps from 1 to"),
        ({"bounds": "alpha-crown:2,alpha-crown:3"}, "'alpha-crown' is asked for with 2 and with 3 steps"),
        ({"norm": "l1"}, "norm: unknown name 'l1'.* Known: l2, linf"),
        ({"units": "metres"}, "Known: action, dense, own"),
        (
            {"policy": "samples"},
            "policy: unknown name 'samples'; did you mean 'sampled'.* Known: mode, sampled",
        ),
        ({"confidence": 1.0}, "confidence: got 1.0, needs a probability between 0 and 1"),
        ({"episodes": 1}, "episodes: 1 are too few .* at least 2 are needed"),
        ({"confidence": 1 - 1e-9}, "episodes: 10 are too few .* at least 11 are needed"),
        ({"states": 0}, "states: 0 must be at least 1"),
        ({"eps": "wide"}, "eps: cannot read 'wide'"),
    ],
    ids=str,
)
def test_a_spec_that_cannot_run_is_refused(settings, said):
    with pytest.raises(jp.SpecError, match=said):
        CertificationSpec(**settings)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"activation": "sine"}, "activation"),
        ({"log_std": jnp.full(1, -100.0)}, "use --units action"),
        ({"policy": "nan"}, r"member 0: layers\[1\].weight: 2 of 2 values are not finite"),
    ],
    ids=str,
)
def test_an_agent_that_cannot_be_certified_is_refused(change, said):
    agent = random_agent((2,))
    if change.get("policy") == "nan":
        last = jax.tree.map(lambda leaf: leaf * jnp.nan, agent.policy["layer_1"])
        change = {"policy": agent.policy | {"layer_1": last}}
    population = Population.of_pruned(agent.replace(**change), ENV, "0", Budget(0.1))
    with pytest.raises(jp.SpecError, match=said):
        CertificationSpec(eps=0.1, **QUICK).applied_to(population)
