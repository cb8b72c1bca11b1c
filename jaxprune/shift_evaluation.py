"""A population under shifted dynamics: the second axis of robustness, beside what an adversary shows it.

One parameter of the body at a time is scaled by every factor of a grid, and then all of them at once by
factors that are drawn. The episodes are clean ones of the deterministic policy, from the same start states at
every point, so that differences between points, and between the members of a seed, are paired.
"""

from dataclasses import asdict, dataclass
from functools import partial
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl

from jaxprune import chunks, evaluation, parse, streams, tables
from jaxprune.analysis import JOINT, NOMINAL, SHIFTS, shift_verdicts, summarise_shifts, validate
from jaxprune.attacks import Nothing, Victim
from jaxprune.budget import Ball
from jaxprune.envs import PARAMETERS, Environment, Shift, draw_shift
from jaxprune.errors import SpecError
from jaxprune.evaluation import Condition, Tally, for_all
from jaxprune.options import known
from jaxprune.population import Population
from jaxprune.progress import Meter, OnProgress, unheard
from jaxprune.pruning import masks

AT_ONCE = 4096
"""Episodes played side by side, if a point has no more."""

_FLOAT32 = np.finfo(np.float32)


@dataclass(frozen=True)
class ShiftSpec:
    """Under which dynamics a population is evaluated.

    Raises SpecError on construction for anything that could not run.
    """

    parameters: Annotated[str | tuple[str, ...], known(lambda: PARAMETERS)] = ",".join(PARAMETERS)
    """What is shifted, a comma list: one at a time by every factor, and all of them together by draws."""
    factors: str | tuple[float, ...] = "0.5,0.7,0.85,1,1.15,1.4,2"
    """What a parameter is multiplied by: start:stop:step (stop included) or a comma list."""
    draws: int = 64
    """Points at which all parameters are drawn, log-uniformly between the smallest and the largest factor."""
    episodes: int = 20
    """Episodes of each member at each point."""
    seed: int = 0
    """Decides start states and draws."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", parse.names(self.parameters))
        object.__setattr__(self, "factors", parse.numbers("factors", self.factors))
        for parameter in self._parameters:
            parse.check_known("parameters", parameter, PARAMETERS)
        parse.check_each_once("parameters", self._parameters)
        parse.check_each_once("factors", self._factors)
        for factor in self._factors:
            if not float(_FLOAT32.tiny) <= factor <= float(_FLOAT32.max):
                raise SpecError(f"factors: {factor:g} must be above 0, and a number of float32")
        parse.check_at_least("draws", self.draws, 0)
        parse.check_at_least("episodes", self.episodes, 1)
        parse.check_seed(self.seed)

    @property
    def _parameters(self) -> tuple[str, ...]:
        return parse.names(self.parameters)

    @property
    def _factors(self) -> tuple[float, ...]:
        return parse.numbers("factors", self.factors)

    @property
    def grid(self) -> tuple[tuple[str, float], ...]:
        """(parameter, factor) of every row of the table that is not drawn, the nominal one first."""
        axes = ((parameter, factor) for parameter in self._parameters for factor in self._factors)
        return ((NOMINAL, 1.0), *axes)

    @property
    def points(self) -> Shift:
        """Every set of factors once, leaves [point]: the nominal one, those of the axes, those drawn."""
        alone = [Shift(), *(Shift(**{name: factor}) for name, factor in self.grid if factor != 1)]
        low, high = (
            Shift(**dict.fromkeys(self._parameters, end)) for end in (min(self._factors), max(self._factors))
        )
        keys = jax.random.split(streams.key(self.seed, "shifts"), self.draws)
        drawn = jax.vmap(partial(draw_shift, low=low, high=high))(keys)
        return jax.tree.map(
            lambda *leaves: jnp.concatenate([jnp.asarray(leaves[:-1], jnp.float32), leaves[-1]]),
            *alone,
            drawn,
        )

    @property
    def count(self) -> int:
        """How many points there are."""
        return 1 + sum(factor != 1 for _, factor in self.grid) + self.draws

    def to_dict(self) -> dict[str, Any]:
        """All fields, as plain JSON values."""
        return asdict(self)


class ShiftEvaluation(NamedTuple):
    """What came out, as tables of the schemas in `analysis.tables`.

    shifts: a row per member x parameter x factor, and per member x joint draw. summary: a row per member.
    verdicts: whether pruning has changed the mean or the worst, by `analysis.shift_verdicts`.
    """

    shifts: pl.DataFrame
    summary: pl.DataFrame
    verdicts: pl.DataFrame

    def tables(self) -> dict[str, pl.DataFrame]:
        """By the names of their files in the folder of a run."""
        return {"shifts": self.shifts, "shift_summary": self.summary, "shift_verdicts": self.verdicts}


def run(
    spec: ShiftSpec, population: Population, on_progress: OnProgress = unheard, chunk: int | None = None
) -> ShiftEvaluation:
    """Every member of the population at every point, diverged ones included, which the tables mark.

    Verdicts keep the error rate of the sweep that the members come from. chunk: how many members are side by
    side at most, which changes no result; None for all of them.

    Raises SpecError for a task whose dynamics cannot be shifted, or a chunk of less than two.
    """
    population.env.check_shiftable()
    chunks.check(chunk)
    with Meter(on_progress) as meter:
        return evaluate(spec, population, meter, chunk)


def evaluate(
    spec: ShiftSpec, population: Population, meter: Meter, chunk: int | None = None
) -> ShiftEvaluation:
    """The same, within a longer job."""
    shifts = shifts_table(spec, population, play(spec, population, meter, chunk))
    summary = summarise_shifts(shifts)
    return ShiftEvaluation(shifts, summary, shift_verdicts(summary, population.error))


def total_steps(spec: ShiftSpec, env: Environment, members: int) -> int:
    """The most environment steps that all episodes can take."""
    return members * spec.count * spec.episodes * env.horizon


def play(spec: ShiftSpec, population: Population, meter: Meter, chunk: int | None = None) -> Tally:
    """The episodes of every member at every point of the spec: [member, point, episode]."""
    members, points = population.members.size, spec.points
    victims = Victim(population.agents, population.budget.space)
    keys = jnp.broadcast_to(streams.key(spec.seed, "shifted"), (members,))
    turns = max(1, -(-spec.count * members * spec.episodes // AT_ONCE))
    parts = []
    for turn in np.array_split(np.arange(spec.count), min(turns, spec.count)):
        meter.begin(f"shifts {turn[0] + 1} to {turn[-1] + 1} of {spec.count}", part_of="shifts")
        shifts = jax.tree.map(lambda factor, turn=turn: factor[turn], points)
        condition = for_all(Condition(Nothing(), Ball(jnp.zeros(len(turn))), shifts=shifts), members)
        tally, _ = evaluation.play_in_chunks(
            population.env,
            victims,
            (condition,),
            keys,
            spec.episodes,
            heard=lambda _, steps: meter.add(steps),
            chunk=chunk,
        )
        parts.append(tally)
    return jax.tree.map(lambda *leaves: np.concatenate(leaves, axis=1), *parts)


def shifts_table(spec: ShiftSpec, population: Population, tally: Tally) -> pl.DataFrame:
    """The table `shifts` of episodes [member, point, episode]."""
    members, env = population.members, population.env
    achieved = np.asarray(jax.vmap(masks.achieved)(population.agents))
    points = {name: np.asarray(getattr(spec.points, name)) for name in PARAMETERS}
    rows, who = [], members.columns()
    for member in range(members.size):
        for parameter, factor, point in _labels(spec):
            total = tally.total[member, point]
            factors = {name: float(of_points[point]) for name, of_points in points.items()}
            if factor is not None and parameter != NOMINAL:
                factors[parameter] = factor  # as it was asked for, not as float32 rounds it
            rows.append(
                {
                    **who[member],
                    "task": env.task,
                    "physics": env.physics,
                    "sparsity": achieved[member],
                    "parameter": parameter,
                    "factor": factor,
                    "point": point,
                    **factors,
                    "episodes": spec.episodes,
                    "return_mean": total.mean(dtype=np.float64),
                    "return_std": total.std(dtype=np.float64),
                    "return_min": total.min(),
                    "return_median": np.median(total),
                    "length_mean": tally.length[member, point].mean(),
                    "failed": tally.failed[member, point].sum(),
                    "policy": "mode",
                    "charge": env.charge,
                    "diverged": population.diverged[member],
                }
            )
    return validate(tables.table(rows, SHIFTS), "shifts")


def _labels(spec: ShiftSpec) -> list[tuple[str, float | None, int]]:
    """(parameter, factor, point) of every row of a member."""
    labels: list[tuple[str, float | None, int]] = []
    point = 0
    for parameter, factor in spec.grid:
        point += factor != 1
        labels.append((parameter, factor, point if factor != 1 else 0))
    return labels + [(JOINT, None, point + 1 + draw) for draw in range(spec.draws)]
