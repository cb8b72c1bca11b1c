"""Agents made by others, read into ours without running a line that came with them.

Three kinds of file, told apart by their content:
- the arrays of an SA-PPO / ATLA agent as `.npz`;
- the `.model` files those papers released: `torch.save` of a dict, in PyTorch's legacy or its zip format;
- Stable-Baselines3's zip of an actor-critic `MlpPolicy`.

PyTorch is not needed: `torch_files.py` reads its files.
"""

import io
import json
import re
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxprune.errors import SpecError
from jaxprune.policy import normalizer
from jaxprune.policy.agent import Agent
from jaxprune.policy.networks import Params
from jaxprune.policy.normalizer import CLIP, Normalizer
from jaxprune.policy.torch_files import StoredTensor, read_torch

Arrays = dict[str, np.ndarray]
"""A network as its file names it: `{"affine_layers.0.weight": [out, in], ...}`."""

SB3_ACTIVATIONS = {"Tanh": "tanh", "ReLU": "relu", "ELU": "elu", "SiLU": "swish"}

READABLE = (
    "feed-forward agents of the SA-PPO family (.npz, .model) and of Stable-Baselines3's PPO and A2C (.zip)"
)

KINDS = (
    (r"(^|\.|_)(lstm|gru|rnn)", "a recurrent agent"),
    (r"\.cnn\.|(^|\.)conv", "an agent that sees images"),
    (r"^actor\.latent_pi\.", "a Stable-Baselines3 SAC or TQC agent"),
    (r"^actor_target\.", "a Stable-Baselines3 TD3 or DDPG agent"),
    (r"^q_net\.", "a Stable-Baselines3 DQN agent"),
    (r"^quantile_net\.", "a Stable-Baselines3 QR-DQN agent"),
)
"""What an unreadable agent is: the first of these patterns to match the name of one of its layers says it."""

NAMED = 3
"""Layers to name of an agent of which we do not know what it is."""

NPZ_COUNT = 2e6
"""Samples behind the filter of an `.npz`, which does not say: the length of the published runs."""


def read_agent(path: str | Path) -> Agent:
    """The agent in a file of any of the three kinds.

    Stable-Baselines3 keeps its filter in another file (VecNormalize), so its agents get the identity, up to
    our clip. Raises SpecError for a file that is no agent, names code, or holds numbers that are not finite.
    """
    with _refusing(Path(path)):
        content = Path(path).read_bytes()
        if "policy.pth" in _members(content):
            return _stable_baselines_agent(content)
        parts = _sa_ppo_parts(content)
        log_std = parts["policy_model"].pop("log_stdev", None)
        last = "final" if log_std is None else "final_mean"
        policy = _network(parts["policy_model"], "affine_layers.", last)
        value = _network(parts["val_model"], "affine_layers.", "final")
        return _agent(policy, log_std, value, parts["filter"], "tanh")


def read_adversary(path: str | Path) -> Params:
    """The learned adversary in a file of the SA-PPO family: the parameters of an `attacks.Learned`.

    Raises SpecError as `read_agent` does, and where the file holds no adversary.
    """
    with _refusing(Path(path)):
        arrays = _sa_ppo_parts(Path(path).read_bytes())["adversary_policy_model"]
        # The spread of an adversary's perturbation matters in its training only.
        arrays.pop("log_stdev")
        return _network(arrays, "affine_layers.", "final_mean")


def check_sizes(agent: Agent, observation_size: int, action_size: int) -> None:
    """Raise SpecError unless the agent reads and writes vectors of these sizes."""
    last = agent.policy[f"layer_{len(agent.policy) - 1}"]
    sizes = agent.policy["layer_0"]["kernel"].shape[-2], last["bias"].shape[-1]
    if sizes != (observation_size, action_size):
        raise SpecError(
            f"agent: it maps {sizes[0]} features to {sizes[1]} actions, the task has {observation_size} "
            f"features and {action_size} actions; choose an agent of this task"
        )


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Report whatever a broken or hostile file provokes as one SpecError that names the file."""
    try:
        yield
    except SpecError as error:
        raise SpecError(f"agent: {path}: {error}") from error
    except KeyError as error:
        raise SpecError(
            f"agent: {path}: not an agent we know: it has no {error}; what can be read: {READABLE}"
        ) from error
    except Exception as error:
        raise SpecError(f"agent: {path}: not an agent we can read: {error}") from error


def _agent(
    policy: Params, log_std: np.ndarray | None, value: Params, filter_: Normalizer, activation: str
) -> Agent:
    """The parts as one agent, refused where they do not fit each other."""
    features, actions = policy["layer_0"]["kernel"].shape[0], _outputs(policy)
    if log_std is not None and log_std.shape != (actions,):
        raise SpecError(f"{actions} actions but a log-std of shape {log_std.shape}")
    if (value["layer_0"]["kernel"].shape[0], _outputs(value)) != (features, 1):
        raise SpecError(f"the value network does not map the policy's {features} features to one number")
    if filter_.mean.shape != (features,):
        raise SpecError(f"a policy of {features} features but a filter of shape {filter_.mean.shape}")
    spread = None if log_std is None else _finite("log-std", log_std)
    return Agent(policy, spread, value, filter_, activation=activation)


def _outputs(network: Params) -> int:
    return network[f"layer_{len(network) - 1}"]["bias"].shape[0]


def _finite(name: str, array: np.ndarray) -> jnp.ndarray:
    if not np.all(np.isfinite(array)):
        raise SpecError(f"{name} holds numbers that are not finite")
    return jnp.asarray(array, jnp.float32)


def _network(arrays: Arrays, numbered: str, last: str) -> Params:
    """The layers `{numbered}0, {numbered}1, ...` (gaps allowed) and then `last`; no others may be there."""
    hidden = {name.rsplit(".", 1)[0] for name in arrays if name.startswith(numbered)}
    names = [*sorted(hidden, key=lambda name: int(name.removeprefix(numbered))), last]
    strange = arrays.keys() - {f"{name}.{kind}" for name in names for kind in ("weight", "bias")}
    if strange:
        raise SpecError(f"{_what_has(sorted(strange))}; what can be read: {READABLE}")
    network, width = {}, None
    for i, name in enumerate(names):
        weight, bias = arrays[f"{name}.weight"], arrays[f"{name}.bias"]
        if weight.ndim != 2 or bias.shape != weight.shape[:1] or width not in (None, weight.shape[1]):
            raise SpecError(f"{name}: weight {weight.shape} and bias {bias.shape} fit no chain of layers")
        width = weight.shape[0]
        network[f"layer_{i}"] = {"kernel": _finite(name, weight.T), "bias": _finite(name, bias)}
    return network


def _what_has(layers: Sequence[str]) -> str:
    """What an agent with these layers, which have no place in ours, is."""
    for pattern, kind in KINDS:
        if any(re.search(pattern, layer) for layer in layers):
            return kind
    more = f" and {len(layers) - NAMED} more" if len(layers) > NAMED else ""
    return f"an agent with unknown layers: {', '.join(layers[:NAMED])}{more}"


def _filter(mean: np.ndarray, variance: np.ndarray, count: float, clip: object) -> Normalizer:
    if clip != CLIP:
        raise SpecError(f"its observations are clipped to ±{clip}; only ±{CLIP} can be read")
    if mean.shape != variance.shape:
        raise SpecError(f"a filter with a mean of shape {mean.shape} and a variance of {variance.shape}")
    return Normalizer(_finite("mean", mean), _finite("variance", variance), jnp.float32(count))


# --- The three kinds of file ---------------------------------------------------------------------------


def _members(content: bytes) -> frozenset[str]:
    """The names inside a zip; none if it is not one."""
    if not content.startswith(b"PK\x03\x04"):
        return frozenset()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return frozenset(archive.namelist())


def _sa_ppo_parts(content: bytes) -> dict[str, Any]:
    """`{"policy_model": Arrays, "val_model": Arrays, ..., "filter": Normalizer}` from `.npz` or `.model`."""
    if any(name.endswith(".npy") for name in _members(content)):
        return _npz_parts(content)
    saved = read_torch(content)
    parts = {name: _arrays(saved[name]) for name in saved if name.endswith("_model")}
    environment = saved["envs"][0]
    state_filter = environment.state["state_filter"].state
    if "rs" not in state_filter:
        features = parts["policy_model"]["affine_layers.0.weight"].shape[1]
        return parts | {"filter": normalizer.init((features,))}
    seen = state_filter["rs"].state
    variance = seen["_S"].read() / max(seen["_n"] - 1, 1)
    return parts | {"filter": _filter(seen["_M"].read(), variance, float(seen["_n"]), state_filter["clip"])}


def _npz_parts(content: bytes) -> dict[str, Any]:
    parts: dict[str, Any] = {}
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        for name in arrays.files:
            part, _, array_name = name.partition("/")
            parts.setdefault(part, {})[array_name] = arrays[name]
        mean, std, clip = (arrays[name] for name in ("obs_mean", "obs_std", "obs_clip"))
    return parts | {"filter": _filter(mean, std**2, NPZ_COUNT, float(clip))}


def _stable_baselines_agent(content: bytes) -> Agent:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        arrays = _arrays(read_torch(archive.read("policy.pth")))
        settings = json.loads(archive.read("data"))
    log_std = arrays.pop("log_std", None)
    value_names = {n for n in arrays if n.startswith(("mlp_extractor.value_net.", "value_net."))}
    value_arrays = {n: arrays.pop(n) for n in value_names}
    policy = _network(arrays, "mlp_extractor.policy_net.", "action_net")
    value = _network(value_arrays, "mlp_extractor.value_net.", "value_net")
    # The settings hold the class both as a pickle, which we leave alone, and as readable text.
    written = str(settings.get("policy_kwargs", {}).get("activation_fn", "torch.nn.modules.activation.Tanh"))
    name = written.strip("<>'").rsplit(".", 1)[-1]
    if name not in SB3_ACTIVATIONS:
        raise SpecError(f"activation {name!r}; known: {', '.join(SB3_ACTIVATIONS)}")
    identity = normalizer.init(policy["layer_0"]["kernel"].shape[:1])
    return _agent(policy, log_std, value, identity, SB3_ACTIVATIONS[name])


def _arrays(state: dict[str, StoredTensor]) -> Arrays:
    return {name: tensor.read() for name, tensor in state.items()}
