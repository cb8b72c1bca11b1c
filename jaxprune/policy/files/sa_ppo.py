"""Agents and adversaries of the SA-PPO family: `.npz` arrays, and the `.model` files those papers released.

A `.model` file is `torch.save` of a dict, in PyTorch's legacy or its zip format.
"""

import io
import math
from typing import Any

import numpy as np

from jaxprune.errors import SpecError
from jaxprune.policy import normalizer
from jaxprune.policy.files.record import (
    PolicyFile,
    Reader,
    Source,
    assemble,
    numbered_chain,
    observation_filter,
    settled,
)
from jaxprune.policy.files.torch_files import LEGACY_START, arrays_of, members, read_torch
from jaxprune.policy.networks import Params

COUNT = 2e6
"""Samples behind the filter of an `.npz`, which does not say: the length of the published runs."""


def adversary(content: bytes) -> Params:
    """The learned adversary in a file: the parameters of an `attacks.Learned`.

    Raises KeyError where the file holds none.
    """
    arrays = _parts(content)["adversary_policy_model"]
    # The spread of an adversary's perturbation matters in its training only.
    arrays.pop("log_stdev")
    return numbered_chain(arrays, "affine_layers.", "final_mean")


def _recognises(source: Source) -> bool:
    if source.content.startswith(LEGACY_START):
        return True
    names = members(source.content)
    return any(name.endswith((".npy", "/data.pkl")) for name in names)


def _read(source: Source, activation: str | None) -> PolicyFile:
    parts = _parts(source.content)
    log_std = parts["policy_model"].pop("log_stdev", None)
    last = "final" if log_std is None else "final_mean"
    policy = numbered_chain(parts["policy_model"], "affine_layers.", last)
    value = numbered_chain(parts["val_model"], "affine_layers.", "final")
    return PolicyFile(assemble(policy, log_std, value, parts["filter"], settled("tanh", activation)))


def _parts(content: bytes) -> dict[str, Any]:
    """`{"policy_model": Arrays, "val_model": Arrays, ..., "filter": Normalizer}` from `.npz` or `.model`."""
    if any(name.endswith(".npy") for name in members(content)):
        return _npz_parts(content)
    saved = read_torch(content)
    parts = {name: arrays_of(saved[name]) for name in saved if name.endswith("_model")}
    environment = saved["envs"][0]
    state_filter = environment.state["state_filter"].state
    if "rs" not in state_filter:
        features = parts["policy_model"]["affine_layers.0.weight"].shape[1]
        return parts | {"filter": normalizer.init((features,))}
    seen = state_filter["rs"].state
    variance = seen["_S"].read() / max(seen["_n"] - 1, 1)
    clip = math.inf if state_filter["clip"] is None else float(state_filter["clip"])
    return parts | {"filter": observation_filter(seen["_M"].read(), variance, float(seen["_n"]), clip)}


def _npz_parts(content: bytes) -> dict[str, Any]:
    parts: dict[str, Any] = {}
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        for name in arrays.files:
            part, _, array_name = name.partition("/")
            parts.setdefault(part, {})[array_name] = arrays[name]
        mean, std, clip = (arrays[name] for name in ("obs_mean", "obs_std", "obs_clip"))
    if np.any(std < 0):
        raise SpecError("a filter with a standard deviation below 0")
    return parts | {"filter": observation_filter(mean, std**2, COUNT, float(clip))}


READER = Reader("sa-ppo", "SA-PPO and ATLA (.npz, .model)", _recognises, _read)
