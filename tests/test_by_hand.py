"""One row of each table of a sweep, computed again from the calls below it.

The member is neither of the first seed nor of the first or last sparsity, the ball is an l2 ball in raw units
with two budgets: a swapped axis, label or option leads to other numbers.
"""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

import jaxprune as jp
from jaxprune import attacks, evaluation, streams
from jaxprune.attacks import Mad, Victim
from jaxprune.bounds.catalogue import at_every_state, at_one_state
from jaxprune.budget import Ball
from jaxprune.certification import visited
from jaxprune.certification.policy import distances
from jaxprune.envs.probes import HORIZON
from jaxprune.evaluation import Condition
from jaxprune.policy import Agent
from jaxprune.population import environment
from jaxprune.pruning import masks, schedule, score
from jaxprune.training import learner as learners
from jaxprune.training.ppo import Hyperparameters

SPEC = jp.SweepSpec(
    env="probe/linear",
    sparsities=(0.0, 0.5, 0.75),
    seeds=2,
    steps=3 * 64,
    schedule="micro",
    attacks=("random", "mad"),
    eps=(0.4, 0.1),
    norm="l2",
    space="raw",
    episodes=3,
    selection_episodes=2,
    certify_episodes=2,
    hidden=(6,),
    environments=2,
    unroll=32,
    epochs=2,
    minibatches=2,
    learning_rate=0.02,
    discount=0.9,
    gae_lambda=0.8,
)
MEMBER, SEED, SPARSITY, TWIN = 4, 1, 0.5, 3
ENV = environment(SPEC)


@pytest.fixture(name="sweep", scope="module")
def _sweep() -> jp.Sweep:
    return jp.sweep.run(SPEC)


def agent_of(sweep: jp.Sweep, member: int = MEMBER) -> Agent:
    return jax.tree.map(lambda leaf: leaf[member], sweep.population.agents)


@cache
def alone() -> tuple[learners.Learner, learners.Progress]:
    """The member trained by itself, and the progress [iteration]."""
    hyper = Hyperparameters(
        learning_rate=0.02,
        anneal=1.0,
        discount=0.9,
        gae_lambda=0.8,
        clip=0.2,
        entropy_weight=0.0,
        value_weight=0.5,
        max_gradient_norm=0.5,
    )
    recipe = learners.Recipe(
        environments=2,
        unroll=32,
        epochs=2,
        minibatches=2,
        hidden=(6,),
        activation="tanh",
        schedule=schedule("micro"),
        score=score("magnitude"),
        scope="layer",
    )

    @jax.jit
    def train() -> tuple[learners.Learner, learners.Progress]:
        first = learners.init(
            ENV,
            recipe,
            streams.key(SEED, "training"),
            jnp.float32(SPARSITY),
            jax.tree.map(jnp.float32, hyper),
        )
        return jax.lax.scan(
            lambda now, i: learners.iterate(ENV, recipe, now, i, 3), first, jnp.arange(3, dtype=jnp.int32)
        )

    return train()


@partial(jax.jit, static_argnames=("attack", "policy", "domain", "episodes"))
def _played(agent, eps, attack, policy, domain, episodes):
    under = (Condition(attacks.make(attack), Ball(eps[None], "l2"), policy),)
    victim = Victim(agent, "raw")
    now = evaluation.begin(ENV, victim, under, streams.key(SEED, domain), episodes)
    return evaluation.advance(ENV, victim, under, now, evaluation.STEPS_AT_ONCE, episodes)


def returns(sweep: jp.Sweep, attack: str, eps: float, member: int = MEMBER) -> np.ndarray:
    """[episode], of a member of the seed under one attack and budget alone."""
    now, _ = _played(agent_of(sweep, member), jnp.float32(eps), attack, "mode", "evaluation", 5)
    return np.float64(now.tally.total[0])


def one(table: pl.DataFrame, **where: object) -> dict:
    """The only row that is so, as a dictionary."""
    return table.row(by_predicate=pl.all_horizontal(pl.col(k) == v for k, v in where.items()), named=True)


CELLS = [("none", 0.0), ("random", 0.4), ("random", 0.1), ("mad", 0.4), ("mad", 0.1)]


def test_the_member_is_the_one_trained_alone(sweep: jp.Sweep) -> None:
    learner, _ = alone()
    for found, wanted in zip(jax.tree.leaves(agent_of(sweep)), jax.tree.leaves(learner.agent), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)


def test_the_curves(sweep: jp.Sweep) -> None:
    learner, progress = alone()
    for iteration in range(3):
        row = one(sweep.curves, member=MEMBER, iteration=iteration + 1)
        assert row.pop("arm") == "ppo"
        wanted = {
            "member": MEMBER,
            "seed": SEED,
            "sparsity_asked": SPARSITY,
            "iteration": iteration + 1,
            "env_steps": 64 * (iteration + 1),
            "return_mean": float(progress.return_sum[iteration]) / 2,  # one episode in each environment
            "length_mean": HORIZON,
            "sparsity": float(progress.sparsity[iteration]),
            "failed": 0,
            "diverged": False,
        } | {
            name: float(getattr(progress.update, name)[iteration])
            for name in ("policy_loss", "value_loss", "entropy", "kl", "clip_fraction")
        }
        assert row == pytest.approx(wanted, rel=1e-3, abs=1e-4)
    # 4 x 6 and 6 x 1 weights, half of each
    assert row["sparsity"] == pytest.approx((12 + 3) / 30)
    assert float(masks.sparsity(learner.agent.mask)) == pytest.approx(0.5)


@pytest.mark.parametrize(("attack", "eps"), CELLS)
def test_the_results_and_the_episodes(sweep: jp.Sweep, attack: str, eps: float) -> None:
    total = returns(sweep, attack, eps)
    fresh, chosen_on = total[:3], total[3:]
    wanted = {
        "member": MEMBER,
        "task": "probe/linear",
        "physics": "none",
        "arm": "ppo",
        "schedule": "micro",
        "score": "magnitude",
        "scope": "layer",
        "seed": SEED,
        "sparsity_asked": SPARSITY,
        "sparsity": 0.5,
        "attack": attack,
        "norm": "l2",
        "space": "raw",
        "eps": eps,
        "episodes": 3,
        "return_mean": fresh.mean(),
        "return_std": fresh.std(),
        "return_min": fresh.min(),
        "return_median": np.median(fresh),
        "length_mean": HORIZON,
        "failed": 0,
        "outside_ball": 0,
        "attackers_tried": 0 if attack == "none" else 1,
        "selection_mean": chosen_on.mean(),
        "policy": "mode",
        "charge": "clipped",
        "diverged": False,
    }
    row = one(sweep.results, member=MEMBER, attack=attack, eps=eps)
    words = {name: value for name, value in wanted.items() if isinstance(value, str)}
    assert {name: row.pop(name) for name in words} == words
    numbers = {name: value for name, value in wanted.items() if name not in words}
    assert row == pytest.approx(numbers, rel=1e-4, abs=1e-4)
    for episode in range(5):
        row = one(sweep.episodes, member=MEMBER, attack=attack, eps=eps, episode=episode)
        assert row.pop("return") == pytest.approx(total[episode], rel=1e-4)
        assert row == {
            "member": MEMBER,
            "attack": attack,
            "eps": eps,
            "episode_set": "fresh" if episode < 3 else "selection",
            "episode": episode,
            "length": HORIZON,
            "terminated": False,
            "failed": False,
        }


def test_the_rows_differ_so_that_no_two_can_be_swapped(sweep: jp.Sweep) -> None:
    means = np.array([returns(sweep, attack, eps)[:3].mean() for attack, eps in CELLS])
    means = np.append(means, sweep.results.filter(pl.col("member") != MEMBER)["return_mean"])
    assert np.diff(np.sort(means)).min() > 1e-3


@pytest.mark.parametrize("attack", ["random", "mad", "strongest"])
def test_the_regret(sweep: jp.Sweep, attack: str) -> None:
    eps = 0.4
    clean, dense = (returns(sweep, "none", 0.0, member)[:3].mean() for member in (MEMBER, TWIN))
    played = {name: returns(sweep, name, eps) for name in ("random", "mad")}
    used = min(played, key=lambda name: played[name][3:].mean()) if attack == "strongest" else attack
    attacked, dense_attacked = played[used][:3].mean(), returns(sweep, used, eps, TWIN)[:3].mean()
    if attack == "strongest":
        of_twin = {name: returns(sweep, name, eps, TWIN) for name in ("random", "mad")}
        dense_attacked = min(of_twin.values(), key=lambda total: total[3:].mean())[:3].mean()
    everyone = sweep.results.filter(attack="none")
    best = everyone.row(everyone["selection_mean"].arg_max(), named=True)["return_mean"]
    row = one(sweep.regret, member=MEMBER, attack=attack, eps=eps)
    wanted = {
        "best_return": best,
        "clean_return": clean,
        "attacked_return": attacked,
        "dense_clean_return": dense,
        "dense_attacked_return": dense_attacked,
        "clean_regret": best - dense,
        "pruning_loss": dense - clean,
        "robustness_gap": clean - attacked,
        "total": best - attacked,
        "robustness_gain": (dense - dense_attacked) - (clean - attacked),
    }
    assert {name: row[name] for name in wanted} == pytest.approx(wanted, rel=1e-4, abs=1e-3)
    assert (row["seed"], row["sparsity_asked"], row["norm"], row["space"]) == (SEED, SPARSITY, "l2", "raw")


@cache
def seen_in(sweep: jp.Sweep) -> tuple[evaluation.Evaluation, evaluation.Visits]:
    return _played(agent_of(sweep), jnp.float32(0.0), "none", "sampled", "visits", 2)


@pytest.fixture(autouse=True)
def _hashable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrays of a sweep have no hash, the sweep itself is one object."""
    monkeypatch.setattr(jp.Sweep, "__hash__", object.__hash__)


def test_the_sampled_episodes(sweep: jp.Sweep) -> None:
    total = np.float64(seen_in(sweep)[0].tally.total[0])
    row = one(sweep.sampled, member=MEMBER)
    assert (row.pop("policy"), row.pop("arm")) == ("sampled", "ppo")
    assert row == pytest.approx(
        {
            "member": MEMBER,
            "seed": SEED,
            "sparsity_asked": SPARSITY,
            "episodes": 2,
            "return_mean": total.mean(),
            "return_std": total.std(),
            "length_mean": HORIZON,
            "diverged": False,
        },
        rel=1e-4,
    )


@jax.jit
def bounded(agent, std, observation, eps):
    """(each bound as tables print it, every bound at each state, the smallest)"""
    far = distances(agent, std, observation, eps, norm="l2", space="raw")
    local = {name: bound[:HORIZON].mean() for name, bound in far.visited.items()}
    return far.everywhere | local, far.at_states(), far.tightest()


@pytest.mark.parametrize("eps", SPEC.eps)
def test_the_certificates(sweep: jp.Sweep, eps: float) -> None:
    agent, twin, (_, visits) = agent_of(sweep), agent_of(sweep, TWIN), seen_in(sweep)
    learner, _ = alone()
    ones, radius = jnp.ones(1), jnp.float32(eps)
    spreads = {"delta": jnp.exp(agent.log_std), "delta_action": ones, "delta_dense": jnp.exp(twin.log_std)}
    rows = sweep.certificates.filter(member=MEMBER, eps=eps)
    assert set(rows.select("seed", "sparsity_asked", "sparsity", "norm", "space").rows()) == {
        (SEED, SPARSITY, 0.5, "l2", "raw")
    }
    for quantity, std in spreads.items():
        pruned, at_states, tightest = bounded(agent, std, visits.observation, radius)
        whole = bounded(learner.agent.unmasked(), std, visits.observation, radius)[0]
        assert set(pruned) == {*at_every_state("tanh"), *at_one_state("tanh")}
        for bound, value in pruned.items():
            row = one(rows, quantity=quantity, bound=bound)
            assert row["value"] == pytest.approx(float(value), rel=1e-4), (bound, quantity)
            if quantity != "delta_dense":
                assert row["unmasked"] == pytest.approx(float(whole[bound]), rel=2e-3), (bound, quantity)
        expected = {name: F(values, visits) for name, values in (at_states | {"tightest": tightest}).items()}
        if quantity == "delta":
            for bound, value in expected.items():
                assert one(rows, quantity="tv", bound=bound)["value"] == pytest.approx(value, rel=1e-4)
        if quantity == "delta_dense":
            row = one(rows, quantity="tv_dense", bound="tightest")
            assert row["value"] == pytest.approx(expected["tightest"], rel=1e-4)
    assert one(rows, quantity="delta", bound="mad")["value"] == pytest.approx(
        found(agent, visits, eps), rel=1e-3
    )


def F(distance: jax.Array, visits: evaluation.Visits) -> float:
    """E_{s ~ d}[TV] = mean over episodes of 0.1 sum_t 0.9^t TV(s_t), with TV = erf(distance / sqrt 8)."""
    tv = np.where(visits.alive, jax.scipy.special.erf(distance / np.sqrt(8)), 0.0)
    return float((0.1 * 0.9 ** np.arange(len(tv)) @ tv).mean())


def found(agent: Agent, visits: evaluation.Visits, eps: float) -> float:
    """The mean over the states of the largest distance of five searches at each."""
    keys = jax.random.split(streams.key(SEED, "certification"), visits.alive.shape)
    search = partial(
        visited.largest_distance, Victim(agent, "raw"), ball=Ball(eps, "l2"), search=Mad(), starts=5
    )
    values = jax.jit(jax.vmap(jax.vmap(search)))(visits.observation, keys)
    return float(values[:HORIZON].mean())


def test_the_value_gap_lies_between_its_mean_and_the_widest_limit(sweep: jp.Sweep) -> None:
    """Rewards span [0, 1]: gap = 100 x a limit on F, which is above its mean and at most 1."""
    for eps in SPEC.eps:
        rows = sweep.certificates.filter(member=MEMBER, eps=eps)
        f = one(rows, quantity="tv", bound="tightest")["value"]
        gap = one(rows, quantity="return", bound="value_gap")
        assert 100 * f * (1 - 1e-4) <= gap["value"] <= 100 * (1 + 1e-4)
        horizon = one(rows, quantity="return", bound="horizon_gap")["value"]
        assert 0 < horizon <= HORIZON * (HORIZON + 1) / 2 * (1 + 1e-4)
