"""No number comes from memory that was never written: every command twice, with memory filled differently.

glibc fills memory on allocation and release with the byte that MALLOC_PERTURB_ names. What reads memory that
it never wrote gives other tables then.
"""

import os
import platform
import subprocess
import sys

import pytest

from tests.experiments.agent_files import write_agent

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="only glibc can fill memory with a chosen byte"
)

BYTES = ("85", "170")
TRAINING = [
    *("--sparsities", "0,0.5", "--steps", "512", "--environments", "8", "--unroll", "64", "--epochs", "1"),
    *("--minibatches", "2", "--hidden", "8", "8", "--episodes", "2", "--certify-episodes", "2"),
]
CERTIFYING = [
    *("--eps", "0.1", "--sparsities", "0,0.5", "--bounds", "interval", "--states", "5", "--starts", "2"),
    *("--search-steps", "3", "--episodes", "2", "--smoothing-sigma", "0.5", "--smoothing-budget", "0.2"),
    *("--smoothing-episodes", "30"),
]
ATTACKING = [
    *("--search", "quick", "--steps", "2048", "--episodes", "2", "--selection-episodes", "2"),
]
AS_USERS_RUN_IT = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "0", "XLA_FLAGS": ""}


def tables(command, out, **variables):
    """All .csv files that a command writes into the new folder `out`, by name."""
    done = subprocess.run(
        [sys.executable, "-m", f"experiments.{command[0]}", *map(str, command[1:]), "--out", str(out)],
        env=os.environ | {"JAXPRUNE_CACHE": ""} | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {path.name: path.read_bytes() for path in out.glob("*.csv")}


def differing(command, folder, **variables):
    """Names of the tables that differ, and of all tables."""
    one, other = (tables(command, folder / byte, MALLOC_PERTURB_=byte, **variables) for byte in BYTES)
    assert one.keys() == other.keys()
    return {name for name in one if one[name] != other[name]}, set(one)


@pytest.fixture(name="agent")
def _agent(tmp_path):
    """An agent of `probe/linear`."""
    return write_agent(tmp_path / "agent.npz", 4, 1)


def test_certificates_smoothing_included(agent, tmp_path):
    command = ("certify", "--agent", agent, "--env", "probe/linear", *CERTIFYING)
    differ, written = differing(command, tmp_path)
    assert not differ
    assert written >= {"states.csv", "certificates.csv", "smoothing.csv"}


@pytest.mark.slow
def test_learned_attackers(agent, tmp_path):
    command = (
        "attack",
        "--agent",
        agent,
        "--env",
        "probe/linear",
        "--eps",
        "0.3",
        "--attacks",
        "sa-rl,sarsa",
        *ATTACKING,
    )
    differ, written = differing(command, tmp_path)
    assert not differ
    assert written == {"results.csv", "tried.csv"}


@pytest.mark.slow
@pytest.mark.parametrize("env", ["halfcheetah", "probe/categorical"])
def test_a_sweep_with_learned_attacks_and_certificates_of_its_run(env, tmp_path):
    sweep = ("sweep", "--env", env, "--attacks", "random,mad", *TRAINING)
    differ, written = differing(sweep, tmp_path, **AS_USERS_RUN_IT)
    assert not differ
    assert written >= {"results.csv", "certificates.csv", "curves.csv", "regret.csv"}
    run = tmp_path / BYTES[0]
    learned = ("attack", "--run", run, "--attacks", "sarsa,sarsa+mad,sa-rl,pa-ad", *ATTACKING)
    differ, _ = differing(learned, tmp_path / "attack", **AS_USERS_RUN_IT)
    assert not differ
    sigma = ("--smoothing-sigma", "0.5", "--smoothing-episodes", "30")
    asked = "interval,jacobian,crown,alpha-crown:2,branching:2"
    bounds = ("--states", "5", "--starts", "2", "--search-steps", "3", "--bounds", asked)
    certify = ("certify", "--run", run, "--episodes", "2", *bounds, *sigma)
    differ, _ = differing(certify, tmp_path / "certify", **AS_USERS_RUN_IT)
    assert not differ
