"""What `benchmarks.train_here` leaves is what a run of each arm by itself would have trained."""

import jax
import numpy as np
import pytest

import jaxprune as jp
from benchmarks import train_here
from benchmarks.certified_returns import run_name
from jaxprune import sweep
from jaxprune.progress import Meter
from jaxprune.run_folder import RunFolder

TASK, ARMS, SCHEDULE, STEPS = "probe/linear", ("ppo", "usr:rho=1"), "gradual", 4 * 64


@pytest.fixture(name="folders", scope="module")
def _folders(tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    with pytest.MonkeyPatch.context() as patch:
        for physics in ("TRAINED", "MEASURED"):
            patch.setattr(train_here, physics, "none")
        train_here.main(
            train_here.Arguments(
                task=TASK,
                arms=",".join(ARMS),
                seeds="3:5",
                sparsities="0,0.5",
                steps=STEPS,
                environments=4,
                unroll=16,
                out=out,
            )
        )
    return {arm: out / run_name(TASK, SCHEDULE, arm) for arm in ARMS}


@pytest.mark.parametrize("arm", ARMS)
def test_the_members_are_those_of_a_run_of_the_arm(folders, arm):
    spec = jp.SweepSpec(
        env=TASK,
        arms=arm,
        seeds="3:5",
        sparsities="0,0.5",
        schedule=SCHEDULE,
        steps=STEPS,
        environments=4,
        unroll=16,
        attacks="mad",
        physics="none",
    )
    assert RunFolder.open(folders[arm]).spec() == spec
    asked = sweep.job(spec)
    with Meter() as meter:
        ran = sweep.finished(asked, sweep.train(asked, None, meter))
    left = jp.Population.load(folders[arm])
    assert left.members.columns() == ran.members.columns() and left.env == ran.env
    # Both arms in one program, or one alone: programs of other sizes round otherwise.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-3), left.agents, ran.agents)
    assert not left.diverged.any()


def test_the_arms_are_told_apart(folders):
    one, other = (jp.Population.load(folder).agents.policy for folder in folders.values())
    assert max(jax.tree.leaves(jax.tree.map(lambda a, b: np.abs(a - b).max(), one, other))) > 5e-3
