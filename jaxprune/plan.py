"""What a sweep will do and roughly take, before it does it."""

import time
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxprune import chunks
from jaxprune.analysis import SPREADS, detectable_difference, needed_pairs
from jaxprune.envs import Environment
from jaxprune.errors import SpecError
from jaxprune.job import Job
from jaxprune.spec import SweepSpec, check_sparsities
from jaxprune.sweep import start

MEASURED_PHYSICS = ("native", "none")
"""Physics whose program compiles in a moment, so that its speed can be measured before the run."""

SHARE_OF_PHYSICS = 0.75
"""Speed of a whole sweep over that of its physics alone, as measured in benchmarks/results."""

COMPILE_SECONDS = 30.0
BASE_BYTES = 1000 * 2**20
"""Memory of the interpreter with JAX and MuJoCo loaded and programs compiled."""

SECONDS_OF_MEASURING = 0.3


class Estimate(NamedTuple):
    """seconds: None where the physics takes too long to compile to be measured first. memory: bytes."""

    seconds: float | None
    memory: int


def fitted(job: Job, most: int | None) -> Job:
    """The job with as many members side by side as `most` bytes hold, unless it says how many."""
    if most is None or job.chunk is not None or memory(job) <= most:
        return job
    return job.in_chunks(max(2, (most - _always_there(job)) // _experience(job)))


def estimate(job: Job, most: int | None = None) -> Estimate:
    """Time and memory the sweep will take here, to within a factor of two.

    Raises SpecError where that is more memory than `most` bytes.
    """
    needed = memory(job)
    if most is not None and needed > most:
        raise SpecError(
            f"memory: about {needed / 2**30:,.0f} GiB are needed, {most / 2**30:,.0f} GiB are there; lower "
            "environments, unroll, hidden, chunk or the number of sparsities, or do the seeds in parts "
            "(--seeds 0:5)"
        )
    if job.env.physics not in MEASURED_PHYSICS:
        return Estimate(None, needed)
    speed = SHARE_OF_PHYSICS * physics_speed(job.env, job.everyone.size * job.spec.environments)
    return Estimate(COMPILE_SECONDS + job.steps / speed, needed)


def memory(job: Job) -> int:
    """Bytes of the program, of what training carries, and of the experience of an iteration or the visits.

    The states visited for the certificates, of all members, are there twice while they are handed on.
    """
    visits = 4 * job.visit_steps * job.env.observation_size
    return _always_there(job) + max(_side_by_side(job) * _experience(job), 2 * visits)


def _always_there(job: Job) -> int:
    """Bytes of the program, and of what training carries, before an iteration and after it."""
    return BASE_BYTES + 2 * _size(jax.eval_shape(lambda: jax.tree.leaves(start(job))))


def _side_by_side(job: Job) -> int:
    """The members whose experience there is at once."""
    return chunks.rows(job.everyone.size, job.chunk).shape[1]


def _experience(job: Job) -> int:
    """Bytes of what a member has seen in an iteration, and of what is worked out from it."""
    return 4 * job.spec.unroll * job.spec.environments * 4 * (2 * job.env.observation_size + 20)


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
        "takes about": "not known before the first steps"
        if expected.seconds is None
        else f"{expected.seconds / 60:.1f} min",
        "memory": f"about {expected.memory / 2**30:.1f} GiB{_turns(job)}",
    }


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
    least = detectable_difference(count, pruned, len(spec.budgets), alpha=spec.error)
    if least is None:
        gives = "gives" if count == 1 else "give"
        return f"none: {seeds} {gives} no verdict, {needed_pairs(spec.error)} are needed"
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


def physics_speed(env: Environment, count: int) -> float:
    """Environment steps per second of the physics alone, in a batch of `count`."""
    state = jax.vmap(env.reset)(jax.random.split(jax.random.key(0), count))
    size = env.action_space.size
    action = jnp.zeros(count, jnp.int32) if env.action_space.discrete else jnp.zeros((count, size))
    step = jax.jit(jax.vmap(lambda state, action: env.step(state, action)[0]))
    jax.block_until_ready(step(state, action))
    steps, began = 0, time.monotonic()
    while time.monotonic() - began < SECONDS_OF_MEASURING:
        state = jax.block_until_ready(step(state, action))
        steps += count
    return steps / (time.monotonic() - began)


def _size(leaves: list[jax.ShapeDtypeStruct]) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves if hasattr(leaf.dtype, "itemsize"))
