"""How hard attackers are looked for: the settings tried, and how long each attacker learns."""

from dataclasses import dataclass, field

from jaxprune.training.member import Recipe
from jaxprune.training.ppo import Hyperparameters
from jaxprune.training.sarsa import Smoothness, Study
from jaxprune.training.sarsa import grid as critics
from jaxprune.training.search import grid as adversaries

RECIPE = Recipe(epochs=4, minibatches=8, filter=False)
"""The published sizes, 2048 steps per iteration and 64 x 64 tanh units, but 4 epochs in place of 10: on
HalfCheetah nearly as strong, and a quarter faster. An adversary reads observations that the victim's own
frozen filter has normalised, and is never pruned."""


@dataclass(frozen=True)
class Effort:
    """Attackers of every kind that learns.

    adversaries: settings of PPO, leaves [setting]. critics: settings of robust sarsa, leaves [setting].
    recipe: sizes of an adversary's training. study: sizes of a critic's.
    """

    adversaries: Hyperparameters
    critics: Smoothness
    recipe: Recipe = RECIPE
    study: Study = field(default_factory=Study)


EFFORTS = {
    "quick": Effort(
        adversaries(
            anneal=(1,),
            clip=(0.2,),
            entropy_weight=(0,),
            learning_rate=(1e-3, 3e-3),
            value_learning_rate=(3e-4,),
        ),
        critics(eps=(0.1,), weight=(0.1, 1.0)),
    ),
    "small": Effort(
        adversaries(
            anneal=(1,),
            clip=(0.2, 0.4),
            entropy_weight=(0, 1e-3),
            learning_rate=(3e-4, 1e-3, 3e-3),
            value_learning_rate=(3e-4,),
        ),
        critics(eps=(0.05, 0.3), weight=(0.1, 1.0)),
    ),
    "published": Effort(
        adversaries(
            anneal=(1, 0),
            clip=(0.2, 0.4),
            entropy_weight=(0, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3),
            learning_rate=(3e-4, 1e-3, 3e-3),
            value_learning_rate=(3e-5, 1e-4, 3e-4),
        ),
        critics(eps=(0.02, 0.05, 0.1, 0.15, 0.2, 0.3), weight=(0.1, 0.3, 1.0, 3.0, 10.0)),
    ),
}
"""published: the 216 settings of SA-RL (arXiv 2101.08452) and the 6 x 5 that robust sarsa was searched over
(arXiv 2003.08938); small: 12 and 4 of them; quick: 2 and 2, for a first look."""
