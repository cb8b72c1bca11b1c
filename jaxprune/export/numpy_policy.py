"""A policy as a function of NumPy: no package but numpy is needed, and `policy.safetensors` beside this file.

    from policy import action
    action(observation)  # raw observations [..., obs] in, actions [..., act] out

Exported by jaxprune, which computes the same in float32 up to rounding.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

FILE = Path(__file__).with_name("policy.safetensors")

KINDS = {"F32": "<f4", "BOOL": "?"}

ACTIVATIONS = {
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "swish": lambda x: x * (0.5 + 0.5 * np.tanh(0.5 * x)),
}

LEAST_STD = 1e-8
"""What the filter adds to a standard deviation."""


@cache
def read(path: Path = FILE) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What is known of the policy, and its arrays by name."""
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    about = json.loads(header.pop("__metadata__")["jaxprune"])
    arrays = {}
    for name, place in header.items():
        first, last = place["data_offsets"]
        numbers = np.frombuffer(content[start + first : start + last], KINDS[place["dtype"]])
        arrays[name] = numbers.reshape(place["shape"])
    return about, arrays


def output(observation: np.ndarray, path: Path = FILE) -> np.ndarray:
    """What the network gives at raw observations [..., obs]: means of the action, or logits, [..., act]."""
    about, arrays = read(path)
    std = np.sqrt(arrays["filter.variance"]) + np.float32(LEAST_STD)
    x = (np.asarray(observation, np.float32) - arrays["filter.mean"]) / std
    if about["clip"] is not None:
        x = np.clip(x, -about["clip"], about["clip"])
    last = len(about["hidden"])
    for i in range(last + 1):
        x = x @ arrays[f"policy.layer_{i}.kernel"] + arrays[f"policy.layer_{i}.bias"]
        x = x if i == last else ACTIVATIONS[about["activation"]](x)
    return x


def action(observation: np.ndarray, path: Path = FILE) -> np.ndarray:
    """The deterministic policy's actions [..., act]; the numbers of the most likely ones [...] if discrete.

    A task clips the actions of a policy that does not squash them itself.
    """
    about, _ = read(path)
    u = output(observation, path)
    if about["head"] == "categorical":
        return np.argmax(u, axis=-1)
    if about["squash"] is None:
        return u
    low, high = about["squash"]
    return low + (np.tanh(u) + 1) * np.float32(0.5 * (high - low))
