"""Every attack on every victim: attackers are searched for, and the strongest of each kind is measured anew.

How many attackers were tried is a part of every number. The strongest is chosen on one set of episodes and
measured on a fresh one, because the smallest of many noisy means is smaller than it should be.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from jaxtyping import Float, PRNGKeyArray

from jaxprune import attacks, evaluation
from jaxprune.analysis import Bootstrap
from jaxprune.attacks import NORMS, SPACES, Attack, Ball, Nothing, Sarsa, SarsaMad, Victim
from jaxprune.envs import Environment
from jaxprune.errors import SpecError, unknown_name
from jaxprune.evaluation import Condition, Evaluation, Tally
from jaxprune.policy import Agent, Params
from jaxprune.pruning import masks
from jaxprune.spec import PUBLISHED_EPS
from jaxprune.sweep import EVALUATION_STEPS, Update, Watch
from jaxprune.training import sarsa, search
from jaxprune.training.adversary import ADVERSARIES, RECIPE

CRITICAL = ("sarsa", "sarsa+mad")
"""The attacks that need critics of the victim."""

KNOWN = (*attacks.ATTACKS, *CRITICAL, *ADVERSARIES)
"""All attacks that can be asked for: rules, critics, adversaries."""

MAD_WEIGHTS = (0.25, 0.5, 0.75)
"""Weights of MAD that "sarsa+mad" tries with every critic."""

STRONGEST = "strongest"
"""The name, in the column `attack`, of the strongest of all attacks on a member."""


@dataclass(frozen=True)
class BatterySpec:
    """Which attacks, in which ball, and how hard the attackers are searched for.

    Raises SpecError on construction for anything that could not run.
    """

    attacks: str | tuple[str, ...] = "random,critic,mad,sarsa,sarsa+mad,optimal,director"
    """Attacks, a comma list; the clean return is always measured. Learned are sarsa and sarsa+mad (critics),
    optimal (SA-RL) and director (PA-AD)."""
    eps: str | tuple[float, ...] = "published"
    """Budget: one number, or for linf a comma list with one per feature. published: the one of the published
    tables for the task; for a sweep's run, its largest budget in its own norm and space."""
    norm: str = "linf"
    """Norm of the ball: linf or l2."""
    space: str = "normalised"
    """Space in which eps lives: normalised (observations in standard deviations) or raw."""
    episodes: int = 50
    """Fresh episodes on which the strongest attacker of each kind is measured."""
    selection_episodes: int = 10
    """Episodes on which it is selected."""
    search: str = "small"
    """Attackers tried: quick (2 adversaries, 2 critics), small (12 and 4) or published (216 and 30)."""
    steps: int = 500_000
    """Environment steps of training per adversary; published: 1,000,000."""
    seed: int = 0
    """Decides all random streams."""
    at_once: int = 72
    """Attackers trained or measured side by side in one program; fewer need less memory."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "attacks", _names(self.attacks))
        object.__setattr__(self, "eps", self.eps if self.eps == "published" else _radii(self.eps))
        for field, known in (("norm", NORMS), ("space", SPACES), ("search", search.GRIDS)):
            if getattr(self, field) not in known:
                raise unknown_name(field, getattr(self, field), known)
        for field, least in (
            ("episodes", 1),
            ("selection_episodes", 1),
            ("at_once", 1),
            ("steps", RECIPE.steps),
        ):
            if getattr(self, field) < least:
                raise SpecError(f"{field}: {getattr(self, field)} must be at least {least}")

    def ball(self, env: Environment) -> Ball:
        """The ball for the observations of `env`. Raises SpecError where the budget does not fit them."""
        if self.eps == "published" and env.task not in PUBLISHED_EPS:
            raise SpecError(f"eps: no budget is published for {env.task}; give a number")
        radii = (PUBLISHED_EPS[env.task],) if self.eps == "published" else self.eps
        eps = radii[0] if len(radii) == 1 else radii
        attacks.check_budget(eps, env.observation_size, self.norm)
        return Ball(jnp.asarray(eps, jnp.float32), self.norm)

    @property
    def iterations(self) -> int:
        """PPO iterations of an adversary: steps rounded down to whole ones."""
        return self.steps // RECIPE.steps

    def attackers(self, name: str) -> int:
        """How many attackers of a kind are tried on each victim."""
        critics = len(sarsa.GRIDS[self.search].eps)
        adversaries = len(search.GRIDS[self.search].learning_rate)
        counts = {"sarsa": critics, "sarsa+mad": critics * len(MAD_WEIGHTS)}
        return counts.get(name, adversaries if name in ADVERSARIES else 1)

    def to_dict(self) -> dict[str, Any]:
        """All fields, as plain JSON values."""
        return asdict(self)


class Battery(NamedTuple):
    """What came out, as tables.

    results: a row per member x attack x episode set ("selection", "fresh"), "none" and "strongest" included:
    raw undiscounted returns under the chosen attacker, with a bootstrap interval of their mean over episodes.
    `return_median_attacker` is the median over the attackers of that kind (selection episodes).
    tried: a row per member x attack x attacker in the order tried, with the best of the first k.
    """

    results: pl.DataFrame
    tried: pl.DataFrame


def run(spec: BatterySpec, env: Environment, agents: Agent, watch: Watch = lambda update: None) -> Battery:
    """Attack every one of `agents` (leaves [member]) in `env`.

    Raises SpecError where the budget does not fit the observations.
    """
    arena = _Arena(env, spec.ball(env), spec.at_once, _Meter(watch))
    victims = Victim(agents, spec.space)
    selection_key, fresh_key = jax.random.split(jax.random.fold_in(jax.random.key(spec.seed), 1))
    everyone = np.arange(_members(agents))
    crowds = {"none": _repeated(Nothing(), (everyone.size, 1))} | dict(_crowds(spec, arena, victims))
    chosen, before = [], []
    for name, crowd in crowds.items():
        arena.meter.phase = f"selecting {name}"
        count = spec.attackers(name)
        tally = arena.measure_crowd(victims, crowd, count, selection_key, spec.selection_episodes)
        best = tally.total.mean(-1, dtype=np.float64).argmin(axis=1)
        chosen.append(jax.tree.map(lambda leaf, best=best: leaf[everyone, best], crowd))
        before.append(tally)
    arena.meter.phase = "measuring"
    fresh = arena.measure(victims, tuple(chosen), fresh_key, spec.episodes)
    return Battery(_results(spec, arena.ball, agents, [*crowds], before, fresh), _tried([*crowds], before))


def total_steps(spec: BatterySpec, env: Environment, members: int) -> int:
    """Environment steps of training adversaries, and the most that all episodes can take."""
    attackers = {name: spec.attackers(name) for name in spec.attacks}
    trained = sum(attackers[name] for name in spec.attacks if name in ADVERSARIES)
    selection = (1 + sum(attackers.values())) * spec.selection_episodes
    fresh = (1 + len(attackers)) * spec.episodes
    return members * (trained * spec.iterations * RECIPE.steps + (selection + fresh) * env.horizon)


# --- the attackers --------------------------------------------------------------------------------------


def _crowds(spec: BatterySpec, arena: "_Arena", victims: Victim) -> Iterator[tuple[str, Attack]]:
    """Every kind of attack asked for, with the attackers of that kind: leaves [member, attacker]."""
    critics = None
    for name in spec.attacks:
        arena.meter.phase = f"learning {name}"
        arena.meter.add(0)
        if name in ADVERSARIES:
            yield name, _adversaries(spec, arena, victims, name)
        elif name in CRITICAL:
            if critics is None:
                critics = sarsa.train(arena.env, victims, sarsa.GRIDS[spec.search], sarsa.STUDY, spec.seed)
            yield name, Sarsa(critics) if name == "sarsa" else _with_every_weight(critics)
        else:
            yield name, _repeated(attacks.make(name), (_members(victims.agent), 1))


def _adversaries(spec: BatterySpec, arena: "_Arena", victims: Victim, name: str) -> Attack:
    return search.train(
        arena.env,
        victims,
        arena.ball,
        ADVERSARIES[name],
        search.GRIDS[spec.search],
        RECIPE,
        iterations=spec.iterations,
        seed=spec.seed,
        at_once=spec.at_once,
        heard=arena.meter.hear,
    )


def _with_every_weight(critics: Params) -> SarsaMad:
    """Every critic with every weight of MAD, [member, critic x weight]."""
    members, count = jax.tree.leaves(critics)[0].shape[:2]
    weights = jnp.broadcast_to(jnp.tile(jnp.asarray(MAD_WEIGHTS), count), (members, count * len(MAD_WEIGHTS)))
    return SarsaMad(jax.tree.map(lambda leaf: jnp.repeat(leaf, len(MAD_WEIGHTS), axis=1), critics), weights)


# --- their returns --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Arena:
    """Where attackers and victims meet. at_once: pairs side by side. meter: counts the steps."""

    env: Environment
    ball: Ball
    at_once: int
    meter: "_Meter"

    def measure_crowd(
        self, victims: Victim, crowd: Attack, count: int, key: PRNGKeyArray, episodes: int
    ) -> Tally:
        """The `count` attackers of one kind on their victims: [member, attacker, episode]."""
        of_pair = jax.tree.map(lambda leaf: jnp.repeat(leaf, count, axis=0), victims)
        flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), crowd)
        tally = self.measure(of_pair, (flat,), key, episodes)  # [pair, 1, episode]
        return jax.tree.map(lambda leaf: leaf.reshape(-1, count, episodes), tally)

    def measure(
        self, victims: Victim, attackers: tuple[Attack, ...], key: PRNGKeyArray, episodes: int
    ) -> Tally:
        """Each of `attackers` on each victim, side by side: [victim, attack, episode].

        The start states and random streams are the same for all, so differences between them are paired.
        """
        count = _members(victims.agent)
        turns = []
        for turn in np.array_split(np.arange(count), self._turns(count, len(attackers))):
            part, crowd = jax.tree.map(lambda leaf, turn=turn: leaf[turn], (victims, attackers))
            now = _begin(self.env, part, crowd, self.ball, key, episodes)
            while now.tally.alive.any():
                self.meter.add(int(now.tally.alive.sum()) * EVALUATION_STEPS)
                now = _advance(self.env, part, crowd, self.ball, now)
            turns.append(jax.device_get(now.tally))
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *turns)

    def _turns(self, victims: int, attackers: int) -> int:
        """In how many parts that fit side by side; at most one for every victim."""
        return min(victims, math.ceil(victims * attackers / self.at_once))


def _conditions(crowd: tuple[Attack, ...], ball: Ball) -> tuple[Condition, ...]:
    radius = ball.replace(eps=ball.eps[None])
    nowhere = ball.replace(eps=jnp.zeros(1))
    return tuple(Condition(a, nowhere if isinstance(a, Nothing) else radius) for a in crowd)


@partial(jax.jit, static_argnames=("env", "episodes"))
def _begin(
    env: Environment,
    victims: Victim,
    attackers: tuple[Attack, ...],
    ball: Ball,
    key: PRNGKeyArray,
    episodes: int,
) -> Evaluation:
    def one(victim: Victim, crowd: tuple[Attack, ...]) -> Evaluation:
        return evaluation.begin(env, victim, _conditions(crowd, ball), key, episodes)

    return jax.vmap(one)(victims, attackers)


@partial(jax.jit, static_argnames="env", donate_argnames="now")
def _advance(
    env: Environment, victims: Victim, attackers: tuple[Attack, ...], ball: Ball, now: Evaluation
) -> Evaluation:
    def one(victim: Victim, crowd: tuple[Attack, ...], now: Evaluation) -> Evaluation:
        return evaluation.advance(env, victim, _conditions(crowd, ball), now, EVALUATION_STEPS, 0)[0]

    return jax.vmap(one)(victims, attackers, now)


# --- tables ---------------------------------------------------------------------------------------------


def _results(
    spec: BatterySpec, ball: Ball, agents: Agent, names: list[str], selection: list[Tally], fresh: Tally
) -> pl.DataFrame:
    sparsity = np.asarray(jax.vmap(lambda agent: masks.achieved(agent.policy))(agents))
    tried = {name: 0 if name == "none" else spec.attackers(name) for name in names}
    bootstrap = Bootstrap()
    rows = []
    for member, share in enumerate(sparsity.tolist()):
        means = [tally.total[member].mean(-1, dtype=np.float64) for tally in selection]
        hardest = int(np.argmin([mean.min() for mean in means]))
        kinds = [(name, place, tried[name]) for place, name in enumerate(names)]
        for name, place, attackers in [*kinds, (STRONGEST, hardest, sum(tried.values()))]:
            where = {"selection": (selection[place], means[place].argmin()), "fresh": (fresh, place)}
            for episode_set, (tally, column) in where.items():
                total = tally.total[member, column]
                mean, low, high = bootstrap.mean(total)
                rows.append(
                    {
                        "member": member,
                        "sparsity": share,
                        "attack": name,
                        "found_by": names[place],
                        "norm": spec.norm,
                        "space": spec.space,
                        "eps": 0.0 if name == "none" else float(np.max(ball.eps)),
                        "episode_set": episode_set,
                        "episodes": total.size,
                        "return_mean": mean,
                        "return_low": low,
                        "return_high": high,
                        "return_median_attacker": float(np.median(means[place])),
                        "attackers_tried": attackers,
                        "failed": int(tally.failed[member, column].sum()),
                        "outside_ball": int(tally.outside[member, column].sum()),
                    }
                )
    return pl.DataFrame(rows)


def _tried(names: list[str], selection: list[Tally]) -> pl.DataFrame:
    rows = []
    for name, tally in zip(names, selection, strict=True):
        for member, means in enumerate(tally.total.mean(-1, dtype=np.float64)):
            best = np.minimum.accumulate(means)
            rows += [
                {
                    "member": member,
                    "attack": name,
                    "attacker": attacker,
                    "return_mean": float(means[attacker]),
                    "best_of_first": float(best[attacker]),
                }
                for attacker in range(means.size)
            ]
    return pl.DataFrame(rows)


class _Meter:
    """Environment steps so far, and their speed, handed on to `watch`."""

    def __init__(self, watch: Watch) -> None:
        self.phase = ""
        self._watch, self._steps, self._began = watch, 0, time.monotonic()

    def add(self, steps: int) -> None:
        """So many more steps are done."""
        self._steps += steps
        speed = self._steps / (time.monotonic() - self._began + 1e-9)
        self._watch(Update(self.phase, self._steps, speed, []))

    def hear(self, steps: int, returns: Float[np.ndarray, " pair"]) -> None:
        """The progress of a training (see `search.Heard`), with the lowest return of a victim so far."""
        name = self.phase.split(":")[0]
        if np.isfinite(returns).any():
            self.phase = f"{name}: lowest return {np.nanmin(returns):.0f}"
        self.add(steps)


def _members(agents: Agent) -> int:
    return jax.tree.leaves(agents)[0].shape[0]


def _repeated(attack: Attack, shape: tuple[int, int]) -> Attack:
    """The same attack for every member: leaves [member, attacker]."""
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (*shape, *jnp.shape(leaf))), attack)


def _names(given: str | tuple[str, ...]) -> tuple[str, ...]:
    """The attacks asked for, each known and once; the clean return is measured anyway."""
    names = tuple(name.strip() for name in given.split(",")) if isinstance(given, str) else given
    if not names or not any(names):
        raise SpecError(f"attacks: the list is empty; name at least one of {', '.join(KNOWN)}")
    for name in names:
        if name not in KNOWN:
            raise unknown_name("attack", name, KNOWN)
    return tuple(name for name in dict.fromkeys(names) if name != "none")


def _radii(given: str | tuple[float, ...]) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in (given.split(",") if isinstance(given, str) else given))
    except ValueError:
        raise SpecError(f"eps: cannot read {given!r}; give a number, or one per feature (0.1,0.2)") from None
