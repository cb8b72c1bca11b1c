"""What a sweep will do and roughly take, before it does it."""

import os
from collections.abc import Iterator
from typing import NamedTuple

import jax

from jaxprune import chunks, costs, footprint, speeds
from jaxprune.analysis import CLEAN, SPREADS, detectable_difference, needed_pairs
from jaxprune.coefficients import BYTES, COMPILING, SECONDS
from jaxprune.costs import Amounts, Recipe, Sizes
from jaxprune.errors import SpecError
from jaxprune.job import Job
from jaxprune.spec import SweepSpec, check_sparsities
from jaxprune.sweep import start


class Phase(NamedTuple):
    """Processor seconds of one phase: of the physics, of networks and bounds, of compiling its programs."""

    physics: float
    network: float
    compiling: float

    def seconds(self, physics: str) -> float:
        """By the clock, where no other program needs the cores."""
        cores = available_cores()
        of_physics = cores if physics == "native" else min(cores, costs.CORES["network"])
        of_network, of_compiling = (min(cores, costs.CORES[name]) for name in ("network", "compiling"))
        return self.physics / of_physics + self.network / of_network + self.compiling / of_compiling


class Estimate(NamedTuple):
    """phases: None where the speed of the physics cannot be measured first. memory: bytes."""

    phases: dict[str, Phase] | None
    physics: str
    memory: int

    @property
    def seconds(self) -> float | None:
        """Of all phases by the clock, where no other program needs the cores."""
        return None if self.phases is None else sum(self.minutes().values()) * 60

    @property
    def processor(self) -> float | None:
        """Processor seconds of all phases."""
        return None if self.phases is None else sum(map(sum, self.phases.values()))

    def minutes(self) -> dict[str, float]:
        """Of each phase by the clock, likewise."""
        return {name: phase.seconds(self.physics) / 60 for name, phase in (self.phases or {}).items()}


def fitted(job: Job, most: int | None) -> Job:
    """The job with as many members side by side as `most` bytes hold, unless it says how many."""
    if most is None or job.chunk is not None or memory(job) <= most:
        return job
    many = footprint.side_by_side(job.everyone.size, _of_one(job), most - _always_there(job))
    return job if many is None else job.in_chunks(many)


def estimate(job: Job, most: int | None = None) -> Estimate:
    """Time and memory the sweep will take here; a measured sweep took within 30 % of that time.

    Raises SpecError where that is more memory than `most` bytes.
    """
    needed = memory(job)
    if most is not None and needed > most:
        raise SpecError(
            f"memory: about {needed / 2**30:,.0f} GiB are needed, {most / 2**30:,.0f} GiB may be used; lower "
            "environments, unroll, hidden, chunk or the number of sparsities, or do the seeds in parts "
            "(--seeds 0:5)"
        )
    phases = _phases(job) if _measurable(job) else None
    return Estimate(phases, job.env.physics, needed)


def available_cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _measurable(job: Job) -> bool:
    """Whether the speed of physics and networks can be measured in a moment."""
    return job.env.physics in speeds.MEASURED_PHYSICS and jax.devices()[0].platform == "cpu"


def _phases(job: Job) -> dict[str, Phase]:
    """What each phase costs here, at the speeds that are measured now."""
    side_by_side = job.everyone.size * job.spec.environments
    physics, slowness = speeds.physics_seconds(job.env, side_by_side), speeds.slowness()
    return {
        name: Phase(physics * steps, slowness * costs.cost(amounts, SECONDS), slowness * compiling)
        for name, steps, amounts, compiling in _work(job)
    }


def _work(job: Job) -> Iterator[tuple[str, float, Amounts, float]]:
    """Of every phase: its name, the steps of the physics, the amounts, and the seconds of compiling."""
    spec, living = job.spec, costs.LIVING if job.env.terminates else 1.0
    sizes = Sizes(job.env.observation_size, spec.hidden, job.env.action_space.size)
    playing, clean = COMPILING["evaluation"], lambda steps: costs.playing(steps, sizes, CLEAN)
    jobs = [job] if job.trunk is None else [job.trunk, job]
    training = costs.added(*(_training(each, sizes) for each in jobs))
    compiling = COMPILING["training"] * sum(len(each.groups) for each in jobs)
    yield "training", job.training_steps, training, compiling
    each = job.everyone.size * (spec.episodes + spec.selection_episodes) * job.env.horizon
    attacked = [costs.playing(each * len(spec.budgets), sizes, attack) for attack in spec.attacks]
    compiling = playing + COMPILING["attack"] * len(spec.attacks)
    yield "evaluation", living * job.evaluation_steps, costs.added(clean(each), *attacked), compiling
    yield "visits", living * job.visit_steps, clean(job.visit_steps), playing
    if job.shifts is not None:
        yield "shifts", living * job.shift_steps, clean(job.shift_steps), playing
    if job.returned.return_episodes:
        episodes = len(job.returned.played) * job.returned.return_episodes
        states = job.everyone.size * episodes * job.env.horizon
        shifted = costs.returning(states * len(job.returned.radii), sizes)
        mad = costs.playing(job.return_steps - states, sizes, "mad")
        amounts = costs.added(clean(states), mad, shifted)
        yield "certified returns", living * job.return_steps, amounts, COMPILING["returned"]
    bounds = costs.certifying(job.everyone.size, spec.certify_episodes * job.env.horizon, sizes)
    yield "certificates", 0.0, costs.added(*[bounds] * len(spec.budgets)), COMPILING["certificates"]


def _training(job: Job, sizes: Sizes) -> Amounts:
    """All iterations of all groups."""
    groups = [
        costs.training(
            len(group.rows),
            _recipe(job.spec),
            sizes,
            costs.over_ppo(tuple(chosen.name for chosen in group.recipe.chosen)),
        )
        for group in job.groups
    ]
    return {name: (job.end - job.begin) * amount for name, amount in costs.added(*groups).items()}


def _recipe(spec: SweepSpec) -> Recipe:
    return Recipe(spec.environments, spec.unroll, spec.epochs, spec.minibatches)


def memory(job: Job) -> int:
    """Bytes of the program, of what training carries, and of what the largest phase needs beside it.

    That is the experience of an iteration, the episodes of an evaluation, those of the certified returns, or
    the states visited for the certificates: these, of all members, are there once, those of a chunk of them
    twice.
    """
    together = _side_by_side(job)
    visits = job.everyone.size * footprint.of_visits(job.env, job.spec.certify_episodes)
    twice = visits * together // job.everyone.size if together < job.everyone.size else 0
    return _always_there(job) + max(together * _of_one(job), visits + twice)


def _always_there(job: Job) -> int:
    """Bytes of the program, and of what training carries: before an iteration, after it, as it is saved."""
    return footprint.BASE_BYTES + 3 * footprint.of_arrays(jax.eval_shape(lambda: start(job)))


def _side_by_side(job: Job) -> int:
    """The members whose experience there is at once."""
    return chunks.rows(job.everyone.size, job.chunk).shape[1]


def _of_one(job: Job) -> int:
    """Bytes of a member in the phase in which it needs most, the visits excepted."""
    return max(_experience(job), _episodes(job), _certified_returns(job))


def _experience(job: Job) -> int:
    """Bytes of what a member has seen in an iteration, and of what is worked out from it."""
    sizes = Sizes(job.env.observation_size, job.spec.hidden, job.env.action_space.size)
    return int(costs.cost(costs.remembering(_recipe(job.spec), sizes), BYTES))


def _episodes(job: Job) -> int:
    """Bytes of the episodes in which a member is evaluated, all at once, before and after a step."""
    conditions = 1 + len(job.spec.attacks) * len(job.spec.budgets)
    return footprint.of_episodes(job.env, conditions * (job.spec.episodes + job.spec.selection_episodes))


def _certified_returns(job: Job) -> int:
    """Bytes of the episodes whose returns are certified, where that is asked for."""
    return footprint.of_returned(job.env, job.returned) if job.returned.return_episodes else 0


def describe(job: Job, expected: Estimate) -> dict[str, str]:
    """The plan as names and settings, for a person."""
    spec, env = job.spec, job.env
    batch = spec.environments * spec.unroll
    eps = ", ".join(f"{budget.eps:g}" for budget in spec.budgets)
    sparsities = ", ".join(f"{value:g}" for value in spec.sparsities)
    device, count = jax.devices()[0], len(spec.seed_numbers)
    seeds = f"{count} seed{'s' if count > 1 else ''}{'' if spec.seeds == count else f' ({spec.seeds})'}"
    shared = f", the first {job.begin} once for all of a seed" if job.begin else ""
    return {
        "task": f"{spec.env}, physics {env.physics}, on {device.platform} ({device.device_kind})",
        "population": f"{job.everyone.size} members: {seeds} x sparsities {sparsities}"
        f" x arms {', '.join(spec.arms)}",
        "pruning": f"{spec.schedule} {spec.ranking}, scope {spec.scope}",
        "training": f"PPO, {spec.iterations} iterations of {batch} steps per member, "
        f"{job.training_steps:,} in all{shared}",
        "evaluation": f"none, {', '.join(spec.attacks)}; eps {eps} ({spec.norm}, {spec.space}); "
        f"{spec.episodes} episodes each, at most {job.evaluation_steps:,} steps",
        **shifted(job),
        **returned(job),
        "certificates": f"at the states of {spec.certify_episodes} clean episodes per member",
        "can show": smallest_difference(spec),
        "takes about": _time(expected),
        "memory": f"about {expected.memory / 2**30:.1f} GiB{_turns(job)}",
    }


def _time(expected: Estimate) -> str:
    """How long all phases take, and each of them."""
    if expected.seconds is None:
        return "not known before the first steps"
    phases = ", ".join(f"{name} {minutes:.1f}" for name, minutes in expected.minutes().items())
    return f"{expected.seconds / 60:.1f} min if nothing else runs here ({phases})"


def _turns(job: Job) -> str:
    """How many members are side by side, where it is not all of them."""
    together = _side_by_side(job)
    return "" if together == job.everyone.size else f", {together} members at a time"


def shifted(job: Job) -> dict[str, str]:
    """The row about shifted dynamics, where they are asked for."""
    if job.shifts is None:
        return {}
    episodes = f"{job.shifts.episodes} clean episodes per member at each of {job.shifts.count} points"
    return {"shifts": f"{', '.join(job.shifts.parameters)}; {episodes}, at most {job.shift_steps:,} steps"}


def returned(job: Job) -> dict[str, str]:
    """The row about certified returns, where they are asked for."""
    if not job.returned.return_episodes:
        return {}
    return {"certified returns": f"{job.returned.in_words()}, at most {job.return_steps:,} steps"}


def smallest_difference(spec: SweepSpec) -> str:
    """The smallest attacked difference between pruned and dense that the seeds show with 80 % power."""
    sparsities = check_sparsities(spec.sparsities)
    pruned = sum(value > 0 for value in sparsities)
    if pruned == 0 or 0 not in sparsities:
        return "no difference: a verdict compares pruned members with dense ones (sparsity 0) of their seed"
    count = len(spec.seed_numbers)
    seeds = f"{count} seed{'s' if count > 1 else ''}"
    # A verdict's p is multiplied by the number of families, which is as good as a share of the error.
    least = detectable_difference(count, pruned, len(spec.budgets), alpha=spec.error / spec.families)
    if least is None:
        gives, needed = "gives" if count == 1 else "give", needed_pairs(spec.error, spec.families)
        most = f", {needed} are needed" if count < needed else " with 80 % power, whatever the difference"
        return f"none: {seeds} {gives} no verdict{most}"
    spread = SPREADS.get(spec.env)
    returns = (
        ""
        if spread is None or spread.attacked is None
        else f", about {least * spread.attacked:.0f} of return ({spread.source})"
    )
    return (
        f"with {seeds} and 80 % power, attacked differences to dense from {least:.1f} standard deviations "
        f"of the paired difference{returns}"
    )
