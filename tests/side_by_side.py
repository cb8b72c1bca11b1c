"""Ten small members for tests of how they are spread: over time, or over devices."""

from typing import Any

import numpy as np

import jaxprune as jp
from jaxprune import sweep as sweeps
from jaxprune.job import Job
from jaxprune.progress import Meter


def ten_members(env: str) -> Job:
    """Five seeds at two sparsities, for three iterations."""
    return sweeps.job(
        jp.SweepSpec(
            env=env,
            seeds=5,
            sparsities="0,0.5",
            schedule="micro",
            steps=96,
            environments=2,
            unroll=16,
            minibatches=2,
            epochs=2,
            hidden=(4,),
            episodes=2,
            selection_episodes=1,
            certify_episodes=2,
        )
    )


def played(job: Job) -> tuple[sweeps.Training, Any]:
    """The training, and what its members have become and done in their episodes."""
    with Meter() as meter:
        training = sweeps.train(job, None, meter)
        population = sweeps.finished(job, training)
        tally, visits = sweeps.visit(job, population, meter)
        seen = np.where(visits.alive[..., None], visits.observation, 0)
        evaluated = sweeps.evaluate(job, population, meter)
    return training, (population.agents, training.history, evaluated, tally, seen)
