"""Whatever a schedule or a score carries is in the checkpoint, and stands still with a frozen member."""

from functools import cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxprune as jp
from jaxprune import checkpoint
from jaxprune import sweep as sweeps
from tests.training.populations import numbers

KINDS = (("rigl", "auto"), ("lottery", "movement"), ("lottery-fresh", "random"))
kinds = pytest.mark.parametrize(("schedule", "score"), KINDS)


@cache
def going_on(schedule: str, score: str) -> tuple[sweeps.Job, object, sweeps.Training]:
    """The job, the program of one iteration, and where the training is after three of its five."""
    spec = jp.SweepSpec(
        env="probe/linear",
        sparsities=(0.3, 0.7),
        schedule=schedule,
        score=score,
        steps=5 * 32,
        environments=4,
        unroll=8,
        epochs=2,
        minibatches=2,
        hidden=(6,),
        learning_rate=0.01,
    )
    job = sweeps.job(spec)
    step = jax.jit(partial(sweeps.segment, job, 1))
    training = sweeps.start(job)
    for _ in range(3):
        training = step(training)
    return job, step, training


@kinds
def test_a_training_goes_on_from_its_checkpoint_bit_for_bit(
    schedule: str, score: str, tmp_path: Path
) -> None:
    job, step, training = going_on(schedule, score)
    checkpoint.save(tmp_path, 3, training)
    read = checkpoint.load(tmp_path, sweeps.start(job))
    for _ in range(2):
        training, read = step(training), step(read)
    for straight, resumed in zip(numbers(training), numbers(read), strict=True):
        np.testing.assert_array_equal(straight, resumed)


@kinds
def test_a_member_that_diverged_is_neither_rewound_nor_regrown(schedule: str, score: str) -> None:
    _, step, training = going_on(schedule, score)
    (learners,) = training.learners
    broken = jax.tree.map(lambda leaf: leaf.at[1].set(jnp.nan), learners.agent.value)
    hurt = training.replace(learners=(learners.replace(agent=learners.agent.replace(value=broken)),))
    after, healthy = hurt, training
    for _ in range(2):  # the lottery ends a round with each
        after, healthy = step(after), step(healthy)
    np.testing.assert_array_equal(after.learners[0].diverged, [False, True])
    for now, then, other in zip(
        numbers(after.learners), numbers(hurt.learners), numbers(healthy.learners), strict=True
    ):
        if now.dtype != bool:
            np.testing.assert_array_equal(now[1], then[1])
        np.testing.assert_array_equal(now[0], other[0])
