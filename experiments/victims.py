"""Which agents a command works on: the population of a run, or one imported agent; and where it writes."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Self

import tyro

from jaxprune import Population, SpecError, envs
from jaxprune.budget import one_budget
from jaxprune.files import check_keeps_checkpoints
from jaxprune.options import known
from jaxprune.policy import ACTIVATIONS
from jaxprune.policy.files import readable
from jaxprune.run_folder import RunFolder

PATHS = ("run", "agent", "normalizer")
"""The options that are paths."""

AGENT = tyro.conf.arg(
    help=f"File of one agent, taken to --env: {readable()}; or the folder of a run, with --member."
)

ONE_SOURCE = "run, agent: give either --run FOLDER or --agent FILE"


@dataclass(frozen=True)
class Source:
    """Where the agents come from: either a run, or a file."""

    run: Path | None = None
    """Folder of a sweep: its population is taken, in its own environment."""
    agent: Annotated[Path | None, AGENT] = None
    member: int | None = None
    """Number of the member that is taken, if --agent is the folder of a run."""
    normalizer: Path | None = None
    """VecNormalize of Stable-Baselines3, a pickle, with the observation filter of the agent."""
    activation: Annotated[str | None, known(lambda: ACTIVATIONS)] = None
    """What stands between the layers of an agent whose file does not say."""
    env: str | None = None
    """Task of the agent."""
    physics: str = "auto"
    """What moves that task."""
    sparsities: str | None = None
    """Sparsities at which the agent is pruned by magnitude, per layer, without training: start:stop:step
    (stop included) or a comma list. Default: 0, or 0:0.9:0.1 to certify or audit it. The members of a run
    have theirs."""

    def load(
        self, eps: str | float | tuple[float, ...], norm: str, space: str, sparsities: str = "0"
    ) -> Population:
        """The agents under the budget asked for; one from a file at the sparsities asked for, or at these.

        Raises SpecError unless exactly one source is given and can be read, and the budget fits.
        """
        if self.run is not None and self.agent is None:
            for option in ("member", "normalizer", "activation"):
                if getattr(self, option) is not None:
                    raise SpecError(f"{option}: goes with --agent FILE; leave it out, or give that")
            if self.sparsities is not None:
                raise SpecError(
                    "sparsities: the members of a run have theirs; leave it out, or give --agent FILE"
                )
            return self._of_run(self.run).asked(eps, norm, space)
        if self.run is not None or self.agent is None:
            raise SpecError(ONE_SOURCE)
        if self.env is None:
            raise SpecError("env: an agent needs its task; give --env NAME")
        envs.named(self.env, "env")
        env = envs.make(self.env, self.physics)
        budget = one_budget(eps, norm, space, self.env, env.published_eps)
        return Population.from_agent(
            self.agent,
            env,
            sparsities=sparsities if self.sparsities is None else self.sparsities,
            budget=budget,
            member=self.member,
            normalizer=self.normalizer,
            activation=self.activation,
        )

    def new_folder(self, out: Path | None, purpose: str) -> RunFolder:
        """The folder `out`, by default RUN/PURPOSE-TIME or runs/PURPOSE-AGENT-TIME, made anew.

        Raises SpecError if it exists or cannot be made.
        """
        path = out or self._default_folder(purpose)
        check_keeps_checkpoints(path)
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            raise SpecError(
                f"out: {path} exists; results are never overwritten, name another folder"
            ) from None
        except OSError as error:
            raise SpecError(f"out: cannot create {path} ({error.strerror}); name a writable folder") from None
        return RunFolder(path)

    def to_dict(self) -> dict[str, str | int | None]:
        """All fields, as plain JSON values; paths are whole, so that they can be read from elsewhere."""
        values = {
            name: value.resolve() if isinstance(value, Path) else value for name, value in vars(self).items()
        }
        return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The source that `to_dict` wrote down."""
        paths = {name: Path(path) for name in PATHS if (path := values.get(name)) is not None}
        asked: dict[str, Any] = {**values, **paths}
        return cls(**asked)

    def _of_run(self, run: Path) -> Population:
        population = Population.load(run)
        for field, kept in (("env", population.env.task), ("physics", population.env.physics)):
            asked = getattr(self, field)
            if asked not in (None, "auto", kept):
                raise SpecError(
                    f"{field}: {asked} was asked for, but the members of {run} were trained on {kept}; "
                    "leave it out"
                )
        return population

    def _default_folder(self, purpose: str) -> Path:
        now = f"{datetime.now():%Y%m%d-%H%M%S}"
        if self.run is not None:
            return self.run / f"{purpose}-{now}"
        if self.agent is None:
            raise SpecError(ONE_SOURCE)
        return Path("runs") / f"{purpose}-{self.agent.stem}-{now}"


def check_has_dense(population: Population) -> None:
    """Raise SpecError for one policy pruned, without its dense self. A run has the members that it has."""
    if population.trained_by is None and 0 not in population.members.sparsity:
        raise SpecError("sparsities: 0, the dense policy that the others are compared with, is missing")
