"""State dicts of CleanRL's agents in safetensors.

PPO: `actor_mean` and `actor_logstd`, or `actor`; `critic`. SAC and TD3, the actor alone: `fc1`, `fc2`, and
`fc_mean` with `fc_logstd`, or `fc_mu`; `action_scale` and `action_bias`. SAC draws with a spread that depends
on the state, and TD3 draws nothing: both are read as the deterministic `tanh(u) action_scale + action_bias`.

CleanRL filters observations in a wrapper whose numbers a state dict does not hold. They are read where they
have been put beside it, as the wrapper names them: `obs_rms.mean`, `obs_rms.var` and `obs_rms.count`, for
`clip((s - mean) / sqrt(var + 1e-8), ±10)`.
Source: https://github.com/vwxyzjn/cleanrl (ppo_continuous_action.py, ppo.py, sac_continuous_action.py,
td3_continuous_action.py).
"""

import numpy as np

from jaxprune.errors import SpecError
from jaxprune.policy.files import tensors
from jaxprune.policy.files.record import (
    Arrays,
    PolicyFile,
    Reader,
    Source,
    assemble,
    deterministic,
    numbered_chain,
    observation_filter,
    settled,
    unfiltered,
    variance_of,
)
from jaxprune.policy.normalizer import CLIP, Normalizer

FILTER, EPSILON = "obs_rms.", 1e-8

ACTORS = ("actor_mean.", "actor.")

SQUASHED = ("fc_mean", "fc_mu")
"""The last layers of SAC and of TD3."""


def _recognises(source: Source) -> bool:
    if not tensors.is_safetensors(source.content):
        return False
    names = tensors.names(source.content)
    actor_critic = any(name.startswith(ACTORS) and name.endswith(".weight") for name in names)
    return actor_critic or any(f"{last}.weight" in names for last in SQUASHED)


def _read(source: Source, activation: str | None) -> PolicyFile:
    arrays = tensors.arrays(source.content)
    last = next((name for name in SQUASHED if f"{name}.weight" in arrays), None)
    return _actor_critic(arrays, activation) if last is None else _squashed(arrays, last, activation)


def _actor_critic(arrays: Arrays, activation: str | None) -> PolicyFile:
    log_std = arrays.pop("actor_logstd", None)
    critic, seen = _taken(arrays, "critic."), _taken(arrays, FILTER)
    policy = numbered_chain(arrays, ACTORS[1] if log_std is None else ACTORS[0])
    value = numbered_chain(critic, "critic.") if critic else None
    filter_ = _filter(seen) if seen else unfiltered(policy)
    spread = None if log_std is None else log_std.reshape(-1)
    agent = assemble(policy, spread, value, filter_, settled(None, activation, "tanh"))
    return PolicyFile(agent, filter_elsewhere=not seen)


def _squashed(arrays: Arrays, last: str, activation: str | None) -> PolicyFile:
    _taken(arrays, "fc_logstd.")
    seen, (low, high) = _taken(arrays, FILTER), _range(arrays)
    policy = numbered_chain(arrays, "fc", last)
    filter_ = _filter(seen) if seen else unfiltered(policy)
    agent = assemble(policy, deterministic(policy), None, filter_, settled(None, activation, "relu"))
    return PolicyFile(agent, squash=(low, high), filter_elsewhere=not seen)


def _range(arrays: Arrays) -> tuple[float, float]:
    """The actions between which the actor is squashed. Raises SpecError unless all features share them."""
    scale, bias = (np.ravel(arrays.pop(f"action_{name}")) for name in ("scale", "bias"))
    low, high = bias - scale, bias + scale
    if (low != low[0]).any() or (high != high[0]).any():
        raise SpecError(f"its actions are in [{low}, {high}]; one range for all of them can be read")
    return float(low[0]), float(high[0])


def _taken(arrays: Arrays, prefix: str) -> Arrays:
    """The arrays whose names begin so, which are no longer in `arrays`."""
    return {name: arrays.pop(name) for name in list(arrays) if name.startswith(prefix)}


def _filter(seen: Arrays) -> Normalizer:
    mean, variance = (np.asarray(seen[FILTER + name], np.float64) for name in ("mean", "var"))
    std = np.sqrt(variance + EPSILON)
    return observation_filter(mean, variance_of(std), float(seen.get(f"{FILTER}count", 0.0)), CLIP)


READER = Reader("cleanrl", "CleanRL's PPO, SAC and TD3 (state dict, .safetensors)", _recognises, _read)
