"""Members over several devices become what they become on one, up to rounding, with native physics too."""

import os
import subprocess
import sys

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("task", ["probe/linear", "hopper"])
def test_a_population_over_devices_is_the_population(task: str) -> None:
    # In a process of its own: how many devices there are is decided when JAX starts.
    command = [sys.executable, "-m", "tests.on_devices", task]
    run = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"XLA_FLAGS": ""}
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == [f"equal on {count} devices" for count in (2, 8, 2, 3)]
