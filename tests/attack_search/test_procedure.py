"""The search as a whole: who is tried, who is chosen, and what the tables say about it."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from jaxprune import SpecError, attack_search, attacks, evaluation, streams
from jaxprune.attack_search import EFFORTS, AttackSearchSpec, Effort
from jaxprune.attack_search.effort import RECIPE
from jaxprune.attacks import ATTACKS, Victim
from jaxprune.budget import Ball
from jaxprune.envs import make
from jaxprune.envs.probes import WEIGHTS
from jaxprune.evaluation import STEPS_AT_ONCE, Condition
from jaxprune.policy import Agent, normalizer
from jaxprune.training import sarsa, search
from tests.compiled import as_users_compile
from tests.populations import population

ENV = make("probe/linear")
SPEC = AttackSearchSpec(
    attacks=("random", "sarsa", "sarsa+mad", "sa-rl"),
    eps=(0.3,),
    episodes=6,
    selection_episodes=4,
    steps=2048,
)
COUNTS = {"none": 0, "random": 1, "sarsa": 2, "sarsa+mad": 6, "sa-rl": 2}


@pytest.fixture(name="small_searches", scope="module", autouse=True)
def _small_searches():
    """Two settings of everything, and little study."""
    with pytest.MonkeyPatch.context() as patch:
        adversaries = search.grid((1,), (0.2,), (0,), (1e-3, 3e-3), (3e-4,))
        effort = Effort(
            adversaries,
            sarsa.grid(eps=(0.1,), weight=(0.1, 1.0)),
            recipe=RECIPE.replace(epochs=1, minibatches=1, hidden=(4,)),
            study=sarsa.Study(environments=4, unroll=32, passes=2, minibatches=2),
        )
        patch.setitem(EFFORTS, "small", effort)
        yield


@pytest.fixture(name="agents", scope="module")
def _agents():
    """Two members: the optimal policy of the line, and one that goes half the way."""

    def agent(share):
        network = {
            "layer_0": {"kernel": -share * jnp.asarray(WEIGHTS)[:, None], "bias": jnp.zeros(1)},
        }
        return Agent(network, jnp.zeros(1), network, normalizer.init((4,)))

    return jax.tree.map(lambda *leaves: jnp.stack(leaves), agent(1.0), agent(0.5))


@pytest.fixture(name="updates", scope="module")
def _updates():
    """What `found` said while it was made."""
    return []


@pytest.fixture(name="found", scope="module")
def _found(agents, small_searches, updates):
    return attack_search.run(SPEC, population(agents, ENV), updates.append)


def test_there_is_one_row_per_member_attack_and_episode_set(found):
    names = [*COUNTS, "strongest"]
    rows = found.results.select("member", "attack", "episode_set").rows()
    assert rows == [(m, a, s) for m in (0, 1) for a in names for s in ("selection", "fresh")]
    sizes = dict(found.results.select("episode_set", "episodes").iter_rows())
    assert sizes == {"selection": 4, "fresh": 6}


def test_every_row_says_how_many_attackers_were_tried(found):
    tried = dict(found.results.select("attack", "attackers_tried").iter_rows())
    assert tried == COUNTS | {"strongest": sum(COUNTS.values())}


def test_no_attack_leaves_its_ball(found):
    assert found.results["outside_ball"].sum() == 0


def test_the_chosen_attacker_is_the_strongest_of_those_tried(found):
    selection = found.results.filter(pl.col("episode_set") == "selection", pl.col("attack") != "strongest")
    strongest = found.tried.group_by("member", "attack").agg(
        pl.min("return_mean"), median=pl.median("return_mean")
    )
    both = selection.join(strongest, on=("member", "attack"), suffix="_tried")
    assert len(both) == 2 * len(COUNTS)
    np.testing.assert_allclose(both["return_mean"], both["return_mean_tried"], rtol=1e-6)
    np.testing.assert_allclose(both["return_median_attacker"], both["median"], rtol=1e-6)


def test_the_curve_is_the_best_of_the_first_k(found):
    for _, rows in found.tried.group_by("member", "attack", maintain_order=True):
        np.testing.assert_array_equal(
            rows["best_of_first"], np.minimum.accumulate(rows["return_mean"].to_numpy())
        )
    lengths = dict(found.tried.filter(pl.col("member") == 0)["attack"].value_counts().iter_rows())
    assert lengths == COUNTS | {"none": 1}


def test_the_strongest_is_chosen_on_one_set_and_measured_on_the_other(found):
    for member in (0, 1):
        rows = found.results.filter(pl.col("member") == member)
        strongest, others = (
            rows.filter((pl.col("attack") == "strongest") == is_it) for is_it in (True, False)
        )
        selection = others.filter(pl.col("episode_set") == "selection").sort("return_mean")
        assert strongest["found_by"].unique().to_list() == [selection["attack"][0]]
        same = others.filter(pl.col("attack") == selection["attack"][0])
        np.testing.assert_array_equal(strongest["return_mean"], same["return_mean"])
        assert strongest["return_mean"][0] != strongest["return_mean"][1]


def test_returns_are_those_of_the_evaluation(found, agents):
    """The fresh returns under a rule, by `evaluation` alone."""
    agent = jax.tree.map(lambda leaf: leaf[1], agents)
    key = streams.key(SPEC.seed, "measurement")
    conditions = (Condition(attacks.make("random"), Ball(jnp.asarray([0.3]))),)

    @jax.jit
    def play(agent):
        now = evaluation.begin(ENV, Victim(agent), conditions, key, SPEC.episodes)
        return evaluation.advance(ENV, Victim(agent), conditions, now, STEPS_AT_ONCE, 0)[0]

    rows = found.results.filter(member=1, attack="random", episode_set="fresh")
    assert rows["return_mean"].item() == pytest.approx(float(play(agent).tally.total.mean()), rel=1e-5)


def of_five(agents, chunk):
    spec = replace(SPEC, attacks="mad,random", norm="l2", chunk=chunk)
    five = jax.tree.map(lambda leaf: leaf[np.array([0, 1, 1, 0, 1])], agents)
    with as_users_compile():
        return attack_search.run(spec, population(five, ENV))


@pytest.fixture(name="together", scope="module")
def _together(agents, small_searches):
    return of_five(agents, 72)


@pytest.mark.parametrize("chunk", [2, 9])
def test_taking_turns_changes_nothing(agents, together, chunk):
    """Five victims in three turns of two; or in two of three where three attacks are measured."""
    for one, other in zip(together, of_five(agents, chunk), strict=True):
        assert_frame_equal(one, other, check_exact=True)


def test_progress_never_exceeds_the_plan(found, updates):
    steps = [update.steps_done for update in updates]
    assert steps == sorted(steps)
    assert 0.5 < steps[-1] / attack_search.total_steps(SPEC, ENV, 2) <= 2
    learning = [update for update in updates if update.phase == "learning sa-rl"]
    assert any(update.note.startswith("lowest return") for update in learning)


def test_a_budget_per_feature_is_kept_feature_by_feature(agents):
    spec = replace(SPEC, attacks="random,sa-rl", eps="0.3,0,0,0.2")
    assert attack_search.run(spec, population(agents, ENV)).results["outside_ball"].sum() == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"attacks": ""}, "attacks: the list is empty"),
        ({"attacks": "none"}, "attacks: the list is empty; name at least one of random, "),
        ({"attacks": "sarl"}, "did you mean 'sa-rl'"),
        ({"norm": "l1"}, "norm: unknown name 'l1'"),
        ({"space": "normalized"}, "did you mean 'normalised'"),
        ({"search": "smal"}, "did you mean 'small'"),
        ({"steps": 100}, "steps: 100 must be at least 2048"),
        ({"episodes": 0}, "episodes: 0 must be at least 1"),
        ({"eps": "a"}, "eps: cannot read 'a'"),
    ],
    ids=str,
)
def test_a_mistake_is_named(change, said):
    with pytest.raises(SpecError, match=said.replace("(", r"\(")):
        replace(SPEC, **change)


@pytest.mark.parametrize(
    ("eps", "said"),
    [
        ("0.1,0.2", "2 numbers for an observation of 4 features"),
        ("-1", "finite number of at least 0"),
    ],
)
def test_a_budget_that_does_not_fit_is_named(agents, eps, said):
    with pytest.raises(SpecError, match=said):
        attack_search.run(replace(SPEC, eps=eps), population(agents, ENV))


def test_every_known_attack_can_be_asked_for():
    assert AttackSearchSpec(attacks=tuple(ATTACKS)).attacks == tuple(
        name for name in ATTACKS if name != "none"
    )


def test_a_search_that_was_stopped_goes_on_to_the_same_tables(found, agents, tmp_path, monkeypatch):
    def stop(update):
        if update.phase == "selecting sa-rl":
            raise KeyboardInterrupt

    def never(*_, **__):
        raise AssertionError

    with pytest.raises(KeyboardInterrupt):
        attack_search.run(SPEC, population(agents, ENV), stop, tmp_path)
    # What was learned before the stop is not learned again.
    monkeypatch.setattr(search, "_learned", never)
    monkeypatch.setattr(sarsa, "learn", never)
    for _ in "go on", "read it all again":
        again = attack_search.run(SPEC, population(agents, ENV), folder=tmp_path)
        assert_frame_equal(again.results, found.results)
        assert_frame_equal(again.tried, found.tried)
        monkeypatch.setattr(evaluation, "advance", never)


def test_a_finished_search_gives_back_its_attackers_and_trains_none(agents, tmp_path, monkeypatch):
    def never(*_, **__):
        raise AssertionError

    members = population(agents, ENV)
    fresh = attack_search.run(SPEC, members, folder=tmp_path).results.filter(episode_set="fresh")
    monkeypatch.setattr(search, "_learned", never)
    monkeypatch.setattr(sarsa, "learn", never)
    keys = jnp.broadcast_to(streams.key(SPEC.seed, "measurement"), (2,))
    ball = evaluation.for_all(Ball(jnp.asarray([0.3])), 2)
    for name in ("sarsa+mad", "sa-rl"):
        condition = Condition(attack_search.found(SPEC, members, tmp_path, name), ball)
        tally, _ = evaluation.play(ENV, Victim(agents), (condition,), keys, SPEC.episodes)
        told = fresh.filter(attack=name).sort("member")["return_mean"]
        np.testing.assert_allclose(tally.total[:, 0].mean(-1), told, rtol=1e-5)
    with pytest.raises(SpecError, match="attack: unknown name 'pa-ad'"):
        attack_search.found(SPEC, members, tmp_path, "pa-ad")


@pytest.fixture(name="kept", scope="module")
def _kept(agents, small_searches, tmp_path_factory):
    """The folder of a search that was stopped before it had anything."""
    folder = tmp_path_factory.mktemp("kept") / "attackers"

    def stop(update):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attack_search.run(SPEC, population(agents, ENV), stop, folder)
    return folder


def with_other_weights(agents):
    return agents.replace(policy=jax.tree.map(lambda leaf: leaf * (1 + 1e-6), agents.policy))


def behind_another_filter(agents):
    return agents.replace(normalizer=agents.normalizer.replace(mean=agents.normalizer.mean + 1))


@pytest.mark.parametrize(
    ("change", "victims", "said"),
    [
        ({"episodes": 7}, {}, "episodes is 7, but what is kept in .*attackers was begun with 6"),
        ({"eps": (0.2,)}, {}, "eps is 0.2, .* begun with 0.3"),
        ({"chunk": 9}, {}, "chunk is 9, .* begun with 72"),
        ({}, {"agents": with_other_weights}, "agents is [0-9a-f]{64}, .* begun with [0-9a-f]{64}"),
        ({}, {"agents": behind_another_filter}, "agents is [0-9a-f]{64}, .* begun with [0-9a-f]{64}"),
        (
            {},
            {"env": replace(ENV, task="probe/other")},
            "task is probe/other, .* with",
        ),
        ({}, {"rows": np.array([1])}, "members is 1, .* begun with 2"),
        ({}, {"rows": np.array([1, 0])}, "agents is [0-9a-f]{64}, .* begun with [0-9a-f]{64}"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_kept_of_another_search_is_refused_with_the_field(agents, kept, change, victims, said):
    spec, before = replace(SPEC, **change), sorted(kept.rglob("*"))
    attack_search.check_resumable(kept, SPEC, population(agents, ENV))
    others = population(victims.get("agents", lambda same: same)(agents), victims.get("env", ENV))
    others = others.of(victims.get("rows", np.array([0, 1])))
    for again in (
        partial(attack_search.check_resumable, kept, spec, others),
        partial(attack_search.run, spec, others, folder=kept),
        partial(attack_search.found, spec, others, kept, "sa-rl"),
    ):
        with pytest.raises(SpecError, match=f"^resume: {said}"):
            again()
    assert sorted(kept.rglob("*")) == before


def test_a_folder_that_does_not_say_what_it_is_of_is_refused(agents, kept, tmp_path):
    victims = population(agents, ENV)
    (tmp_path / "sa-rl").mkdir()
    with pytest.raises(SpecError, match=r"^resume: .* holds no asked.json, which says of what its files are"):
        attack_search.run(SPEC, victims, folder=tmp_path)
    # A claim that was stopped has claimed nothing.
    (tmp_path / "sa-rl").rename(tmp_path / "asked.json.part")
    attack_search.check_resumable(tmp_path, SPEC, victims)


def test_critics_are_kept_victim_by_victim(agents, tmp_path, monkeypatch):
    spec, learned, train_one = replace(SPEC, attacks="sarsa"), [], sarsa.train_one

    def counted(env, victim, *rest):
        learned.append(victim)
        return train_one(env, victim, *rest)

    def stop(update):
        if update.phase == "learning sarsa" and update.steps_done:
            raise KeyboardInterrupt

    monkeypatch.setattr(sarsa, "train_one", counted)
    whole = attack_search.run(spec, population(agents, ENV))
    assert len(learned) == 2
    with pytest.raises(KeyboardInterrupt):
        attack_search.run(spec, population(agents, ENV), stop, tmp_path)
    assert len(learned) == 3
    again = attack_search.run(spec, population(agents, ENV), folder=tmp_path)
    assert len(learned) == 4
    for one, other in zip(whole, again, strict=True):
        assert_frame_equal(one, other)


def test_a_policy_that_draws_is_met_by_every_attacker_and_in_every_training(agents, monkeypatch):
    worlds, world = [], search.adversary_environment

    def noted(*arguments, **how):
        worlds.append(how)
        return world(*arguments, **how)

    monkeypatch.setattr(search, "adversary_environment", noted)
    spec = replace(SPEC, attacks="random,sa-rl", policy="sampled")
    found = attack_search.run(spec, population(agents, ENV)).results
    assert worlds and all(how == {"sampled": True} for how in worlds)
    assert set(found["policy"]) == {"sampled"}
    # The clean fresh episodes are those of the policy that draws, with the key of the measurement.
    keys = jnp.broadcast_to(streams.key(spec.seed, "measurement"), (2,))
    clean = Condition(attacks.Nothing(), Ball(jnp.zeros(1)), "sampled")
    tally, _ = evaluation.play(ENV, Victim(agents), (evaluation.for_all(clean, 2),), keys, spec.episodes)
    rows = found.filter(attack="none", episode_set="fresh").sort("member")
    np.testing.assert_allclose(rows["return_mean"], tally.total[:, 0].mean(-1), rtol=1e-5)
