"""Whole experiments by name: the settings from which a command line starts."""

from jaxprune.errors import unknown_name
from jaxprune.spec import SweepSpec

PRESETS = {
    "quick": SweepSpec(),
    "paper": SweepSpec(
        arms="ppo,sa-convex",
        seeds=10,
        steps=2_000_000,
        attacks="random,mad",
        episodes=50,
        selection_episodes=20,
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
    ),
}
"""quick: a first look, one seed. paper: one task and one pruning of the pruning paper's grid (arXiv
2510.12939) with the arm that it lacks, to be repeated with --env, --schedule and --score. categorical: a
policy of discrete actions on a control problem, at three budgets."""


def preset(name: str) -> SweepSpec:
    """The settings of that name. Raises SpecError for an unknown one."""
    if name not in PRESETS:
        raise unknown_name("preset", name, PRESETS)
    return PRESETS[name]
