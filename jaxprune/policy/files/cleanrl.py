"""State dicts of CleanRL's PPO agents in safetensors: `actor_mean` and `actor_logstd`, or `actor`; `critic`.

CleanRL filters observations in a wrapper whose numbers a state dict does not hold. They are read where they
have been put beside it, as the wrapper names them: `obs_rms.mean`, `obs_rms.var` and `obs_rms.count`, for
`clip((s - mean) / sqrt(var + 1e-8), ±10)`.
Source: https://github.com/vwxyzjn/cleanrl (ppo_continuous_action.py, ppo.py).
"""

import numpy as np

from jaxprune.policy.files import tensors
from jaxprune.policy.files.record import (
    Arrays,
    PolicyFile,
    Reader,
    Source,
    assemble,
    numbered_chain,
    observation_filter,
    settled,
    unfiltered,
    variance_of,
)
from jaxprune.policy.normalizer import CLIP, Normalizer

FILTER, EPSILON = "obs_rms.", 1e-8

ACTORS = ("actor_mean.", "actor.")


def _recognises(source: Source) -> bool:
    if not tensors.is_safetensors(source.content):
        return False
    return any(name.startswith(ACTORS) and name.endswith(".weight") for name in tensors.names(source.content))


def _read(source: Source, activation: str | None) -> PolicyFile:
    arrays = tensors.arrays(source.content)
    log_std = arrays.pop("actor_logstd", None)
    critic, seen = _taken(arrays, "critic."), _taken(arrays, FILTER)
    policy = numbered_chain(arrays, ACTORS[1] if log_std is None else ACTORS[0])
    value = numbered_chain(critic, "critic.") if critic else None
    filter_ = _filter(seen) if seen else unfiltered(policy)
    spread = None if log_std is None else log_std.reshape(-1)
    agent = assemble(policy, spread, value, filter_, settled(None, activation, "tanh"))
    return PolicyFile(agent, filter_elsewhere=not seen)


def _taken(arrays: Arrays, prefix: str) -> Arrays:
    """The arrays whose names begin so, which are no longer in `arrays`."""
    return {name: arrays.pop(name) for name in list(arrays) if name.startswith(prefix)}


def _filter(seen: Arrays) -> Normalizer:
    mean, variance = (np.asarray(seen[FILTER + name], np.float64) for name in ("mean", "var"))
    std = np.sqrt(variance + EPSILON)
    return observation_filter(mean, variance_of(std), float(seen.get(f"{FILTER}count", 0.0)), CLIP)


READER = Reader("cleanrl", "CleanRL's PPO (state dict, .safetensors)", _recognises, _read)
