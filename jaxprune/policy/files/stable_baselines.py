"""Stable-Baselines3's zips: actor-critics (PPO, A2C) and tanh-squashed actors (SAC, TQC, TD3, DDPG).

The actors of SAC and TQC draw with a spread that depends on the state, and those of TD3 and DDPG draw
nothing: all four are read as the deterministic policies that `predict(deterministic=True)` is.
"""

import base64
import io
import json
import zipfile
from typing import Any

from jaxprune.errors import SpecError
from jaxprune.policy.files import pickles
from jaxprune.policy.files.record import (
    Arrays,
    OtherKindError,
    PolicyFile,
    Reader,
    Source,
    assemble,
    deterministic,
    numbered_chain,
    settled,
    unfiltered,
)
from jaxprune.policy.files.torch_files import arrays_of, members, read_torch

ACTIVATIONS = {"Tanh": "tanh", "ReLU": "relu", "ELU": "elu", "SiLU": "swish"}
"""Ours by the names of PyTorch's classes."""

CRITICS = ("critic", "actor_target.")
"""Beginnings of what squashed actors come with: networks that are needed to train them only."""

VALUE = ("mlp_extractor.value_net.", "value_net.")

SPACES = ("Box", "Discrete")
"""The spaces of actions that are read; of observations, the first."""


def _recognises(source: Source) -> bool:
    return "policy.pth" in members(source.content)


def _read(source: Source, activation: str | None) -> PolicyFile:
    with zipfile.ZipFile(io.BytesIO(source.content)) as archive:
        arrays = arrays_of(read_torch(archive.read("policy.pth")))
        settings = json.loads(archive.read("data"))
    _check(settings)
    read = _squashed if any(name.startswith("actor.") for name in arrays) else _actor_critic
    return read(arrays, settings, activation)


def _actor_critic(arrays: Arrays, settings: dict[str, Any], activation: str | None) -> PolicyFile:
    log_std = arrays.pop("log_std", None)
    value_arrays = {name: arrays.pop(name) for name in list(arrays) if name.startswith(VALUE)}
    policy = numbered_chain(arrays, "mlp_extractor.policy_net.", "action_net")
    value = numbered_chain(value_arrays, "mlp_extractor.value_net.", "value_net")
    name = _activation(settings, "Tanh", activation)
    return PolicyFile(assemble(policy, log_std, value, unfiltered(policy), name), filter_elsewhere=True)


def _squashed(arrays: Arrays, settings: dict[str, Any], activation: str | None) -> PolicyFile:
    spread = "actor.log_std."
    actor = {name: array for name, array in arrays.items() if not name.startswith((spread, *CRITICS))}
    if len(actor) == len(arrays):
        raise OtherKindError("an actor without critics")
    soft = "actor.mu.weight" in actor
    policy = (
        numbered_chain(actor, "actor.latent_pi.", "actor.mu") if soft else numbered_chain(actor, "actor.mu.")
    )
    agent = assemble(
        policy, deterministic(policy), None, unfiltered(policy), _activation(settings, "ReLU", activation)
    )
    return PolicyFile(agent, squash=_range(settings["action_space"]), filter_elsewhere=True)


def _check(settings: dict[str, Any]) -> None:
    """Raise SpecError for agents whose layers look like ours and mean something else."""
    if settings.get("use_sde"):
        raise OtherKindError("an agent that explores with gSDE, whose spread depends on the state")
    for name, known in (("observation_space", SPACES[:1]), ("action_space", SPACES)):
        kind = _class_name(settings.get(name, {}).get(":type:", SPACES[0]))
        if kind not in known:
            raise OtherKindError(f"an agent whose {name.replace('_', ' ')} is a {kind}")


def _activation(settings: dict[str, Any], default: str, asked: str | None) -> str:
    # The settings hold the class both as a pickle, which we leave alone, and as readable text.
    written = _class_name(str(settings.get("policy_kwargs", {}).get("activation_fn", default)))
    if written not in ACTIVATIONS:
        raise SpecError(f"activation {written!r}; known: {', '.join(ACTIVATIONS)}")
    return settled(ACTIVATIONS[written], asked)


def _class_name(written: str) -> str:
    """The last part of `<class 'torch.nn.modules.activation.Tanh'>`."""
    return written.strip("<>'").rsplit(".", 1)[-1]


def _range(space: dict[str, str]) -> tuple[float, float]:
    """The actions between which the actor is squashed. Raises SpecError unless all features share them."""
    pickled = io.BytesIO(base64.b64decode(space[":serialized:"]))
    box = pickles.Reader(pickled, ("gymnasium.", "gym.", "numpy.random.")).load()
    low, high = (box.state[end].read() for end in ("low", "high"))
    if (low != low[0]).any() or (high != high[0]).any():
        raise SpecError(f"its actions are in [{low}, {high}]; one range for all of them can be read")
    return float(low[0]), float(high[0])


READER = Reader(
    "stable-baselines3", "Stable-Baselines3's PPO, A2C, SAC, TQC, TD3 and DDPG (.zip)", _recognises, _read
)
