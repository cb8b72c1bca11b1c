"""Run by `test_devices.py` in a process of its own: trains on 1, 2 and 8 simulated devices and compares.

Eight devices are asked for and five used, for each has two members at least.
"""

import sys

import jax

jax.config.update("jax_num_cpu_devices", 8)

import numpy as np  # noqa: E402  after the setting above

import jaxprune as jp  # noqa: E402
from jaxprune import chunks  # noqa: E402
from jaxprune import sweep as sweeps  # noqa: E402
from jaxprune.progress import Meter  # noqa: E402

SPEC = jp.SweepSpec(
    env=sys.argv[1],
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


def numbers(count, chunk):
    """What ten members have become on so many devices, and their episodes."""
    chunks.devices_for = lambda size: min(count, size // 2)
    job = sweeps.job(SPEC).in_chunks(chunk)
    with Meter() as meter:
        training = sweeps.train(job, None, meter)
        population = sweeps.finished(job, training)
        tally, visits = sweeps.visit(job, population, meter)
        seen = np.where(visits.alive[..., None], visits.observation, 0)
        made = (population.agents, training.history, sweeps.evaluate(job, population, meter), tally, seen)
    used = {device for leaf in jax.tree.leaves(training.learners) for device in leaf.devices()}
    return len(used), [np.asarray(leaf) for leaf in jax.tree.leaves(made)]


used, alone = numbers(1, None)
assert used == 1
for count, chunk, expected in ((2, None, 2), (8, None, 5), (2, 2, 2)):  # two members a device at least
    used, several = numbers(count, chunk)
    assert used == expected, (used, expected)
    for a, b in zip(alone, several, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-5)  # partitioned programs round otherwise
    print(f"equal on {count} devices")
