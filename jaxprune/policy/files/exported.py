"""Our own file of a policy: safetensors with the pruned weights, and what is to be known beside them.

Arrays: `policy.layer_0.kernel` [in, out] and `.bias` [out], ..., with the mask multiplied in; `log_std` [act]
of a Gaussian policy; `mask.layer_0` (bool), ... of a pruned one; `value.` and `value_mask.` the same of the
value network; `filter.mean`, `filter.variance`, `filter.count`. The text `jaxprune` is JSON: see `describe`.
"""

import json
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import numpy as safetensors

from jaxprune.errors import SpecError
from jaxprune.policy.agent import Agent
from jaxprune.policy.files import tensors
from jaxprune.policy.files.record import (
    Arrays,
    PolicyFile,
    Reader,
    Source,
    as_weights,
    assemble,
    numbered_chain,
    observation_filter,
    outputs,
    settled,
)
from jaxprune.policy.networks import Kernels

FORMAT = 1
"""Raised when an older program could not read a file, or would read it wrongly."""

TEXT = "jaxprune"
"""The name of the text beside the arrays."""

FILTER = ("mean", "variance", "count")

MASKS = {"mask": "policy", "value_mask": "value"}


def describe(policy: PolicyFile) -> dict[str, Any]:
    """What a reader must know beside the arrays, as plain JSON values.

    activation: what stands between the layers. head: what the outputs are: `gaussian` (the mean), or
    `categorical` (logits). clip: where the normalised observation is clipped; null for nowhere. squash:
    `[low, high]` of the actions that tanh makes of the outputs, or null.
    """
    agent = policy.agent
    widths = [agent.policy[f"layer_{i}"]["bias"].shape[0] for i in range(len(agent.policy))]
    return {
        "format": FORMAT,
        "observation_size": agent.policy["layer_0"]["kernel"].shape[0],
        "hidden": widths[:-1],
        "action_size": outputs(agent.policy),
        "activation": agent.activation,
        "head": "categorical" if agent.discrete else "gaussian",
        "clip": None if math.isinf(agent.normalizer.clip) else agent.normalizer.clip,
        "squash": policy.squash,
    }


def to_bytes(policy: PolicyFile, about: dict[str, Any]) -> bytes:
    """The file. about: what else is to be known, beside `describe`."""
    agent = policy.agent
    arrays: dict[str, Any] = {f"filter.{name}": getattr(agent.normalizer, name) for name in FILTER}
    if agent.log_std is not None:
        arrays["log_std"] = agent.log_std
    for network in ("policy", "value"):
        for layer, parts in getattr(agent.pruned(), network).items():
            arrays |= {f"{network}.{layer}.{part}": array for part, array in parts.items()}
    for mask in MASKS:
        kept: Kernels = getattr(agent, mask) or {}
        arrays |= {f"{mask}.{layer}": np.asarray(array) != 0 for layer, array in kept.items()}
    plain = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    return safetensors.save(plain, {TEXT: json.dumps(describe(policy) | about)})


def about(content: bytes) -> dict[str, Any]:
    """What is to be known beside the arrays. Raises SpecError for a format of another program."""
    known = json.loads(tensors.texts(content)[TEXT])
    if known["format"] != FORMAT:
        raise SpecError(f"it is of format {known['format']}; this program reads format {FORMAT}")
    return known


def _recognises(source: Source) -> bool:
    content = source.content
    return tensors.is_safetensors(content) and TEXT in tensors.texts(content)


def _read(source: Source, activation: str | None) -> PolicyFile:
    known, arrays = about(source.content), tensors.arrays(source.content)
    policy, value = (
        numbered_chain(as_weights(_under(arrays, f"{network}.")), "layer_") for network in ("policy", "value")
    )
    seen = _under(arrays, "filter.")
    clip = math.inf if known["clip"] is None else known["clip"]
    agent = assemble(
        policy,
        arrays.get("log_std"),
        value,
        observation_filter(seen["mean"], seen["variance"], float(seen["count"]), clip),
        settled(known["activation"], activation),
    )
    squash = known["squash"] and (float(known["squash"][0]), float(known["squash"][1]))
    return PolicyFile(_masked(agent, arrays), squash=squash)


def _masked(agent: Agent, arrays: Arrays) -> Agent:
    """The agent with the masks that there are. Raises SpecError where one does not fit its weights."""
    for name, network in MASKS.items():
        kept = {layer: jnp.asarray(mask, jnp.float32) for layer, mask in _under(arrays, f"{name}.").items()}
        if not kept:
            continue
        weights = {layer: parts["kernel"] for layer, parts in getattr(agent, network).items()}
        if jax.tree.map(jnp.shape, kept) != jax.tree.map(jnp.shape, weights):
            raise SpecError(f"its {name.replace('_', ' ')} does not fit its weights")
        agent = agent.replace(**{name: kept})
    return agent


def _under(arrays: Arrays, prefix: str) -> Arrays:
    """The arrays whose names begin so, without that beginning."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


READER = Reader("jaxprune", "what `export` wrote (.safetensors)", _recognises, _read)
