"""Rollouts to watch: members of one seed, clean and attacked, from one start, as one video.

Nothing is simulated for the pictures: they are drawn from the states that the evaluation's own loop went
through (`rollouts`), and every number on them is that loop's.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated

import jax.numpy as jnp
import numpy as np
import polars as pl
from jaxtyping import UInt8
from PIL.Image import Image

from jaxprune import attacks, parse, streams
from jaxprune.analysis import CLEAN
from jaxprune.attack_search.trials import for_all_but_rule
from jaxprune.attacks import Nothing, Rule, Victim
from jaxprune.budget import NORMS, SPACES
from jaxprune.envs.mujoco.drawing import Drawing
from jaxprune.errors import SpecError, unknown_name
from jaxprune.evaluation import for_all
from jaxprune.options import known
from jaxprune.population import Population
from jaxprune.report.numbers import number
from jaxprune.report.video import Tile, check_writable, frame, save
from jaxprune.rollouts import Moments, body_of, roll_out

TILE = 320, 240
"""Width and height of the picture of one body, in pixels."""

MOST_COLUMNS = 4
"""Side by side; all frames are in memory until they are written."""

SECONDS = 10.0
"""Of simulated time that are shown, unless a number of steps is asked for."""

FRAMES_PER_SECOND = 25
"""About; time goes by as in the simulation."""

LAST = 1500
"""Milliseconds for which the last frame stands before the video begins again."""


@dataclass(frozen=True)
class WatchSpec:
    """Whose episode is shown, and under which attack.

    Raises SpecError on construction for anything that could not be shown.
    """

    attack: Annotated[str, known(lambda: attacks.ATTACKS)] = "mad"
    """Attack of the lower row; the upper one is clean. One that has to be learned needs --attackers."""
    eps: str = "published"
    """Budget: one number, or for linf a comma list with one per feature. published: the one of the published
    tables for the task; for a sweep's run, its largest budget in its own norm and space."""
    norm: Annotated[str, known(lambda: NORMS)] = "linf"
    """Norm of the ball."""
    space: Annotated[str, known(lambda: SPACES)] = "normalised"
    """Space in which eps lives: normalised (observations in standard deviations) or raw."""
    seed: int | None = None
    """Seed of the members shown, which also decides the start state. Default: the first there is."""
    arm: str | None = None
    """Training arm of the members shown. Default: the first there is."""
    steps: int | None = None
    """Steps shown. Default: those of the first ten seconds."""

    def __post_init__(self) -> None:
        attacks.check_names((self.attack,))
        if self.attack == CLEAN:
            raise SpecError(f"attack: {CLEAN!r} is the upper row, which is always there; name an attack")
        if self.steps is not None:
            parse.check_at_least("steps", self.steps, 1)


def chosen(spec: WatchSpec, population: Population, sparsities: tuple[float, ...] | None) -> np.ndarray:
    """The numbers of the members that are shown, in the order of the sparsities.

    sparsities: None for the lowest and the highest that there are.

    Raises SpecError for a seed, arm or sparsity that no member has, and for more than fit side by side.
    """
    who = population.members
    arm = str(who.arm[0]) if spec.arm is None else spec.arm
    if arm not in who.arm:
        raise unknown_name("arm", arm, set(who.arm.tolist()))
    seed = int(who.seed[0]) if spec.seed is None else spec.seed
    _check_there("seed", seed, who.seed)
    levels = sorted({who.sparsity.min(), who.sparsity.max()}) if sparsities is None else sparsities
    if len(levels) > MOST_COLUMNS:
        raise SpecError(f"sparsities: {len(levels)} do not fit side by side; name at most {MOST_COLUMNS}")
    for level in levels:
        _check_there("sparsities", level, who.sparsity)
    same = (who.arm == arm) & (who.seed == seed)
    return np.concatenate([np.flatnonzero(same & (who.sparsity == level)) for level in levels])


def check_drawable(population: Population) -> None:
    """Raise SpecError where there is nothing to draw, or nothing to draw with."""
    body_of(population.env)
    check_writable()


def watch(
    spec: WatchSpec, population: Population, rule: Rule | None, policy: str, path: Path
) -> pl.DataFrame:
    """Play the members of a population, all of one seed, and write the video.

    Args:
        spec: what is shown.
        population: the members, in the order of their columns, under the budget of the attack.
        rule: the attackers, leaves [member]; None for the attack as it is, where nothing must be learned.
        policy: how they act, one of `evaluation.POLICIES`.
        path: of the video.

    Returns:
        One row per member and row of the video: what it earned in how many steps, and how that ended.

    Raises SpecError, before anything is played, where there is nothing to draw, or nothing to draw with.
    """
    check_drawable(population)
    env, size = population.env, population.members.size
    body = body_of(env)
    attackers = for_all(attacks.make(spec.attack), size) if rule is None else rule
    ball = population.budget.ball
    rows = tuple(for_all_but_rule(each, ball, size, policy) for each in (for_all(Nothing(), size), attackers))
    keys = jnp.broadcast_to(streams.key(int(population.members.seed[0]), "evaluation"), (size,))
    with Drawing(body, *TILE) as drawing:
        steps = spec.steps or round(SECONDS / drawing.seconds_per_step)
        victims = Victim(population.agents, population.budget.space)
        moments = roll_out(env, victims, rows, keys, min(steps, env.horizon))
        every = max(1, round(1 / (FRAMES_PER_SECOND * drawing.seconds_per_step)))
        frames = list(_frames(spec, population, moments, drawing, _times(moments, every)))
        each = round(1000 * every * drawing.seconds_per_step)
        save(frames, path, [each] * (len(frames) - 1) + [LAST])
    return _ends(spec, population, moments)


def _check_there(field: str, asked: float | int, there: np.ndarray) -> None:
    if asked not in there:
        listed = ", ".join(f"{value:g}" for value in np.unique(there))
        raise SpecError(f"{field}: no member has {asked:g}; there are {listed}")


def _times(moments: Moments, every: int) -> list[int]:
    """The moments that are drawn, up to the one at which the last episode has ended."""
    lasts = moments.alive.any(axis=(0, 2))
    last = len(lasts) - 1 if lasts.all() else int(np.argmin(lasts))
    return [*range(0, last, every), last]


def _frames(
    spec: WatchSpec, population: Population, moments: Moments, drawing: Drawing, times: list[int]
) -> Iterator[Image]:
    """Each moment as a frame: clean above, attacked below."""
    env, who = population.env, population.members
    conditions = ("clean", f"{spec.attack}, {population.budget.in_words()}")
    length = moments.alive.sum(axis=1)

    @lru_cache(maxsize=len(conditions) * who.size)
    def picture(member: int, time: int, row: int) -> UInt8[np.ndarray, "height width 3"]:
        place = member, time, row
        return drawing.draw(np.asarray(moments.qpos[place]), np.asarray(moments.qvel[place]))

    def tile(member: int, time: int, row: int) -> Tile:
        ended = min(time, int(length[member, row]))
        over = not moments.alive[member, time, row]
        note = f"return {number(float(moments.total[member, time, row]))}"
        if over:
            note += f", {_ending(moments, member, row)} after {ended} steps"
        heading = f"sparsity {who.sparsity[member]:.2f}, {conditions[row]}"
        return Tile(picture(member, ended, row), heading, note, over)

    for time in times:
        title = (
            f"{env.task} on {env.physics}, {who.arm[0]}, seed {who.seed[0]}",
            f"step {time}, {time * drawing.seconds_per_step:.2f} s",
        )
        yield frame(title, [[tile(member, time, row) for member in range(who.size)] for row in range(2)])


def _ending(moments: Moments, member: int, row: int) -> str:
    """How an episode has ended, or that it has not."""
    if moments.alive[member, -1, row]:
        return "going on"
    return "fallen" if moments.terminated[member, -1, row] else "at the horizon"


def _ends(spec: WatchSpec, population: Population, moments: Moments) -> pl.DataFrame:
    lengths = np.minimum(moments.alive.sum(axis=1), moments.alive.shape[1] - 1)
    return pl.DataFrame(
        [
            {
                "seed": int(population.members.seed[member]),
                "arm": str(population.members.arm[member]),
                "sparsity_asked": float(population.members.sparsity[member]),
                "attack": attack,
                "return": float(moments.total[member, -1, row]),
                "steps": int(lengths[member, row]),
                "ended": _ending(moments, member, row),
            }
            for row, attack in enumerate((CLEAN, spec.attack))
            for member in range(population.members.size)
        ]
    )
