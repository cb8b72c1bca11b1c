"""Halved searches, warm starts and transfer: who goes on, who is counted, and on which episodes."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from jaxprune import SpecError, SweepSpec, attack_search, evaluation, streams
from jaxprune.attack_search import EFFORTS, AttackSearchSpec, Effort
from jaxprune.attack_search.effort import RECIPE
from jaxprune.attack_search.looks import Candidates
from jaxprune.attack_search.selection import select
from jaxprune.attack_search.siblings import donors, pairs
from jaxprune.attack_search.trials import Trials
from jaxprune.attacks import ATTACKS, Victim
from jaxprune.budget import Ball
from jaxprune.envs import make
from jaxprune.evaluation import STEPS_AT_ONCE, Condition, Tally
from jaxprune.population import Members
from jaxprune.progress import Meter
from jaxprune.training import sarsa, search
from jaxprune.training.halving import Found
from jaxprune.training.ppo import Trainable
from jaxprune.training.search import Search
from tests import lines
from tests.populations import population

ENV = make("probe/linear")
STILL = np.array([0, 2])
"""The settings that learn nothing, so that they can be told from the others for certain."""
SETTINGS = search.grid((1,), (0.2,), (0,), (3e-2, 1e-1), (3e-4,))
SETTINGS = jax.tree.map(lambda leaf: np.tile(leaf, 2), SETTINGS)
SETTINGS = SETTINGS.replace(learning_rate=np.array([0.0, 3e-2, 0.0, 1e-1], np.float32))
SMALL = RECIPE.replace(environments=8, unroll=32, epochs=4, minibatches=2, hidden=(8,))
RUN = SweepSpec(env="probe/linear", seeds=2, sparsities=(0.0, 0.5))
DONORS = [1, 0, 3, 2]
SEED = 2


@pytest.fixture(name="few_settings", scope="module", autouse=True)
def _few_settings():
    with pytest.MonkeyPatch.context() as patch:
        critics = sarsa.grid(eps=(0.1,), weight=(0.1,))
        patch.setitem(EFFORTS, "quick", Effort(SETTINGS, critics, recipe=SMALL))
        yield


@pytest.fixture(name="spec", scope="module")
def _spec(few_settings):
    return AttackSearchSpec(
        attacks=("random", "sa-rl"),
        eps=(0.2,),
        episodes=6,
        selection_episodes=5,
        search="quick",
        steps=17 * 256,
        rungs=3,
        rung_episodes=4,
        warm_starts=True,
        transfer=True,
        seed=SEED,
    )


@pytest.fixture(name="everyone", scope="module")
def _everyone():
    """Two seeds at two sparsities, optimal behind filters of different width."""
    return population(lines.population(1.0, 1.5, 0.7, 1.2), ENV, trained_by=RUN)


@pytest.fixture(name="updates", scope="module")
def _updates():
    """What `found` said while it was made."""
    return []


@pytest.fixture(name="keys", scope="module")
def _keys():
    """What was measured with which key while `found` was made, and what warm starts learned with."""
    return {}


@pytest.fixture(name="found", scope="module")
def _found(spec, everyone, updates, keys):
    measure, from_others = Trials.measure, Search.from_others

    def noted(self, name, victims, attackers, key, episodes):
        keys[name] = numbers(key)
        return measure(self, name, victims, attackers, key, episodes)

    def learned_with(self, others, setting, key):
        keys["learning"] = numbers(key)
        return from_others(self, others, setting, key)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trials, "measure", noted)
        patch.setattr(Search, "from_others", learned_with)
        return attack_search.run(spec, everyone, updates.append)


def numbers(key):
    return tuple(jax.random.key_data(key).tolist())


def of_adversaries(table, **where):
    return table.filter(attack="sa-rl", **where)


# --- halving --------------------------------------------------------------------------------------------


def test_those_that_learn_nothing_are_stopped_first(found):
    """Of the settings 0 to 3, 1 and 3 learn; one of them is left for the last rung."""
    for member in range(4):
        rungs = of_adversaries(found.rungs, member=member)
        by_rung = [rungs.filter(rung=rung)["attacker"].to_list() for rung in (1, 2, 3)]
        assert by_rung[:2] == [[0, 1, 2, 3], [1, 3]]
        (last,) = by_rung[2]
        second = rungs.filter(rung=2)
        assert last == second["attacker"][second["return_mean"].arg_min()]
        # and learning has made it stronger still
        still = rungs.filter(rung=1)["return_mean"].to_numpy()[STILL]
        assert rungs.filter(rung=3)["return_mean"][0] < still.min() - 0.1


def test_the_table_of_those_tried_says_how_long_each_was_trained(found):
    """A survivor learns, so it is strongest at its end; others were selected on where they were strongest."""
    steps = {1: 4 * 256, 2: 8 * 256, 3: 17 * 256}
    for member in range(4):
        rows = of_adversaries(found.tried, member=member)
        assert rows["attacker"].to_list() == [0, 1, 2, 3, 4]
        rungs = of_adversaries(found.rungs, member=member)
        for row in rows[:4].iter_rows(named=True):
            seen = rungs.filter(attacker=row["attacker"]).sort("rung")
            last = seen.row(-1, named=True)
            assert row["started_from"] is None
            if row["episodes"] == "selection":
                assert row["steps"] in steps.values() and row["steps"] <= last["steps"]
                assert last["rung"] < 3 or row["return_mean"] <= last["return_mean"]
            else:
                assert row["episodes"] == f"rung {last['rung']}"
                assert row["steps"] == last["steps"] == steps[last["rung"]]
                assert row["return_mean"] == last["return_mean"]
        survivor = rungs.filter(rung=3)["attacker"].item()
        assert rows["episodes"][survivor] == "selection" and rows["steps"][survivor] == steps[3]
        np.testing.assert_array_equal(
            rows["best_of_first"], np.minimum.accumulate(rows["return_mean"].to_numpy())
        )
    assert found.tried.filter(attack="random")["steps"].unique().to_list() == [0]


def test_all_that_started_are_counted(found):
    tried = dict(found.results.select("attack", "attackers_tried").iter_rows())
    assert tried == {"none": 0, "random": 1, "sa-rl": 5, "strongest": 6}


def test_both_halves_of_a_rungs_episodes_make_its_mean(found):
    early = found.rungs.filter(pl.col("rung") < 3)
    both = (early["return_first"] + early["return_second"]) / 2
    np.testing.assert_allclose(both, early["return_mean"], rtol=1e-12)
    assert (early["return_first"] != early["return_second"]).mean() > 0.8
    # five selection episodes are three and two
    last = found.rungs.filter(rung=3)
    both = (3 * last["return_first"] + 2 * last["return_second"]) / 5
    np.testing.assert_allclose(both, last["return_mean"], rtol=1e-12)


def test_no_two_uses_of_episodes_share_their_streams(found, keys):
    """Which keys are measured with: of each rung, the selection, and the episodes that are reported."""
    rungs = [numbers(jax.random.fold_in(streams.key(SEED, "rungs"), rung)) for rung in (1, 2)]
    selection, fresh, warm = (
        numbers(streams.key(SEED, domain)) for domain in ("selection", "measurement", "warm starts")
    )
    assert len({selection, fresh, warm, *rungs}) == 5
    assert keys == {
        **dict.fromkeys(("none-returns", "random-returns", "sa-rl-returns", "sa-rl-warm-returns"), selection),
        "sa-rl-rung-1-returns": rungs[0],
        "sa-rl-rung-2-returns": rungs[1],
        "learning": warm,
        **dict.fromkeys(("fresh-returns", "transfer-returns"), fresh),
    }


def test_nothing_is_chosen_by_what_is_reported(spec, found, everyone, monkeypatch):
    """Other fresh episodes: all that was chosen stays as it is, and only what is reported changes."""
    key = streams.key

    def other(seed, domain):
        return key(seed + 7 if domain == "measurement" else seed, domain)

    monkeypatch.setattr(streams, "key", other)
    again = attack_search.run(spec, everyone)
    for table in ("tried", "rungs"):
        assert_frame_equal(getattr(again, table), getattr(found, table))
    same, changed = (pl.col("episode_set") == name for name in ("selection", "fresh"))
    changed &= pl.col("attack") != "none"  # who earns all there is
    assert_frame_equal(again.results.filter(same), found.results.filter(same))
    assert again.results["found_by"].to_list() == found.results["found_by"].to_list()
    assert (
        again.results.filter(changed)["return_mean"] != found.results.filter(changed)["return_mean"]
    ).all()


def test_one_rung_leaves_the_search_as_it_is(spec, everyone):
    """Adversaries of the search without halving, by `search.train` and `evaluation` alone."""
    plain = replace(spec, attacks="sa-rl", rungs=1, warm_starts=False, transfer=False)
    table = attack_search.run(plain, everyone)
    assert table.transfer.is_empty()
    assert set(table.tried.filter(attack="sa-rl")["steps"]) == {17 * 256}
    rules = unhalved(everyone)
    for setting in range(4):
        own = jax.tree.map(lambda leaf, i=setting: leaf[1, i], rules)
        row = of_adversaries(table.tried, member=1, attacker=setting).row(0, named=True)
        assert row["return_mean"] == pytest.approx(returns(everyone, 1, own, "selection", 5).mean(), rel=1e-5)


def unhalved(everyone):
    ball, rule = Ball(jnp.float32(0.2)), ATTACKS["sa-rl"].rule()
    return search.train(ENV, Victim(everyone.agents), ball, rule, SETTINGS, SMALL, 17, SEED, 72)


@partial(jax.jit, static_argnames=("domain", "episodes"))
def _returns(agent, rule, domain, episodes):
    under, victim = (Condition(rule, Ball(jnp.asarray([0.2]))),), Victim(agent)
    now = evaluation.begin(ENV, victim, under, streams.key(SEED, domain), episodes)
    return evaluation.advance(ENV, victim, under, now, STEPS_AT_ONCE, 0)[0].tally.total[0]


def returns(everyone, member, rule, domain, episodes):
    agent = jax.tree.map(lambda leaf: leaf[member], everyone.agents)
    return np.float64(_returns(agent, rule, domain, episodes))


@pytest.mark.parametrize(
    "phase",
    [
        "rung 2 of sa-rl",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("learning sa-rl from others", "measuring transfer")
        ),
    ],
)
def test_a_halved_search_that_was_stopped_goes_on_to_the_same_tables(spec, found, everyone, tmp_path, phase):
    def stop(update):
        if update.phase == phase:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attack_search.run(spec, everyone, stop, tmp_path)
    again = attack_search.run(spec, everyone, folder=tmp_path)
    for one, other in zip(again, found, strict=True):
        assert_frame_equal(one, other)


def test_the_steps_are_those_planned(spec, everyone, found, updates):
    training = (4 * 4 + 2 * 4 + 1 * 9 + 9) * 256
    assert spec.training_steps == training
    measured = (2 + 2 + 2) * 5 + 3 * 6 + (4 + 2) * 4  # selection, two of earlier rungs with it, fresh, rungs
    transfer = 4 * 6
    planned = 4 * (training + measured * ENV.horizon) + transfer * ENV.horizon
    assert attack_search.total_steps(spec, ENV, 4, len(pairs(everyone.members)[0])) == planned
    assert updates[-1].steps_done == planned  # no episode of the line ends early


def test_five_rungs_train_a_fifth_as_much():
    for effort, settings in (("small", 12), ("published", 216)):
        whole = AttackSearchSpec(search=effort, steps=2048 * 160)
        assert whole.training_steps == settings * 160 * 2048
        assert replace(whole, rungs=5).training_steps <= 0.2 * whole.training_steps


def test_what_was_stronger_at_an_earlier_rung_is_what_is_reported(spec, everyone, monkeypatch):
    """Selection is made to believe that all leave least as they were after the second rung."""
    asked_for, rules = replace(spec, attacks="sa-rl", warm_starts=False, transfer=False), {}
    chosen = select

    def least_after_rung_2(self, name, victims, attackers, count, key, episodes):
        tally = measure(self, name, victims, attackers, count, key, episodes)
        if name != "sa-rl":
            return tally
        rules["all"] = attackers
        more = np.array([0.0, 0.0, -50.0])[:, None]  # of the survivor, and those of rungs 1 and 2
        return tally.replace(total=tally.total + more)

    def remembered(*arguments):
        rules[arguments[4]] = (of_attack := chosen(*arguments)).rule
        return of_attack

    measure = Trials.measure_each
    monkeypatch.setattr(Trials, "measure_each", least_after_rung_2)
    monkeypatch.setattr("jaxprune.attack_search.procedure.select", remembered)
    found = attack_search.run(asked_for, everyone)
    then = jax.tree.map(lambda leaf: leaf[:, 2], rules["all"])
    jax.tree.map(np.testing.assert_array_equal, rules["sa-rl"], then)
    second = of_adversaries(found.rungs, rung=2)
    for member in range(4):
        strongest = second.filter(member=member).sort("return_mean", maintain_order=True)["attacker"][0]
        row = of_adversaries(found.tried, member=member, attacker=strongest).row(0, named=True)
        assert (row["episodes"], row["steps"]) == ("selection", 8 * 256)
        assert (
            row["return_mean"]
            == of_adversaries(found.results, member=member, episode_set="selection")["return_mean"].item()
        )
        own = jax.tree.map(lambda leaf, at=member: leaf[at], then)
        fresh = of_adversaries(found.results, member=member, episode_set="fresh")["return_mean"].item()
        assert fresh == pytest.approx(returns(everyone, member, own, "measurement", 6).mean(), rel=1e-5)


# --- warm starts and transfer ---------------------------------------------------------------------------


def test_a_warm_start_is_one_more_attacker_of_the_last_rung(found):
    warm = of_adversaries(found.tried, attacker=4).sort("member")
    assert warm["started_from"].to_list() == DONORS
    assert set(warm["steps"]) == {(17 - 8) * 256}
    assert set(warm["episodes"]) == {"selection"}
    assert found.rungs["attacker"].max() == 3


def test_a_warm_start_that_learns_nothing_is_its_donors_adversary(spec, everyone, monkeypatch):
    still = SETTINGS.replace(learning_rate=np.zeros(4, np.float32))
    monkeypatch.setitem(EFFORTS, "quick", replace(EFFORTS["quick"], adversaries=still))
    plain = replace(spec, attacks="sa-rl", rungs=1, steps=256)
    found = attack_search.run(plain, everyone)
    ball, rule = Ball(jnp.float32(0.2)), ATTACKS["sa-rl"].rule()
    rules = search.train(ENV, Victim(everyone.agents), ball, rule, still, SMALL, 1, SEED, 72)
    for member, donor in enumerate(DONORS):
        best = of_adversaries(found.tried, member=donor)[:4]["return_mean"].arg_min()
        own = jax.tree.map(lambda leaf, at=(donor, best): leaf[at], rules)
        warm = of_adversaries(found.tried, member=member, attacker=4)["return_mean"].item()
        assert warm == pytest.approx(returns(everyone, member, own, "selection", 5).mean(), rel=1e-5)


class Begun(Exception):  # noqa: N818  it is no error
    """What a warm start would have begun with."""


def test_a_warm_start_begins_as_the_strongest_of_its_donor(spec, everyone, monkeypatch):
    """Of handmade adversaries that no two members have in the same order."""
    total = np.array([[3.0, 1.0, 2.0], [1.0, 2.0, 3.0], [3.0, 2.0, 1.0], [8.0, 7.0, 9.0]])
    setting = np.array([[0, 2, 3], [1, 2, 3], [0, 1, 2], [0, 1, 3]])
    kernel = np.arange(12.0).reshape(4, 3)

    def measured(_self, _name, _victims, _attackers, count, _key, episodes):
        zero = np.zeros((4, count, episodes))
        flags = zero == 0
        return Tally(flags, zero + total[..., None], zero, flags, flags, zero, zero, zero)

    def begun(_self, networks, setting, _key):
        raise Begun(networks.policy["kernel"].tolist(), setting.tolist())

    monkeypatch.setattr(Trials, "measure_each", measured)
    monkeypatch.setattr(Search, "from_others", begun)
    steps = np.array([512, 512, 256])
    learned = Found(Trainable({"kernel": kernel}, kernel, {"kernel": kernel}), setting, steps // 256)
    candidates = Candidates(ATTACKS["sa-rl"].rule(), setting, steps, (), learned)
    with Meter() as meter, pytest.raises(Begun) as found:
        trials = Trials(ENV, Ball(jnp.float32(0.2)), 72, meter, None)
        select(spec, trials, Victim(everyone.agents), everyone.members, "sa-rl", candidates)
    # the donors 1, 0, 3, 2 and the places 0, 1, 1, 2 of their strongest
    assert found.value.args == ([3.0, 1.0, 10.0, 8.0], [1, 2, 1, 2])


def test_what_is_chosen_for_one_member_is_measured_on_its_siblings(spec, everyone):
    plain = replace(spec, attacks="random,sa-rl", rungs=1, warm_starts=False)
    found = attack_search.run(plain, everyone)
    rows = found.transfer.select("attack", "seed", "from_member", "to_member").rows()
    family = lambda seed, first: [("sa-rl", seed, first + i, first + j) for i in (0, 1) for j in (0, 1)]  # noqa: E731
    assert rows == [*family(0, 0), *family(1, 2)]
    achieved = dict(found.results.select("member", "sparsity").iter_rows())
    for side in ("from", "to"):
        wanted = [achieved[member] for member in found.transfer[f"{side}_member"]]
        assert found.transfer[f"{side}_sparsity"].to_list() == wanted
    rules = unhalved(everyone)
    fresh = of_adversaries(found.results, episode_set="fresh")
    for row in found.transfer.iter_rows(named=True):
        origin, target = row["from_member"], row["to_member"]
        best = of_adversaries(found.tried, member=origin)["return_mean"].arg_min()
        chosen = jax.tree.map(lambda leaf, at=(origin, best): leaf[at], rules)
        total = returns(everyone, target, chosen, "measurement", 6)
        assert (row["return_mean"], row["episodes"]) == (pytest.approx(total.mean(), rel=1e-5), 6)
        assert row["return_low"] < row["return_mean"] < row["return_high"]
        assert row["outside_ball"] == 0
        if origin == target:
            own = fresh.filter(member=origin).row(0, named=True)
            assert [row[name] for name in ("return_mean", "return_low", "return_high")] == [
                own[name] for name in ("return_mean", "return_low", "return_high")
            ]


def members(arm, seed, sparsity):
    return Members(np.array(seed), np.array(sparsity), np.array(arm))


def test_who_starts_from_whom():
    two_arms = members(["a"] * 3 + ["b"] * 2, [0, 0, 0, 0, 0], [0.0, 0.9, 0.5, 0.0, 0.9])
    assert donors(two_arms).tolist() == [2, 0, 0, 4, 3]
    origin, target = pairs(two_arms)
    assert [*zip(origin.tolist(), target.tolist(), strict=True)] == [
        (0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1), (3, 4), (4, 3)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("who", "change", "said"),
    [
        (
            members(["a"] * 2, [0, 1], [0.0, 0.0]),
            {"transfer": False},
            "warm_starts: a dense member has no pruned",
        ),
        (
            members(["a"] * 2, [0, 0], [0.3, 0.5]),
            {"transfer": False},
            "warm_starts: a member has no dense twin",
        ),
        (
            members(["a"] * 2, [0, 1], [0.0, 0.0]),
            {"warm_starts": False},
            "transfer: no two members share a seed",
        ),
    ],
)
def test_members_without_siblings_are_refused(spec, everyone, who, change, said):
    lonely = replace(everyone, members=who)
    with pytest.raises(SpecError, match=said):
        attack_search.run(replace(spec, **change), lonely)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rungs": 0}, "rungs: 0 must be at least 1"),
        ({"rungs": 6}, "rungs: 6 is too many.* of 256 steps; at most 5, or at least --steps 8192"),
        ({"rung_episodes": 1}, "rung_episodes: 1 must be at least 2"),
        (
            {"attacks": "random"},
            "rungs: has nothing to act on, none of random is an adversary that is trained; add",
        ),
        ({"attacks": "mad", "rungs": 1}, "warm_starts: has nothing to act on, none of mad"),
        ({"attacks": "sarsa", "rungs": 1}, "warm_starts: has nothing to act on"),
        (
            {"attacks": "mad", "rungs": 1, "warm_starts": False},
            "transfer: has nothing to act on, none of mad is learned",
        ),
        ({"rungs": 1, "rung_episodes": 5}, "rung_episodes: there are no rungs"),
    ],
    ids=str,
)
def test_a_mistake_is_named(spec, change, said):
    with pytest.raises(SpecError, match=said):
        replace(spec, **change)
    assert replace(spec, rungs=4).rung_sizes == (4, 2, 1, 1)
