"""What a policy from a file needs of a task."""

import numpy as np

from jaxprune.envs import Environment, squashed
from jaxprune.errors import SpecError
from jaxprune.policy.agent import Agent
from jaxprune.policy.files.record import PolicyFile, outputs


def fit(policy: PolicyFile, env: Environment) -> tuple[Agent, Environment]:
    """The agent for a task, and the environment as the agent acts in it: with tanh in front, if it squashes.

    Raises SpecError where sizes, kinds of action or ranges differ.
    """
    agent, space = policy.agent, env.action_space
    check_sizes(agent, env.observation_size, space.size)
    if space.discrete and policy.head_unsaid:
        agent = agent.replace(log_std=None)
    if agent.discrete != space.discrete:
        kinds = ("continuous actions", "discrete ones")
        raise SpecError(
            f"agent: it gives {kinds[agent.discrete]}, and {env.task} takes {kinds[space.discrete]}; choose "
            "an agent of this task"
        )
    if policy.squash is None:
        return agent, env
    if not np.allclose(policy.squash, (space.low, space.high), rtol=1e-6, atol=0):
        low, high = policy.squash
        raise SpecError(
            f"agent: its actions are squashed to [{low:g}, {high:g}], those of {env.task} lie in "
            f"[{space.low:g}, {space.high:g}]; choose an agent of this task"
        )
    return agent, squashed(env)


def check_sizes(agent: Agent, observation_size: int, action_size: int) -> None:
    """Raise SpecError unless the agent reads and writes vectors of these sizes."""
    sizes = agent.policy["layer_0"]["kernel"].shape[-2], outputs(agent.policy)
    if sizes != (observation_size, action_size):
        raise SpecError(
            f"agent: it maps {sizes[0]} features to {sizes[1]} actions, the task has {observation_size} "
            f"features and {action_size} actions; choose an agent of this task"
        )
