"""What a task is: the record by which a user asks for it."""

from collections.abc import Callable
from dataclasses import dataclass

from jaxprune.envs.api import Environment

REGISTERED = "gymnasium:"
"""How the names of environments begin that Gymnasium has registered."""

CHARGES = ("clipped", "raw")
"""The actions that effort can be charged for."""


@dataclass(frozen=True)
class Task:
    """One task, as a user asks for it.

    name: in tables and on the command line. about: one line for help texts.
    build: (physics, horizon, charge) -> its environment. Engines that take long to import are imported there.
    horizon: steps after which an episode is truncated, unless another number is asked for.
    physics: the names of what can move it; "auto" is the first of them.
    on_accelerator: what "auto" is where JAX computes on an accelerator; None for the first there too.
    charges_raw: whether its effort can be charged for the action before clipping, see `envs.make`.
    published_eps: l_inf radius of the published tables, in the normalised space, if it is in one.
    """

    name: str
    about: str
    build: Callable[[str, int, str], Environment]
    horizon: int
    physics: tuple[str, ...] = ("none",)
    on_accelerator: str | None = None
    charges_raw: bool = False
    published_eps: float | None = None

    @classmethod
    def in_jax(cls, name: str, about: str, environment: Callable[[int], Environment], horizon: int) -> "Task":
        """A task that is all of its own physics, called "none". environment: horizon -> Environment."""
        return cls(name, about, lambda physics, horizon, charge: environment(horizon), horizon)
