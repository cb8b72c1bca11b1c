"""How hard our adversaries hit the published HalfCheetah agents, and how fast they are trained.

`python -m benchmarks.adversaries` writes benchmarks/results/adversaries.md, victim by victim as they are
done. The agents are test data beside the project (`../shared/released_agents`).
"""

from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl

from benchmarks.machine import machine_line
from benchmarks.sweep_throughput import raw_rollout, record
from jaxprune import attack_search, device, envs, evaluation
from jaxprune.attack_search import EFFORTS, AttackSearchSpec
from jaxprune.attack_search.effort import RECIPE
from jaxprune.attacks import ATTACKS, TRAINING, SaRl, Victim, ready
from jaxprune.budget import Ball
from jaxprune.envs import Environment
from jaxprune.evaluation import Condition
from jaxprune.policy import Agent
from jaxprune.policy.files import read_adversary, read_agent
from jaxprune.population import Population
from jaxprune.progress import Update
from jaxprune.training import search
from jaxprune.training.rollout import start

AGENTS = Path(__file__).parents[2] / "shared" / "released_agents"
RESULT = Path(__file__).parent / "results" / "adversaries.md"
SPEC = AttackSearchSpec(
    attacks=("random", "critic", "mad", "sarsa", "sarsa+mad", "sa-rl", "pa-ad"),
    episodes=20,
    search="quick",
    steps=307_200,
)
PUBLISHED = {"sappo-convex": (3638, 3615, 3027), "ppo": (7199, 5424, -603), "atla-ppo": (5609, 5600, 3010)}
"""Returns beside the agents (gymnasium -v4): natural, uniform random, released adversary."""

ROUNDS = 5


def main() -> None:
    """Attack victim by victim, then measure the speed."""
    device.keep_compiled()
    env = envs.make("halfcheetah", "native")
    tables: dict[str, pl.DataFrame] = {}
    for name in PUBLISHED:
        path = AGENTS / f"attack-{name}-halfcheetah.npz"
        agent, released = read_agent(path), SaRl(read_adversary(path))
        began = perf_counter()
        found = attack_search.run(SPEC, Population.of_pruned(agent, env), show)
        minutes = (perf_counter() - began) / 60
        under_released = float(returns(env, agent, released).mean())
        tables[name] = found.results.with_columns(released=pl.lit(under_released), minutes=pl.lit(minutes))
        RESULT.write_text(report(tables, None))  # something is kept if the rest is stopped
    RESULT.write_text(report(tables, {task: speeds(task) for task in ("hopper", "halfcheetah")}))
    print(RESULT.read_text())


def show(update: Update) -> None:
    """One line of progress."""
    print(f"{update.phase}: {update.steps_done:,} steps, {update.steps_per_second:,.0f} a second", flush=True)


def returns(env: Environment, agent: Agent, attack: SaRl) -> np.ndarray:
    """Returns of `SPEC.episodes` episodes under one attack."""
    conditions = (Condition(attack, Ball(jnp.full(1, env.published_eps))),)

    @jax.jit
    def play() -> jax.Array:
        now = evaluation.begin(env, Victim(agent), conditions, jax.random.key(3), SPEC.episodes)
        return evaluation.advance(env, Victim(agent), conditions, now, env.horizon, 0)[0].tally.total

    return np.asarray(play())


def speeds(task: str) -> dict[str, list[float]]:
    """Environment steps per second of 12 trainings at once, and of `mujoco.rollout` alone, round by round."""
    env, agent = envs.make(task, "native"), read_agent(AGENTS / f"attack-ppo-{task}.npz")
    settings = EFFORTS["small"].adversaries
    count = len(settings.learning_rate)
    victims = Victim(jax.tree.map(lambda leaf: leaf[None], agent))
    crowd = jax.tree.map(lambda leaf: jnp.stack([leaf] * count), agent)
    workers = start(env, jax.random.key(0), RECIPE.environments)
    state = jax.tree.map(lambda leaf: jnp.stack([leaf] * count), workers.state)
    states, actions = jax.jit(jax.vmap(partial(record, env, RECIPE.unroll)))(
        crowd, state, jax.random.split(jax.random.key(1), count)
    )
    names = (RAW, *(f"training 12 `{name}` adversaries at once" for name in ready(TRAINING)))
    found: dict[str, list[float]] = {name: [] for name in names}

    def raw() -> tuple[int, float]:
        began = perf_counter()
        raw_rollout(env, states, np.asarray(actions))
        return count * RECIPE.steps, perf_counter() - began

    def training(name: str) -> tuple[int, float]:
        """The second segment of a training: the first one compiles."""
        at = []
        search.train(
            env,
            victims,
            Ball(jnp.float32(env.published_eps)),
            ATTACKS[name].rule(),
            settings,
            RECIPE,
            2 * search.SEGMENT,
            0,
            count,
            lambda steps, _: at.append((steps, perf_counter())),
        )
        return at[1][0], at[1][1] - at[0][1]

    parts = (raw, *(partial(training, name) for name in ready(TRAINING)))
    for _ in range(ROUNDS):
        for name, part in zip(names, parts, strict=True):
            steps, seconds = part()
            found[name].append(steps / seconds)
    return found


RAW = "`mujoco.rollout` alone"


def report(tables: dict[str, pl.DataFrame], speeds: dict[str, dict[str, list[float]]] | None) -> str:
    """The result as Markdown."""
    blocks = [_victim(name, table) for name, table in tables.items()]
    return f"""# Adversaries against the published HalfCheetah agents

{machine_line("python -m benchmarks.adversaries")}

HalfCheetah, native physics, l_inf eps 0.15 in the normalised space, deterministic victims. Search \
"{SPEC.search}", {SPEC.steps_per_adversary:,} steps per adversary (published: 216 settings, 1,000,000 \
steps). The attacker is chosen on {SPEC.selection_episodes} episodes and measured on {SPEC.episodes} fresh \
ones; intervals are 95 % intervals (Student's t) of the mean over those.

{_summary(tables)}
{chr(10).join(blocks)}
{_order(tables)}
{_speed(speeds) if speeds else ""}"""


def _summary(tables: dict[str, pl.DataFrame]) -> str:
    """Mean returns on fresh episodes, a row per victim and a column per attack, the one selected last."""
    fresh = {name: table.filter(pl.col("episode_set") == "fresh") for name, table in tables.items()}
    attacks = next(iter(fresh.values()))["attack"].to_list()
    lines = [
        f"| {name} | {' | '.join(f'{mean:.0f}' for mean in table['return_mean'])} "
        f"| {table['released'][0]:.0f} |"
        for name, table in fresh.items()
    ]
    return f"""| victim | {" | ".join(attacks)} | released adversary |
{"|---" * (len(attacks) + 2)}|
{chr(10).join(lines)}
"""


def _victim(name: str, table: pl.DataFrame) -> str:
    natural, random, released = PUBLISHED[name]
    fresh, selection = (table.filter(pl.col("episode_set") == which) for which in ("fresh", "selection"))
    rows = [
        f"| {row['attack']} | {row['return_mean']:.0f} ({row['return_low']:.0f} .. {row['return_high']:.0f}) "
        f"| {selected:.0f} | {row['return_median_attacker']:.0f} | {row['attackers_tried']} |"
        for row, selected in zip(fresh.iter_rows(named=True), selection["return_mean"], strict=True)
    ]
    first = table.row(0, named=True)
    return f"""## {name}

Seen by others: natural {natural}, uniform random {random}, released adversary {released}. Here the released \
adversary brings it to {first["released"]:.0f}. The search took {first["minutes"]:.1f} minutes.

| attack | return, fresh episodes | as selected | median attacker | tried |
|---|---|---|---|---|
{chr(10).join(rows)}
"""


def _order(tables: dict[str, pl.DataFrame]) -> str:
    """The attacks from the weakest to the strongest, over the victims."""
    fresh = pl.concat(tables.values()).filter(
        pl.col("episode_set") == "fresh", pl.col("attack") != "strongest"
    )
    means = fresh.group_by("attack").agg(pl.mean("return_mean")).sort("return_mean", descending=True)
    line = " > ".join(f"{attack} {mean:.0f}" for attack, mean in means.iter_rows())
    return f"""## Order

Mean return over the victims, fresh episodes: {line}. Steps at which a point shown was outside its ball: \
{fresh["outside_ball"].sum()}.
"""


def _speed(speeds: dict[str, dict[str, list[float]]]) -> str:
    lines = []
    for task, name, values in ((t, n, v) for t, parts in speeds.items() for n, v in parts.items()):
        shares = [value / raw for value, raw in zip(values, speeds[task][RAW], strict=True)]
        lines.append(
            f"| {task} | {name} | {median(values) / 1e3:.1f} | {median(shares):.0%} "
            f"({min(shares):.0%} .. {max(shares):.0%}) |"
        )
    return f"""## Speed

12 adversaries x {RECIPE.environments} environments, {RECIPE.epochs} epochs x \
{RECIPE.minibatches} minibatches; {ROUNDS} rounds, shares within a round.

| task | part | thousand env steps/s, median | share of the limit |
|---|---|---|---|
{chr(10).join(lines)}
"""


if __name__ == "__main__":
    main()
