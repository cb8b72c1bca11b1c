"""What a file of a policy is read as, and how its arrays become an agent."""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxprune.errors import SpecError, unknown_name
from jaxprune.policy import normalizer
from jaxprune.policy.agent import Agent
from jaxprune.policy.networks import ACTIVATIONS, Params
from jaxprune.policy.normalizer import LEAST_STD, Normalizer

Arrays = dict[str, np.ndarray]
"""A network as its file names it: `{"affine_layers.0.weight": [out, in], ...}`."""

DETERMINISTIC = -100.0
"""The log-std of a policy that draws nothing: what the SA-PPO family writes for it."""

KINDS = (
    (r"(^|\.|_)(lstm|gru|rnn)", "a recurrent agent"),
    (r"(^|\.)(cnn|conv)", "an agent that sees images"),
    (r"^q_net\.", "a Stable-Baselines3 DQN agent"),
    (r"^quantile_net\.", "a Stable-Baselines3 QR-DQN agent"),
)
"""What an unreadable agent is: the first of these patterns to match the name of one of its layers says it,
whatever its capitals."""

NAMED = 3
"""Layers to name of an agent of which we do not know what it is."""


class OtherKindError(SpecError):
    """A file of something else than can be read. Whoever lists the readers says what can."""


class PolicyFile(NamedTuple):
    """A policy as its file has it.

    agent: without the filter, if that is kept elsewhere.
    squash: `(low, high)` of the actions that `low + (tanh(u) + 1) (high - low) / 2` makes of the agent's
        output u; None for an agent whose actions the task clips.
    filter_elsewhere: whether the file does not hold the filter; the agent then has the identity.
    head_unsaid: whether the file does not say if the outputs are an action or logits.
    """

    agent: Agent
    squash: tuple[float, float] | None = None
    filter_elsewhere: bool = False
    head_unsaid: bool = False


@dataclass(frozen=True)
class Source:
    """A file, or folder, to be told apart by what is in it."""

    path: Path

    @cached_property
    def content(self) -> bytes:
        """The bytes; none of a folder."""
        return b"" if self.path.is_dir() else self.path.read_bytes()


@dataclass(frozen=True)
class Reader:
    """A family of files.

    about: what it is, for help texts and errors. recognises: whether a file is of this family, by its
    content; reads no more than it needs. read: the policy, given the name of the activation that the user
    says; raises SpecError, or anything else for a file that is broken.
    """

    name: str
    about: str
    recognises: Callable[[Source], bool]
    read: Callable[[Source, str | None], PolicyFile]


# --- Arrays to agents ----------------------------------------------------------------------------------


def chain(layers: Iterable[tuple[str, np.ndarray, np.ndarray]]) -> Params:
    """A network of layers `(name, weight [out, in], bias [out])`. Raises SpecError where they do not fit."""
    network, width = {}, None
    for i, (name, weight, bias) in enumerate(layers):
        if weight.ndim != 2 or bias.shape != weight.shape[:1] or width not in (None, weight.shape[1]):
            raise SpecError(f"{name}: weight {weight.shape} and bias {bias.shape} fit no chain of layers")
        width = weight.shape[0]
        network[f"layer_{i}"] = {"kernel": finite(name, weight.T), "bias": finite(name, bias)}
    return network


def numbered_chain(arrays: Arrays, numbered: str, last: str | None = None) -> Params:
    """The layers `{numbered}0, {numbered}1, ...` (gaps allowed) and then `last`; no others may be there.

    Raises OtherKindError where there are.
    """
    hidden = {name.rsplit(".", 1)[0] for name in arrays if name.startswith(numbered)}
    wild = [name for name in hidden if not name.removeprefix(numbered).isdecimal()]
    names = sorted(hidden.difference(wild), key=lambda name: int(name.removeprefix(numbered)))
    names += [] if last is None else [last]
    strange = arrays.keys() - {f"{name}.{kind}" for name in names for kind in ("weight", "bias")}
    if strange:
        raise OtherKindError(what_has(strange))
    return chain((name, arrays[f"{name}.weight"], arrays[f"{name}.bias"]) for name in names)


def assemble(
    policy: Params, log_std: np.ndarray | None, value: Params | None, filter_: Normalizer, activation: str
) -> Agent:
    """The parts as one agent. Raises SpecError where they do not fit each other.

    An agent without a value network gets one that says 0 everywhere: the critic attack shows it a random
    point of the ball, and nothing else asks for it.
    """
    if not policy:
        raise SpecError("it has no layers")
    features, actions = policy["layer_0"]["kernel"].shape[0], outputs(policy)
    if log_std is not None and log_std.shape != (actions,):
        raise SpecError(f"{actions} actions but a log-std of shape {log_std.shape}")
    if value is None:
        value = {"layer_0": {"kernel": jnp.zeros((features, 1)), "bias": jnp.zeros(1)}}
    if (value["layer_0"]["kernel"].shape[0], outputs(value)) != (features, 1):
        raise SpecError(f"the value network does not map the policy's {features} features to one number")
    if filter_.mean.shape != (features,):
        raise SpecError(f"a policy of {features} features but a filter of shape {filter_.mean.shape}")
    spread = None if log_std is None else finite("log-std", log_std)
    return Agent(policy, spread, value, filter_, activation=activation)


def deterministic(policy: Params) -> np.ndarray:
    """The log-std of a policy that draws nothing."""
    return np.full(outputs(policy), DETERMINISTIC)


def outputs(network: Params) -> int:
    """How many numbers a network gives."""
    return network[f"layer_{len(network) - 1}"]["bias"].shape[-1]


def unfiltered(policy: Params) -> Normalizer:
    """The filter of a policy that reads raw observations: the identity, without a clip."""
    return normalizer.init(policy["layer_0"]["kernel"].shape[:1]).replace(clip=math.inf)


def observation_filter(mean: np.ndarray, variance: np.ndarray, count: float, clip: float) -> Normalizer:
    """`clip((s - mean) / (sqrt(variance) + LEAST_STD), ±clip)`. Raises SpecError for what is no filter."""
    if mean.shape != variance.shape:
        raise SpecError(f"a filter with a mean of shape {mean.shape} and a variance of {variance.shape}")
    if not clip > 0:
        raise SpecError(f"its observations are clipped to ±{clip:g}")
    if np.any(variance < 0):
        raise SpecError("a filter with a variance below 0")
    return Normalizer(finite("mean", mean), finite("variance", variance), jnp.float32(count), float(clip))


def variance_of(std: np.ndarray) -> np.ndarray:
    """The variance with which our filter divides by `std`. Raises SpecError where there is none."""
    if not np.all(std >= LEAST_STD):
        raise SpecError(
            f"a filter that divides by {np.min(std):g}; standard deviations from {LEAST_STD:g} on can be read"
        )
    return np.square(np.asarray(std, np.float64) - LEAST_STD)


def finite(name: str, array: np.ndarray) -> jnp.ndarray:
    """The array in float32. Raises SpecError where its numbers are not finite there."""
    with np.errstate(over="ignore"):
        numbers = np.asarray(array, np.float32)
    if not np.all(np.isfinite(numbers)):
        raise SpecError(f"{name} holds numbers that are not finite")
    return jnp.asarray(numbers)


def settled(said: str | None, asked: str | None, default: str | None = None) -> str:
    """The activation between the layers: what the file says, else what the user says, else the default.

    Raises SpecError where file and user differ, nobody says, or there is none of that name.
    """
    if asked is not None and asked not in ACTIVATIONS:
        raise unknown_name("activation", asked, ACTIVATIONS)
    if said is not None and said not in ACTIVATIONS:
        raise SpecError(f"activation {said!r}; known: {', '.join(ACTIVATIONS)}")
    if None not in (said, asked) and said != asked:
        raise SpecError(f"its activation is {said}, not {asked}; leave --activation out")
    name = said or asked or default
    if name is None:
        raise SpecError(
            f"it does not say what stands between its layers; give --activation ({', '.join(ACTIVATIONS)})"
        )
    return name


def what_has(layers: Iterable[str]) -> str:
    """What an agent with these layers, which have no place in ours, is."""
    names = sorted(layers)
    for pattern, kind in KINDS:
        if any(re.search(pattern, name, re.IGNORECASE) for name in names):
            return kind
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"an agent with unknown layers: {', '.join(names[:NAMED])}{more}"


def as_weights(arrays: Arrays) -> Arrays:
    """Arrays named as flax does, `NAME.kernel` of [in, out], as PyTorch does, `NAME.weight` of [out, in]."""
    kernels = [name for name in arrays if name.endswith(".kernel")]
    turned = {f"{name.removesuffix('.kernel')}.weight": arrays[name].T for name in kernels}
    return {name: array for name, array in arrays.items() if name not in kernels} | turned


def flattened(tree: Mapping, prefix: str = "") -> Arrays:
    """A tree of dicts as arrays by dotted names. Raises SpecError for what is neither."""
    flat: Arrays = {}
    for name, branch in tree.items():
        if isinstance(branch, Mapping):
            flat |= flattened(branch, f"{prefix}{name}.")
        elif isinstance(branch, np.ndarray):
            flat[f"{prefix}{name}"] = branch
        else:
            raise SpecError(f"{prefix}{name} is neither an array nor a tree of arrays")
    return flat
