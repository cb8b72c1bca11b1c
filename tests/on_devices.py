"""Run by `test_devices.py` in a process of its own: trains on 1, 2 and 8 simulated devices and compares.

Eight devices are asked for and five used, for each has two members at least.
"""

import sys

import jax

jax.config.update("jax_num_cpu_devices", 8)

import numpy as np  # noqa: E402  after the setting above

from jaxprune import chunks  # noqa: E402
from tests.side_by_side import played, ten_members  # noqa: E402


def numbers(count, chunk):
    """How many devices have been used, and what there is of ten members afterwards."""
    chunks.devices_for = lambda size: min(count, size // 2)
    training, made = played(ten_members(sys.argv[1]).in_chunks(chunk))
    used = {device for leaf in jax.tree.leaves(training.learners) for device in leaf.devices()}
    return len(used), [np.asarray(leaf) for leaf in jax.tree.leaves(made)]


used, alone = numbers(1, None)
assert used == 1
# Two members a device at least; three devices have four of the ten each, two of which are a repeated one.
for count, chunk, expected in ((2, None, 2), (8, None, 5), (2, 2, 2), (3, None, 3)):
    used, several = numbers(count, chunk)
    assert used == expected, (used, expected)
    for a, b in zip(alone, several, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-5)  # partitioned programs round otherwise
    print(f"equal on {count} devices")
