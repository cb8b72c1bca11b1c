"""Brax PPO: the parameters that `brax.io.model.save_params` pickles, and the folders of its checkpoints.

Both hold the filter, the policy and the value network. The filter is `(s - mean) / std`, without a clip. A
policy of the default kind, `tanh_normal`, gives means and spreads at once and squashes what it draws: it is
read as the deterministic policy `tanh(mean)`. One of the kind `normal` is a Gaussian of its own std.
Source: https://github.com/google/brax (training/agents/ppo/networks.py).
"""

import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxprune.policy.files import pickles
from jaxprune.policy.files.record import (
    OtherKindError,
    PolicyFile,
    Reader,
    Source,
    as_weights,
    assemble,
    deterministic,
    flattened,
    numbered_chain,
    observation_filter,
    outputs,
    settled,
    unfiltered,
    variance_of,
)
from jaxprune.policy.files.torch_files import LEGACY_START
from jaxprune.policy.networks import Params
from jaxprune.policy.normalizer import Normalizer

PICKLES = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))
"""How pickles begin."""

CONFIG = "ppo_network_config.json"
"""What is written beside the arrays of a checkpoint."""

RANGE = (-1.0, 1.0)
"""Of the actions of all of Brax's environments."""

ACTIVATIONS = {"silu": "swish"}
"""Ours by another of Brax's names."""

DEFAULT = "swish"

GAUSSIAN = {"std_param.value": np.log, "std_logparam.log_value": np.asarray}
"""The spread of a `normal` policy: its name, and how it becomes a log-std."""


def _recognises(source: Source) -> bool:
    if source.path.is_dir():
        return (source.path / CONFIG).is_file()
    return source.content[:2] in PICKLES and not source.content.startswith(LEGACY_START)


def _read(source: Source, activation: str | None) -> PolicyFile:
    if source.path.is_dir():
        config = json.loads((source.path / CONFIG).read_text())
        return _policy(_restored(source.path), config, activation)
    saved = pickles.Reader(
        io.BytesIO(source.content), ("brax.",), {"flax.core.frozen_dict.FrozenDict": dict}
    ).load()
    if not isinstance(saved, Sequence) or len(saved) < 2 or not isinstance(saved[0], pickles.Husk):
        raise OtherKindError("a pickle, but not of an agent's parameters")
    seen, policy, *value = saved
    statistics = {name: seen.state[name] for name in ("mean", "std")}
    return _policy([_plain(tree) for tree in (statistics, policy, *value)], {}, activation)


def _plain(tree: Any) -> dict[str, Any]:
    """A tree with arrays for what was stored of them."""
    return {name: _plain(leaf) if isinstance(leaf, Mapping) else leaf.read() for name, leaf in tree.items()}


def _restored(folder: Path) -> list[Any]:
    """The same from a checkpoint."""
    import orbax.checkpoint as ocp  # here, because it takes seconds

    reader = ocp.PyTreeCheckpointer()
    as_numpy = jax.tree.map(
        lambda _: ocp.RestoreArgs(restore_type=np.ndarray), reader.metadata(folder.resolve()).item_metadata
    )
    return reader.restore(folder.resolve(), ocp.args.PyTreeRestore(restore_args=as_numpy))


def _policy(saved: Sequence[Any], config: Mapping[str, Any], asked: str | None) -> PolicyFile:
    settings = config.get("network_factory_kwargs", {})
    said = settings.get("activation")
    activation = settled(ACTIVATIONS.get(said, said), asked, DEFAULT)
    if settings.get("mean_clip_scale") is not None:
        raise OtherKindError("an agent whose means are bounded by a softsign")
    arrays = as_weights(flattened(saved[1]["params"]))
    spread = [name for name in GAUSSIAN if name in arrays]
    if spread:
        log_std = GAUSSIAN[spread[0]](arrays.pop(spread[0]))
        policy = numbered_chain(arrays, "MLP_0.hidden_", "Dense_0")
    else:
        policy = _means(numbered_chain(arrays, "hidden_"))
        log_std = deterministic(policy)
    value = numbered_chain(as_weights(flattened(saved[2]["params"])), "hidden_") if len(saved) > 2 else None
    filter_ = _filter(saved[0]) if config.get("normalize_observations", True) else unfiltered(policy)
    agent = assemble(policy, log_std, value, filter_, activation)
    return PolicyFile(agent, squash=None if spread else RANGE)


def _means(network: Params) -> Params:
    """A network of means and spreads without the second half of its outputs."""
    name, actions = f"layer_{len(network) - 1}", outputs(network) // 2
    last = {"kernel": network[name]["kernel"][:, :actions], "bias": network[name]["bias"][:actions]}
    return network | {name: last}


def _filter(seen: Mapping[str, Any]) -> Normalizer:
    mean, std = seen["mean"], seen["std"]
    if isinstance(mean, Mapping) or isinstance(std, Mapping):
        raise OtherKindError("an agent whose observations are dicts")
    return observation_filter(mean, variance_of(std), 0.0, math.inf)


READER = Reader("brax", "Brax's PPO (its parameters, or the folder of a checkpoint)", _recognises, _read)
