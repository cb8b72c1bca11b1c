"""Which agents a command works on: the population of a run, or one imported agent; and where it writes."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from jaxprune import SpecError, SweepSpec, checkpoint, envs
from jaxprune.envs import Environment
from jaxprune.policy import Agent
from jaxprune.policy.foreign import check_sizes, read_agent
from jaxprune.run_folder import RunFolder
from jaxprune.sweep import Finished, environment, finished, start


class Victims(NamedTuple):
    """Agents, leaves [member], in their environment.

    unmasked: the same with their masks taken off. diverged: [member], whose training left the finite numbers.
    trained: the spec of the run they come from; None for an agent from a file, whose `unmasked` is itself.
    """

    env: Environment
    agents: Agent
    unmasked: Agent
    diverged: np.ndarray
    trained: SweepSpec | None


@dataclass(frozen=True)
class Source:
    """Where the agents come from: either a run, or a file."""

    run: Path | None = None
    """Folder of a sweep: its population is taken, in its own environment."""
    agent: Path | None = None
    """File of one agent (SA-PPO family .npz or .model, Stable-Baselines3 .zip), taken to --env."""
    env: str | None = None
    """Task of the agent."""
    physics: str = "auto"
    """What moves that task."""

    def load(self) -> Victims:
        """The agents. Raises SpecError unless exactly one source is given and can be read."""
        if (self.run is None) == (self.agent is None):
            raise SpecError("run, agent: give either --run FOLDER or --agent FILE")
        return self._of_run() if self.agent is None else self._of_agent()

    def new_folder(self, out: Path | None, purpose: str) -> RunFolder:
        """The folder `out`, by default RUN/PURPOSE-TIME or runs/PURPOSE-AGENT-TIME, made anew.

        Raises SpecError if it exists or cannot be made.
        """
        path = out or self._default_folder(purpose)
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            raise SpecError(
                f"out: {path} exists; results are never overwritten, name another folder"
            ) from None
        except OSError as error:
            raise SpecError(f"out: cannot create {path} ({error.strerror}); name a writable folder") from None
        return RunFolder(path)

    def to_dict(self) -> dict[str, str | None]:
        """All fields, as plain JSON values; paths are whole, so that they can be read from elsewhere."""
        values = {
            name: value.resolve() if isinstance(value, Path) else value for name, value in vars(self).items()
        }
        return {name: None if value is None else str(value) for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: dict[str, str | None]) -> "Source":
        """The source that `to_dict` wrote down."""
        paths = {name: Path(values[name]) for name in ("run", "agent") if values[name] is not None}
        return cls(**values | paths)

    def _of_run(self) -> Victims:
        folder = RunFolder.open(self.run)
        spec = folder.spec()
        for field, kept in (("env", spec.env), ("physics", spec.physics)):
            asked = getattr(self, field)
            if asked not in (None, "auto", kept):
                raise SpecError(
                    f"{field}: {asked} was asked for, but the members of {self.run} were trained on {kept}; "
                    "leave it out"
                )
        env = environment(spec)
        like = jax.eval_shape(lambda: finished(spec, start(spec, env))._asdict())
        kept = Finished(**checkpoint.load(folder.population, like))
        return Victims(env, kept.agents, kept.unmasked, np.asarray(kept.diverged), spec)

    def _of_agent(self) -> Victims:
        if self.env is None:
            raise SpecError("env: an agent needs its task; give --env NAME")
        env, agent = envs.make(self.env, self.physics), read_agent(self.agent)
        check_sizes(agent, env.observation_size, env.action_space.size)
        agents = jax.tree.map(lambda leaf: leaf[None], agent)
        return Victims(env, agents, agents, np.zeros(1, bool), None)

    def _default_folder(self, purpose: str) -> Path:
        now = f"{datetime.now():%Y%m%d-%H%M%S}"
        if self.run is not None:
            return self.run / f"{purpose}-{now}"
        return Path("runs") / f"{purpose}-{self.agent.stem}-{now}"
