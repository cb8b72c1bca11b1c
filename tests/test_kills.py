"""What is killed again and again, while it writes too, ends with the tables of what was not."""

import random
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from tests.experiments.agent_files import write_agent

KILLS, LONGEST, WRITING = 20, 2.5, 0.5
"""How often; seconds at most after its programs are compiled or read, and after its first checkpoint."""

# As the command, but with short segments and a checkpoint after each, so that many moments are of writing.
ALWAYS_SAVING = (
    "import runpy, experiments; from jaxprune import sweep; sweep.SECONDS_BETWEEN_CHECKPOINTS = 0.0;"
    "sweep.UPDATES_WHILE_TRAINING = 256;"
    "runpy.run_module('experiments.sweep', run_name='__main__', alter_sys=True)"
)
SPEC = [
    *("--env", "probe/linear", "--seeds", "2", "--sparsities", "0,0.5", "--steps", "65536"),
    *(
        "--environments",
        "4",
        "--unroll",
        "32",
        "--hidden",
        "8",
        "--episodes",
        "4",
        "--selection-episodes",
        "2",
    ),
]


def begun(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", ALWAYS_SAVING, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def steps_in(folder: Path) -> set[str]:
    """The checkpoints that are done, and the parts of one that is not."""
    return {path.name for path in folder.glob("*")}


@pytest.mark.slow
def test_killed_at_random_moments_a_sweep_ends_with_the_same_tables(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    with begun(*SPEC, "--out", str(whole)) as run:
        run.communicate()
    draw, halves, command = random.Random(0), 0, (*SPEC, "--out", str(killed))
    for number in range(KILLS):
        before = steps_in(killed / "checkpoints")
        with begun(*command) as run:
            said = [run.stdout.readline()]
            while not said[-1].startswith("training"):
                assert said[-1], f"it ended before it was killed often enough:\n{''.join(said)}"
                said.append(run.stdout.readline())
            if number % 2:
                while run.poll() is None and steps_in(killed / "checkpoints") <= before:
                    time.sleep(0.001)
            time.sleep(draw.uniform(0.0, WRITING if number % 2 else LONGEST))
            assert run.poll() is None, "it ended before it was killed often enough"
            run.kill()
        halves += not all(name.isdigit() for name in steps_in(killed / "checkpoints"))
        command = ("--resume", str(killed))
    with begun(*command) as run:
        printed, _ = run.communicate()
    assert run.returncode == 0, printed
    assert halves > 0, "no kill met a write"
    tables = list(whole.glob("*.parquet"))
    assert len(tables) == 10
    for path in tables:
        assert pl.read_parquet(path).equals(pl.read_parquet(killed / path.name), null_equal=True), path.name


CERTIFY_KILLS = 6
CERTIFIED = (
    *("--env", "probe/linear", "--eps", "0.1", "--sparsities", "0:0.8:0.1", "--bounds", "interval"),
    *("--states", "5", "--starts", "2", "--search-steps", "3", "--episodes", "2"),
)


@pytest.mark.slow
def test_killed_at_random_moments_a_certification_ends_with_the_same_tables(tmp_path: Path) -> None:
    agent = write_agent(tmp_path / "agent.npz", 4, 1)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    command = [sys.executable, "-m", "experiments.certify"]
    asked = [*command, "--agent", str(agent), *CERTIFIED, "--out"]
    subprocess.run([*asked, str(whole)], check=True, capture_output=True)
    draw, going_on, kept = random.Random(0), [*asked, str(killed)], 0
    for _ in range(CERTIFY_KILLS):
        with subprocess.Popen(going_on, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as run:
            # It has compiled, and writes a small file every few milliseconds.
            while run.poll() is None and len([*killed.glob("stages/*.npz")]) <= kept:
                time.sleep(0.001)
            time.sleep(draw.uniform(0.0, 0.03))
            run.kill()
            assert run.wait() == -9, run.stderr.read()
        kept, going_on = len([*killed.glob("stages/*.npz")]), [*command, "--resume", str(killed)]
    assert not [*killed.glob("*.parquet")], "it was done before it was killed often enough"
    subprocess.run(going_on, check=True, capture_output=True)
    tables = list(whole.glob("*.parquet"))
    assert len(tables) == 5 and not (killed / "stages").exists()
    for path in tables:
        assert pl.read_parquet(path).equals(pl.read_parquet(killed / path.name), null_equal=True), path.name


ATTACK_KILLS = 6
LEARNT = (
    *("--env", "probe/linear", "--eps", "0.1", "--attacks", "sa-rl", "--search", "quick", "--rungs", "2"),
    *("--steps", "65536", "--episodes", "4", "--selection-episodes", "2"),
)
# As the command, but with a checkpoint of a turn after every iteration.
ALWAYS_KEEPING = (
    "import runpy, experiments; from jaxprune.training import search; search.SEGMENT = 1;"
    "search.SECONDS_BETWEEN_CHECKPOINTS = 0.0;"
    "runpy.run_module('experiments.attack', run_name='__main__', alter_sys=True)"
)


@pytest.mark.slow
def test_killed_at_random_moments_a_search_for_attackers_ends_with_the_same_tables(tmp_path: Path) -> None:
    agent = write_agent(tmp_path / "agent.npz", 4, 1)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    command = [sys.executable, "-c", ALWAYS_KEEPING]
    asked = [*command, "--agent", str(agent), *LEARNT, "--out"]
    subprocess.run([*asked, str(whole)], check=True, capture_output=True)
    draw, going_on, halves = random.Random(0), [*asked, str(killed)], 0

    def parts() -> set[Path]:
        return {*killed.glob("attackers/sa-rl/rung-*/turn-0-so-far/*")}

    for _ in range(ATTACK_KILLS):
        before = parts()
        with subprocess.Popen(going_on, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as run:
            while run.poll() is None and parts() <= before:
                time.sleep(0.001)
            time.sleep(draw.uniform(0.0, 0.1))
            run.kill()
            assert run.wait() == -9, run.stderr.read()
        halves += not all(path.name.isdigit() for path in parts())
        going_on = [*command, "--resume", str(killed)]
    assert halves > 0, "no kill met a write"
    subprocess.run(going_on, check=True, capture_output=True)
    tables = list(whole.glob("*.parquet"))
    assert len(tables) > 3
    for path in tables:
        assert pl.read_parquet(path).equals(pl.read_parquet(killed / path.name), null_equal=True), path.name
