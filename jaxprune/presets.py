"""Whole experiments by name: the settings from which a command line starts."""

from jaxprune.errors import unknown_name
from jaxprune.spec import SweepSpec

RETURN_EPISODES = 100
"""Of each member, behind its certified returns: half of them choose, half are certified."""

PRESETS = {
    "quick": SweepSpec(return_episodes=RETURN_EPISODES),
    "paper": SweepSpec(
        arms="ppo,sa-convex",
        seeds=10,
        steps=2_000_000,
        attacks="random,mad",
        episodes=50,
        selection_episodes=20,
        return_episodes=RETURN_EPISODES,
    ),
    "categorical": SweepSpec(
        env="acrobot",
        arms="ppo,sa-sgld:eps=0.3",
        seeds=10,
        steps=200_000,
        attacks="random,mad",
        eps="0.1,0.3,1",
        episodes=50,
        selection_episodes=20,
        return_episodes=RETURN_EPISODES,
    ),
}
"""quick: a first look, one seed; as `SweepSpec()` but for certified returns. paper: one task and one pruning
of the pruning paper's grid (arXiv 2510.12939) with the arm that it lacks, to be repeated with --env,
--schedule and --score. categorical: a policy of discrete actions on a control problem, at three budgets."""


def preset(name: str) -> SweepSpec:
    """The settings of that name. Raises SpecError for an unknown one."""
    if name not in PRESETS:
        raise unknown_name("preset", name, PRESETS)
    return PRESETS[name]
