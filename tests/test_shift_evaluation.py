"""A population under shifted dynamics: its table by hand, its points, and every option of the spec."""

from collections.abc import Callable
from dataclasses import fields, replace
from functools import cache

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import jaxprune as jp
from jaxprune import envs, evaluation, shift_evaluation, streams
from jaxprune.analysis import SHIFT_SUMMARY, SHIFTS
from jaxprune.attacks import Nothing, Victim
from jaxprune.budget import Ball
from jaxprune.envs import PARAMETERS, Shift
from jaxprune.envs.mujoco.model import load
from jaxprune.evaluation import Condition, Tally, for_all
from jaxprune.policy import Agent
from jaxprune.policy import agent as agents
from jaxprune.population import prune
from jaxprune.shift_evaluation import ShiftSpec, shifts_table
from tests import lines
from tests.compiled import as_users_compile
from tests.populations import population

HORIZON = 20
ENV = envs.make("hopper", "native", horizon=HORIZON)
RESET = jax.jit(ENV.reset)
SPEC = ShiftSpec(parameters="mass,gear", factors="0.5,1,2", draws=2, episodes=2, seed=3)


def of_the_hopper(diverged: np.ndarray | None = None) -> jp.Population:
    """Two seeds, dense and pruned to a half, whose weights are large enough to move."""

    def one(key: jax.Array, sparsity: jax.Array) -> agents.Agent:
        agent = agents.init(key, 11, 3, discrete=False, hidden=(6,), activation="tanh")
        return prune(agent.replace(policy=jax.tree.map(lambda leaf: 3 * leaf, agent.policy)), sparsity)

    keys = jax.random.split(jax.random.key(0), 2)[np.array([0, 0, 1, 1])]
    everyone = jax.vmap(one)(keys, jnp.asarray([0.0, 0.5, 0.0, 0.5]))
    spec = jp.SweepSpec(env="hopper", seeds=2, sparsities=(0.0, 0.5))
    return population(everyone, ENV, trained_by=spec, diverged=diverged)


@cache
def evaluated(spec: ShiftSpec = SPEC) -> shift_evaluation.ShiftEvaluation:
    return shift_evaluation.run(spec, of_the_hopper())


@jax.jit
def action_of(agent: Agent, observation: jax.Array) -> jax.Array:
    """What the pruned agent does, within [-1, 1]."""
    victim = Victim(agent.pruned(), "normalised")
    return jnp.clip(victim.distribution(victim.to_space(observation)).mode(), -1, 1)


def by_hand(member: int, factors: dict[str, float], seed: int, episodes: int) -> list[float]:
    """Returns of the member, by MuJoCo's loop over a changed model and the hopper's reward written out."""
    body = load("hopper.xml")
    body.body_mass *= factors["mass"]
    body.body_inertia *= factors["mass"]
    body.geom_friction *= factors["friction"]
    body.opt.gravity *= factors["gravity"]
    body.dof_damping *= factors["damping"]
    body.actuator_gear *= factors["gear"]
    mujoco.mj_setConst(body, mujoco.MjData(body))
    agent = jax.tree.map(lambda leaf: leaf[member], of_the_hopper().agents)
    reset_key = jax.random.split(streams.key(seed, "shifted"), 3)[0]
    returns = []
    for key in jax.random.split(reset_key, episodes):
        start, total = RESET(key).physics, 0.0
        qpos, qvel = np.asarray(start.qpos), np.asarray(start.qvel)
        for _ in range(HORIZON):
            action = np.asarray(action_of(agent, np.concatenate([qpos[1:], np.clip(qvel, -10, 10)])))
            data = mujoco.MjData(body)
            data.qpos[:], data.qvel[:], data.ctrl[:] = qpos, qvel, action
            mujoco.mj_step(body, data, nstep=4)
            before, qpos, qvel = qpos[0], data.qpos.astype(np.float32), data.qvel.astype(np.float32)
            total += (qpos[0] - before) / 0.008 + 1.0 - 1e-3 * float((action**2).sum())
            if not (qpos[1] > 0.7 and abs(qpos[2]) < 0.2):
                break
        returns.append(total)
    return returns


def test_every_row_is_what_plain_mujoco_says():
    table = evaluated().shifts
    assert table.schema == SHIFTS and table.height == 4 * (1 + 2 * 3 + 2)
    assert table["return_mean"].n_unique() > 4 * 6
    for row in table.filter(pl.col("member").is_in([0, 3])).iter_rows(named=True):
        returns = by_hand(row["member"], {name: np.float32(row[name]) for name in PARAMETERS}, 3, 2)
        assert row["return_mean"] == pytest.approx(np.mean(returns), rel=1e-4)
        assert row["return_min"] == pytest.approx(min(returns), rel=1e-4)
        assert row["return_median"] == pytest.approx(np.median(returns), rel=1e-4)
        assert row["return_std"] == pytest.approx(np.std(returns), rel=1e-2, abs=1e-4)
        assert row["failed"] == 0 and row["episodes"] == 2 and row["policy"] == "mode"
    assert table.filter(member=3)["sparsity"].unique().to_list() == [pytest.approx(0.5, abs=0.03)]
    assert table.select("member", "seed", "sparsity_asked").unique().sort("member").rows() == [
        (0, 0, 0.0),
        (1, 0, 0.5),
        (2, 1, 0.0),
        (3, 1, 0.5),
    ]


def test_the_points_of_a_member():
    rows = evaluated().shifts.filter(member=1)
    assert rows.select("parameter", "factor", "point").rows() == [
        ("nominal", 1.0, 0),
        ("mass", 0.5, 1),
        ("mass", 1.0, 0),
        ("mass", 2.0, 2),
        ("gear", 0.5, 3),
        ("gear", 1.0, 0),
        ("gear", 2.0, 4),
        ("joint", None, 5),
        ("joint", None, 6),
    ]
    nominal = rows.filter(point=0)
    assert nominal["return_mean"].n_unique() == 1
    for name in PARAMETERS:
        alone = rows.filter(pl.col("parameter").is_in([name]))
        assert alone[name].to_list() == alone["factor"].to_list()
        assert set(rows.filter(~pl.col("parameter").is_in([name, "joint"]))[name]) == {1.0}
    joint = rows.filter(parameter="joint")
    assert joint.select("friction", "gravity", "damping").unique().rows() == [(1.0, 1.0, 1.0)]
    assert joint["mass"].is_between(0.5, 2).all() and joint["mass"].n_unique() == 2


def test_the_default_grid_is_the_published_recommendation():
    spec = ShiftSpec()
    assert spec.count == 1 + 5 * 6 + 64
    assert [factor for _, factor in spec.grid[1:8]] == [0.5, 0.7, 0.85, 1, 1.15, 1.4, 2]
    assert all(leaf.shape == (95,) and leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(spec.points))


def test_the_summary_counts_every_point_once():
    table, summary, _ = evaluated()
    assert summary.schema == SHIFT_SUMMARY and summary.height == 4
    for row in summary.iter_rows(named=True):
        rows = table.filter(member=row["member"]).unique("point").sort("point")
        returns = rows["return_mean"].to_numpy()
        assert row["points"] == returns.size == 7
        assert row["nominal"] == returns[0]
        assert row["mean"] == pytest.approx(returns.mean())
        assert row["quantile_10"] == pytest.approx(np.quantile(returns, 0.1))
        assert row["worst"] == returns.min() and row["worst_point"] == returns.argmin()


def test_turns_change_nothing(monkeypatch):
    monkeypatch.setattr(shift_evaluation, "AT_ONCE", 3 * 4 * 2)
    in_turns = shift_evaluation.run(SPEC, of_the_hopper())
    # other programs, whose matrix products round otherwise
    assert_frame_equal(in_turns.shifts, evaluated().shifts, rel_tol=1e-5, abs_tol=1e-4)


def test_members_in_chunks_change_nothing():
    spec = replace(SPEC, parameters="mass", draws=0)
    with as_users_compile():
        at_once, in_chunks = (shift_evaluation.run(spec, of_the_hopper(), chunk=n) for n in (None, 2))
    for one, other in zip(in_chunks, at_once, strict=True):
        assert_frame_equal(one, other, check_exact=True)
    with pytest.raises(jp.SpecError, match="chunk: 1 must be at least 2"):
        shift_evaluation.run(SPEC, of_the_hopper(), chunk=1)


def test_progress_counts_the_steps_that_are_played():
    said = []
    found = shift_evaluation.run(SPEC, of_the_hopper(), said.append)
    points = found.shifts.unique(["member", "point"])
    assert said[-1].steps_done == points.select((pl.col("length_mean") * pl.col("episodes")).sum()).item()
    assert said[-1].steps_done <= shift_evaluation.total_steps(SPEC, ENV, 4) == 4 * 7 * 2 * HORIZON
    assert said[0].phase == "shifts 1 to 7 of 7"


def test_a_diverged_member_is_played_and_marked():
    lost = np.array([False, True, False, False])
    found = shift_evaluation.run(SPEC, of_the_hopper(lost))
    assert found.summary["diverged"].to_list() == lost.tolist()
    assert found.shifts.drop("diverged").equals(evaluated().shifts.drop("diverged"))


def test_verdicts_have_the_error_of_the_run():
    """Two pairs decide at an error of 0.5, and not at the default one."""
    everyone = of_the_hopper()
    assert everyone.trained_by is not None
    lenient = replace(everyone, trained_by=replace(everyone.trained_by, verdict_error=0.5))
    found = shift_evaluation.run(SPEC, lenient).verdicts
    assert found.height == 2 and found["p"].null_count() == 0
    assert evaluated().verdicts["p"].null_count() == 2


def test_every_number_of_a_row_is_of_its_member_and_point():
    """From a handmade tally, in which no two numbers are the same."""
    shape = (4, SPEC.count, SPEC.episodes)
    total, length, failed, outside = (
        np.random.default_rng(i).permutation(np.prod(shape)).reshape(shape) for i in range(4)
    )
    no = total < 0
    low, high = np.float32(total) - 1000, np.float32(total) + 1000
    tally = Tally(no, np.float32(total), length, ~no, failed, outside, low, high)
    lost = np.array([False, False, True, False])
    for row in shifts_table(SPEC, of_the_hopper(lost), tally).iter_rows(named=True):
        place = row["member"], row["point"]
        assert row["return_mean"] == total[place].mean() and row["return_std"] == total[place].std()
        assert row["return_min"] == total[place].min() and row["return_median"] == np.median(total[place])
        assert row["length_mean"] == length[place].mean() and row["failed"] == failed[place].sum()
        assert row["diverged"] == (row["member"] == 2)
        assert (row["task"], row["physics"], row["charge"]) == ("hopper", "native", "clipped")


def test_a_probe_is_refused():
    with pytest.raises(jp.SpecError, match="shift: probe/linear on none has no body"):
        shift_evaluation.run(SPEC, population(lines.population(1.0), envs.make("probe/linear")))


# --- `evaluation.play` under given shifts ------------------------------------------------------------


def played(*conditions: Condition, episodes: int = 3) -> evaluation.Tally:
    everyone = of_the_hopper()
    keys = jnp.broadcast_to(jax.random.key(5), (4,))
    victims = Victim(everyone.agents, "normalised")
    return evaluation.play(ENV, victims, for_all(conditions, 4), keys, episodes)[0]


def test_every_budget_or_every_episode_may_have_its_shift():
    factors = np.array([[0.5, 1.0, 2.0], [2.0, 0.7, 1.0]], np.float32)
    of_each = Condition(Nothing(), Ball(jnp.zeros(2)), shifts=Shift(mass=factors).broadcast_to(2, 3))
    found = played(of_each)
    for budget, episode in np.ndindex(factors.shape):
        shift = Shift(mass=factors[budget, episode]).broadcast_to(1)
        alone = played(Condition(Nothing(), Ball(jnp.zeros(1)), shifts=shift))
        np.testing.assert_array_equal(alone.total[:, 0, episode], found.total[:, budget, episode])


def test_conditions_with_and_without_shifts_stand_side_by_side():
    plain = Condition(Nothing(), Ball(jnp.zeros(1)))
    heavy = Condition(Nothing(), Ball(jnp.zeros(1)), shifts=Shift(mass=1.4).broadcast_to(1))
    both, one, other = played(plain, heavy), played(plain), played(heavy)
    np.testing.assert_array_equal(both.total, np.concatenate([one.total, other.total], axis=1))
    assert np.abs(one.total - other.total).max() > 1e-3


def test_play_refuses_what_is_no_physics():
    with pytest.raises(jp.SpecError, match="friction: a factor of -1"):
        played(Condition(Nothing(), Ball(jnp.zeros(1)), shifts=Shift(friction=-1.0).broadcast_to(1)))


# --- the options ------------------------------------------------------------

CHECKS: dict[str, Callable[[], None]] = {}


def option(check: Callable[[], None]) -> Callable[[], None]:
    CHECKS[check.__name__] = check
    return check


def parameters_and_factors(spec: ShiftSpec) -> tuple[list[str], list[float]]:
    rows = evaluated(spec).shifts.filter(member=0).filter(~pl.col("parameter").is_in(["nominal", "joint"]))
    return rows["parameter"].unique(maintain_order=True).to_list(), rows["factor"].to_list()


@option
def parameters() -> None:
    spec = replace(SPEC, parameters="friction, gravity")
    assert parameters_and_factors(spec)[0] == ["friction", "gravity"]
    joint = evaluated(spec).shifts.filter(parameter="joint")
    assert set(joint["mass"]) == {1.0} and 1.0 not in set(joint["friction"])


@option
def factors() -> None:
    spec = replace(SPEC, factors="0.8:1.2:0.2")
    assert parameters_and_factors(spec)[1] == [0.8, 1.0, 1.2] * 2
    assert evaluated(spec).shifts.filter(parameter="joint")["mass"].is_between(0.8, 1.2).all()


@option
def draws() -> None:
    without, more = evaluated(replace(SPEC, draws=0)), evaluated(replace(SPEC, draws=3))
    assert without.shifts.filter(parameter="joint").is_empty()
    assert more.shifts.filter(parameter="joint", member=0).height == 3
    on_axes = evaluated().shifts.filter(pl.col("parameter") != "joint")
    assert_frame_equal(without.shifts, on_axes, rel_tol=1e-5, abs_tol=1e-4)


@option
def episodes() -> None:
    more = evaluated(replace(SPEC, episodes=3)).shifts
    assert more["episodes"].unique().to_list() == [3]
    row = more.row(1, named=True)
    returns = by_hand(0, dict.fromkeys(PARAMETERS, 1.0) | {"mass": 0.5}, 3, 3)
    assert row["return_mean"] == pytest.approx(np.mean(returns), rel=1e-4)


@option
def seed() -> None:
    other = evaluated(replace(SPEC, seed=4)).shifts
    joint = [
        table.filter(parameter="joint", member=0)["mass"].to_list() for table in (other, evaluated().shifts)
    ]
    assert not set(joint[0]) & set(joint[1])
    nominal = other.filter(parameter="nominal", member=0)["return_mean"].item()
    assert nominal == pytest.approx(np.mean(by_hand(0, dict.fromkeys(PARAMETERS, 1.0), 4, 2)), rel=1e-4)
    assert nominal != evaluated().shifts.filter(parameter="nominal", member=0)["return_mean"].item()


def test_every_option_is_checked() -> None:
    assert sorted(CHECKS) == sorted(field.name for field in fields(ShiftSpec))


@pytest.mark.parametrize("name", CHECKS)
def test_the_options_act(name: str) -> None:
    CHECKS[name]()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"parameters": "mas"}, "parameters: unknown name 'mas'; did you mean 'mass'?"),
        ({"parameters": "mass,mass"}, "parameters: mass is given 2 times"),
        ({"factors": "1,1"}, "factors: 1.0 is given 2 times"),
        ({"factors": "0,1"}, "factors: 0 must be above 0"),
        ({"factors": "-1"}, "factors: -1 must be above 0"),
        ({"factors": "1e60"}, "factors: 1e\\+60 must be above 0, and a number of float32"),
        ({"factors": "nan"}, "factors: cannot read 'nan'"),
        ({"factors": ""}, "factors: cannot read ''"),
        ({"draws": -1}, "draws: -1 must be at least 0"),
        ({"episodes": 0}, "episodes: 0 must be at least 1"),
    ],
)
def test_what_could_not_run_is_refused(change: dict, said: str) -> None:
    with pytest.raises(jp.SpecError, match=said):
        ShiftSpec(**change)
