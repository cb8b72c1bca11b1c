"""What `benchmarks.scaling` measures: sizes of the parts of a sweep, and the rows of its table."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxprune import envs
from jaxprune.costs import Recipe, Sizes
from jaxprune.envs import Environment

SHORT = 100
"""Steps of the episodes that are played here."""


class Row(NamedTuple):
    """What is measured. states: certified, of each member. attack: of the episodes."""

    part: str
    task: str = "hopper"
    members: int = 4
    environments: int = 16
    unroll: int = 128
    epochs: int = 10
    minibatches: int = 8
    hidden: str = "64 64"
    attack: str = ""
    states: int = 0

    @property
    def env(self) -> Environment:
        """Its environment; episodes are played in a short one that none leaves before its end."""
        return envs.make(self.task, horizon=SHORT if self.part in ("evaluation", "returned") else None)

    @property
    def widths(self) -> tuple[int, ...]:
        """Of the hidden layers."""
        return tuple(map(int, self.hidden.split()))

    @property
    def sizes(self) -> Sizes:
        """Of its networks."""
        return Sizes(self.env.observation_size, self.widths, self.env.action_space.size)

    @property
    def recipe(self) -> Recipe:
        """Of its iteration."""
        return Recipe(self.environments, self.unroll, self.epochs, self.minibatches)


PARTS = ("training", "evaluation", "certificates", "returned")
"""Each is fitted with what those before it have told."""

EPISODES, RADII = 10, 3

SMALL = {"environments": 4, "unroll": 16, "minibatches": 4}
FEW = {"unroll": 32, "epochs": 4, "minibatches": 4}
ROWS = (
    *(Row("training", "probe/linear", members, **SMALL) for members in (1, 4, 16, 64, 256, 1024)),
    *(Row("training", "hopper", members, **FEW) for members in (1, 4)),
    Row("training", members=10),
    Row("training", members=256, epochs=4, **SMALL),
    Row("training", environments=64),
    Row("training", hidden="16"),
    Row("training", hidden="256 256"),
    Row("training", epochs=1),
    Row("training", "humanoid", **FEW),
    *(Row("evaluation", "halfcheetah", attack=attack) for attack in ("none", "random", "mad")),
    Row("evaluation", "probe/linear", attack="mad", hidden="16"),
    *(Row("certificates", members=2, states=states) for states in (500, 5000)),
    Row("certificates", members=2, states=500, hidden="16"),
    Row("certificates", "humanoid", members=2, states=500),
    *(Row("returned", "halfcheetah", states=SHORT * EPISODES, hidden=hidden) for hidden in ("16", "64 64")),
)


def asked_of(row: Mapping[str, Any]) -> Row:
    """What a row of the table is about."""
    return Row(**{name: row[name] or "" if name == "attack" else row[name] for name in Row._fields})
