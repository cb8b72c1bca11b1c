"""Which agents a command works on: the population of a run, or one imported agent; and where it writes."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import jax

from jaxprune import SpecError, SweepSpec, checkpoint, envs
from jaxprune.envs import Environment
from jaxprune.policy import Agent
from jaxprune.policy.foreign import check_sizes, read_agent
from jaxprune.run_folder import RunFolder
from jaxprune.sweep import environment, finished, start


class Victims(NamedTuple):
    """Agents, leaves [member], in their environment; `trained` is the spec of the run they come from."""

    env: Environment
    agents: Agent
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

    def unmasked(self) -> Agent:
        """The agents of the run with their masks taken off: their weights as the training left them."""
        folder = RunFolder.open(self.run)
        spec = folder.spec()
        like = jax.eval_shape(lambda: start(spec, environment(spec)))
        return finished(spec, checkpoint.load(folder.checkpoints, like))[1]

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
        env = environment(spec)
        like = jax.eval_shape(lambda: finished(spec, start(spec, env))[0])
        return Victims(env, checkpoint.load(folder.population, like), spec)

    def _of_agent(self) -> Victims:
        if self.env is None:
            raise SpecError("env: an agent needs its task; give --env NAME")
        env, agent = envs.make(self.env, self.physics), read_agent(self.agent)
        check_sizes(agent, env.observation_size, env.action_space.size)
        return Victims(env, jax.tree.map(lambda leaf: leaf[None], agent), None)

    def _default_folder(self, purpose: str) -> Path:
        now = f"{datetime.now():%Y%m%d-%H%M%S}"
        if self.run is not None:
            return self.run / f"{purpose}-{now}"
        return Path("runs") / f"{purpose}-{self.agent.stem}-{now}"
