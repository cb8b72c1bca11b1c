"""Every option of an attack search acts, and rows of its tables are computed again from lower calls."""

from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
from scipy import stats

from jaxprune import SweepSpec, attack_search, attacks, evaluation, streams
from jaxprune.attack_search import EFFORTS, AttackSearchSpec, Effort, effort
from jaxprune.attacks import ATTACKS, CRITICS, NOTHING, TRAINING, Rule, SarsaMad, Victim
from jaxprune.budget import Ball, Budget
from jaxprune.envs import make
from jaxprune.envs.probes import HORIZON
from jaxprune.evaluation import STEPS_AT_ONCE, Condition
from jaxprune.policy import Agent
from jaxprune.policy import agent as policies
from jaxprune.policy.normalizer import Normalizer
from jaxprune.training import sarsa, search
from tests import lines
from tests.populations import population

ENV = make("probe/linear")
RECIPE = effort.RECIPE.replace(environments=2, unroll=32, epochs=1, minibatches=1, hidden=(4,))
STUDY = sarsa.Study(environments=4, unroll=32, passes=2, minibatches=2, hidden=(8,))
ADVERSARY_SETTINGS = search.grid((1,), (0.2,), (0,), (1e-2, 3e-1), (3e-4,))
CRITIC_SETTINGS = sarsa.grid(eps=(0.1,), weight=(0.1, 1.0))
MEMBER = 2
"""Seed 1 at sparsity 0 of two seeds and two sparsities: neither the first nor the last."""


@pytest.fixture(name="little", scope="module", autouse=True)
def _little():
    """Two settings of everything, and little study."""
    with pytest.MonkeyPatch.context() as patch:
        little = Effort(ADVERSARY_SETTINGS, CRITIC_SETTINGS, recipe=RECIPE, study=STUDY)
        patch.setitem(EFFORTS, "quick", little)
        yield


@pytest.fixture(name="spec", scope="module")
def _spec(little):
    """Nothing of it is a default, but for `chunk`."""
    return AttackSearchSpec(
        attacks=("random", "mad", "sarsa+mad", "sa-rl"),
        eps=(0.4,),
        norm="l2",
        space="raw",
        episodes=4,
        selection_episodes=3,
        search="quick",
        steps=2 * 64,
        seed=5,
    )


@pytest.fixture(name="agents", scope="module")
def _agents():
    """Four random policies with filters of their own, of one hidden layer."""

    def agent(key: jax.Array, std: float) -> Agent:
        drawn = policies.init(key, 4, 1, hidden=(5,))
        last = drawn.policy["layer_1"] | {"kernel": 60.0 * drawn.policy["layer_1"]["kernel"]}
        seen = Normalizer(jnp.full(4, 0.2), jnp.full(4, std**2), jnp.ones(()))
        return drawn.replace(policy=drawn.policy | {"layer_1": last}, normalizer=seen)

    return jax.jit(jax.vmap(agent))(jax.random.split(jax.random.key(1), 4), jnp.asarray([0.5, 1.0, 2.0, 1.5]))


@pytest.fixture(name="found", scope="module")
def _found(spec, agents):
    return attack_search.run(spec, population(agents, ENV))


def one(table: pl.DataFrame, **where: object) -> dict:
    """The only row that is so, as a dictionary."""
    return table.row(by_predicate=pl.all_horizontal(pl.col(k) == v for k, v in where.items()), named=True)


@partial(jax.jit, static_argnames=("norm", "space", "domain", "episodes", "seed"))
def _returns(agent, attack, eps, norm, space, domain, episodes, seed):
    under, victim = (Condition(attack, Ball(eps[None], norm)),), Victim(agent, space)
    now = evaluation.begin(ENV, victim, under, streams.key(seed, domain), episodes)
    return evaluation.advance(ENV, victim, under, now, STEPS_AT_ONCE, 0)[0].tally.total[0]


def returns(agents: Agent, attack: Rule, domain: str, episodes: int, eps: float = 0.4) -> np.ndarray:
    """[episode], of the member under one attacker."""
    agent = jax.tree.map(lambda leaf: leaf[MEMBER], agents)
    return np.float64(_returns(agent, attack, jnp.float32(eps), "l2", "raw", domain, episodes, 5))


@pytest.fixture(name="attackers", scope="module")
def _attackers(agents, little):
    """Every attacker that the member should have met, by kind."""
    victims = Victim(agents, "raw")
    critics = sarsa.train(ENV, victims, CRITIC_SETTINGS, STUDY, 5)
    adversaries = search.train(
        ENV,
        victims,
        Ball(jnp.float32(0.4), "l2"),
        ATTACKS["sa-rl"].rule(),
        ADVERSARY_SETTINGS,
        RECIPE,
        iterations=2,
        seed=5,
        chunk=72,
    )
    critics, adversaries = jax.tree.map(lambda leaf: leaf[MEMBER], (critics, adversaries))

    def number(tree, i):
        return jax.tree.map(lambda leaf: leaf[i], tree)

    return {
        "none": [attacks.make("none")],
        "random": [attacks.make("random")],
        "mad": [attacks.make("mad")],
        "sarsa+mad": [
            SarsaMad(number(critics, c), jnp.float32(w)) for c in (0, 1) for w in (0.25, 0.5, 0.75)
        ],
        "sa-rl": [number(adversaries, i) for i in (0, 1)],
    }


@pytest.fixture(name="tried", scope="module")
def _tried(agents, attackers):
    """Returns [attacker, episode] on the selection episodes, by kind."""
    return {
        name: np.stack([returns(agents, attack, "selection", 3) for attack in kind])
        for name, kind in attackers.items()
    }


# --- the tables -----------------------------------------------------------------------------------------


def test_every_attacker_tried(found, tried):
    assert found.tried.filter(member=MEMBER)["attack"].unique(maintain_order=True).to_list() == [*tried]
    for name, total in tried.items():
        means = total.mean(-1)
        rows = found.tried.filter(member=MEMBER, attack=name)
        assert rows["attacker"].to_list() == [*range(len(means))]
        np.testing.assert_allclose(rows["return_mean"], means, rtol=1e-3)
        np.testing.assert_allclose(rows["best_of_first"], np.minimum.accumulate(means), rtol=1e-3)


def test_no_two_attackers_are_alike_so_that_none_can_take_anothers_place(tried):
    for name, total in tried.items():
        if name == "sarsa+mad":  # weights of one critic
            assert np.ptp(total[:3].mean(-1)) > 1e-3 or np.ptp(total[3:].mean(-1)) > 1e-3
        elif len(total) > 1:
            assert np.diff(np.sort(total.mean(-1))).min() > 1e-3
    strongest = np.sort([total.mean(-1).min() for total in tried.values()])
    assert np.diff(strongest).min() > 1e-3


@pytest.mark.parametrize("name", ["none", "random", "mad", "sarsa+mad", "sa-rl", "strongest"])
def test_the_results(found, agents, attackers, tried, name):
    counts = {"none": 0, "random": 1, "mad": 1, "sarsa+mad": 6, "sa-rl": 2, "strongest": 10}
    means = {kind: total.mean(-1) for kind, total in tried.items()}
    kind = name
    if name == "strongest":
        kind = min((k for k in means if k != "none"), key=lambda k: means[k].min())
    best = int(means[kind].argmin())
    fresh = returns(agents, attackers[kind][best], "measurement", 4)
    for episode_set, total in (("selection", tried[kind][best]), ("fresh", fresh)):
        row = one(found.results, member=MEMBER, attack=name, episode_set=episode_set)
        half = stats.t.ppf(0.975, len(total) - 1) * total.std(ddof=1) / np.sqrt(len(total))
        assert row["found_by"] == kind
        assert (row["norm"], row["space"], row["policy"]) == ("l2", "raw", "mode")
        wanted = {
            "eps": 0.0 if name == "none" else 0.4,
            "sparsity": 0.0,
            "episodes": len(total),
            "return_mean": total.mean(),
            "return_low": total.mean() - half,
            "return_high": total.mean() + half,
            "return_std": total.std(),
            "return_min": total.min(),
            "return_median": np.median(total),
            "length_mean": HORIZON,
            "selection_mean": means[kind][best],
            "return_median_attacker": np.median(means[kind]),
            "attackers_tried": counts[name],
            "failed": 0,
            "outside_ball": 0,
            "diverged": False,
        }
        assert {column: row[column] for column in wanted} == pytest.approx(wanted, rel=1e-3, abs=1e-3)


def test_the_tables_of_a_run_name_its_members(found, agents):
    trained = SweepSpec(env="probe/linear", seeds=2, sparsities=(0.0, 0.5), schedule="micro", scope="global")
    table, regret = attack_search.of_a_run(found.results, population(agents, ENV, trained_by=trained))
    assert set(table["attack"]) == {"none", "random", "mad", "sarsa+mad", "sa-rl"}
    row = one(table, member=MEMBER, attack="mad")
    fresh = one(found.results, member=MEMBER, attack="mad", episode_set="fresh")
    assert (row["seed"], row["sparsity_asked"]) == (1, 0.0)
    assert (row["schedule"], row["scope"], row["score"]) == ("micro", "global", "magnitude")
    assert row["return_mean"] == fresh["return_mean"]
    clean = one(found.results, member=MEMBER, attack="none", episode_set="fresh")["return_mean"]
    gap = one(regret, member=MEMBER, attack="mad")["robustness_gap"]
    assert gap == pytest.approx(clean - fresh["return_mean"])


# --- the options ----------------------------------------------------------------------------------------

CHECKS: dict[tuple[str, ...], Callable[..., None]] = {}
"""What is known of the options, by their fields."""


def option(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    def register(check: Callable[..., None]) -> Callable[..., None]:
        CHECKS[names] = check
        return check

    return register


WIDER = (1.0, 1.2, 0.9)


@option("attacks", "eps", "norm", "space")
def _(spec: AttackSearchSpec, _: Path) -> None:
    """On linear policies MAD leaves a known return, where the first action does not meet its limit."""
    change = {"eps": (0.1,), "norm": "linf", "space": "normalised", "attacks": "mad,random"}
    table = attack_search.run(replace(spec, **change), population(lines.population(*WIDER), ENV)).results
    assert table["attack"].unique(maintain_order=True).to_list() == ["none", "mad", "random", "strongest"]
    assert set(table.select("norm", "space").rows()) == {("linf", "normalised")}
    for member, wider in enumerate(WIDER):
        shift = lines.shift(0.1, "linf", "normalised", wider)
        known = HORIZON * (1 - shift**2)
        rows = {
            name: one(table, member=member, attack=name, episode_set="fresh")
            for name in ("mad", "strongest", "random")
        }
        assert rows["random"]["return_mean"] > known + 0.1
        assert rows["strongest"]["found_by"] == "mad"
        for name in ("mad", "strongest"):
            assert known - 1e-3 <= rows[name]["return_mean"] <= known + shift**2
            assert rows[name]["eps"] == pytest.approx(0.1)
    assert replace(spec, eps="0.1,0,0.3,0.2").eps == (0.1, 0, 0.3, 0.2)
    # "published" leaves a population the budget that it has.
    change = {"eps": "published", "attacks": "mad"}
    own = population(lines.population(*WIDER), ENV, Budget(0.05, "linf", "raw"))
    row = one(
        attack_search.run(replace(spec, **change), own).results, member=0, attack="mad", episode_set="fresh"
    )
    assert (row["eps"], row["norm"], row["space"]) == (0.05, "linf", "raw")


@option("episodes", "selection_episodes", "seed", "chunk")
def _(spec: AttackSearchSpec, folder: Path) -> None:
    """Of three members, two meet clean and noisy episodes side by side, and one in a second turn."""
    spec = replace(spec, attacks="random", episodes=2, selection_episodes=5, seed=6, chunk=4)
    agents = lines.population(*WIDER)
    table = attack_search.run(spec, population(agents, ENV), folder=folder).results
    assert len([*(folder / "fresh-returns").iterdir()]) == 2
    agent = jax.tree.map(lambda leaf: leaf[1], agents)
    noise, eps = attacks.make("random"), jnp.float32(0.4)
    for episode_set, domain, count in (("selection", "selection", 5), ("fresh", "measurement", 2)):
        row = one(table, member=1, attack="random", episode_set=episode_set)
        total = _returns(agent, noise, eps, "l2", "raw", domain, count, 6)
        assert row["episodes"] == count
        assert row["return_mean"] == pytest.approx(float(total.mean()), rel=1e-4)
        assert row["return_min"] == pytest.approx(float(total.min()), rel=1e-4)


@option("policy")
def _(spec: AttackSearchSpec, _: Path) -> None:
    """What it changes in the training and the measuring of attackers is in `test_procedure`."""
    agents = population(lines.population(*WIDER), ENV)
    mode, sampled = (
        attack_search.run(replace(spec, attacks="random", policy=policy), agents).results
        for policy in ("mode", "sampled")
    )
    assert set(mode["policy"]) == {"mode"} and set(sampled["policy"]) == {"sampled"}
    assert (mode["return_mean"] != sampled["return_mean"]).all()


@option("search")
def _(spec: AttackSearchSpec, _: Path) -> None:
    for name, adversaries, critics in (("quick", 2, 2), ("small", 12, 4), ("published", 216, 30)):
        chosen = replace(spec, search=name, steps=2048)
        assert [chosen.attackers(kind) for kind in ("sa-rl", "pa-ad", "sarsa", "sarsa+mad")] == [
            adversaries,
            adversaries,
            critics,
            3 * critics,
        ]
    for name, attack in ATTACKS.items():
        critics = 2 * max(1, len(attack.settings))
        assert spec.attackers(name) == {NOTHING: 1, CRITICS: critics, TRAINING: 2}[attack.needs]


@option("steps")
def _(spec: AttackSearchSpec, _: Path) -> None:
    """An iteration takes 2 x 32 steps of each of the two adversaries of each of three members."""
    for steps, iterations in ((64, 1), (127, 1), (192, 3)):
        longer = replace(spec, steps=steps, attacks="sa-rl")
        assert longer.iterations == iterations
        trained = attack_search.total_steps(longer, ENV, 3) - 3 * (3 * 3 + 2 * 4) * HORIZON
        assert trained == 3 * 2 * iterations * 64


@option("rungs", "rung_episodes", "warm_starts", "transfer")
def _(spec: AttackSearchSpec, _: Path) -> None:
    """What each adds to the plan and to the counts; what they bring is in `test_halving`."""
    plain = replace(spec, steps=4 * 64, attacks="sa-rl")
    halved = replace(plain, rungs=2, rung_episodes=5)
    assert (plain.rung_sizes, plain.rung_steps) == ((2,), (256,))
    assert (halved.rung_sizes, halved.rung_steps) == ((2, 1), (128, 256))
    steps = [attack_search.total_steps(each, ENV, 1) for each in (plain, halved)]
    # One stops; selected on is the other, and whichever was stronger when the rung ended.
    assert steps[0] - steps[1] == 2 * 64 - 2 * 5 * HORIZON
    warm = replace(halved, warm_starts=True)
    assert (warm.attackers("sa-rl"), halved.attackers("sa-rl")) == (3, 2)
    assert warm.training_steps - halved.training_steps == warm.warm_steps == 128
    moved = replace(halved, transfer=True)
    assert attack_search.total_steps(moved, ENV, 1, 6) - steps[1] == 6 * 4 * HORIZON


def test_every_option_is_checked():
    """Whoever adds a field says here which number it changes."""
    assert sorted(name for names in CHECKS for name in names) == sorted(
        field.name for field in fields(AttackSearchSpec)
    )


@pytest.mark.parametrize("names", CHECKS, ids=",".join)
def test_the_options_act(names, spec, tmp_path):
    CHECKS[names](spec, tmp_path)
